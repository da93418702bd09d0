"""Tables of an experiment in Markdown, rendered from the runs that exist."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from didvit.experiments.benchmarks import Benchmark, Data
from didvit.experiments.plans import COUNTS, Experiment, Pair, Row, row_title
from didvit.experiments.runs import (
    Run,
    check_data,
    check_settings,
    difference_key,
    find_runs,
    is_same_run,
    read_run,
    row_fusion,
)
from didvit.experiments.trainer import training_config

_OTHER_SEEDS = "- Rows have different seeds. Δ compares two rows over the seeds that both have."

FUSIONS = ("global", "local", "max", "mean")


class Measure(NamedTuple):
    """A figure over the seeds of a row.

    Attributes:
        mean: Mean over the seeds, in percent.
        low: Lowest seed; with one seed, the lower end of the 95 % interval over images.
        high: Highest seed, or the upper end.
        seeds: The seeds.
    """

    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]


class RowResult(NamedTuple):
    """A row and its runs, in the order of their seeds; at least one."""

    row: Row
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs."""
        return tuple(run.seed for run in self.runs)

    def mean(self, *path: str) -> float:
        """Mean over the seeds of a test metric, by its path below the row's own fusion."""
        return fmean(_at(run.fusions[row_fusion(self.row)], path) for run in self.runs)

    def branch(self, fusion: str) -> float:
        """Mean test mAP over the seeds, of any fusion."""
        return fmean(run.fusions[fusion]["mAP"] for run in self.runs)

    @property
    def validation(self) -> float:
        """Mean validation mAP over the seeds, of the row's own fusion."""
        return fmean(run.validation[row_fusion(self.row)] for run in self.runs)

    @property
    def score(self) -> Measure:
        """Test mAP of the row's own fusion."""
        own = [run.fusions[row_fusion(self.row)] for run in self.runs]
        return measured(
            [(run.seed, f["mAP"], f["mAP_interval"]) for run, f in zip(self.runs, own, strict=True)]
        )

    def difference(self, other: Row) -> Measure | None:
        """Difference of test mAP, this row − another, over the seeds that both have.

        None where there is no such seed, or the two rows are one run.
        """
        if is_same_run(self.row, other):
            return None
        key = difference_key(self.row, other)
        known = [(run.seed, run.differences[key]) for run in self.runs if key in run.differences]
        values = [(seed, found["mAP"], found["interval"]) for seed, found in known]
        return measured(values) if values else None


class Results(NamedTuple):
    """What exists of an experiment at a scale.

    Attributes:
        experiment: Its plan.
        benchmarks: Benchmarks of the scale.
        rows: Rows with at least one run, in the order of the plan.
        missing: Rows of the scale without a run.
        impossible: Rows whose data the scale does not have.
    """

    experiment: Experiment
    benchmarks: Mapping[Data, Benchmark]
    rows: tuple[RowResult, ...]
    missing: tuple[Row, ...]
    impossible: tuple[Row, ...]

    @property
    def has_same_seeds(self) -> bool:
        """Whether all rows have the same seeds."""
        return len({result.seeds for result in self.rows}) < 2

    def with_common_seeds(self) -> "Results":
        """The same with the seeds that all rows have; unchanged where there is no such seed."""
        common = set.intersection(*(set(result.seeds) for result in self.rows))
        if not common:
            return self
        rows = (
            RowResult(result.row, tuple(run for run in result.runs if run.seed in common))
            for result in self.rows
        )
        return self._replace(rows=tuple(rows))

    def row(self, title: str) -> RowResult:
        """The row of a title, as `row_title` has it.

        Raises:
            KeyError: It has no run.
        """
        rows = {row_title(result.row): result for result in self.rows}
        return rows[title]


def read_results(
    experiment: Experiment, benchmarks: Mapping[Data, Benchmark], folder: Path
) -> Results:
    """Read all runs of an experiment, from the folder of its scale.

    Raises:
        DataError: A run is damaged, of other settings than the plan has, or of other data than the
            other runs.
    """
    rows, missing, data = [], [], {}
    possible = possible_rows(experiment, benchmarks)
    for row in possible:
        found = []
        for seed, path in find_runs(folder, row).items():
            run = read_run(path)
            check_settings(path, run, training_config(benchmarks[row.data], row, seed))
            data[row.data] = data.get(row.data) or run.data
            check_data(path, run, data[row.data])
            found.append(run)
        if found:
            rows.append(RowResult(row, tuple(found)))
        else:
            missing.append(row)
    impossible = tuple(row for row in experiment.rows if row not in possible)
    return Results(experiment, benchmarks, tuple(rows), tuple(missing), impossible)


def possible_rows(experiment: Experiment, benchmarks: Mapping[Data, Benchmark]) -> list[Row]:
    """Rows whose data a scale has."""
    return [row for row in experiment.rows if row.data in benchmarks]


