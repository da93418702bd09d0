"""Building blocks of self-contained HTML pages: one file, with nothing from elsewhere.

- ``markup``: text that is escaped, and markup that is not
- ``document``: the page around its sections, with ``style.css`` and ``sort.js`` in it
- ``blocks``: headline numbers, facts, notes, galleries
- ``tables``: tables with bars, which a reader can sort
- ``drawing``: figures of matplotlib as SVG that follows the colors of the page
- ``thumbnails``: small photographs inside the page

A page reads well without its script, in light and dark, on a telephone and on paper. Whatever it
shows is escaped: names of files and labels may hold anything. No PyTorch is needed.
"""

from didvit.pages.document import Section, document, write_page
from didvit.pages.markup import Html, element, joined, named

__all__ = ["Html", "Section", "document", "element", "joined", "named", "write_page"]
