"""What was found: JSON, a table and a figure, with the paper's number and ours side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from didvit.config import to_json
from didvit.experiments.benchmarks import Benchmark, Data
from didvit.experiments.figures import draw, references
from didvit.experiments.measures import difference, interval, mean_of, score
from didvit.experiments.plans import Experiment, Row
from didvit.experiments.running import Difference, Outcome
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
                "benchmark": benchmarks[row.data].summary,
                "changes": benchmarks[row.data].changes(row.model),
                "settings": settings,
                "scored_with": dict(row.scored_with),
                "fusion": outcome.fusion,
                "curve": row.curve,
                "x": row.x,
                "paper": dict(row.paper),
                "reference": experiment.reference(row).name,
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
                "difference": _difference_json(outcome.difference),
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


def _difference_json(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {"mAP": difference.mAP, "interval": list(difference.interval)}


def markdown(results: dict[str, Any]) -> str:
    """The table of an experiment, in Markdown, of its JSON."""
    seeds = max(len(row["runs"]) for row in results["rows"])
    spread = "lowest and highest seed, or 95 % over images" if seeds > 1 else "95 % over images"
    lines = [
        f"## {results['title']}",
        "",
        *sorted({f"- {row['benchmark']}." for row in results["rows"]}),
        *([f"- {results['differs']}"] if results["differs"] else []),
        f"- What is added to {references(results)} has its 95 % interval over images (paired "
        "bootstrap), or the lowest and highest of the seeds that both have.",
        "",
        f"| | setting | steps | looks: learning, scoring | paper mAP | our mAP | {spread} "
        f"| less {references(results)} | global | local | max | mean | val |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        by_fusion = [_number(mean_of(row, "fusions", name, "mAP")) for name in FUSIONS]
        cells = [
            row["name"],
            _setting(row),
            str(row["steps"]),
            ", ".join(f"{number:g}" for number in row["looks"]),
            _number(row["paper"].get("mAP")),
            _number(score(row)),
            _spread(row),
            difference_text(row),
            *by_fusion,
            _number(mean_of(row, "validation", row["fusion"])),
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
            ours = _number(mean_of(row, "fusions", row["fusion"], kind, name))
            cells.append(ours if paper is None else f"{ours} ({paper})")
        lines.append(f"| {row['name']} | {row['steps']} | {' | '.join(cells)} |")
    return lines


def _setting(row: dict[str, Any]) -> str:
    """What a row changes, to learn and then to be scored."""
    parts = [row["changes"], row["scored_with"]]
    learning, scoring = (", ".join(f"{k} {v}" for k, v in part.items()) for part in parts)
    return learning + (f"; scored with {scoring}" if scoring else "")


def difference_text(row: dict[str, Any]) -> str:
    """Of `difference`; nothing for a reference itself."""
    ends = difference(row)
    return "" if ends is None else "{:+.1f} ({:+.1f} to {:+.1f})".format(*ends)


def _spread(row: dict[str, Any]) -> str:
    low, high = interval(row)
    seeds = len(row["runs"])
    return f"{low:.1f}-{high:.1f}" + (f" ({seeds} seeds)" if seeds > 1 else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


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
