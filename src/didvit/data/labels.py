"""Names of labels: which cannot be labels, and which are two spellings of one."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from didvit.data.wording import UNPRINTABLE

SEPARATORS = ("|", ";", ",")
"""What may stand between the labels of a cell; the first is the documented one."""

LONGEST = 1000
"""Characters of a label; more are a file that is misread."""

MISSING = ("nan", "n/a", "na", "null", "none", "<na>", "#n/a", "undefined")
"""What programs write for a value that is missing, in lower case."""

OTHER_SEPARATORS = ("#", "/", " ")
"""What may stand between labels too, though labels themselves often have it."""

LEAST_COMBINATIONS = 2
"""Labels that look like several joined ones, of which a data set must have as many to be told."""


def composed(label: str) -> str:
    """The label in the one Unicode form (NFC) in which equal words are equal.

    >>> composed("Ka\\u0308se") == "K\\u00e4se"
    True
    """
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def fault_of(label: object) -> str | None:
    """Why something cannot be a label; None: it can."""
    if not isinstance(label, str):
        return f"it is {type(label).__name__}, not text"
    if not label.strip():
        return "it is empty"
    if len(label) > LONGEST:
        return f"it has {len(label):,} characters; expected at most {LONGEST:,}"
    if any(unicodedata.category(c) in UNPRINTABLE for c in label):
        return "it has characters that cannot be printed"
    return None


def twins(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Labels that differ in case, spaces, hyphens or underscores alone.

    >>> twins(["Cat", "dog", "cat", "hot_dog", "hot dog"])
    [('Cat', 'cat'), ('hot_dog', 'hot dog')]
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        key = unicodedata.normalize("NFKC", label).casefold()
        key = "".join(c for c in key if unicodedata.category(c) != "Cf")
        alike[re.sub(r"[\s_-]+", " ", key).strip()].append(label)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def separator_of(cells: Iterable[str]) -> str | None:
    """What stands between the labels of cells, where their contents leave no doubt.

    ``|`` where any cell has it. ``;`` or ``,`` where the parts of most combinations occur in other
    cells too. None: every cell is one label, as far as can be told.
    """
    distinct = set(cells)
    if any("|" in cell for cell in distinct):
        return "|"
    for separator in SEPARATORS[1:]:
        combined = joined_labels(distinct, separator)
        having = [cell for cell in distinct if separator in cell]
        if len(combined) >= LEAST_COMBINATIONS and 2 * len(combined) > len(having):
            return separator
        if len(combined) == 1 == len(having) and _single_parts(combined[0], separator) <= distinct:
            return separator
    return None


def joined_labels(labels: Iterable[str], separator: str) -> list[str]:
    """Labels most of whose parts occur elsewhere: alone, or in another combination.

    >>> joined_labels(["cat", "dog,cat", "dog, cat, eel", "salt, pepper"], ",")
    ['dog,cat', 'dog, cat, eel']
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        for part in _single_parts(label, separator):
            owners[part].add(label)
    found = []
    for label in labels:
        parts = _single_parts(label, separator)
        shared = sum(len(owners[part]) > 1 for part in parts)
        if len(parts) > 1 and 2 * shared > len(parts):
            found.append(label)
    return found


def suspects(labels: Sequence[str]) -> list[str]:
    """Labels that look like several: lists in brackets or quotes, or joined by some character."""
    found = [label for label in labels if label[0] in "[{\"'" and len(label) > 1]
    for separator in (*SEPARATORS, *OTHER_SEPARATORS):
        combined = joined_labels(labels, separator)
        alone = set(labels)
        whole = [c for c in combined if _single_parts(c, separator) <= alone]
        # "traffic light" and "light" are labels; several combinations of whole labels are lists.
        if len(whole) >= LEAST_COMBINATIONS or (whole and separator in SEPARATORS):
            found += [label for label in whole if label not in found]
    return found


def _single_parts(label: str, separator: str) -> set[str]:
    parts = label.split() if separator == " " else map(str.strip, label.split(separator))
    return {part for part in parts if part}