def markdown(results: Results) -> str:
    """The notes and tables of an experiment, without a title."""
    experiment, benchmarks = results.experiment, results.benchmarks
    reference = references(results)
    lines = [
        *sorted({f"- {benchmarks[result.row.data].summary}." for result in results.rows}),
        *([f"- {experiment.differs}"] if experiment.differs else []),
        f"- Δ is the difference of mAP, row − {reference}, on the same images. In brackets: the "
        "lowest and the highest seed; with one seed, the 95 % interval over images.",
        *([] if results.has_same_seeds else [_OTHER_SEEDS]),
        "",
        "| row | setting | steps | passes: train, test | paper | **ours** | [range] | seeds "
        f"| Δ − {reference} | global | local | max | mean | val |",
        f"|{' --- |' * 14}",
    ]
    lines += [_table_row(results, result) for result in results.rows]
    if any("CP all" in result.row.paper for result in results.rows):
        lines += ["", *_counts_table(results.rows)]
    pairs = [
        (pair, measure)
        for pair in experiment.pairs
        if (measure := pair_difference(results, pair)) is not None
    ]
    if pairs:
        lines += ["", "| difference A − B | Δ mAP | seeds |", "| --- | --- | --- |"]
    for pair, measure in pairs:
        a, b = (row_title(experiment.row(*side)) for side in pair)
        lines.append(f"| {a} − {b} | {difference_text(measure)} | {_seeds(measure.seeds)} |")
    for title, rows in (("Not at this scale", results.impossible), ("No run", results.missing)):
        if rows:
            lines += ["", f"{title}: {', '.join(row_title(row) for row in rows)}."]
    return "\n".join(lines) + "\n"


def _table_row(results: Results, result: RowResult) -> str:
    row, score = result.row, result.score
    run = result.runs[0]
    change = result.difference(results.experiment.reference(row))
    cells = [
        row.name,
        _setting(row, results.benchmarks[row.data]),
        str(run.steps),
        ", ".join(f"{number:g}" for number in run.forward_passes),
        f"{row.paper['mAP']:.1f}" if "mAP" in row.paper else "",
        f"**{score.mean:.1f}**",
        f"[{score.low:.1f}, {score.high:.1f}]",
        _seeds(score.seeds),
        difference_text(change) if change else "",
        *(f"{result.branch(fusion):.1f}" for fusion in FUSIONS),
        f"{result.validation:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def pair_difference(results: Results, pair: Pair) -> Measure | None:
    """The difference of a pair A − B; None where the two rows share no seed."""
    a, b = (results.experiment.row(*side) for side in pair)
    of_a = [result for result in results.rows if result.row is a]
    return of_a[0].difference(b) if of_a else None


def references(results: Results) -> str:
    """The names of the rows that others are compared with."""
    found = (results.experiment.reference(result.row).name for result in results.rows)
    return " or ".join(dict.fromkeys(found))


def difference_text(measure: Measure) -> str:
    """A difference with its range.

    >>> difference_text(Measure(1.0, -0.5, 2.25, (0,)))
    '+1.0 [-0.5, +2.2]'
    """
    return f"{measure.mean:+.1f} [{measure.low:+.1f}, {measure.high:+.1f}]"


def _counts_table(rows: Sequence[RowResult]) -> list[str]:
    """Precision, recall and F1 of the rows' own fusions, with the paper's in parentheses."""
    columns = [(name, kind) for kind in ("all", "top3") for name in COUNTS]
    titles = [f"{name} {'all' if kind == 'all' else 'top-3'}" for name, kind in columns]
    lines = [f"| row | steps | {' | '.join(titles)} |", f"|{' --- |' * (len(titles) + 2)}"]
    for result in rows:
        cells = []
        for title, (name, kind) in zip(titles, columns, strict=True):
            paper, ours = result.row.paper.get(title), f"{result.mean(kind, name):.1f}"
            cells.append(ours if paper is None else f"{ours} ({paper})")
        lines.append(f"| {result.row.name} | {result.runs[0].steps} | {' | '.join(cells)} |")
    return lines


def _setting(row: Row, benchmark: Benchmark) -> str:
    """The settings that a row changes, in training and then in scoring."""
    training, scoring = (
        ", ".join(f"{name} {value}" for name, value in part.items())
        for part in (benchmark.changes(row.changes), row.scored_with)
    )
    return training + (f"; scored with {scoring}" if scoring else "")


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def measured(values: Sequence[tuple[int, float, Sequence[float]]]) -> Measure:
    """Seeds, values and intervals as one measure."""
    seeds, own = tuple(seed for seed, *_ in values), [value for _, value, _ in values]
    low, high = values[0][2] if len(values) == 1 else (min(own), max(own))
    return Measure(fmean(own), low, high, seeds)


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value[key]
    return value
