"""The figure of an experiment, rendered from the runs that exist."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from didvit.experiments.runs import is_same_run
from didvit.experiments.tables import Measure, Results, RowResult, references
from didvit.files import whole_file


class Panel(NamedTuple):
    """A column of points, one to a row of the table.

    Attributes:
        title: What the points are, in percent.
        places: Places of the rows that have one.
        values: Values of those rows.
        ends: Ends of the lines through them. None draws no lines.
        seeds: Number of seeds behind each value.
        form: Format of the values as text.
    """

    title: str
    places: list[int]
    values: list[float]
    ends: list[tuple[float, float]] | None
    seeds: list[int]
    form: str = "{:.1f}"


def draw(results: Results, path: Path) -> None:
    """The paper's mAP where there is any, ours, and the differences; or curves."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    curves = list(dict.fromkeys(r.row.curve for r in results.rows if r.row.curve))
    if curves:
        _draw_curves(figure, results.with_common_seeds(), curves)
    else:
        _draw_points(figure, results)
    figure.suptitle(textwrap.fill(results.experiment.title, int(9 * figure.get_figwidth())))
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_curves(figure: Any, results: Results, curves: list[str]) -> None:
    """mAP above, differences from the reference below; one column to a curve."""
    figure.set_size_inches(5 * len(curves), 6)
    panels = figure.subplots(2, len(curves), sharex="col", sharey="row", squeeze=False)
    for (above, below), curve in zip(panels.T, curves, strict=True):
        rows = [result for result in results.rows if result.row.curve == curve]
        x, scores = [result.row.x for result in rows], [result.score for result in rows]
        _draw_line(above, x, scores)
        compared = [(r.row.x, change) for r in rows if (change := _difference(results, r))]
        if compared:
            places, changes = zip(*compared, strict=True)
            _draw_line(below, places, changes)
        below.axhline(0, color="gray", linewidth=1)
        below.set_xticks(x, [f"{value:g}" for value in x])
        below.set_xlabel(curve)
        above.grid(alpha=0.3)
        below.grid(alpha=0.3)
    spread = _range_text(results.rows)
    panels[0, 0].set_ylabel(f"ours, mAP\n{spread}")
    panels[1, 0].set_ylabel(f"Δ − {references(results)}\n{spread}")


def _draw_line(axes: Any, x: Sequence[float | None], measures: Sequence[Measure]) -> None:
    y, ends = [m.mean for m in measures], [(m.low, m.high) for m in measures]
    axes.errorbar(x, y, _lines(y, ends), marker="o", capsize=3)


def _difference(results: Results, result: RowResult) -> Measure | None:
    """Difference from the reference: 0 for itself; None where the two share no seed."""
    reference = results.experiment.reference(result.row)
    if is_same_run(result.row, reference):
        return Measure(0.0, 0.0, 0.0, ())
    return result.difference(reference)


def _draw_points(figure: Any, results: Results) -> None:
    rows = results.rows[::-1]  # the first row on top
    panels = list(_panels(results, rows))
    names = [textwrap.fill(f"{r.row.name} ({r.runs[0].steps} steps)", 50) for r in rows]
    lines = max(name.count("\n") + 1 for name in names)
    width = 3.5 + 3.2 * len(panels)
    figure.set_size_inches(width, 1.4 + (0.15 + 0.17 * lines) * len(rows))
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel)
    all_axes[0].set_yticks(range(len(rows)), names)
    all_axes[0].set_ylim(-0.6, len(rows) - 0.4)


def _panels(results: Results, rows: Sequence[RowResult]) -> list[Panel]:
    papers = {i: r.row.paper["mAP"] for i, r in enumerate(rows) if "mAP" in r.row.paper}
    changes = {
        i: change
        for i, r in enumerate(rows)
        if (change := r.difference(results.experiment.reference(r.row)))
    }
    scores, spread = [r.score for r in rows], _range_text(rows)
    title = textwrap.fill(f"Δ − {references(results)}", 34)
    panels = [
        Panel("paper, mAP", list(papers), list(papers.values()), None, [1] * len(papers)),
        Panel(
            f"ours, mAP\n{spread}",
            list(range(len(rows))),
            [score.mean for score in scores],
            [(score.low, score.high) for score in scores],
            [len(score.seeds) for score in scores],
        ),
        Panel(
            f"{title}\n{spread}",
            list(changes),
            [change.mean for change in changes.values()],
            [(change.low, change.high) for change in changes.values()],
            [len(change.seeds) for change in changes.values()],
            "{:+.1f}",
        ),
    ]
    return [panel for panel in panels if panel.places]


def _range_text(rows: Sequence[RowResult]) -> str:
    """Meaning of the lines through the points."""
    if any(len(result.runs) > 1 for result in rows):
        return "(lines: 95 % over images; with\ndiamonds, lowest and highest seed)"
    return "(lines: 95 % over images)"


def _draw_panel(axes: Any, panel: Panel) -> None:
    """Points, not bars: the axis does not begin at 0."""
    lines = panel.ends and _lines(panel.values, panel.ends)
    axes.errorbar(panel.values, panel.places, xerr=lines, fmt="none", capsize=3)
    for place, value, seeds in zip(panel.places, panel.values, panel.seeds, strict=True):
        axes.plot(value, place, "D" if seeds > 1 else "o", color="C0")
    for place, value in zip(panel.places, panel.values, strict=True):
        corner = ("axes fraction", "data")
        axes.annotate(panel.form.format(value), (0.02, place), xycoords=corner, va="center")
    low = min(panel.values + [low for low, _ in panel.ends or ()])
    high = max(panel.values + [high for _, high in panel.ends or ()])
    spread = max(high - low, 1.0)
    axes.set_xlim(low - 0.35 * spread, high + 0.05 * spread)
    axes.set_xlabel(panel.title)
    axes.grid(alpha=0.3)


def _lines(values: Sequence[float], ends: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Below and above each value; a bootstrap's interval may end short of the value itself."""
    below = [max(value - low, 0.0) for value, (low, _) in zip(values, ends, strict=True)]
    return [below, [max(high - value, 0.0) for value, (_, high) in zip(values, ends, strict=True)]]
