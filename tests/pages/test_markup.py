"""Escaping: whatever a name holds, a browser reads it as text."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didvit.pages.markup import (
    LONGEST,
    LONGEST_TITLE,
    Html,
    element,
    file_name,
    joined,
    named,
    printable,
    shortened,
)

ANY = st.text(st.characters(), max_size=300)  # surrogates and control characters too


class Reader(HTMLParser):
    """What a browser makes of markup: its elements and its text."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.elements, self.text = [], ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@given(ANY)
def test_any_text_stays_text(text):
    page = element("p", text, title=text)
    read = Reader(page)
    assert read.elements == [("p", {"title": printable(text)})]
    assert read.text == printable(text)
    page.encode()  # no half of a character is left


@given(ANY)
def test_any_name_stays_one_element_of_bounded_length(text):
    read = Reader(named(text))
    ((tag, attributes),) = read.elements
    assert tag == "bdi"
    assert len(read.text) <= LONGEST
    assert len(attributes.get("title", "")) <= LONGEST_TITLE
    if len(printable(text)) <= LONGEST:
        assert read.text == printable(text)
    else:
        assert attributes["title"] == shortened(printable(text), LONGEST_TITLE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("\"'&", "&quot;&#x27;&amp;"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x00\x7f\x85\u2028", "\\x00\\x7f\\x85\\u2028"),
        ("\udcff.jpg", "\\udcff.jpg"),
        ("שלום", "שלום"),
        ("photo\u202egpj.exe", "photo\\u202egpj.exe"),
        ("", ""),
    ],
)
def test_characters(text, expected):
    assert element("b", text) == f"<b>{expected}</b>"


def test_markup_is_not_escaped_twice():
    inner = element("b", "1 < 2")
    assert element("p", inner, " & ", inner) == "<p><b>1 &lt; 2</b> &amp; <b>1 &lt; 2</b></p>"
    assert joined([inner, "<"], "|") == "<b>1 &lt; 2</b>|&lt;"
    assert isinstance(joined([]), Html)


def test_attributes():
    made = element("td", "", class_="x", data_value=0, hidden=True, title=None, open=False)
    assert made == '<td class="x" data-value="0" hidden></td>'
    assert element("img", src='a"b', alt="") == '<img src="a&quot;b" alt="">'


@pytest.mark.parametrize("longest", [3, 4, 5, 80])
@given(text=st.text(max_size=200))
def test_a_shortened_text_keeps_its_ends(longest, text):
    short = shortened(text, longest)
    assert len(short) == min(len(text), longest)
    start, found, end = short.partition("…")
    if len(text) > longest:
        assert found
        assert text.startswith(start)
        assert text.endswith(end)


@pytest.mark.parametrize("path", ["/a/b/c.jpg", "a\\b\\c.jpg", "shard.tar/c.jpg", "c.jpg"])
def test_the_name_of_a_file(path):
    read = Reader(file_name(path))
    assert read.text == "c.jpg"
    assert read.elements[0] == ("span", {"title": path})
