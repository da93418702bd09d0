import re
import shlex
from pathlib import Path

import pytest
import tyro

from didvit.config import TrainConfig
from didvit.config.serialization import to_json
from didvit.experiments.benchmarks import SCALES
from didvit.experiments.plans import EXPERIMENTS, row_title
from didvit.experiments.runs import row_fusion, row_key
from didvit.experiments.tables import possible_rows
from didvit.experiments.trainer import training_config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_titles_references_and_pairs_name_one_row(name):
    plan = EXPERIMENTS[name]
    titles, names = [row_title(row) for row in plan.rows], [row.name for row in plan.rows]
    assert len(set(titles)) == len(titles)
    assert all(names.count(reference) == 1 for reference in plan.references)
    for a, b in plan.pairs:
        assert plan.row(*a) is not plan.row(*b)


def test_rows_are_compared_with_the_reference_of_their_data():
    table_2 = EXPERIMENTS["table2"]
    for row in table_2.rows:
        assert table_2.reference(row).name == f"DiD, {row.name[-8:]}"
    order = EXPERIMENTS["order"]
    assert order.comparisons(order.rows[1]) == [(order.rows[1], order.rows[0])]
    assert order.comparisons(order.rows[0]) == []


@pytest.mark.parametrize("scale", SCALES)
def test_runs_have_one_name_and_names_one_run(scale):
    """All experiments but that on VOC are possible; rows share a file if and only if a training."""
    names = {}
    for plan in EXPERIMENTS.values():
        rows = possible_rows(plan, SCALES[scale])
        assert rows or (plan is EXPERIMENTS["table2"] and scale.startswith("gpu"))
        points = set()
        for row in rows:
            settings = to_json(training_config(SCALES[scale][row.data], row, 0))
            made = str((row.data, settings, sorted(row.scored_with.items())))
            assert names.setdefault(made, row_key(row)) == row_key(row)
            points.add((row.data, row_key(row), row_fusion(row), row.curve))
        assert len(points) == len(rows)
    assert len({(made[:9], key) for made, key in names.items()}) == len(names)


def test_the_papers_numbers():
    numbers = {
        name: {row.name: row.paper["mAP"] for row in EXPERIMENTS[name].rows if "mAP" in row.paper}
        for name in ("table1", "table2", "table3", "table4", "table5")
    }
    assert numbers == {
        "table1": {
            **{"Baseline": 85.1, "CSRA": 85.2, "ML-GCN": 83.0, "MS-CMA": 83.8, "SSGRL": 83.8},
            **{"ADD-GCN": 85.2, "MCAR": 83.8, "DiD": 86.4},
        },
        "table2": {
            **{"HCP, VOC 2007": 90.9, "SSGRL, VOC 2007": 95.0, "ADD-GCN, VOC 2007": 96.0},
            **{"DiD, VOC 2007": 96.2, "HCP, VOC 2012": 90.5, "SSGRL, VOC 2012": 94.8},
            **{"ADD-GCN, VOC 2012": 95.5, "DiD, VOC 2012": 96.8},
        },
        "table3": {"Baseline": 81.3, "hadamard": 83.2, "sum": 82.0, "none": 82.5},
        "table4": {"DiD's": 83.2, "MCAR's": 81.6, "random": 81.6},
        "table5": {"descending": 83.2, "ascending": 81.6, "random": 81.6},
    }


def test_the_papers_metrics_of_table_1():
    """All 13; F1 is the harmonic mean of precision and recall, but in SSGRL's row as printed."""
    rows = {row.name: row.paper for row in EXPERIMENTS["table1"].rows if len(row.paper) > 1}
    assert len(rows) == 8
    assert (rows["DiD"]["CP all"], rows["DiD"]["OF1 top-3"]) == (84.8, 79.0)
    assert all(len(paper) == 13 for paper in rows.values())
    for name, paper in rows.items():
        for kind in ("all", "top-3"):
            for c in "CO" if name != "SSGRL" else "O":
                precision, recall = paper[f"{c}P {kind}"], paper[f"{c}R {kind}"]
                f1 = 2 * precision * recall / (precision + recall)
                assert paper[f"{c}F1 {kind}"] == pytest.approx(f1, abs=0.11)


DOCUMENT = (Path(__file__).parents[2] / "docs" / "systems.md").read_text(encoding="utf-8")
AS_THE_PAPER = re.search(r"^\*As the paper\* is `([^`]+)`", DOCUMENT, flags=re.MULTILINE)[1]
SYSTEMS = [
    (name, f"{AS_THE_PAPER} {flags}" if paper else flags)
    for name, paper, flags in re.findall(
        r"^\| ([^|]+) \| (\*as the paper\*, )?`(--model[^`]+)`", DOCUMENT, flags=re.MULTILINE
    )
]


@pytest.mark.parametrize(("name", "flags"), SYSTEMS)
def test_documented_settings_of_systems_are_those_of_table_1(name, flags):
    data = ["--data.train", "a.csv", "--data.val", "b.csv", "--output", "runs/a"]
    documented = tyro.cli(TrainConfig, args=[*shlex.split(flags), *data])
    row = EXPERIMENTS["table1"].row(name, "equal_steps")
    planned = training_config(SCALES["paper"]["coco"], row, 0)
    assert documented.model.head == planned.model.head
    names = ["top_n", "reconstraint", "localization"]
    if documented.model.method.top_n:  # the others have no views
        names += ["box_threshold", "view_scale", "tiles", "selection", "crop_from"]
        assert documented.model.method.fusion == row_fusion(row)
        assert documented.schedule.single_view_steps == planned.schedule.single_view_steps == 0
    for setting in names:
        own, expected = (getattr(c.model.method, setting) for c in (documented, planned))
        assert own == expected, setting


def test_every_system_of_table_1_is_documented():
    rows = EXPERIMENTS["table1"].rows
    names = {row.name for row in rows if not row.name.startswith("DiD") and not row.scored_with}
    assert names == {name for name, _ in SYSTEMS}
