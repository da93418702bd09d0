import pytest

from didvit.data.labels import composed, fault_of, joined_labels, separator_of, suspects, twins


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        *(("cat", None), ("traffic light", None), ("K\u00e4se \U0001f9c0", None), ("\u732b", None)),
        *(("", "empty"), (" \t", "empty"), (None, "NoneType, not text"), (7, "int, not text")),
        *(("a\ud800", "printed"), ("a\0", "printed"), ("a\nb", "printed"), ("a\x1b[0m", "printed")),
    ],
)
def test_faults(label, fault):
    assert fault_of(label) is None if fault is None else fault in (fault_of(label) or "")


@pytest.mark.parametrize(
    "alike",
    [
        *(
            ("Cat", "cat"),
            ("hot dog", "hot_dog", "hot-dog"),
            ("a  b", "a b"),
            ("Stra\u00dfe", "STRASSE"),
        ),
        *(("\uff43at", "cat"), ("cat\u200b", "cat"), ("caf\u00e9", "cafe\u0301")),
    ],
)
def test_twins(alike):
    assert twins(("eel", *alike, "fox")) == [alike]


def test_composed():
    assert composed("Ka\u0308se") == composed("K\u00e4se") == "K\u00e4se"
    assert composed("ca\ufb01") == "ca\ufb01"  # other compatible characters are left alone


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["cat|dog", "cat,dog", "cat", "dog"], "|"),
        (["cat;dog", "dog;cat", ""], ";"),
        (["cat,dog", "cat", "dog"], ","),
        (["cat,dog", "cat", "eel"], None),
        (["cat, small", "dog, small", "fox, small"], None),
        (["cat, small, black", "dog, small, black"], ","),
        (["cat", "dog"], None),
        ([], None),
    ],
)
def test_separators(cells, separator):
    assert separator_of(cells) == separator


def test_joined_labels_share_most_of_their_parts():
    assert joined_labels(["a,b", "b,a", "c,d", "e"], ",") == ["a,b", "b,a"]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["cat", "dog", "cat#dog", "dog#cat"], ["cat#dog", "dog#cat"]),
        (["cat", "dog", "cat;dog"], ["cat;dog"]),
        (["[]", "{x", '"cat', "cat"], ["[]", "{x", '"cat']),
        (["traffic", "light", "traffic light"], []),
        (["salt, pepper", "cat"], []),
    ],
)
def test_suspects(labels, found):
    assert suspects(labels) == found
