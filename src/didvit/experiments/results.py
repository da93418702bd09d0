"""What was found: JSON, a table and a figure, with the paper's number and ours side by side."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from didvit.config import to_json
from didvit.experiments.benchmarks import Benchmark, Data
from didvit.experiments.plans import Experiment, Row
from didvit.experiments.running import Outcome
from didvit.files import whole_file, write_json

FUSIONS = ("global", "local", "max", "mean")
COUNTS = ("CP", "CR", "CF1", "OP", "OR", "OF1")


def results_json(
    name: str,
    scale: str,
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    benchmarks: dict[Data, Benchmark],
) -> dict[str, Any]:
    """Everything that was measured, and what it takes to measure it again.

    Args:
        name: Of the experiment.
        scale: Of the benchmarks.
        experiment: Its plan.
        outcomes: Of its rows; several seeds of a row stand together.
        benchmarks: Of the scale.
    """
    rows: dict[int, dict[str, Any]] = {}
    for outcome in outcomes:
        row, config = outcome.row, outcome.config
        settings = to_json(replace(config, model=replace(config.model, fusion=outcome.fusion)))
        entry = rows.setdefault(
            experiment.rows.index(row),
            {
                "name": row.name,
                "budget": row.budget,
                "steps": config.steps,
                "looks": [config.model.looks(), replace(config.model, **row.scored_with).looks()],
                "setting": benchmarks[row.data].summary,
                "settings": settings,
                "scored_with": dict(row.scored_with),
                "fusion": outcome.fusion,
                "curve": row.curve,
                "x": row.x,
                "paper": dict(row.paper),
                "runs": [],
            },
        )
        scored = outcome.report.to_dict()
        entry["runs"].append(
            {
                "seed": outcome.seed,
                "seconds": round(outcome.seconds, 1),
                "validation": outcome.validation,
                "num_images": scored["num_images"],
                "fusions": scored["fusions"],
                "versions": outcome.versions,
            }
        )
    return {
        "experiment": name,
        "scale": scale,
        "title": experiment.title,
        "differs": experiment.differs,
        "rows": [rows[i] for i in sorted(rows)],
        "without_data": [row.name for row in experiment.rows if row.data not in benchmarks],
        "to_come": [
            f"{row.name} ({row.budget})"
            for i, row in enumerate(experiment.rows)
            if i not in rows and row.data in benchmarks
        ],
    }


def markdown(results: dict[str, Any]) -> str:
    """The table of an experiment, in Markdown, of its JSON."""
    seeds = max(len(row["runs"]) for row in results["rows"])
    spread = "lowest and highest seed, or 95 % over images" if seeds > 1 else "95 % over images"
    lines = [
        f"## {results['title']}",
        "",
        *sorted({f"- {row['setting']}." for row in results["rows"]}),
        *([f"- {results['differs']}"] if results["differs"] else []),
        "",
        f"| | steps | looks: learning, scoring | paper mAP | our mAP | {spread} "
        "| global | local | max | mean | val |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        by_fusion = [_number(_mean(row, "fusions", name, "mAP")) for name in FUSIONS]
        cells = [
            row["name"],
            str(row["steps"]),
            ", ".join(f"{number:g}" for number in row["looks"]),
            _number(row["paper"].get("mAP")),
            _number(score(row)),
            _spread(row),
            *by_fusion,
            _number(_mean(row, "validation", row["fusion"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if any("CP all" in row["paper"] for row in results["rows"]):
        lines += ["", *_counts_table(results)]
    for key, title in (("without_data", "Not at this scale"), ("to_come", "Not run yet")):
        if results[key]:
            lines += ["", f"{title}: {', '.join(results[key])}."]
    return "\n".join(lines) + "\n"


def _counts_table(results: dict[str, Any]) -> list[str]:
    """Precision, recall and F1, of the row's own fusion; the paper's in parentheses."""
    columns = [(name, kind) for kind in ("all", "top3") for name in COUNTS]
    titles = [f"{name} {'all' if kind == 'all' else 'top-3'}" for name, kind in columns]
    lines = [f"| | steps | {' | '.join(titles)} |", f"| --- | --- |{' --- |' * len(titles)}"]
    for row in results["rows"]:
        cells = []
        for title, (name, kind) in zip(titles, columns, strict=True):
            paper = row["paper"].get(title)
            ours = _number(_mean(row, "fusions", row["fusion"], kind, name))
            cells.append(ours if paper is None else f"{ours} ({paper})")
        lines.append(f"| {row['name']} | {row['steps']} | {' | '.join(cells)} |")
    return lines


def score(row: dict[str, Any]) -> float:
    """Mean mAP over seeds of the row's own fusion."""
    return _mean(row, "fusions", row["fusion"], "mAP")


