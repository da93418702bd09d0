"""The report as a self-contained page: counts, labels, samples, co-occurrence, duplicates."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from didvit.data.findings import FEW
from didvit.data.images import ImageError, read_image
from didvit.data.table import Table
from didvit.data.wording import counted
from didvit.inspection.report import LEAST_SIDE, DataReport, Duplicates, Place, Range, SplitReport
from didvit.pages.blocks import (
    Card,
    Headline,
    bullets,
    facts,
    gallery,
    headlines,
    no_picture,
    note,
    paragraph,
    small,
)
from didvit.pages.document import Section, command_line, document
from didvit.pages.markup import Html, element, file_name, joined, named
from didvit.pages.tables import NOTHING, Cell, Column, Number, count, matrix, percent, table
from didvit.pages.thumbnails import thumbnail

MOST_LABELS = 2000
"""Labels with a row; of more, those that most images have."""
SAMPLED_LABELS, SAMPLES, SAMPLE_SIDE = 12, 6, 128
"""Labels with a strip of samples, images in it, and the longer side of each in pixels."""
MATRIX_LABELS = 20
"""Number of labels of the matrix, the most frequent."""
PICTURED = 12
"""Duplicates that are shown as pictures."""
LISTED = 50
"""Sentences, files and duplicates that are listed."""


def data_page(
    report: DataReport,
    tables: Mapping[str, Table],
    command: Sequence[str],
    versions: Mapping[str, str],
) -> Html:
    """A self-contained page about data sets.

    A few images are read again, for samples and duplicates; one that cannot be read any more has a
    sentence in its place.

    Args:
        report: Result of `inspect`.
        tables: The tables that were inspected, by name.
        command: The words of the command.
        versions: Versions by package.
    """
    sections = [
        Section("Data sets", _splits(report), "sets"),
        Section("Images by label", _labels(report), "labels"),
        Section("Samples", _samples(report, tables), "samples"),
        Section("Labels that come together", _cooccurrence(report), "together"),
        Section("Duplicates", _duplicates(report), "duplicates"),
        Section("Sizes", _sizes(report), "sizes"),
        Section("Unreadable images", _bad_files(report), "unreadable"),
        Section("How this was made", _settings(command, versions), "settings"),
    ]
    return document(
        f"didvit data check: {', '.join(report.splits)}",
        _header(report),
        [section for section in sections if section.body],
    )


def _header(report: DataReport) -> Html:
    sets = joined(
        [
            joined([named(name, 60), f" ({counted(split.num_images, 'image')})"])
            for name, split in report.splits.items()
        ],
        ", ",
    )
    numbers = [
        Headline("Images", f"{report.overall.num_images:,}"),
        Headline("Labels", f"{len(report.labels):,}"),
        Headline("Unreadable", f"{len(report.overall.bad_files):,}"),
        Headline("Duplicates", f"{len(report.duplicates):,}"),
        Headline("Problems", f"{len(report.problems):,}"),
        Headline("Warnings", f"{len(report.warnings):,}"),
    ]
    parts = [element("h1", "Data check"), element("p", sets), headlines(numbers)]
    if report.problems:
        parts.append(
            note(element("strong", "Problems"), _sentences(report.problems), kind="warning")
        )
    if report.warnings:
        parts.append(note(element("strong", "Warnings"), _sentences(report.warnings)))
    if not report.problems and not report.warnings:
        parts.append(note("Nothing is wrong with these data.", kind="good"))
    return joined(parts)


def _sentences(sentences: Sequence[str]) -> Html:
    return _list([named(sentence, 600) for sentence in sentences[:LISTED]], len(sentences))


def _list(items: Sequence[Html], number: int) -> Html:
    """A list of the first items of so many."""
    more = number - len(items)
    return joined([bullets(items), small(f"and {more:,} more") if more > 0 else Html("")])


def _splits(report: DataReport) -> Html:
    columns = [Column("Data set"), *(Column(name, True) for name in SPLIT_COLUMNS)]
    every = {**report.splits, **({"all": report.overall} if len(report.splits) > 1 else {})}
    rows = [[named(name, 60), *_split_row(split)] for name, split in every.items()]
    explanation = small(
        f"Sizes are the least, the median and the greatest, in pixels. Small images have a side "
        f"below {LEAST_SIDE} pixels."
    )
    return joined([table(columns, rows, "Data sets"), explanation])


SPLIT_COLUMNS = (
    *("Images", "Unreadable", "Without a label", "Unknown labels"),
    *("Width", "Height", "Width / height", "Small"),
)


def _split_row(split: SplitReport) -> list[Cell]:
    sizes = split.sizes
    counts = split.num_images, len(split.bad_files), split.num_unlabeled, split.num_unknown
    return [
        *map(count, counts),
        _range(sizes and sizes.width, 0),
        _range(sizes and sizes.height, 0),
        _range(sizes and sizes.aspect, 2),
        count(sizes.num_small if sizes else 0),
    ]


def _range(values: Range | None, digits: int) -> Number:
    if values is None:
        return Number(None, NOTHING)
    numbers = (values.least, values.median, values.greatest)
    return Number(values.median, " / ".join(f"{number:.{digits}f}" for number in numbers))


def _labels(report: DataReport) -> Html:
    order = list(report.labels)
    parts = []
    if len(order) > MOST_LABELS:
        frequent = report.cooccurrence.most_frequent(MOST_LABELS)
        order = [report.labels[column] for column in frequent]
        parts.append(
            paragraph(f"The {MOST_LABELS:,} most frequent of {len(report.labels):,} labels.")
        )
    several = len(report.splits) > 1
    names = [*report.splits, *(["all"] if several else [])]
    splits = [*report.splits.values(), *([report.overall] if several else [])]
    greatest = [max(split.positives.values()) for split in splits]
    columns = [Column("Label"), *(Column(name[:60], True) for name in names), Column("Note")]
    missing = {name: set(labels) for name, labels in report.missing.items()}
    rare = {name: set(labels) for name, labels in report.rare.items()}
    rows = []
    for label in order:
        numbers = [
            count(split.positives[label], most)
            for split, most in zip(splits, greatest, strict=True)
        ]
        remarks = [f"none in {name}" for name in report.splits if label in missing[name]]
        remarks += [f"few in {name}" for name in report.splits if label in rare[name]]
        rows.append([named(label), *numbers, named(", ".join(remarks), 120)])
    parts.append(table(columns, rows, "Images by label", sortable=True))
    parts.append(small(f"Few: an image or more, and fewer than {FEW}."))
    return joined(parts)


def _samples(report: DataReport, tables: Mapping[str, Table]) -> Html:
    labels, which = _sampled_labels(report)
    bad = report.overall.bad_files
    places: dict[str, list[Place]] = {label: [] for label in labels}
    for name, table_of in tables.items():
        for image, of_image in zip(table_of.images, table_of.image_labels, strict=True):
            for label in of_image.intersection(places):
                if str(image) not in bad:
                    places[label].append(Place(name, image))
    strips = [
        _strip(label, report.overall.positives[label], of_label)
        for label, of_label in places.items()
    ]
    return joined([small(which), element("div", *strips, class_="strips")]) if strips else Html("")


def _strip(label: str, number: int, places: Sequence[Place]) -> Html:
    """A few of the places, from first to last."""
    heading = element("h3", named(label), f" ({counted(number, 'image')})")
    step = max(len(places) / SAMPLES, 1)
    chosen = [places[math.floor(i * step)] for i in range(min(SAMPLES, len(places)))]
    cards = [Card(_picture(place), []) for place in chosen]
    strip = gallery(cards, "samples") if cards else small("No image with it can be read.")
    return element("div", heading, strip)


def _sampled_labels(report: DataReport) -> tuple[list[str], str]:
    """Labels with samples, and which of all they are: half of them frequent, half of them rare."""
    ranked = report.cooccurrence.most_frequent(len(report.labels))
    occurring = [report.labels[c] for c in ranked if report.overall.positives[report.labels[c]]]
    if len(occurring) <= SAMPLED_LABELS:
        return occurring, "Images of every label, spread over the data sets."
    half = SAMPLED_LABELS // 2
    which = f"Images of the {half} most frequent labels and of the {half} rarest, spread over the "
    return [*occurring[:half], *occurring[-half:]], f"{which}data sets."


def _picture(place: Place, side: int = SAMPLE_SIDE) -> Html:
    try:
        pixels = read_image(place.image, (side, side))
    except ImageError:
        return no_picture("the image cannot be read any more")
    return thumbnail(pixels, "", side=side)


def _cooccurrence(report: DataReport) -> Html:
    pairs = report.strongest_pairs
    if not pairs:
        return Html("")
    columns = (
        Column("Labels"),
        Column("Images", True, "Images with both"),
        Column("Rate", True, "Of the images with the first label, in percent"),
    )
    greatest = max(pair.num_images for pair in pairs)
    rows = [
        [
            joined([named(pair.other, 40), " where ", named(pair.label, 40), " is"]),
            count(pair.num_images, greatest),
            percent(pair.probability),
        ]
        for pair in pairs
    ]
    shown = report.cooccurrence.most_frequent(MATRIX_LABELS)
    _, conditional = report.cooccurrence.matrix(shown)
    names = [report.labels[column] for column in shown]
    words = "labels" if len(names) == len(report.labels) else f"{len(names)} most frequent labels"
    return joined(
        [
            table(columns, rows, "Labels that come together", sortable=True),
            element("h3", f"Co-occurrence of the {words}"),
            small("Of the images with the label of the row, those with that of the column, in %."),
            matrix(names, conditional.tolist(), "Co-occurrence"),
        ]
    )


def _duplicates(report: DataReport) -> Html:
    if not report.duplicates:
        return Html("")
    columns = (Column("Where"), Column("Same file", True), Column("Looks alike", True))
    rows = [
        [
            joined(["within ", named(a, 60)] if a == b else [named(a, 60), " and ", named(b, 60)]),
            count(counts["exact"]),
            count(counts["near"]),
        ]
        for (a, b), counts in report.shared.items()
        if counts.total()
    ]
    ranked = sorted(report.duplicates, key=lambda found: found.exact or _within_one(found))
    cards = [Card(_pair(found), _names(found)) for found in ranked[:PICTURED]]
    rest = [joined(_names(found), "; ") for found in ranked[PICTURED : PICTURED + LISTED]]
    number = len(ranked) - min(PICTURED, len(ranked))
    return joined(
        [table(columns, rows, "Duplicates"), gallery(cards, "wide"), _list(rest, number)],
    )


def _within_one(duplicates: Duplicates) -> bool:
    first, second = duplicates.pair
    return first.split == second.split


def _pair(duplicates: Duplicates) -> Html:
    return element("div", *(_picture(place) for place in duplicates.pair), class_="two")


def _names(duplicates: Duplicates) -> list[Html]:
    """What kind of duplicates they are, and the images of the pair, a line each."""
    others = len(duplicates.images) - 2
    kind = "same file" if duplicates.exact else "looks alike"
    more = f", and {others:,} more" if others else ""
    places = [
        joined([named(place.split, 30), ": ", file_name(place.image)]) for place in duplicates.pair
    ]
    return [joined([kind, more]), *places]


def _sizes(report: DataReport) -> Html:
    edges = report.size_edges
    if len(edges) < 2:
        return Html("")
    columns = [
        Column("Shorter side in pixels"),
        *(Column(name[:60], True) for name in report.splits),
    ]
    greatest = [max(*counts, 1) for counts in report.size_counts.values()]
    rows = [
        [
            f"{low:,} to {high - 1:,}",
            *(
                count(counts[i], most)
                for counts, most in zip(report.size_counts.values(), greatest, strict=True)
            ),
        ]
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    return table(columns, rows, "Sizes")


def _bad_files(report: DataReport) -> Html:
    bad = report.overall.bad_files
    if not bad:
        return Html("")
    columns = (Column("Image"), Column("Reason"))
    rows = [[named(name, 120), named(reason, 300)] for name, reason in list(bad.items())[:LISTED]]
    more = len(bad) - len(rows)
    return joined(
        [
            table(columns, rows, "Unreadable images"),
            small(f"and {more:,} more") if more else Html(""),
        ]
    )


def _settings(command: Sequence[str], versions: Mapping[str, str]) -> Html:
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return joined([facts([("Versions", text)]), element("h3", "Command"), command_line(command)])
