"""What a browser makes of a page: used by the tests of every page."""

from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "col", "hr"}


class Page(HTMLParser):
    """The elements of a page, after checks that hold for every page.

    Attributes:
        elements: Tag and attributes of every element.
        text: Its text, without that of style and script.
        by_section: The text below each heading of level two.
    """

    def __init__(self, markup: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.by_section: dict[str, str] = {}
        self._open: list[str] = []
        self._heading = ""
        assert markup.startswith("<!doctype html>\n")
        assert len(markup.encode()) < 3_000_000
        self.feed(markup)
        self.close()
        assert not self._open
        self._check()

    def of(self, tag: str, **wanted: str) -> list[dict]:
        """Attributes of the elements of this tag that have all the wanted ones."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]

    def _check(self):
        ids = Counter(a["id"] for _, a in self.elements if "id" in a)
        assert max(ids.values()) == 1
        assert len(self.of("script")) == len(self.of("style")) == 1
        assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in self.elements}
        for _, attributes in self.elements:
            assert not any(name.startswith("on") for name in attributes)
            assert attributes.get("src", "data:image/jpeg;base64,").startswith(
                "data:image/jpeg;base64,"
            )
            if "href" in attributes:
                assert attributes["href"].removeprefix("#") in ids

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "h2":
            self._heading = ""

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "h2":
            self.by_section[self._heading] = ""

    def handle_data(self, data):
        if self._open and self._open[-1] in ("style", "script"):
            return
        self.text += data
        if self._open and self._open[-1] == "h2":
            self._heading += data
        elif self.by_section:
            self.by_section[list(self.by_section)[-1]] += data
