"""Parts that pages have in common: headline numbers, facts, notes, galleries."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from didvit.pages.markup import Html, element, escaped, joined


class Headline(NamedTuple):
    """A number at the top of a page.

    Attributes:
        name: What it is.
        value: The number, as it is shown.
        note: A few words below it.
    """

    name: str
    value: str
    note: str = ""


def headlines(numbers: Iterable[Headline]) -> Html:
    """Numbers in large type."""
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", number.name),
                element("dd", element("strong", number.value), element("small", number.note)),
            )
            for number in numbers
        ),
        class_="headlines",
    )


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Names and what they stand for, in two columns."""
    rows = [joined([element("dt", name), element("dd", value)]) for name, value in pairs]
    return element("dl", *rows, class_="facts")


def note(*parts: str, kind: str = "plain") -> Html:
    """A box with a text that should not be passed over.

    Args:
        parts: Markup, or text that is escaped.
        kind: ``plain``, ``warning`` or ``good``.
    """
    return element("div", *parts, class_=f"note {kind}", role="note")


def paragraph(*parts: str) -> Html:
    """A paragraph."""
    return element("p", *parts)


def small(*parts: str) -> Html:
    """A paragraph of an explanation, in smaller type."""
    return element("p", *parts, class_="small")


def bullets(items: Iterable[str]) -> Html:
    """A list; nothing where there is no item."""
    rows = [element("li", item) for item in items]
    return element("ul", *rows) if rows else Html("")


class Card(NamedTuple):
    """A picture with words below it.

    Attributes:
        picture: An image or a drawing; a text stands where there is none.
        lines: The words, a line each; first the most important.
    """

    picture: Html
    lines: Sequence[str]


def gallery(cards: Iterable[Card], kind: str = "photographs") -> Html:
    """Pictures side by side, as many as there is room for.

    Args:
        cards: The pictures.
        kind: ``photographs``, ``samples`` (smaller ones), ``wide`` (two in a picture),
            ``drawings``, or ``pair`` for two large drawings.
    """
    return element("div", *map(_card, cards), class_=f"gallery {kind}")


def _card(card: Card) -> Html:
    lines = [element("div", escaped(line)) for line in card.lines]
    return element("figure", card.picture, element("figcaption", *lines) if lines else Html(""))


def no_picture(reason: str) -> Html:
    """What stands in the place of a photograph that cannot be shown."""
    return element("div", reason, class_="missing")
