"""What was found: JSON, a table and a figure, with the paper's number and ours side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from didvit.config_json import to_json
from didvit.experiments.benchmarks import Benchmark, Data
from didvit.experiments.figures import draw, references
from didvit.experiments.measures import difference, interval, mean_of, score
from didvit.experiments.plans import COUNTS, Experiment, Pair, Row
from didvit.experiments.running import Difference, Outcome
from didvit.files import whole_file, write_json

FUSIONS = ("global", "local", "max", "mean")


def results_json(
    name: str,
    scale: str,
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    benchmarks: dict[Data, Benchmark],
    compare: Callable[[Outcome, Outcome], Difference],
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything that was measured, and what it takes to measure it again.

    Args:
        name: Of the experiment.
        scale: Of the benchmarks.
        experiment: Its plan.
        outcomes: Of its rows; several seeds of a row stand together.
        benchmarks: Of the scale.
        compare: Two outcomes, for the pairs of the plan.
        failed: Rows that could not be trained, and why.
    """
    rows: dict[int, dict[str, Any]] = {}
    possible = rows_at(experiment, benchmarks)
    for outcome in outcomes:
        row, config = outcome.row, outcome.config
        settings = to_json(replace(config, model=replace(config.model, fusion=outcome.fusion)))
        entry = rows.setdefault(
            experiment.rows.index(row),
            {
                "name": row.name,
                "budget": row.budget,
                "steps": 0 if row.budget == "start" else config.steps,
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
        scored = outcome.report
        entry["runs"].append(
            {
                "seed": outcome.seed,
                "folder": outcome.scored.parent.name,
                "scores": outcome.scored.stem,
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
        "pairs": [_pair(experiment, pair, outcomes, compare) for pair in experiment.pairs],
        "starts": {
            data: to_json(benchmark.start)
            for data, benchmark in benchmarks.items()
            if benchmark.start and any(outcome.row.data == data for outcome in outcomes)
        },
        "not_at_this_scale": [row.name for row in experiment.rows if row not in possible],
        "failed": dict(failed or {}),
        "to_come": [
            row_name(row)
            for i, row in enumerate(experiment.rows)
            if i not in rows and row in possible and row_name(row) not in (failed or {})
        ],
    }


def with_earlier(
    results: dict[str, Any], earlier: dict[str, Any], experiment: Experiment
) -> dict[str, Any]:
    """Results, and what earlier ones of the same experiment have of other rows and seeds.

    Args:
        results: As `results_json` made them, and the options of their command.
        earlier: The same, read back.
        experiment: Their plan.

    Returns:
        Those of both; where both have a row with a seed, it is that of ``results``. Why a row
        failed is kept until a later command has made it. A pair has the seeds for which one of the
        two commands had both of its rows. ``kept`` lists the options of the commands that made what
        was kept.
    """
    rows = {_entry_name(entry): entry for entry in earlier["rows"]}
    for entry in results["rows"]:
        known = rows.get(_entry_name(entry))
        rows[_entry_name(entry)] = _with_runs(known, entry) if known else entry
    pairs = {tuple(pair["rows"]): pair for pair in earlier["pairs"]}
    made = {_entry_name(entry) for entry in results["rows"]}
    earlier_failed = {name: why for name, why in earlier["failed"].items() if name not in made}
    failed = {**earlier_failed, **results["failed"]}
    commands = [*earlier.get("kept", []), _options(earlier)]
    return {
        **results,
        "rows": [rows[name] for name in map(row_name, experiment.rows) if name in rows],
        "pairs": [
            _with_runs(pairs[tuple(pair["rows"])], pair) if tuple(pair["rows"]) in pairs else pair
            for pair in results["pairs"]
        ],
        "starts": {**earlier["starts"], **results["starts"]},
        "failed": failed,
        "to_come": [name for name in results["to_come"] if name not in {**rows, **failed}],
        "kept": [options for options in commands if options != _options(results)],
    }


def _options(results: dict[str, Any]) -> dict[str, Any]:
    """Of the command that made the results."""
    options = {name: results[name] for name in ("seeds", "repeat_limit", "resamples")}
    return {**options, "chosen": results.get("chosen", [])}


def _with_runs(known: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """A row or pair with the runs of both, by seed; its settings are those of the first run.

    A run that was made again without its reference keeps the difference that is known.
    """
    runs = {run["seed"]: run for run in known["runs"]}
    for run in entry["runs"]:
        was = runs.get(run["seed"], {"difference": None})
        runs[run["seed"]] = {**run, "difference": run["difference"] or was["difference"]}
    seeds = sorted(runs)
    is_first = any(run["seed"] == seeds[0] for run in entry["runs"])
    return {**(entry if is_first else known), "runs": [runs[seed] for seed in seeds]}


def _entry_name(entry: dict[str, Any]) -> str:
    """As `row_name`, of a row in JSON."""
    return f"{entry['name']} ({entry['budget']})"


def _difference_json(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {"mAP": difference.mAP, "interval": list(difference.interval)}


def _pair(
    experiment: Experiment,
    pair: Pair,
    outcomes: Sequence[Outcome],
    compare: Callable[[Outcome, Outcome], Difference],
) -> dict[str, Any]:
    """What one row adds to another, by the seeds that both have."""
    one, other = ({o.seed: o for o in outcomes if o.row is experiment.row(*side)} for side in pair)
    return {
        "rows": [row_name(experiment.row(*side)) for side in pair],
        "runs": [
            {"seed": seed, "difference": _difference_json(compare(one[seed], other[seed]))}
            for seed in one
            if seed in other
        ],
    }


def row_name(row: Row) -> str:
    """Of a row among those of its experiment."""
    return f"{row.name} ({row.budget})"


def markdown(results: dict[str, Any]) -> str:
    """The table of an experiment, in Markdown, of its JSON."""
    seeds = most_seeds(results)
    of_seeds = ", or the lowest and highest of the seeds that both have" if seeds > 1 else ""
    spread = "lowest and highest seed, or 95 % over images" if seeds > 1 else "95 % over images"
    lines = [
        f"## {results['title']}",
        "",
        *sorted({f"- {row['benchmark']}." for row in results["rows"]}),
        *([f"- {results['differs']}"] if results["differs"] else []),
        f"- The column \"less {references(results)}\" is a row's mAP less that one's on the same "
        f"images, with its 95 % interval over them (paired bootstrap){of_seeds}.",
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
            difference_text(row, seeds),
            *by_fusion,
            _number(mean_of(row, "validation", row["fusion"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if any("CP all" in row["paper"] for row in results["rows"]):
        lines += ["", *_counts_table(results)]
    if results["pairs"]:
        lines += ["", "| of the same images | mAP |", "| --- | --- |"]
    for pair in results["pairs"]:
        lines.append(f"| {' less '.join(pair['rows'])} | {difference_text(pair, seeds)} |")
    for key, title in (("not_at_this_scale", "Not at this scale"), ("to_come", "Not run yet")):
        if results[key]:
            lines += ["", f"{title}: {', '.join(results[key])}."]
    lines += [f"\n{name} could not be trained: {why}" for name, why in results["failed"].items()]
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


def most_seeds(results: dict[str, Any]) -> int:
    """Of any row."""
    return max(len(row["runs"]) for row in results["rows"])


def difference_text(row: dict[str, Any], seeds: int = 1) -> str:
    """Of `difference`, of a row or a pair; nothing for a reference itself.

    Args:
        row: Of an experiment's JSON.
        seeds: The most that any of its rows has; of several, those behind the difference are said.
    """
    ends = difference(row)
    if ends is None:
        return ""
    compared = [str(run["seed"]) for run in row["runs"] if run["difference"]]
    named = f"{len(compared)} seeds" if len(compared) > 1 else f"seed {compared[0]}"
    text = "{:+.1f} ({:+.1f} to {:+.1f})".format(*ends)
    return f"{text}, {named}" if seeds > 1 else text


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
    """The rows whose data, and start where they are about it, there are at a scale."""
    return [
        row
        for row in experiment.rows
        if row.data in benchmarks and (row.budget != "start" or benchmarks[row.data].start)
    ]
