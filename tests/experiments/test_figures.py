import pytest
from matplotlib.figure import Figure
from PIL import Image

from didvit.experiments.figures import _draw_curves, draw
from didvit.experiments.plans import Experiment, Row
from didvit.experiments.runs import run_path, write_run
from didvit.experiments.tables import read_results
from tiny_experiments import BASELINE, DID, LITERAL, MCAR, literal_run

SWEEP = tuple(
    Row(f"λ = {x}", {"box_threshold": x} if x != 0.6 else {}, curve="λ", x=x) for x in (0.3, 0.6)
)


def results_of(folder, rows, *runs, **plan):
    for row, run in runs:
        write_run(run_path(folder, row, run.seed), run)
    return read_results(Experiment("Systems", rows, **plan), {"coco": LITERAL}, folder)


def is_drawn(results, path):
    draw(results, path)
    with Image.open(path) as picture:
        return picture.format == "PNG"


def test_rows_are_drawn_as_points(tmp_path):
    runs = [(BASELINE, literal_run(BASELINE, 50.0, a=(DID, -10.0)))]
    runs += [(DID, literal_run(DID, 60.0 + seed, seed)) for seed in (0, 1)]
    rows = (BASELINE, DID, MCAR)
    assert is_drawn(results_of(tmp_path, rows, *runs), tmp_path / "points.png")


@pytest.mark.parametrize("rows", [(BASELINE,), (Row("one", {"top_n": 0}, curve="λ", x=0.5),)])
def test_an_interval_beside_its_value_is_drawn(tmp_path, rows):
    """A bootstrap's interval may end short of the value itself."""
    run = literal_run(BASELINE, 50.0)
    run.fusions["mean"]["mAP_interval"] = [51.0, 52.0]
    assert is_drawn(results_of(tmp_path, rows, (BASELINE, run)), tmp_path / "one.png")


def test_a_sweep_is_drawn_as_curves_with_its_reference_at_zero(tmp_path, monkeypatch):
    first, second = SWEEP
    results = results_of(
        tmp_path,
        SWEEP,
        (first, literal_run(first, 57.0, a=(second, -3.0))),
        *((second, literal_run(second, mAP, seed)) for seed, mAP in enumerate((60.0, 90.0))),
        references=("λ = 0.6",),
    )
    assert is_drawn(results, tmp_path / "curves.png")
    drawn = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.errorbar",
        lambda axes, x, y, *others, **kept: drawn.append((list(x), list(y))),
    )
    _draw_curves(Figure(), results.with_common_seeds(), ["λ"])
    assert drawn == [([0.3, 0.6], [57, 60]), ([0.3, 0.6], [-3, 0])]