def interval(row: dict[str, Any]) -> tuple[float, float]:
    """Over seeds, the lowest and highest mAP; of one seed, the 95 % interval over images."""
    runs = [run["fusions"][row["fusion"]] for run in row["runs"]]
    if len(runs) == 1:
        low, high = runs[0]["mAP_interval"]
        return low, high
    values = [run["mAP"] for run in runs]
    return min(values), max(values)


def _spread(row: dict[str, Any]) -> str:
    low, high = interval(row)
    seeds = len(row["runs"])
    return f"{low:.1f}-{high:.1f}" + (f" ({seeds} seeds)" if seeds > 1 else "")


def _mean(row: dict[str, Any], *path: str) -> float:
    values = []
    for run in row["runs"]:
        value = run
        for key in path:
            value = value[key]
        values.append(value)
    return fmean(values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def draw(results: dict[str, Any], path: Path) -> None:
    """The figure of an experiment: curves if it has them, else the paper's points beside ours."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    curves = list(dict.fromkeys(row["curve"] for row in results["rows"] if row["curve"]))
    if curves:
        _draw_curves(figure, results, curves)
    else:
        _draw_points(figure, results)
    figure.suptitle(textwrap.fill(results["title"], int(9 * figure.get_figwidth())))
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_curves(figure: Any, results: dict[str, Any], curves: list[str]) -> None:
    figure.set_size_inches(5 * len(curves), 3.5)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, curve in zip(panels, curves, strict=True):
        rows = [row for row in results["rows"] if row["curve"] == curve]
        x, y = [row["x"] for row in rows], [score(row) for row in rows]
        errors = _errors(y, [interval(row) for row in rows])
        axes.errorbar(x, y, errors, marker="o", capsize=3)
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set_xlabel(curve)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("ours, mAP (lines: over seeds, or images)")


def _draw_points(figure: Any, results: dict[str, Any]) -> None:
    rows = results["rows"][::-1]  # the first row on top
    names = [textwrap.fill(f"{row['name']} ({row['steps']} steps)", 50) for row in rows]
    paper = [row["paper"].get("mAP") for row in rows]
    known = [i for i, value in enumerate(paper) if value is not None]
    panels = 2 if known else 1
    lines = max(name.count("\n") + 1 for name in names)
    figure.set_size_inches(3.5 + 3 * panels, 1.2 + (0.15 + 0.17 * lines) * len(rows))
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    if known:
        _points(axes[0], known, [paper[i] for i in known], None, "paper, mAP")
    ours, ends = [score(row) for row in rows], [interval(row) for row in rows]
    _points(
        axes[-1],
        list(range(len(rows))),
        ours,
        _errors(ours, ends),
        "ours, mAP (lines: over seeds, or images)",
    )
    axes[0].set_yticks(range(len(rows)), names)
    axes[0].set_ylim(-0.6, len(rows) - 0.4)


def _errors(values: Sequence[float], ends: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Below and above each value; a bootstrap's interval may end short of the value itself."""
    below = [max(value - low, 0.0) for value, (low, _) in zip(values, ends, strict=True)]
    return [below, [max(high - value, 0.0) for value, (_, high) in zip(values, ends, strict=True)]]


def _points(axes: Any, places: list[int], values: list[float], errors: Any, title: str) -> None:
    """Points, not bars: the axis does not begin at 0."""
    axes.errorbar(values, places, xerr=errors, fmt="o", capsize=3)
    for place, value in zip(places, values, strict=True):
        corner = ("axes fraction", "data")
        axes.annotate(f"{value:.1f}", (0.02, place), xycoords=corner, va="center")
    spread = max(values) - min(values)
    axes.set_xlim(min(values) - 0.4 * spread - 3, max(values) + 0.1 * spread + 3)
    axes.set_xlabel(title)
    axes.grid(axis="both", alpha=0.3)


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """``NAME-SCALE.json``, ``.md`` and ``.png``, each whole or not at all."""
    stem = f"{results['experiment']}-{results['scale']}"
    write_json(folder / f"{stem}.json", results)
    with whole_file(folder / f"{stem}.md") as path:
        path.write_text(markdown(results), encoding="utf-8")
    draw(results, folder / f"{stem}.png")


def rows_at(experiment: Experiment, benchmarks: dict[Data, Benchmark]) -> list[Row]:
    """The rows whose data there are at a scale."""
    return [row for row in experiment.rows if row.data in benchmarks]
