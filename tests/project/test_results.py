"""The pages of docs/results/: current, complete, and of the plans as they are."""

import importlib.util
from pathlib import Path
from statistics import fmean

import pytest

from didvit.experiments.plans import EXPERIMENTS
from didvit.experiments.tables import Measure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("results", ROOT / "scripts" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_current(script):
    for path, text in script.rendered().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}; run: python scripts/results.py"


def test_every_page_is_made_and_shown(script):
    """No page is left over from an earlier version, and the site's navigation has each."""
    pages = {path.stem for path in script.PAGES.glob("*.md")}
    assert pages == {"index", *script.TITLES}
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f"results/{name}.md" in navigation for name in pages)


def test_every_experiment_but_table_2_has_results_and_a_picture(script):
    assert set(script.FIGURES) == EXPERIMENTS.keys() - {"table2"}
    assert script.experiment("table2").rows == ()
    for name, shown in script.FIGURES.items():
        assert script.experiment(shown).missing == ()
        assert shown.endswith("@cpu") or script.experiment(name).missing == ()
        assert (script.PAGES / f"{name}.png").exists()


def test_every_run_is_of_a_row(script):
    """No file lies among the runs that no table shows."""
    shown = {
        f"{scale}/{result.row.data}/{run.row}.s{run.seed}"
        for name in EXPERIMENTS
        for scale in ("cpu", "gpu", "gpu-deit")
        for result in script.experiment(f"{name}@{scale}").rows
        for run in result.runs
    }
    stored = {
        str(path.relative_to(script.RUNS).with_suffix(""))
        for path in script.RUNS.rglob("*.s*.json")
    }
    assert stored == shown


def test_the_scores_of_references_are_kept_and_no_others(script):
    """They are large; differences that are known need none."""
    kept = {path.stem.rpartition(".s")[0] for path in script.RUNS.rglob("*.npz")}
    assert kept == {"did", "top_n-0", "top_n-0.equal_passes"}
    assert sum(path.stat().st_size for path in script.RUNS.rglob("*.npz")) < 12 * 2**20


def measured(monkeypatch, script, intervals):
    """What `sign` says of seeds with these intervals."""
    middles = [sum(ends) / 2 for ends in intervals]
    measure = Measure(fmean(middles), min(middles), max(middles), tuple(range(len(middles))))
    monkeypatch.setattr(script, "_difference", lambda *names: (measure, intervals))
    return script.sign("table1", "A", "B")


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(1, 2), (1, 3), (0.5, 1)], "yes"),
        ([(-2, -1), (-3, -1)], "no"),
        ([(1, 2), (1, 3), (-0.1, 1)], "likely"),
        ([(-2, -1), (-3, -1), (-3, 0.1)], "likely not"),
        ([(1, 2), (-0.2, 3), (-0.1, 1)], "not decided"),
        ([(1, 2), (1, 3), (-2, 1)], "not decided"),
        ([(0.3, 1)], "yes (1 seed)"),
        ([(-1, -0.3)], "no (1 seed)"),
        ([(0.3, 0.6)], "not decided (1 seed)"),
        ([(-0.3, 2.6)], "not decided (1 seed)"),
    ],
)
def test_a_claim_is_decided_by_all_seeds(script, monkeypatch, intervals, expected):
    assert measured(monkeypatch, script, intervals) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo", "one two\n"),
        ("- one\n- two\n  three", "- one\n- two three\n"),
        ("# a\n\n| b |\n| - |", "# a\n\n| b |\n| - |\n"),
        ("a\n\n```bash\nb  c\nd\n```\n\ne\nf", "a\n\n```bash\nb  c\nd\n```\n\ne f\n"),
        ("word " * 30, " ".join(["word"] * 20) + "\n" + " ".join(["word"] * 10) + "\n"),
    ],
)
def test_paragraphs_are_wrapped_and_the_rest_is_left(script, text, expected):
    assert script.wrapped(text) == expected


def test_an_unknown_figure_is_no_page(script):
    for place in (("score", "table1 | Did"), ("json", "results/default-model | no"), ("made", "x")):
        with pytest.raises(KeyError):
            script.filled(*place)
    with pytest.raises(ValueError, match="share no seed"):
        script.filled("change", "table1 | CSRA | ML-GCN")
