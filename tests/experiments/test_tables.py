"""Tables of runs that are literals."""

from dataclasses import replace

import pytest

from didvit.config import with_settings
from didvit.data.table import DataError
from didvit.experiments.plans import Experiment
from didvit.experiments.runs import run_path, write_run
from didvit.experiments.tables import Measure, markdown, read_results
from tiny_experiments import (
    BASELINE,
    DID,
    EQUAL_PASSES,
    LITERAL,
    MCAR,
    PLAN,
    WITH_VIEWS,
    literal_run,
)


@pytest.fixture
def read(tmp_path):
    """A function that writes runs of rows, and reads a plan's results."""

    def write_and_read(*runs, plan=PLAN):
        for row, run in runs:
            write_run(run_path(tmp_path, row, run.seed), run)
        return read_results(plan, {"coco": LITERAL}, tmp_path)

    return write_and_read


def rows_of(text):
    """Rows of the main table and of the pairs, by their first cell."""
    lines = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines[::-1] if "(84.8)" not in "".join(cells)}


def test_a_table(read):
    results = read(
        (BASELINE, literal_run(BASELINE, 50.0)),
        (DID, literal_run(DID, 60.04, a=(BASELINE, 9.96), b=(WITH_VIEWS, -0.26))),
        (DID, literal_run(DID, 62.0, seed=2, a=(BASELINE, 3.0))),
        (WITH_VIEWS, literal_run(WITH_VIEWS, 55.0)),
    )
    text = markdown(results)
    rows = rows_of(text)
    assert rows["DiD"] == [
        *("", "2", "3, 3", "86.4", "**61.0**", "[60.0, 62.0]", "0, 2", "+6.5 [+3.0, +10.0]"),
        *("58.0", "59.0", "60.0", "61.0", "71.0"),
    ]
    assert rows["Baseline"][:8] == [
        *("top_n 0", "2", "3, 3", "85.1", "**50.0**", "[49.0, 52.0]", "0", ""),
    ]
    assert rows["Baseline + views"][0] == "top_n 0; scored with top_n 2"
    assert rows["DiD − Baseline + views"] == ["-0.3 [-1.3, +0.7]", "0"]
    assert "| DiD | 2 | 30.5 (84.8) | 30.5 |" in text  # precision, with the paper's, and recall
    assert "Rows have different seeds." in text
    assert "Not at this scale: elsewhere." in text
    assert "No run: Baseline (equal passes)." in text


def test_rows_of_one_run_differ_in_their_fusion(read):
    results = read(
        (BASELINE, literal_run(BASELINE, 50.0)),
        (DID, literal_run(DID, 60.0, a=(BASELINE, 10.0), b=(MCAR, 1.0))),
    )
    assert results.row("MCAR").score.mean == 59
    assert results.row("DiD").score.mean == 60
    assert results.row("MCAR").difference(BASELINE) is None
    assert results.row("DiD").difference(MCAR) == Measure(1.0, 0.0, 2.0, (0,))
    assert results.row("DiD").difference(DID) is None


def test_a_difference_is_over_the_seeds_that_both_have(read):
    results = read(
        (DID, literal_run(DID, 60.0, a=(BASELINE, 1.0))),
        (DID, literal_run(DID, 61.0, seed=1)),
        (DID, literal_run(DID, 62.0, seed=2, a=(BASELINE, 4.0))),
    )
    assert results.row("DiD").difference(BASELINE) == Measure(2.5, 1.0, 4.0, (0, 2))
    with pytest.raises(KeyError):
        results.row("Baseline")


def test_seeds_that_all_rows_have(read):
    runs = [
        (row, literal_run(row, 50.0 + seed, seed)) for row in (BASELINE, DID) for seed in (1, 2)
    ]
    assert read(*runs).has_same_seeds
    results = read((DID, literal_run(DID, 90.0, seed=7)))
    assert not results.has_same_seeds
    common = results.with_common_seeds()
    assert {result.seeds for result in common.rows} == {(1, 2)}
    alone = read((EQUAL_PASSES, literal_run(EQUAL_PASSES, 50.0, seed=9)))
    assert alone.with_common_seeds() == alone


def test_runs_of_other_settings_or_data_are_refused(read, tmp_path):
    runs = [(row, literal_run(row, 50.0)) for row in (BASELINE, DID)]
    results = read(*runs)
    with pytest.raises(DataError, match=r"did\.s0\.json was made with other data \(test\)"):
        read((DID, replace(runs[1][1], data={**runs[1][1].data, "test": "other"})))
    read(*runs)
    other = replace(LITERAL, config=with_settings(LITERAL.config, {"ema": 0.5}))
    with pytest.raises(DataError, match=r"top_n-0\.s0\.json was made with other settings: optim"):
        read_results(results.experiment, {"coco": other}, tmp_path)


def test_rows_are_compared_with_the_reference_of_their_data(read):
    plan = Experiment("Systems", (BASELINE, DID), references=("DiD",))
    results = read(
        (BASELINE, literal_run(BASELINE, 50.0, a=(DID, -10.0))),
        (DID, literal_run(DID, 60.0, a=(BASELINE, 10.0))),
        plan=plan,
    )
    rows = rows_of(markdown(results))
    assert rows["Baseline"][7] == "-10.0 [-11.0, -9.0]"
    assert rows["DiD"][7] == ""
    assert "| Δ − DiD |" in markdown(results)
