"""Annotations in VOC's XML, as VOC itself and labeling tools write them."""

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from didvit.data.labels import fault_of
from didvit.data.table import DataError

DECLARED = re.compile(rb"""^\s*<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


class VocObject(NamedTuple):
    """An object of an image: its label, whether it is difficult, and its element."""

    label: str
    difficult: bool
    element: ElementTree.Element


def read_annotation(path: Path) -> tuple[ElementTree.Element, list[VocObject]]:
    """``Annotations/IMAGE.xml``: the root, and every object in it.

    Raises:
        DataError: The file is missing, no XML, no annotation, or an object has no name.
    """
    root = _parse(path)
    for element in root.iter():  # tools that declare a namespace put it into every name
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    if root.tag != "annotation":
        raise DataError(f"{path}: expected an XML file of an <annotation>, got one of <{root.tag}>")
    objects = []
    for element in root.iter("object"):
        label = (element.findtext("name") or "").strip()
        if fault := fault_of(label):
            raise DataError(f"{path}: the name {label!r} of an object cannot be a label: {fault}")
        difficult = (element.findtext("difficult") or "0").strip() == "1"
        objects.append(VocObject(label, difficult, element))
    return root, objects


def _parse(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
        try:
            return ElementTree.fromstring(content)
        except (ValueError, LookupError):  # of encodings with several bytes a character
            declared = DECLARED.match(content)
            if not declared:
                raise
            return ElementTree.fromstring(content.decode(declared[1].decode("ascii")))
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError, OSError) as error:
        raise DataError(f"{path}: cannot be read as XML ({error})") from error
