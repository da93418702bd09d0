import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from didvit.config import DataConfig, ModelConfig, TrainConfig, with_settings
from didvit.config.recipes import RECIPES
from didvit.training.optim import learning_rate
from didvit.training.trainer import train
from runs import Record

BESIDE = Path(__file__).parents[3] / "shared" / "data"
DATA = Path(os.environ.get("DIDVIT_DATA", BESIDE))
PAPERS = [name for name in RECIPES if name != "coco40k"]


# The values of section 3.1 and of the tables


@pytest.mark.parametrize("name", PAPERS)
def test_what_all_of_the_paper_share(name):
    config = RECIPES[name].config
    optimizer, schedule = config.optimizer, config.schedule
    assert (optimizer.name, optimizer.momentum or 0.9) == ("sgd", 0.9)
    assert optimizer.weight_decay == 1e-5
    assert schedule.batch_size == 32
    assert config.data.augmentation == "multi_scale_crop"
    assert config.loss.name == "soft_margin"
    assert (config.loss.global_weight, config.loss.local_weight) == (1, 1)
    assert config.loss.positive_weights == "none"
    assert not optimizer.freeze_backbone
    assert (optimizer.layer_decay, optimizer.head_lr_scale, optimizer.ema) == (1, 1, 0)
    assert config.runtime.accumulate == 1
    assert (schedule.single_view_fraction, schedule.small_fraction) == (0, 0)
    assert (config.start_from, config.choose) == (None, "last")
    model, method = config.model, config.model.method
    assert model.backbone == "vit_base_patch16_224.augreg_in21k"
    assert model.weights == "pretrained"
    assert (method.top_n, method.box_threshold, method.selection) == (4, 0.6, "descending")
    assert (method.localization, method.reconstraint) == ("largest_component", "hadamard")
    peak = round(0.05 * schedule.steps)
    assert learning_rate(0, config) == pytest.approx(0.05 / peak)
    assert learning_rate(peak - 1, config) == learning_rate(peak, config) == 0.05
    middle = (peak + schedule.steps) // 2
    assert learning_rate(middle, config) == pytest.approx(0.025, rel=1e-3)
    assert math.isclose(learning_rate(schedule.steps - 1, config), 0, abs_tol=1e-6)


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
    assert (config.schedule.steps, config.model.image_size) == (steps, (size, size))
    assert config.optimizer.clip_norm == clip
    method = config.model.method
    assert (method.normalization, method.crop_from) == (normalization, crop_from)
    assert (config.data.train, config.data.val) == ((train,), val)
    assert config.data.without_labels == ("drop" if name.startswith("coco") else "keep")


def test_every_recipe_is_described_and_has_its_own_folder():
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
    """Tables of 320 and 16 photographs, whose pixels lie in ``coco18``."""
    tables, pixels = data_of("coco40k"), data_of("coco18").resolve()
    folder = tmp_path_factory.mktemp("cpu")
    for name, count in (("train", 320), ("val", 16)):
        header, *rows = (tables / f"{name}.csv").read_text().splitlines()
        there = [row for row in rows if (pixels / row.partition(",")[0]).exists()][:count]
        lines = [header, *(f"{pixels}/{row}" for row in there)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def reduced(request, tmp_path):
    """A function: a recipe on the data that are here, with a tiny model."""

    def reduce(name: str) -> TrainConfig:
        config = RECIPES[name].config
        data = replace(config.data, workers=0)
        if name.startswith("voc"):
            data_of("VOCdevkit/VOC2007")
            data = DataConfig(("VOC2007:trainval",), "VOC2007:test", DATA / "VOCdevkit", workers=0)
        else:
            root = request.getfixturevalue("cpu" if name == "coco40k" else "coco")
            data = replace(data, root=root)
        changes = {
            **{"backbone": "test_vit", "weights": "random", "image_size": (32, 32)},
            "view_scale": 1.0,  # half of so little is warned of
            **{"steps": 20, "batch_size": 2, "evaluate_every": 20, "device": "cpu"},
        }
        return with_settings(replace(config, data=data, output=tmp_path / "run"), changes)

    return reduce


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.usefixtures("without_curves")
def test_steps_of_every_recipe_run(reduced, name):
    record = Record()
    folder = train(reduced(name), record).folder
    assert len(record.losses) == 20
    assert all(math.isfinite(loss) for loss in record.losses)
    warnings = [message for (message,) in record.of("warn")]
    # Of so few images, labels are rare; nothing else is odd.
    assert [w for w in warnings if not w.startswith(("training: ", "validation: "))] == []
    ((images, labels, validation, _),) = record.of("start")
    expected = {"coco40k": (320, 68, 16), "voc2007": (64, 20, 36), "voc2012": (64, 20, 36)}
    assert (images, labels, validation) == expected.get(name, (40, 80, 16))
    assert (folder / "README.md").exists()


def test_what_two_cores_can_do():
    config = RECIPES["coco40k"].config
    assert config.model == ModelConfig(weights="pretrained")
    schedule = config.schedule
    small, large = schedule.small_steps, schedule.steps - schedule.small_steps
    seconds = schedule.batch_size * (small / 46 + large / 17)  # measured rates at 128 and at 224
    assert 130 < seconds / 60 < 150
    assert schedule.single_view_steps == schedule.steps
