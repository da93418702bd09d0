"""Label errors as a page, with pictures."""

from collections.abc import Sequence

from didvit.curation.audit import Audit, Suspicion
from didvit.data.images import ImageError, read_image
from didvit.data.table import Table
from didvit.pages import Html, Section, document, element, joined, named
from didvit.pages.blocks import Card, Headline, bullets, gallery, headlines, paragraph, small
from didvit.pages.thumbnails import thumbnail

MOST_CARDS = 30
"""Pictures of each kind."""

KINDS = {
    "missing": ("Perhaps missing", "The table says no, and the photograph seems to have it."),
    "wrong": ("Perhaps wrong", "The table says yes, and the photograph seems not to have it."),
}
THUMBNAIL = (440, 440)
"""Height and width that are enough of a photograph."""


def audit_page(audit: Audit, table: Table, indices: Sequence[int], data: str, output: str) -> Html:
    """A self-contained page about the likeliest label errors.

    Args:
        audit: What was found.
        table: The data.
        indices: Places, in the table, of the images that were audited.
        data: How the data are called.
        output: Where all suspicions are listed.
    """
    sections = []
    for kind, (title, meaning) in KINDS.items():
        found = [one for one in audit.suspicions if one.kind == kind]
        cards = [_card(one, table, indices) for one in found[:MOST_CARDS]]
        shown = f"The first {len(cards)} of {len(found):,}, the likeliest first."
        body = joined([paragraph(meaning, " ", shown), gallery(cards)])
        sections.append(Section(title, body if cards else paragraph("None."), kind))
    if audit.left_out:
        rows = [joined([named(label), f": {why}"]) for label, why in audit.left_out.items()]
        sections.append(Section("Labels that were left out", bullets(rows), "left-out"))
    header = joined(
        [
            element("h1", "Label errors in ", named(data)),
            headlines(
                [
                    Headline("Images", f"{audit.num_images:,}"),
                    *(
                        Headline(title, f"{sum(o.kind == kind for o in audit.suspicions):,}")
                        for kind, (title, _) in KINDS.items()
                    ),
                ]
            ),
            small(
                "A suspicion is the probability that the table is wrong, by a model that has not "
                "learned from the image. A person decides. All suspicions are in ",
                named(output),
                "; the table itself is unchanged.",
            ),
        ]
    )
    return document(f"didvit audit: {data}", header, sections)


def _card(one: Suspicion, table: Table, indices: Sequence[int]) -> Card:
    image = table.images[indices[one.image]]
    label = table.labels[one.label]
    row = table.targets[indices[one.image]]
    given = [name for name, y in zip(table.labels, row, strict=True) if y == 1]
    try:
        picture = thumbnail(read_image(image, THUMBNAIL), f"{one.kind}: {label}")
    except ImageError:
        picture = paragraph("The image cannot be read any more.")
    lines = [
        joined([named(label, 40), f" {one.suspicion:.2f}"]),
        joined(["the table says: ", named(", ".join(given) or "nothing", 120)]),
        named(str(image), 60),
    ]
    return Card(picture, lines)
