"""The figure of an experiment, of its JSON."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from didvit.experiments.measures import difference, differences, interval, score
from didvit.files import whole_file

OURS = "ours, mAP"
SPREAD = "(lines: 95 % over images)"
SPREAD_OF_SEEDS = "(lines: 95 % over images; with\ndiamonds, lowest and highest seed)"


class Panel(NamedTuple):
    """A column of points, one to a row of the table.

    Attributes:
        title: What they are, in percent.
        places: Of the rows that have one.
        values: Of those rows.
        ends: Of the lines through them; None draws no lines.
        seeds: Behind each value.
        form: Of the values in writing.
    """

    title: str
    places: list[int]
    values: list[float]
    ends: list[tuple[float, float]] | None
    seeds: list[int]
    form: str = "{:.1f}"


def draw(results: dict[str, Any], path: Path) -> None:
    """The paper's mAP where there is any, ours, and ours less the reference's; or its curves."""
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


def references(results: dict[str, Any]) -> str:
    """The names of the rows that the others are compared with."""
    return " or ".join(dict.fromkeys(row["reference"] for row in results["rows"]))


def _draw_curves(figure: Any, results: dict[str, Any], curves: list[str]) -> None:
    """mAP above, differences from the reference below; one column to a curve."""
    figure.set_size_inches(5 * len(curves), 6)
    panels = figure.subplots(2, len(curves), sharex="col", sharey="row", squeeze=False)
    for (above, below), curve in zip(panels.T, curves, strict=True):
        rows = [row for row in results["rows"] if row["curve"] == curve]
        x, y = [row["x"] for row in rows], [score(row) for row in rows]
        lines = _lines(y, [interval(row) for row in rows])
        above.errorbar(x, y, lines, marker="o", capsize=3)
        compared = [(row["x"], ends) for row in rows if (ends := _difference(row))]
        if compared:
            places, differences = zip(*compared, strict=True)
            y, *ends = zip(*differences, strict=True)
            lines = _lines(y, list(zip(*ends, strict=True)))
            below.errorbar(places, y, lines, marker="o", capsize=3)
        below.axhline(0, color="gray", linewidth=1)
        below.set_xticks(x, [f"{value:g}" for value in x])
        below.set_xlabel(curve)
        above.grid(alpha=0.3)
        below.grid(alpha=0.3)
    spread = _spread(results["rows"])
    panels[0, 0].set_ylabel(f"{OURS}\n{spread}")
    panels[1, 0].set_ylabel(f"less {references(results)}\n{spread}")


def _difference(row: dict[str, Any]) -> tuple[float, float, float] | None:
    """From the reference, which is at 0 itself; None where the reference could not be trained."""
    return (0.0, 0.0, 0.0) if row["name"] == row["reference"] else difference(row)


def _draw_points(figure: Any, results: dict[str, Any]) -> None:
    rows = results["rows"][::-1]  # the first row on top
    panels = list(_panels(results, rows))
    names = [textwrap.fill(f"{row['name']} ({row['steps']} steps)", 50) for row in rows]
    lines = max(name.count("\n") + 1 for name in names)
    width = 3.5 + 3.2 * len(panels)
    figure.set_size_inches(width, 1.4 + (0.15 + 0.17 * lines) * len(rows))
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel)
    all_axes[0].set_yticks(range(len(rows)), names)
    all_axes[0].set_ylim(-0.6, len(rows) - 0.4)


def _panels(results: dict[str, Any], rows: list[dict[str, Any]]) -> list[Panel]:
    papers = {i: row["paper"]["mAP"] for i, row in enumerate(rows) if "mAP" in row["paper"]}
    compared = {i: ends for i, row in enumerate(rows) if (ends := difference(row))}
    ends = [interval(row) for row in rows]
    title = textwrap.fill(f"less {references(results)}", 34)
    panels = [
        Panel("paper, mAP", list(papers), list(papers.values()), None, [1] * len(papers)),
        Panel(
            f"{OURS}\n{_spread(rows)}",
            list(range(len(rows))),
            [score(row) for row in rows],
            ends,
            [len(row["runs"]) for row in rows],
        ),
        Panel(
            f"{title}\n{_spread(rows)}",
            list(compared),
            [value for value, *_ in compared.values()],
            [(low, high) for _, low, high in compared.values()],
            [len(differences(rows[i])) for i in compared],
            "{:+.1f}",
        ),
    ]
    return [panel for panel in panels if panel.places]


def _spread(rows: Sequence[dict[str, Any]]) -> str:
    """What the lines of the rows' points are."""
    return SPREAD_OF_SEEDS if any(len(row["runs"]) > 1 for row in rows) else SPREAD


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
