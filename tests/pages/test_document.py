"""The page as a whole: it needs nothing from elsewhere, and runs one script."""

import base64
import hashlib
import re

import pytest

from didvit.pages import Section, document, element, write_page
from didvit.pages.blocks import Card, Headline, bullets, facts, gallery, headlines, note
from didvit.pages.document import command_line
from didvit.pages.tables import Column, Number, count, matrix, percent, table

SECTIONS = [
    Section("One & two", element("p", "text"), "one"),
    Section("<Three>", element("p", "more"), "three"),
]


@pytest.fixture(scope="module")
def page():
    return document("a </title><script>", element("h1", "Head"), SECTIONS)


def test_sections_and_links_to_them(page):
    assert re.findall(r'<a href="#(\w+)">(.*?)</a>', page) == [
        ("one", "One &amp; two"),
        ("three", "&lt;Three&gt;"),
    ]
    assert re.findall(r'<section id="(\w+)"><h2>(.*?)</h2>', page) == [
        ("one", "One &amp; two"),
        ("three", "&lt;Three&gt;"),
    ]


def test_the_only_script_is_the_one_that_the_policy_allows(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert f"script-src &#x27;sha256-{digest}&#x27;" in policy
    assert "default-src &#x27;none&#x27;" in policy


def test_nothing_comes_from_elsewhere(page):
    assert not re.search(r"https?:|//\w|@import|url\(|<link|<iframe", page.replace("// ", ""))


def test_braces_of_the_style_are_balanced(page):
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    depth = 0
    for brace in re.findall(r"[{}]", style):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    used = set(re.findall(r"var\((--[\w-]+)", style)) - {"--part"}
    assert used <= set(re.findall(r"(--[\w-]+):", style))


def test_a_page_is_written_whole(tmp_path, page):
    write_page(tmp_path / "new" / "page.html", page)
    assert (tmp_path / "new" / "page.html").read_bytes().decode() == page
    with pytest.raises(OSError, match="directory"):
        write_page(tmp_path / "new", page)


def test_a_command_stays_text():
    assert command_line(["didvit", "<b>", "a\nb"]) == (
        "<pre><code>didvit &lt;b&gt; a\\nb</code></pre>"
    )


def test_numbers_of_a_table():
    assert percent(0.1234) == Number(0.1234, "12.3", 0.1234)
    assert percent(None) == percent(float("nan")) == Number(None, "–")
    assert percent(0.5, digits=0, bar=False) == Number(0.5, "50")
    assert count(1200, 2400) == Number(1200, "1,200", 0.5)
    assert count(3).part is None


def test_a_table():
    columns = [Column("a"), Column("b", True, 'say "b"'), Column("c")]
    made = table(columns, [["<x>", Number(0.5, "50 %", 0.25), "y"]], "all")
    assert '<th scope="row">&lt;x&gt;</th>' in made
    assert (
        '<td class="number bar" data-value="0.5" style="--part:25.0%">50 %</td><td>y</td>' in made
    )
    assert '<th class="number" scope="col" title="say &quot;b&quot;">b</th>' in made
    assert "sortable" not in made
    assert 'class="sortable"' in table(columns, [], "all", sortable=True)


def test_missing_numbers_have_no_value_to_sort_by():
    made = table([Column("a"), Column("b", True)], [["x", percent(None)]], "all")
    assert '<td class="number">–</td>' in made


def test_a_matrix():
    made = matrix(["<a>", "b"], [[1.0, 0.5], [float("nan"), 1.0]], "all")
    assert made.count("&lt;a&gt;") == 2
    assert '<td></td><td style="--part:35%">50</td>' in made
    assert "<td>–</td><td></td>" in made


def test_blocks_escape_their_texts():
    made = "".join(
        [
            headlines([Headline("<n>", "<v>", "<t>")]),
            facts([("<n>", "<v>")]),
            note("<n>", kind="warning"),
            bullets(["<n>"]),
            gallery([Card(element("img", alt="<n>"), ["<v>"])]),
        ]
    )
    assert not re.search(r"<[nvt]>", made)
    assert bullets([]) == ""
