"""Text and markup, told apart by their type, so that no text is forgotten to be escaped."""

import html
import unicodedata
from collections.abc import Iterable

LONGEST = 80
"""Characters of a name that a page shows; of a longer one the middle is left out."""

LONGEST_TITLE = 400
"""Characters of a name that are shown where the mouse rests on it."""

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, halves of characters, and breaks of lines."""

TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows, by which a name may look like another."""

VOID = frozenset({"br", "col", "hr", "img", "meta"})
"""Elements without content, which have no end tag."""


class Html(str):
    """Markup. Any other text is escaped where it becomes part of markup."""

    __slots__ = ()


def printable(text: object) -> str:
    """A text in one line, in which every character can be seen or is a space.

    >>> printable("a\\nb.jpg")
    'a\\\\nb.jpg'
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in UNPRINTABLE or c in TURNING
        else c
        for c in str(text)
    )


def escaped(text: str) -> Html:
    """Markup as it is; any other text so that a browser shows it as it stands.

    >>> escaped('<b> & "c"')
    '&lt;b&gt; &amp; &quot;c&quot;'
    """
    return text if isinstance(text, Html) else Html(html.escape(printable(text)))


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Parts in a row, those that are no markup escaped."""
    return Html(escaped(between).join(map(escaped, parts)))


def element(tag: str, *children: str, **attributes: str | float | bool | None) -> Html:
    """An element.

    >>> element("p", "1 < 2", class_="note", data_value=3, hidden=False)
    '<p class="note" data-value="3">1 &lt; 2</p>'

    Args:
        tag: Its name.
        children: What is in it: markup, or text, which is escaped.
        attributes: By name, with ``_`` for ``-``, and ``_`` behind what is a word of Python. True
            is an attribute without a value; None and False leave it out.
    """
    start = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            start.append(name)
        elif value is not None and value is not False:
            start.append(f'{name}="{escaped(str(value))}"')
    opening = f"<{' '.join(start)}>"
    return Html(opening if tag in VOID else f"{opening}{joined(children)}</{tag}>")


def named(text: object, longest: int = LONGEST) -> Html:
    """A name that is not ours, of a label or a file: of bounded length, in its own direction.

    The direction of its letters cannot turn the text around it. A longer name is whole, up to
    `LONGEST_TITLE` characters, where the mouse rests on it.
    """
    whole = printable(text)
    if len(whole) <= longest:
        return element("bdi", whole)
    return element("bdi", shortened(whole, longest), title=shortened(whole, LONGEST_TITLE))


def file_name(path: object, longest: int = 40) -> Html:
    """The last part of a path, as `named`; the path where the mouse rests on it."""
    whole = str(path)
    name = named(whole.replace("\\", "/").rpartition("/")[2] or whole, longest)
    return element("span", name, title=shortened(printable(whole), LONGEST_TITLE))


def shortened(text: str, longest: int) -> str:
    """A text of at most so many characters, at least 3; of a longer one, both ends.

    >>> shortened("abcdefghij", 5)
    'ab…ij'
    """
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"
