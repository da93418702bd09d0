import json

import pytest

from didvit.config import LossConfig, OptimizerConfig
from didvit.data.datasets import read_dataset
from didvit.training.model_card import model_card
from didvit.training.trainer import train
from runs import changed

pytestmark = pytest.mark.usefixtures("without_curves")


def rows_of(card: str, header: str) -> list[list[str]]:
    """The cells of the Markdown table with this header."""
    lines = card.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_card_holds_what_the_metrics_and_the_tables_say(make_config, squares):
    config = make_config(steps=3, evaluate_every=1)
    card = (train(config).folder / "README.md").read_text()
    metrics = json.loads((config.output / "metrics.json").read_text())
    assert card.startswith(f"# {config.output.name}\n")
    assert f"didvit predict photos/ --model {config.output}" in card
    assert f"Step {metrics['step']}, on 16 images" in card
    assert "24 training images" in card
    assert "which chose this step" in card
    assert "the head alone learned" in card
    for row, name in zip(rows_of(card, "fusion"), ("global", "local", "max", "mean"), strict=True):
        values = metrics["fusions"][name]
        expected = values["mAP"], values["all"]["CF1"], values["all"]["OF1"]
        assert row == [name, *(f"{value:.1f}" for value in expected)]
    counts = (read_dataset(squares[0]).targets == 1).sum(0)
    own = metrics["fusions"]["mean"]["AP"]
    for row, (name, ap), count in zip(rows_of(card, "label"), own.items(), counts, strict=True):
        assert row == [name, f"{ap:.1f}", str(count)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"choose": "last"}, "on which nothing was chosen"),
        ({"freeze_backbone": False}, "backbone and head learned"),
        ({"start_from": "other/run"}, "from the model other/run"),
        (
            {"optimizer": OptimizerConfig("sgd"), "loss": LossConfig("focal")},
            "with sgd and the focal loss",
        ),
        (
            {"loss": LossConfig(teacher="other/run")},
            "the soft_margin loss and the predictions of the model other/run. 24 training images",
        ),
        ({"fusion": "max"}, "The model's own fusion is max"),
    ],
    ids=str,
)
def test_card_follows_the_settings(make_config, squares, settings, words):
    config = make_config(steps=1)
    train(config)
    tables = map(read_dataset, squares)
    card = model_card(config.output, changed(config, **settings), *tables)
    assert words in card


def test_label_that_validation_does_not_have(make_config, squares, tmp_path):
    rows = squares[1].read_text().splitlines()[1:]
    kept = [f"{squares[1].parent}/{row}" for row in rows if "red" not in row]
    (tmp_path / "val.csv").write_text("\n".join(("image,labels", *kept)) + "\n")
    card = (train(make_config(steps=1, val=tmp_path / "val.csv")).folder / "README.md").read_text()
    assert rows_of(card, "label")[2] == ["red", "none in the data", "12"]
