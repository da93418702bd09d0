"""Figures of matplotlib as SVG inside a page, in the colors of the page: light or dark.

A figure is drawn in the colors below, which stand for those of the page. Names that are not ours
belong into the caption, which is markup: no text in a figure can then break it.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from didvit.pages.markup import Html, escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, ACCENT, SECOND = "#000001", "#000002", "#000003", "#000004"
"""Colors of a figure: its text, its grid, and two for what it shows."""

OF_PAGE = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
}


@contextmanager
def page_style() -> Iterator[None]:
    """matplotlib's settings of a figure for a page: text as text, and the colors of the page."""
    from matplotlib import rc_context

    settings: Any = {
        **{"svg.fonttype": "none", "svg.hashsalt": "didvit", "font.size": 8.5},
        **{"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT},
        **{"xtick.color": FAINT, "ytick.color": FAINT},
        **{"xtick.labelcolor": INK, "ytick.labelcolor": INK},
        **{"grid.color": FAINT, "grid.linewidth": 0.5, "axes.grid": True, "axes.axisbelow": True},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8},
        **{"axes.titlesize": 8.5, "axes.titlelocation": "left", "lines.linewidth": 1.6},
    }
    with rc_context(settings):
        yield


def svg(figure: "Figure", key: str, label: str) -> Html:
    """An element that draws a figure.

    Args:
        figure: A figure that was made, and is drawn, within `page_style`.
        key: Letters that no other figure of the page has: they begin the names within it.
        label: What it shows, for who cannot see it.
    """
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :].strip()
    # The style is that of every element of a page, where the drawing becomes a part of one.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"(?<=\.\d\d)\d+", "", text)  # hundredths of a point are enough
    # Releases of matplotlib write fonts in one property, or in several.
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--font)", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", text)
    text = re.sub(r'\bid="', f'id="{key}-', text).replace("url(#", f"url(#{key}-")
    text = text.replace('xlink:href="#', f'href="#{key}-')
    for color, of_page in OF_PAGE.items():
        text = text.replace(color, of_page)
    start = re.search(r'viewBox="[^"]*"', text)
    assert start is not None  # matplotlib always writes it
    opening = f'<svg {start.group()} role="img" aria-label="{escaped(label)}">'
    return Html(re.sub(r">\s+<", "><", opening + text[text.index(">") + 1 :]))
