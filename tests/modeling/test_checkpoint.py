import dataclasses
import json
import os
import pickle
import shutil

import pytest
import safetensors.torch
import torch

from didvit.config import DIDVIT, PAPER, DiDConfig, ModelConfig
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from didvit.modeling.quantize import SCALE
from runs import equal

LABELS = ("cat", "dog", "Käse", "traffic light", "猫")


def same_outputs(model, other, size=(32, 48)):
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        pairs = zip(model(images), other(images), strict=True)
        return all(torch.equal(one, another) for one, another in pairs)


@pytest.fixture
def folder(tmp_path, save_tiny_model):
    return save_tiny_model(tmp_path / "model", LABELS)


def edit(folder, change):
    """Change what the configuration file holds."""
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content = change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def with_method(content, **settings):
    """The content of a configuration file with these settings of the method."""
    model = content["model"]
    return {**content, "model": {**model, "method": {**model["method"], **settings}}}


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path)


def refused(model, *parts):
    """The model is refused with a message that has every part."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model)
    for part in parts:
        assert str(part) in str(caught.value)


class TestRoundTrip:
    @pytest.mark.parametrize(
        "method",
        [
            DiDConfig(top_n=2),
            DiDConfig(top_n=0, fusion="max"),
            DiDConfig(top_n=1, crop_from="input", tiles=2, view_scale=1.5),
        ],
    )
    def test_model_labels_and_settings(self, tmp_path, method, randomized):
        config = ModelConfig("test_vit", "random", (32, 48), method=method)
        model = randomized(build_model(config, len(LABELS)))
        save_checkpoint(tmp_path / "a" / "model", model, LABELS, config)
        loaded = load_checkpoint(tmp_path / "a" / "model")
        assert loaded.labels == LABELS
        assert loaded.config == config
        assert not loaded.model.training
        images = torch.rand(2, 3, 32, 48)
        with torch.no_grad():
            for one, other in zip(model(images), loaded.model(images), strict=True):
                assert (one is None and other is None) or torch.equal(one, other)

    def test_tensors_that_are_not_contiguous(self, tmp_path, randomized):
        config = ModelConfig("test_vit", "random", (32, 48), method=DiDConfig(top_n=2))
        model = randomized(build_model(config, len(LABELS)))
        weight = model.head.projection.weight
        weight.data = weight.data.transpose(0, 1).contiguous().transpose(0, 1)
        assert not weight.is_contiguous()
        save_checkpoint(tmp_path, model, LABELS, config)
        assert same_outputs(model, load_checkpoint(tmp_path).model)

    def test_the_files(self, folder):
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert content["labels"] == list(LABELS)
        assert content["model"]["image_size"] == [32, 48]

    def test_saving_replaces_an_older_model(self, folder, save_tiny_model):
        save_tiny_model(folder, ("x", "y", "z"))
        assert load_checkpoint(folder).labels == ("x", "y", "z")
        assert len(list(folder.iterdir())) == 2

    def test_a_path_may_be_a_string(self, folder):
        assert load_checkpoint(str(folder)).labels == LABELS

    def test_loading_needs_no_original_weights_file(self, folder):
        edit(folder, lambda c: {**c, "model": {**c["model"], "weights": "gone.npz"}})
        assert load_checkpoint(folder).config.weights == "gone.npz"

    @pytest.mark.parametrize("method", [PAPER, DIDVIT, DiDConfig(top_n=0)])
    def test_other_settings_of_the_method(self, folder, method):
        trained, other = load_checkpoint(folder), load_checkpoint(folder, method)
        assert other.config == dataclasses.replace(trained.config, method=method)
        assert other.model.config == method
        assert equal(other.model.state_dict(), trained.model.state_dict())


class TestRefused:
    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_missing_file(self, folder, name):
        (folder / name).unlink()
        refused(folder, folder, f"{name} is missing", "didvit train")

    def test_empty_folder(self, tmp_path):
        refused(tmp_path, tmp_path, "config.json is missing")

    @pytest.mark.parametrize("part", [0, 4, 100, -1])
    def test_cut_weights(self, folder, part):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:part])
        refused(folder, path, "damaged")

    def test_text_as_weights(self, folder):
        path = folder / "model.safetensors"
        path.write_text("These are no weights.\n" * 20)
        refused(folder, path, "damaged")

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"', "{}", '{"format": 1}'])
    def test_damaged_configuration(self, folder, text):
        (folder / "config.json").write_text(text)
        refused(folder, folder / "config.json")

    def test_configuration_in_another_encoding(self, folder):
        (folder / "config.json").write_bytes(b"\xff\xfe{\0}\0")
        refused(folder, folder / "config.json")

    @pytest.mark.parametrize("version", [0, 1, 3, "2", None])
    def test_other_version(self, folder, version):
        edit(folder, lambda c: {**c, "format": version})
        refused(folder, folder / "config.json", f"format {version}", "reads 2")

    @pytest.mark.parametrize("key", ["format", "labels", "model"])
    def test_missing_part(self, folder, key):
        edit(folder, lambda c: {k: v for k, v in c.items() if k != key})
        refused(folder, folder / "config.json", key)

    @pytest.mark.parametrize("value", [None, [], "text", 3])
    def test_settings_that_are_no_settings(self, folder, value):
        edit(folder, lambda c: {**c, "model": value})
        refused(folder, folder / "config.json")

    @pytest.mark.parametrize("value", [None, 3, "abcde", [], [1, 2, 3, 4, 5]])
    def test_labels_that_are_no_labels(self, folder, value):
        edit(folder, lambda c: {**c, "labels": value})
        refused(folder, folder / "config.json")

    def test_unknown_setting(self, folder):
        edit(folder, lambda c: {**c, "model": {**c["model"], "heads": 3}})
        refused(folder, folder / "config.json", "unknown heads")

    def test_unknown_setting_of_the_method(self, folder):
        edit(folder, lambda c: with_method(c, top_m=3))
        refused(folder, folder / "config.json", "unknown top_m")

    def test_missing_setting(self, folder):
        edit(folder, lambda c: {**c, "model": {"method": c["model"]["method"]}})
        refused(folder, folder / "config.json", "missing", "backbone")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("method", None),
            ("method", {"top_n": 2}),
            ("image_size", 32),
            ("image_size", [32]),
            ("image_size", [32, 48, 3]),
            ("image_size", [33, 48]),
            ("backbone", "no_such_backbone"),
            ("backbone", "resnet18"),
        ],
    )
    def test_impossible_setting(self, folder, name, value):
        edit(folder, lambda c: {**c, "model": {**c["model"], name: value}})
        refused(folder, folder / "config.json")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("fusion", "sum"),
            ("fusion", None),
            ("selection", ["descending"]),
            ("box_threshold", "high"),
            ("box_threshold", 2),
            ("top_n", "four"),
            ("view_scale", 0),
        ],
    )
    @pytest.mark.usefixtures("unchecked_types")
    def test_impossible_setting_of_the_method(self, folder, name, value):
        edit(folder, lambda c: with_method(c, **{name: value}))
        refused(folder, folder / "config.json", f"{name} is ", "expected")

    def test_missing_tensor(self, folder):
        edit_tensors(folder, lambda state: state.pop("head.projection.bias"))
        refused(folder, folder / "model.safetensors", folder / "config.json", "projection.bias")

    def test_missing_tensor_of_the_backbone(self, folder):
        edit_tensors(folder, lambda state: state.pop("backbone.vit.norm.weight"))
        refused(folder, folder / "model.safetensors", "backbone.vit.norm.weight")

    def test_extra_tensor(self, folder):
        edit_tensors(folder, lambda state: state.update({"head.other": torch.ones(1)}))
        refused(folder, folder / "model.safetensors", "head.other")

    @pytest.mark.parametrize(
        "change",
        [
            lambda state, name: state.pop(name + SCALE),
            lambda state, name: state.update({name + SCALE: state[name + SCALE][:-1].clone()}),
            lambda state, name: state.update({name + SCALE: torch.ones(3, 3)}),
        ],
    )
    def test_packed_weights_without_their_scales(self, folder, change):
        loaded = load_checkpoint(folder)
        save_checkpoint(folder, loaded.model, loaded.labels, loaded.config, packed=True)
        edit_tensors(folder, lambda state: change(state, "head.projection.weight"))
        refused(folder, folder / "model.safetensors")

    def test_labels_that_do_not_fit_the_head(self, folder):
        edit(folder, lambda c: {**c, "labels": c["labels"][:3]})
        refused(folder, folder / "model.safetensors", "projection.weight")

    @pytest.mark.parametrize("text", ["[" * 50_000, '{"format": ' * 5_000])
    def test_configuration_that_is_nested_too_deeply(self, folder, text):
        (folder / "config.json").write_text(text)
        refused(folder, folder / "config.json", "nested too deeply")

    def test_configuration_that_is_absurdly_large(self, folder):
        with (folder / "config.json").open("r+") as file:
            file.truncate(2**33)  # without taking the disk
        refused(folder, folder / "config.json", "8,589,934,592 bytes")

    def test_a_long_value_is_not_printed_whole(self, folder):
        edit(folder, lambda c: {**c, "model": {**c["model"], "head": "x" * 100_000}})
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(folder)
        assert len(str(caught.value)) < 1000

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"image_size": [8_000_000, 12_000_000]}, "image_size 8000000x12000000 takes"),
            ({"image_size": [10**100 * 16, 48]}, "positions"),
            ({"backbone": "vit_giant_patch14_dinov2"}, "vit_giant_patch14_dinov2 has 1,1"),
        ],
    )
    def test_a_model_that_is_far_larger_than_its_weights(self, folder, settings, words):
        edit(folder, lambda c: {**c, "model": {**c["model"], **settings}})
        refused(folder, folder / "model.safetensors", words)

    @pytest.mark.parametrize(("name", "value"), [("tiles", 10**300), ("view_scale", 1e6)])
    def test_views_without_number_or_bound(self, folder, name, value):
        edit(folder, lambda c: with_method(c, **{name: value}))
        refused(folder, folder / "model.safetensors", f"{name} is ", "expected at most")

    def test_far_more_labels_than_the_head_has(self, folder):
        edit(folder, lambda c: {**c, "labels": [f"label {i}" for i in range(100_000)]})
        refused(folder, folder / "model.safetensors", "100000 labels")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_that_hold_no_numbers(self, folder, value):
        edit_tensors(folder, lambda state: state["head.projection.bias"][:2].fill_(value))
        refused(folder, folder / "model.safetensors", "2 of 5 values of head.projection.bias")

    def test_a_pickle_is_never_executed(self, folder, tmp_path):
        mark = tmp_path / "executed"

        class Payload:
            def __reduce__(self):
                return os.mkdir, (str(mark),)

        content = pickle.dumps(Payload())
        (folder / "model.safetensors").write_bytes(content)
        refused(folder, folder / "model.safetensors", "damaged")
        assert not mark.exists()
        pickle.loads(content)  # it would have been made
        assert mark.exists()

    def test_a_torch_file_is_refused(self, folder):
        torch.save({"head.projection.bias": torch.ones(3)}, folder / "model.safetensors")
        refused(folder, folder / "model.safetensors", "damaged")


class TestNames:
    @pytest.fixture
    def packaged(self, tmp_path, monkeypatch, folder):
        """Two models that come with the package, ``default`` and ``other``."""
        for name in ("default", "other"):
            shutil.copytree(folder, tmp_path / "package" / "models" / name)
        (tmp_path / "package" / "models" / "README.md").touch()
        monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path / "package")

    def test_an_unknown_name_is_refused(self):
        refused("no_such_model", "there is no model 'no_such_model'", "didvit train")

    def test_an_unknown_name_lists_those_that_come_with_the_package(self, packaged):
        refused("no_such_model", "there is no model 'no_such_model'", "default, other")

    @pytest.mark.parametrize("name", ["README.md", "", "../models/default", "default/"])
    def test_only_names_are_names(self, packaged, tmp_path, monkeypatch, name):
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        refused(name)

    def test_a_packaged_model(self, packaged, folder):
        loaded = load_checkpoint("default")
        assert same_outputs(loaded.model, load_checkpoint(folder).model)

    def test_a_folder_of_that_name_comes_first(self, packaged, tmp_path, monkeypatch, folder):
        shutil.copytree(folder, tmp_path / "default")
        edit(tmp_path / "default", lambda c: {**c, "labels": ["1", "2", "3", "4", "5"]})
        assert load_checkpoint("default").labels == LABELS
        monkeypatch.chdir(tmp_path)
        assert load_checkpoint("default").labels == ("1", "2", "3", "4", "5")

    def test_a_file_is_no_model(self, folder):
        refused(folder / "config.json", "config.json")

    def test_is_a_value_error(self):
        assert issubclass(CheckpointError, ValueError)
