import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from didvit.config import DataConfig, ModelConfig, TrainConfig
from didvit.optimization import schedule
from didvit.recipes import RECIPES
from didvit.training import train
from runs import Record

BESIDE = Path(__file__).parents[2] / "shared" / "data"
DATA = Path(os.environ.get("DIDVIT_DATA", BESIDE))
PAPERS = [name for name in RECIPES if name != "cpu-small"]


# The values of section 3.1 and of the tables


@pytest.mark.parametrize("name", PAPERS)
def test_what_all_of_the_paper_share(name):
    config = RECIPES[name].config
    assert (config.optimizer, config.momentum or 0.9, config.weight_decay) == ("sgd", 0.9, 1e-5)
    assert config.batch_size == 32
    assert config.train_transform == "multi_scale_crop"
    assert config.loss.name == "soft_margin"
    assert (config.loss.global_weight, config.loss.local_weight) == (1, 1)
    assert config.loss.positive_weights == "none"
    assert not config.freeze_backbone
    assert (config.layer_decay, config.ema, config.accumulate) == (1, 0, 1)
    assert (config.global_steps, config.small_steps, config.start_from) == (0, 0, None)
    assert config.choose == "last"
    model = config.model
    assert model.backbone == "vit_base_patch16_224.augreg_in21k"
    assert model.weights == "pretrained"
    assert (model.top_n, model.box_threshold, model.selection) == (4, 0.6, "descending")
    assert (model.localization, model.reconstraint) == ("largest_component", "hadamard")
    peak = round(0.05 * config.steps)
    assert schedule(0, config) == pytest.approx(0.05 / peak)
    assert schedule(peak - 1, config) == schedule(peak, config) == 0.05
    assert schedule((peak + config.steps) // 2, config) == pytest.approx(0.025, rel=1e-3)
    assert math.isclose(schedule(config.steps - 1, config), 0, abs_tol=1e-6)


@pytest.mark.parametrize(
    ("name", "steps", "size", "clip", "normalization", "crop_from", "train", "val"),
    [
        ("voc2007", 2000, 448, None, "column", "raw", "VOC2007:trainval", "VOC2007:test"),
        ("voc2012", 2000, 448, None, "column", "raw", "VOC2012:trainval", "VOC2007:test"),
        ("coco2014", 10000, 448, None, "column", "raw", "coco:train2014", "coco:val2014"),
        ("coco2014-256", 10000, 256, None, "column", "raw", "coco:train2014", "coco:val2014"),
        ("coco2014-released", 60000, 448, 5.0, "row", "input", "coco:train2014", "coco:val2014"),
    ],
)
def test_what_differs(name, steps, size, clip, normalization, crop_from, train, val):
    config = RECIPES[name].config
    assert (config.steps, config.model.image_size) == (steps, (size, size))
    assert config.clip_norm == clip
    assert (config.model.normalization, config.model.crop_from) == (normalization, crop_from)
    assert (config.data.train, config.data.val) == ((train,), val)


def test_every_recipe_is_told_of_and_has_a_folder_of_its_own():
    assert set(PAPERS) == {
        "voc2007", "voc2012", "coco2014", "coco2014-256", "coco2014-released",
    }  # fmt: skip
    assert len({recipe.config.output for recipe in RECIPES.values()}) == len(RECIPES)
    for recipe in RECIPES.values():
        assert recipe.summary
        assert recipe.hardware
        assert recipe.expected


# Steps of each, on parts of its data


def data_of(name: str) -> Path:
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"there are no photographs at {folder}; set DIDVIT_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def coco(tmp_path_factory):
    """COCO 2014's layout, with 40 and 16 photographs."""
    source = data_of("coco80")
    content = json.loads((source / "annotations" / "instances_val2017.json").read_text())
    folder = tmp_path_factory.mktemp("data")
    (folder / "coco" / "annotations").mkdir(parents=True)
    for split, part in (("train2014", slice(40)), ("val2014", slice(40, 56))):
        images = content["images"][part]
        ids = {image["id"] for image in images}
        annotations = [item for item in content["annotations"] if item["image_id"] in ids]
        path = folder / "coco" / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps({**content, "images": images, "annotations": annotations}))
        (folder / "coco" / split).symlink_to((source / "val2017").resolve())
    return folder


@pytest.fixture(scope="session")
def cpu(tmp_path_factory):
    """A table to learn from, with every label, and one to validate on."""
    source = data_of("coco18")
    folder = tmp_path_factory.mktemp("cpu")
    for name, count in (("train", 80), ("val", 16)):
        header, *rows = (source / f"{name}.csv").read_text().splitlines()[: 1 + count]
        lines = [header, *(f"{source.resolve()}/{row}" for row in rows)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def reduced(request, tmp_path):
    """A function: a recipe on the data that are here, with a tiny model."""

    def reduce(name: str) -> TrainConfig:
        config = RECIPES[name].config
        data = dataclasses.replace(config.data, workers=0)
        if name.startswith("voc"):
            data_of("VOCdevkit/VOC2007")
            data = DataConfig(("VOC2007:trainval",), "VOC2007:test", DATA / "VOCdevkit", workers=0)
        else:
            root = request.getfixturevalue("cpu" if name == "cpu-small" else "coco")
            data = dataclasses.replace(data, root=root)
        tiny = {"backbone": "test_vit", "weights": "random", "image_size": (32, 32)}
        tiny["view_scale"] = 1.0  # half of so little is warned of
        small = {"small_steps": round(config.small_steps / config.steps * 20)}
        if config.small_steps:
            small["small_size"] = (16, 16)
        return dataclasses.replace(
            config,
            data=data,
            output=tmp_path / "run",
            model=dataclasses.replace(config.model, **tiny),
            steps=20,
            global_steps=config.global_steps,
            **small,
            batch_size=2,
            evaluate_every=20,
            device="cpu",
        )

    return reduce


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.usefixtures("without_curves")
def test_steps_of_every_recipe_run(reduced, name):
    record = Record()
    folder = train(reduced(name), record)
    assert len(record.losses) == 20
    assert all(math.isfinite(loss) for loss in record.losses)
    assert record.of("warn") == []
    ((images, labels, validation, _),) = record.of("start")
    counts = {"v": (64, 20, 36), "co": (40, 80, 16), "cp": (80, 18, 16)}
    assert (images, labels, validation) == next(
        value for start, value in counts.items() if name.startswith(start)
    )
    assert (folder / "README.md").exists()


def test_the_default_model_comes_from_the_embedded_backbone():
    assert RECIPES["cpu-small"].config.model == ModelConfig()
