import json

import numpy as np
import pytest

from didvit.cli.benchmark import benchmark
from didvit.config import ConfigError
from didvit.evaluation.speed import measure_speed


class Sleeper:
    """Stands for a predictor; notes what it was given."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def run(self, photographs):
        self.log.append((self.name, len(photographs)))
        sum(range(20_000))


@pytest.mark.parametrize(("count", "batch_size", "batches"), [(7, 1, 7), (7, 3, 2), (2, 8, 1)])
def test_every_batch_is_taken_by_all_in_turn(count, batch_size, batches):
    log, done = [], []
    predictors = {name: Sleeper(log, name) for name in ("a", "b")}
    photographs = [np.zeros((4, 4, 3), np.uint8)] * count
    speeds = measure_speed(predictors, photographs, batch_size, done.append)
    assert log == [("a", min(batch_size, count)), ("b", min(batch_size, count))] * (batches + 1)
    assert sum(done) == len(log)
    assert speeds["a"].ratio == 1
    assert all(speed.images_per_second > 0 for speed in speeds.values())
    assert [speed.batch_size for speed in speeds.values()] == [batch_size] * 2


def test_figures_of_every_engine_that_runs_the_model(model_folder, photographs, tmp_path, capsys):
    output, table = tmp_path / "out.json", tmp_path / "val.csv"
    names = sorted(path.name for path in photographs.iterdir())
    rows = [
        f"{photographs / name},{label}"
        for name, label in zip(names, ("cat", "dog", "cup"), strict=True)
    ]
    table.write_text("\n".join(["image,labels", *rows]))
    (tmp_path / "broken.jpg").write_text("no image")
    images = (str(tmp_path / "broken.jpg"), str(photographs))
    assert benchmark((str(model_folder),), images=images, data=str(table), json=output) == 0
    content = json.loads(output.read_text())
    assert content["photographs"] == 3
    assert [row["batch_size"] for row in content["rows"]] == [1, 8]
    assert {row["contestant"] for row in content["rows"]} == {f"{model_folder}, pytorch"}
    assert all(0 <= row["mAP"] <= 100 and row["megabytes"] > 0 for row in content["rows"])
    assert "photograph" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"out\.json exists"):
        benchmark((str(model_folder),), images=images, json=output)


def test_nothing_to_time(model_folder, tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ConfigError, match="no photograph can be read"):
        benchmark((str(model_folder),), images=(str(tmp_path / "a.jpg"),))
