"""The page about a model, as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from didvit.data.wording import counted
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
from didvit.pages.tables import Cell, Column, Number, count, percent, table
from didvit.reports.drawings import draw_both, draw_precision_recall, draw_reliability
from didvit.reports.measure import LabelFigures, Measures
from didvit.reports.mistakes import Case
from didvit.reports.rule import Rule
from didvit.reports.subject import Subject

MOST_LABELS = 2000
"""Labels with a row; of more, those that most images have."""

MOST_FAILURES = 50
"""Unreadable images that are listed."""

MOST_TRUE_LABELS = 8
"""Labels of an image that are listed below it."""


@dataclass(frozen=True)
class Circumstances:
    """What figures depend on besides the model.

    Attributes:
        data: What was measured on, as the user named it.
        data_digest: SHA-256 of its images and labels.
        date: Day of the measurement.
        failures: For each image that could not be read, why.
        command: The words of the command.
        versions: Versions by package, the machine among them.
    """

    data: str
    data_digest: str
    date: str
    failures: tuple[str, ...]
    command: tuple[str, ...]
    versions: Mapping[str, str]


def model_page(
    subject: Subject,
    measures: Measures,
    rule: Rule,
    circumstances: Circumstances,
    pictures: Mapping[Case, Html],
) -> Html:
    """A self-contained page about a model.

    Args:
        subject: The model.
        measures: Its figures.
        rule: How its logits became decisions.
        circumstances: What they depend on besides.
        pictures: Result of `picture_cases`; a case without one is told in words alone.
    """
    sections = [
        Section("By label", _labels(measures, rule.notes), "labels"),
        Section("Curves", _curves(measures), "curves"),
        Section("Confusions", _confusions(measures), "confusions"),
        Section("Worst false positives", _false_positives(measures, pictures), "false-positives"),
        Section("Worst misses", _misses(measures, pictures), "misses"),
        Section("Unreadable images", _failures(circumstances.failures), "unreadable"),
        Section("How this was made", _settings(subject, rule, circumstances), "settings"),
    ]
    header = _header(subject, measures, rule, circumstances)
    shown = [section for section in sections if section.body]
    return document(f"didvit report: {subject.name}", header, shown)


def _header(subject: Subject, measures: Measures, rule: Rule, circumstances: Circumstances) -> Html:
    height, width = subject.config.image_size
    parts = [
        element("h1", "Model ", named(subject.name)),
        element(
            "p",
            f"{counted(subject.num_labels, 'label')}, backbone ",
            named(subject.config.backbone),
            f" at {height} × {width} pixels, {subject.num_bytes / 1e6:.1f} MB. Measured on "
            f"{counted(len(measures.images), 'image')} of ",
            named(circumstances.data),
            f" on {circumstances.date}.",
        ),
        headlines(_numbers(measures)),
        element("p", rule.words, " All figures are in percent.", class_="small"),
    ]
    if rule.tuned_here:
        parts.append(
            note(
                element("strong", "These figures are too good. "),
                "Thresholds or probabilities were tuned on these very images, so that precision, "
                "recall, F1 and calibration are not unbiased. Measure on images that were used for "
                "nothing else.",
                kind="warning",
            )
        )
    return joined(parts)


def _numbers(measures: Measures) -> list[Headline]:
    decided, interval = measures.overall, measures.mAP_interval
    measured = sum(of_label.AP is not None for of_label in measures.labels)
    over = f"over {counted(measured, 'label')}" if measured else "no label can be measured"
    if interval:
        over = f"95 %: {100 * interval.low:.1f} to {100 * interval.high:.1f}, {over}"
    error, mean = (percent(x).text for x in (measures.calibration_error, measures.mean_F1))
    return [
        Headline("mAP", percent(measures.mAP).text, over),
        Headline("Precision", percent(decided.precision).text, "of what is predicted is there"),
        Headline("Recall", percent(decided.recall).text, "of what is there is predicted"),
        Headline("F1", percent(decided.F1).text, f"mean of the labels' F1: {mean}"),
        Headline("Calibration error", error, "mean distance of probability and truth"),
    ]


COLUMNS = (
    Column("Label"),
    Column("AP", True, "Average precision: quality of the order of the images, at any threshold"),
    Column("Images with it", True),
    Column("Threshold", True, "Least probability with which the label is predicted"),
    Column("Precision", True, "Part of the images with the prediction that have the label"),
    Column("Recall", True, "Part of the images with the label that are predicted to have it"),
    Column("F1", True, "Harmonic mean of precision and recall"),
    Column("Calibration error", True, "Mean distance of predicted probability and true part"),
)


def _labels(measures: Measures, notes: Sequence[str]) -> Html:
    places = list(range(len(measures.labels)))
    parts = []
    if len(places) > MOST_LABELS:
        parts.append(
            paragraph(
                f"The {MOST_LABELS:,} most frequent of {len(places):,} labels; "
                "'didvit evaluate --json' lists all."
            )
        )
        ranked = sorted(places, key=lambda c: -measures.labels[c].positives)
        places = ranked[:MOST_LABELS]
    shown = [measures.labels[c] for c in places]
    most = max(of_label.positives for of_label in shown)
    worst = max(of_label.calibration_error or 0 for of_label in shown)
    rows = [_label_row(of_label, most, worst) for of_label in shown]
    columns = COLUMNS
    remarks = [_remark(measures.labels[c], notes[c] if notes else "") for c in places]
    if any(remarks):
        columns = (*COLUMNS, Column("Note"))
        rows = [[*row, remark] for row, remark in zip(rows, remarks, strict=True)]
    parts.append(table(columns, rows, "Figures by label", sortable=True))
    parts.append(small(EXPLANATION))
    return joined(parts)


EXPLANATION = (
    "AP rates the order of the images at any threshold; precision, recall and F1 hold at the "
    "threshold. Calibration error is the mean distance between a probability and how often it is "
    "true (expected calibration error, 15 bins of equally many images); it is small where most "
    "images plainly lack a label. Of a label with few images all of them vary much with chance. "
    "Images of which a label is unknown do not count for it."
)


def _label_row(figures: LabelFigures, most: int, worst: float) -> list[Cell]:
    decided, error = figures.decided, figures.calibration_error
    return [
        named(figures.label),
        percent(figures.AP),
        count(figures.positives, max(most, 1)),
        Number(figures.threshold, _probability(figures.threshold)),
        percent(decided.precision),
        percent(decided.recall),
        percent(decided.F1),
        percent(error)._replace(part=None if error is None else error / max(worst, 1e-9)),
    ]


def _remark(figures: LabelFigures, of_threshold: str) -> Html:
    """Why a label has no AP, and what to know of its threshold."""
    parts = [f"no AP: {figures.unmeasured}"] if figures.unmeasured else []
    parts += [f"threshold: {of_threshold}"] if of_threshold else []
    return named("; ".join(parts), 160) if parts else Html("")


def _curves(measures: Measures) -> Html:
    if not len(measures.precision_recall.recall):
        return paragraph("There are no curves: no image is known to have a label.")
    pooled = [
        Card(
            draw_precision_recall(measures.precision_recall, measures.overall, "all-p"),
            ["All labels together: precision by recall", "The dot marks the thresholds in use."],
        ),
        Card(
            draw_reliability(measures.reliability, "all-r"),
            [
                "All labels together: reliability of the probabilities",
                "On the dashed line a probability is true as often as it says; below it the model "
                "is too sure. Bars: 95 % intervals.",
            ],
        ),
    ]
    few = [
        Card(
            draw_both(of.precision_recall, of.figures.decided, of.reliability, f"label{place}"),
            [
                joined([named(of.figures.label, 40), f", {of.reason}"]),
                f"AP {percent(of.figures.AP).text}, "
                f"{counted(of.figures.positives, 'image')} with it",
            ],
        )
        for place, of in enumerate(measures.chosen)
    ]
    several = len(measures.labels) > 1 and few
    heading = element("h3", "Labels with the best and the worst AP, and the most frequent")
    return joined(
        [
            gallery(pooled, "pair"),
            *([heading, gallery(few, "drawings")] if several else []),
        ]
    )


def _confusions(measures: Measures) -> Html:
    if not measures.confusions:
        return paragraph("No label is predicted wrongly more often where another one is.")
    columns = (
        Column("What happens"),
        Column("Images", True, "Images with the wrong prediction that have the other label"),
        Column("Rate", True, "Of the images with the wrong prediction, in percent"),
        Column("Base rate", True, "Of all images without the predicted label, in percent"),
    )
    greatest = max(pair.together for pair in measures.confusions)
    rows = []
    for pair in measures.confusions:
        label, other = (named(measures.labels[c].label, 40) for c in (pair.label, pair.other))
        words = (
            *("predicted ", element("b", label)),
            f" on {counted(pair.false_positives, 'image')} without it; {pair.together:,} of them "
            f"{'has' if pair.together == 1 else 'have'} ",
            element("b", other),
        )
        rows.append(
            [
                joined(words),
                count(pair.together, greatest),
                percent(pair.together / pair.false_positives, digits=0),
                percent(pair.usual, digits=0),
            ]
        )
    explanation = small(
        "Pairs that come together more often than chance would have it, the most images in excess "
        "of chance first. The rate is the part of the wrong predictions where the other label is "
        "there, the base rate its part of all images without the predicted label. A label that is "
        "there and was not marked in the data counts as a wrong prediction too."
    )
    return joined([table(columns, rows, "Confusions", sortable=True), explanation])


def _false_positives(measures: Measures, pictures: Mapping[Case, Html]) -> Html:
    if not measures.false_positives:
        return paragraph("None: no label is predicted on an image that is known to lack it.")
    return joined(
        [
            small(
                "Labels that the model is most sure of on images that lack them. Each image comes "
                "once, and a label more than twice only where others have too few. Some may be "
                "there and not be marked in the data. The frame is the region of the label."
            ),
            _cases(measures, measures.false_positives, pictures),
        ]
    )


def _misses(measures: Measures, pictures: Mapping[Case, Html]) -> Html:
    if not measures.misses:
        return paragraph("None: every label that is there is predicted.")
    return joined(
        [
            small("Labels that are there and that the model thinks least likely, chosen likewise."),
            _cases(measures, measures.misses, pictures),
        ]
    )


def _cases(measures: Measures, cases: Sequence[Case], pictures: Mapping[Case, Html]) -> Html:
    cards = []
    for case in cases:
        true = [named(label, 40) for label in measures.true_labels[case.row]]
        more = len(true) - MOST_TRUE_LABELS
        listed = joined(true[:MOST_TRUE_LABELS], ", ") or Html("none")
        lines = [
            joined(
                [named(measures.labels[case.label].label, 40), f" {_probability(case.probability)}"]
            ),
            f"threshold {_probability(case.threshold)}",
            joined(["has: ", listed, f" and {more} more" if more > 0 else ""]),
            file_name(measures.images[case.row]),
        ]
        cards.append(Card(pictures.get(case, no_picture("no picture")), lines))
    return gallery(cards)


def _probability(value: float) -> str:
    """A probability with three digits; none is rounded to 0 or 1, which would be certainty."""
    if value > 1:
        return "never"
    if 0 < value < 0.001:
        return "< 0.001"
    return "> 0.999" if 0.999 < value < 1 else f"{value:.3f}"


def _failures(failures: Sequence[str]) -> Html:
    if not failures:
        return Html("")
    lines = [named(failure, 300) for failure in failures[:MOST_FAILURES]]
    more = len(failures) - len(lines)
    return joined(
        [
            paragraph(f"{counted(len(failures), 'image')} could not be read and do not count:"),
            bullets(lines),
            paragraph(f"and {more:,} more") if more else Html(""),
        ]
    )


def _settings(subject: Subject, rule: Rule, circumstances: Circumstances) -> Html:
    method = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in asdict(subject.method).items()
    )
    files = [
        joined([named(file.name), f", {file.num_bytes:,} bytes: ", element("code", file.digest)])
        for file in subject.files
    ]
    versions = ", ".join(f"{name} {version}" for name, version in circumstances.versions.items())
    pairs = [
        ("Model", named(subject.name, 300)),
        ("Backbone", named(f"{subject.config.backbone}, head {subject.config.head}")),
        ("Method", method),
        ("Engine", subject.engine),
        ("Thresholds", rule.words),
        ("Data", named(circumstances.data, 300)),
        ("SHA-256 of the data", element("code", circumstances.data_digest)),
        ("SHA-256 of files", bullets(files)),
        ("Versions", versions),
    ]
    return joined([facts(pairs), element("h3", "Command"), command_line(circumstances.command)])
