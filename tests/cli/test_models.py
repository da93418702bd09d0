import json
import sys

import pytest
import timm
import torch

from didvit.cli import main as cli
from didvit.cli.models import COLUMNS, models
from didvit.config import ConfigError
from didvit.modeling import architectures
from didvit.modeling.architectures import MODULES, accepted, build_without_weights, candidates
from didvit.modeling.backbones import build_backbone
from didvit.modeling.eva import EvaBackbone
from didvit.modeling.suitability import UnsupportedBackboneError, check_supported


@pytest.fixture
def listed(capsys):
    """A function that runs the command; its rows, split into cells, and its last words."""

    def run(*arguments, **options):
        assert models(*arguments, **options) == 0
        out, err = capsys.readouterr()
        title, *rows = out.splitlines()
        assert title.split() == " ".join(COLUMNS).split()
        return [row.split() for row in rows], err

    return run


def test_a_row_has_what_timm_says(listed):
    rows, words = listed("dinov3.lvd1689m")
    assert rows[0] == [
        *("vit_small_patch16_dinov3.lvd1689m", "21.6", "256x256", "16x16"),
        *("yes", "yes", "dinov3-license"),
    ]
    assert [float(row[1]) for row in rows] == sorted(float(row[1]) for row in rows)
    assert f"{len(rows)} models" in words
    assert "--model.backbone NAME --model.weights pretrained" in words


def test_models_without_class_token_rotation_or_weights(listed):
    (row,), _ = listed("vit_base_patch16_siglip_224.webli")
    assert row[4:] == ["no", "no", "apache-2.0"]
    (row,), _ = listed("vit_large_patch14_224.untrained")
    assert row[4:] == ["yes", "no", "(no", "weights", "in", "timm)"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("deit_tiny_patch16", {"deit_tiny_patch16_224.fb_in1k"}),
        (
            "test_vit*.r160_in1k",
            {f"test_vit{i}.r160_in1k" for i in ("", 2, 3, 4)},
        ),
        ("eva02_[ts]*_224.*", {f"eva02_{s}_patch14_224.mim_in22k" for s in ("tiny", "small")}),
    ],
)
def test_filters(listed, pattern, expected):
    rows, _ = listed(pattern)
    assert {row[0] for row in rows} == expected


@pytest.mark.parametrize("pattern", ["swin", "eva02_enormous", "no such name", "tiny*"])
def test_a_filter_that_nothing_fits(pattern):
    with pytest.raises(ConfigError, match="no model that can be the backbone fits"):
        models(pattern)


def test_json(listed, tmp_path):
    rows, _ = listed("eva02_tiny", json=tmp_path / "models.json")
    values = json.loads((tmp_path / "models.json").read_text())
    assert [value["name"] for value in values] == [row[0] for row in rows]
    assert values[0] == {
        "name": "eva02_tiny_patch14_224.mim_in22k",
        "parameters": 5502144,
        "image_size": [224, 224],
        "patch_size": [14, 14],
        "class_token": True,
        "rotary": True,
        "pretrained": True,
        "license": "mit",
    }


def test_the_command_needs_no_filter(monkeypatch, capsys):
    shown = {"test_vit": ["test_vit.r160_in1k"]}
    monkeypatch.setattr(
        architectures, "candidates", lambda pattern: shown if pattern == "*" else {}
    )
    monkeypatch.setattr(sys, "argv", ["didvit", "models"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert capsys.readouterr().out.splitlines()[1].startswith("test_vit.r160_in1k  0.3")


SAMPLE = ["test_vit", "deit_tiny_distilled", "vit_tiny_patch16_224.augreg_in21k", "eva02_tiny"]


@pytest.mark.parametrize("pattern", SAMPLE)
def test_listed_models_can_be_built(pattern):
    for row in accepted(candidates(pattern)):
        size = row.patch_size[0] * 2, row.patch_size[1] * 3
        backbone = build_backbone(row.name, "random", size)
        check_supported(backbone.vit)
        assert backbone(torch.rand(1, 3, *size)).shape == (1, backbone.embed_dim, 2, 3)
        assert backbone.has_class_token == row.class_token
        assert isinstance(backbone, EvaBackbone) == row.rotary


def test_parameters_are_those_of_a_whole_model():
    for row in accepted(candidates("test_vit*r160_in1k")):
        vit = timm.create_model(row.name, num_classes=0)
        assert row.parameters == sum(parameter.numel() for parameter in vit.parameters())


def test_other_modules_of_timm_have_none_that_is_accepted():
    others = sorted(set(timm.list_modules()) - set(MODULES))
    named = [m for m in others if "vit" in m or "vision_transformer" in m or "beit" in m]
    assert len(named) > 10
    for module in named:
        with pytest.raises(UnsupportedBackboneError):
            check_supported(build_without_weights(timm.list_models(module=module)[0]))
