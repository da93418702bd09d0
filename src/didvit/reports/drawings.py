"""Drawings of curves, by matplotlib, in the colors of the page."""

from typing import TYPE_CHECKING

from didvit.pages.drawing import ACCENT, FAINT, INK, SECOND, page_style, svg
from didvit.pages.markup import Html
from didvit.reports.curves import PrecisionRecallCurve, Reliability
from didvit.reports.measure import Decided

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = (0, 0.25, 0.5, 0.75, 1)


def draw_precision_recall(curve: PrecisionRecallCurve, decided: Decided, key: str) -> Html:
    """Precision by recall, with a dot for the thresholds in use."""
    from matplotlib.figure import Figure

    with page_style():
        figure = Figure(figsize=(4.2, 2.9), layout="constrained")
        _precision_recall(figure.subplots(), curve, decided)
        return svg(figure, key, "Precision by recall")


def draw_reliability(bins: Reliability, key: str) -> Html:
    """Observed frequency by predicted probability."""
    from matplotlib.figure import Figure

    with page_style():
        figure = Figure(figsize=(4.2, 2.9), layout="constrained")
        _reliability(figure.subplots(), bins)
        return svg(figure, key, "Observed frequency by predicted probability")


def draw_both(curve: PrecisionRecallCurve, decided: Decided, bins: Reliability, key: str) -> Html:
    """Both side by side, for one label."""
    from matplotlib.figure import Figure

    with page_style():
        figure = Figure(figsize=(4.2, 1.95), layout="constrained")
        left, right = figure.subplots(1, 2)
        _precision_recall(left, curve, decided)
        _reliability(right, bins)
        return svg(
            figure, key, "Precision by recall, and observed frequency by predicted probability"
        )


def _precision_recall(axes: "Axes", curve: PrecisionRecallCurve, decided: Decided) -> None:
    _square(axes, "recall", "precision")
    axes.plot(curve.recall, curve.precision, color=ACCENT)
    if decided.precision is not None and decided.recall is not None:
        axes.plot(decided.recall, decided.precision, "o", color=SECOND, markersize=5)


def _reliability(axes: "Axes", bins: Reliability) -> None:
    _square(axes, "predicted probability", "observed frequency")
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.vlines(bins.predicted, bins.low, bins.high, color=ACCENT, linewidth=1, alpha=0.6)
    axes.plot(bins.predicted, bins.observed, color=ACCENT, marker="o", markersize=3)


def _square(axes: "Axes", x: str, y: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xlabel=x, ylabel=y)
    axes.set_xticks(TICKS, ["0", "", "0.5", "", "1"])
    axes.set_yticks(TICKS, ["0", "", "0.5", "", "1"])
    axes.tick_params(length=0, pad=3)
    axes.grid(color=FAINT, linewidth=0.5)
