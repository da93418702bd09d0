"""Words of messages: lists that stay short, and numbers with their nouns."""

import unicodedata
from collections.abc import Sequence

LONG = 200
"""Characters of a name beyond which messages leave its middle out."""

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, halves of characters, and breaks of lines."""


def one_line(text: object) -> str:
    """A text in one line that can be printed anywhere: names of files may hold line breaks.

    >>> one_line("a\\nb.jpg")
    'a\\\\nb.jpg'
    """
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in UNPRINTABLE else c
        for c in str(text)
    )


def first_few(names: Sequence[object], limit: int = 8) -> str:
    """The first names, and how many more there are.

    >>> first_few(["ant", "bee", "cat", "dog"], 2)
    'ant, bee and 2 more'
    """
    listed = ", ".join(_shortened(str(name)) for name in names[:limit])
    return f"{listed} and {len(names) - limit:,} more" if len(names) > limit else listed


def _shortened(name: str) -> str:
    """A name without its middle where it is longer than any name should be."""
    return name if len(name) <= LONG else f"{name[: LONG // 2]}…{name[-LONG // 2 + 1 :]}"


def quoted(names: Sequence[str], limit: int = 8) -> str:
    """`first_few` in quotes, so that spaces and odd characters can be seen.

    >>> quoted(["cat", "cat "])
    "'cat', 'cat '"
    """
    return first_few([repr(_shortened(name)) for name in names], limit)


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"
