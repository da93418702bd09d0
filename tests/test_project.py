"""The project around the code: contracts, style, and documents that must not go stale."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import didvit
from didvit.config_json import to_json
from didvit.experiments.benchmarks import SCALES
from didvit.experiments.boxes import box_markdown
from didvit.experiments.plans import EXPERIMENTS as PLANNED
from didvit.experiments.results import markdown
from didvit.experiments.running import Runner

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT_TABLES = sorted((ROOT / "results" / "experiments").glob("*.md"))


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [
        ("lint-imports", "--no-cache"),
        ("ruff", "check", "--no-cache", "."),
        ("ruff", "format", "--check", "."),
        ("codespell",),
    ],
    ids=["imports", "lint", "format", "spelling"],
)
def test_checks_pass(command):
    result = run_tool(*command)
    assert result.returncode == 0, result.stdout + result.stderr


def test_public_names_exist():
    for name in didvit.__all__:
        assert getattr(didvit, name).__doc__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = didvit.no_such_name


def test_ci_runs_the_second_command_of_the_readme():
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(blocks[1].rstrip())


def results_generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "results" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return generate


def test_results_page_is_current():
    generate = results_generator()
    assert generate.PAGE.read_text() == generate.page(), "run: python results/generate.py"
    assert generate.CARD.read_text() == generate.card(), "run: python results/generate.py"


ONE_SEED = {"seeds": [0], "repeat_limit": None}
KEPT = {"seeds": [1, 2], "repeat_limit": None, "chosen": ["DiD's", "sum"], "kept": [ONE_SEED]}


def recorded_rows(*rows):
    return [
        {"name": name, "budget": budget, "runs": [{}] * number} for name, budget, number in rows
    ]


@pytest.mark.parametrize(
    ("recorded", "options", "words"),
    [
        (ONE_SEED, [""], "One seed."),
        ({"seeds": [2], "repeat_limit": None, "chosen": []}, [" --seeds 2"], "One seed."),
        (
            {"seeds": [0, 1], "repeat_limit": 50.0},
            [" --seeds 0 1 --repeat-limit 50"],
            "2 seeds; of rows over 50 looks, but the one compared with, one.",
        ),
        (
            {**KEPT, "rows": recorded_rows(("sum", "steps", 3), ("none", "steps", 3))},
            ["", """ --rows 'DiD'"'"'s' sum --seeds 1 2 --keep"""],
            "3 seeds.",
        ),
        (
            {**KEPT, "rows": recorded_rows(("sum", "steps", 1))},
            ["", """ --rows 'DiD'"'"'s' sum --seeds 1 2 --keep"""],
            "One seed.",
        ),
        (
            {
                **KEPT,
                "rows": recorded_rows(
                    ("sum", "steps", 3),
                    ("sum", "looks", 1),
                    ("none", "steps", 2),
                    ("x", "steps", 1),
                ),
            },
            ["", """ --rows 'DiD'"'"'s' sum --seeds 1 2 --keep"""],
            "Seeds: 3 of `sum (steps)`; 1 of `sum (looks)`, `x`; 2 of `none`.",
        ),
    ],
)
def test_the_page_names_the_seeds_of_an_experiment(recorded, options, words):
    generate = results_generator()
    assert generate._options(recorded) == options
    assert generate._seeds_text(recorded) == words


def test_a_difference_is_over_the_seeds_that_both_rows_have():
    def row(maps):
        runs = [{"seed": seed, "fusions": {"mean": {"mAP": v}}} for seed, v in maps.items()]
        return {"fusion": "mean", "runs": runs}

    difference = results_generator()._difference
    assert difference(row({0: 60.0, 1: 64.0, 2: 99.0}), row({1: 61.0, 0: 58.0})) == pytest.approx(
        2.5
    )


@pytest.mark.parametrize("name", [path.stem for path in EXPERIMENT_TABLES])
def test_tables_of_experiments_are_those_of_their_json(name):
    folder = ROOT / "results" / "experiments"
    content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    table = box_markdown if name.startswith("boxes") else markdown
    assert (folder / f"{name}.md").read_text(encoding="utf-8") == table(content)


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


PLANS = [path for path in EXPERIMENT_TABLES if not path.name.startswith("boxes")]


def test_every_experiment_has_results():
    assert {path.stem for path in PLANS} == {f"{name}-cpu" for name in PLANNED}


@pytest.mark.parametrize("name", [path.stem for path in PLANS])
def test_results_are_of_the_plan_as_it_is(name):
    content = json.loads((ROOT / "results" / "experiments" / f"{name}.json").read_text())
    plan = PLANNED[name.removesuffix("-cpu")]
    assert (content["title"], content["differs"]) == (plan.title, plan.differs)
    assert (content["to_come"], content["failed"]) == ([], {})
    runner = Runner(benchmarks=SCALES["cpu"], root=ROOT, cache=ROOT)
    for row in content["rows"]:
        planned = plan.row(row["name"], row["budget"])
        config = runner.config_of(planned, row["runs"][0]["seed"])
        model = replace(config.model, fusion=row["fusion"])
        assert row["settings"] == to_json(replace(config, model=model))
        benchmark = SCALES["cpu"][planned.data]
        assert row["paper"] == planned.paper
        assert row["changes"] == benchmark.changes(planned.model)
        assert row["scored_with"] == planned.scored_with
        assert row["benchmark"] == benchmark.summary
        assert row["reference"] == plan.reference(planned).name


def test_pictures_of_the_page_are_those_of_the_results():
    for picture in (ROOT / "docs" / "experiments").iterdir():
        original = ROOT / "results" / "experiments" / picture.name
        assert picture.read_bytes() == original.read_bytes(), "run: python results/generate.py"
