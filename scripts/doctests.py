"""Shows the examples of docstrings as code in the reference; mkdocs.yml names this extension."""

import re
from typing import Any

import griffe

EXAMPLES = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)
"""An example and what follows it, up to an empty line."""


class Doctests(griffe.Extension):
    """Puts examples that stand in a docstring without a heading into code blocks."""

    def on_instance(self, *, obj: griffe.Object, **options: Any) -> None:
        """Change the docstring of a function, class or module."""
        if obj.docstring:
            fenced = EXAMPLES.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
            obj.docstring.value = fenced.replace("  # doctest: +SKIP", "")
