"""The page around its sections."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from didvit.files import whole_file
from didvit.pages.markup import Html, element, joined, printable


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: Its heading.
        body: What stands below.
        key: Its name in addresses within the page: letters, each section another.
    """

    title: str
    body: Html
    key: str


def document(title: str, header: Html, sections: Sequence[Section]) -> Html:
    """A whole page. It loads nothing, and runs no script but the one that sorts its tables.

    Args:
        title: Title of the page, in the browser's tab.
        header: What stands above all sections, its ``h1`` included.
        sections: In their order; the page begins with links to them.
    """
    style, script = (Html(_resource(name)) for name in ("style.css", "sort.js"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        # A browser refuses any other script, and whatever would come from elsewhere.
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("title", title),
        element("style", style),
    )
    links = [element("a", section.title, href=f"#{section.key}") for section in sections]
    body = element(
        "body",
        element("header", header),
        element("nav", *links, aria_label="Sections"),
        element("main", *map(_section, sections)),
        element("script", script),
    )
    return joined([Html("<!doctype html>\n"), element("html", head, body, lang="en"), Html("\n")])


def write_page(path: Path, page: Html) -> None:
    """Write a page in UTF-8, whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def command_line(arguments: Sequence[str]) -> Html:
    """A command as it was typed, in a block of code."""
    return element("pre", element("code", printable(" ".join(arguments))))


def _section(section: Section) -> Html:
    return element("section", element("h2", section.title), section.body, id=section.key)


def _resource(name: str) -> str:
    return files("didvit.pages").joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
