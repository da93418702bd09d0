"""Quality of the boxes, for every localization and re-constraint. No compared system reports it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from didvit.config import PAPER, with_settings
from didvit.data.boxes import AnnotatedImage, read_boxes
from didvit.data.table import DataError
from didvit.devices import choose_device
from didvit.environment import versions
from didvit.evaluation.boxes import score_boxes
from didvit.experiments.benchmarks import Scale
from didvit.files import whole_file
from didvit.modeling.checkpoint import Checkpoint, load_checkpoint

PAPER_DATA = ("coco:val2014", "VOCdevkit/VOC2007:test")
SMALL_DATA = (
    *("coco80:val2017", "coco80b:train2017", "coco80b:val2017"),
    *("VOCdevkit/VOC2007:trainval", "VOCdevkit/VOC2007:test"),
)
"""Images with boxes, relative to the root: at the paper's scale, and at the others. Nothing learns
from them."""

SETTINGS: dict[str, dict[str, Any]] = {
    "hadamard": {"reconstraint": "hadamard"},
    "sum": {"reconstraint": "sum"},
    "none": {"reconstraint": "none"},
    "shifted": {"reconstraint": "shifted"},
    "sigmoid": {"reconstraint": "sigmoid"},
    "scaled_sum": {"reconstraint": "scaled_sum"},
    "hadamard, rows": {"reconstraint": "hadamard", "normalization": "row"},
    "shifted, rows": {"reconstraint": "shifted", "normalization": "row"},
    "none, MCAR's boxes": {"reconstraint": "none", "localization": "mcar"},
    "hadamard, MCAR's boxes": {"localization": "mcar"},
    "hadamard, MCAR's boxes, λ = 0.5": {"localization": "mcar", "box_threshold": 0.5},
    "none, HCP's boxes": {"reconstraint": "none", "localization": "hypotheses"},
    "random boxes": {"localization": "random"},
}
"""What is changed in the paper's preset; weights are as they were trained."""

NOT_THEIRS = {
    "none, HCP's boxes": ("pointing_game", "corloc", "mean_iou"),
    "random boxes": ("pointing_game",),
}
"""Measures that say nothing of a setting: the point is always the map's, and HCP's box of a label
alone, without other labels' boxes to keep clear of, is DiD's."""

MEASURES = {
    "pointing_game": "pointing",
    "corloc": "CorLoc",
    "mean_iou": "IoU",
    "coverage": "coverage",
}


def box_results(
    model: str,
    scale: Scale,
    root: Path,
    device: str,
    resamples: int = 1000,
    tell: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """The quality of a model's boxes under all `SETTINGS`, and of trivial boxes.

    Args:
        model: ``"default"`` or a model folder.
        scale: ``"paper"`` for `PAPER_DATA`, or another for `SMALL_DATA`.
        root: The folder that its paths are relative to.
        device: Where to run.
        resamples: Resamples of the bootstrap over images.
        tell: Receives a message about each next step.

    Raises:
        CheckpointError: The model cannot be used.
        DataError: The data cannot be used.
    """
    labels = load_checkpoint(model).labels
    specs = PAPER_DATA if scale == "paper" else SMALL_DATA
    images = [image for spec in specs for image in read_boxes(str(root / spec), labels)]
    reports = {}
    for name, changes in SETTINGS.items():
        tell(f"boxes: {name}, {len(images)} images")
        checkpoint = load_checkpoint(model, with_settings(PAPER, changes))
        reports[name] = _measure(checkpoint, images, device, resamples)
    # Trivial boxes depend on no map, and are the same in every report.
    trivial = reports["none"]
    rows = [
        *(_row(name, report, "model") for name, report in reports.items()),
        _row("whole image", trivial, "whole_image"),
        _row("center box of half the area", trivial, "center_box"),
    ]
    return {
        "model": model,
        "data": specs,
        "resamples": resamples,
        **trivial["counts"],
        "rows": rows,
        "versions": versions(),
    }


def _measure(
    checkpoint: Checkpoint, images: Sequence[AnnotatedImage], device: str, resamples: int
) -> dict[str, Any]:
    """The quality of boxes, by method, and what it is over."""
    chosen, image_size = choose_device(device), checkpoint.config.image_size
    report = score_boxes(
        checkpoint.model.to(chosen), images, image_size, chosen, resamples=resamples
    )
    if report.failures:
        raise DataError(f"an experiment needs all images: {report.failures[0]}")
    return {
        "counts": {
            "images": report.num_images,
            "pairs": report.num_pairs,
            "objects": report.num_objects,
        },
        "methods": {name: asdict(quality) for name, quality in report.methods.items()},
    }


def _row(name: str, report: dict[str, Any], method: str) -> dict[str, Any]:
    return {"name": name, **report["methods"][method]}


def box_markdown(results: dict[str, Any]) -> str:
    """The table in Markdown, without a title."""
    lines = [
        f"Of the model `{results['model']}`, in percent: the mean over labels, its 95 % interval "
        "over images, and the average over everything. Blank is a measure that "
        "says nothing of the setting.",
        "",
        f"{results['images']} images with {results['pairs']} labels and {results['objects']} "
        f"objects: {', '.join(f'`{spec}`' for spec in results['data'])}.",
        "",
        f"| | {' | '.join(MEASURES.values())} | area of a view |",
        f"| --- |{' --- |' * len(MEASURES)} --- |",
        *(f"| {row['name']} | {' | '.join(_cells(row))} |" for row in results["rows"]),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> Sequence[str]:
    cells = []
    for name in MEASURES:
        low, high = row[name]["label_mean_interval"]
        cell = f"{row[name]['label_mean']:.1f} ({low:.0f}-{high:.0f}); {row[name]['overall']:.1f}"
        cells.append("" if name in NOT_THEIRS.get(row["name"], ()) else cell)
    return [*cells, f"{row['area']:.0f}"]


def draw_boxes(results: dict[str, Any], path: Path) -> None:
    """Pointing game and CorLoc of every setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes, rows = figure.subplots(), results["rows"][::-1]
    for i, name in enumerate(("corloc", "pointing_game")):
        places = [place + 0.4 * i - 0.2 for place in range(len(rows))]
        theirs = [name not in NOT_THEIRS.get(row["name"], ()) for row in rows]
        values = [row[name]["label_mean"] * own for row, own in zip(rows, theirs, strict=True)]
        bars = axes.barh(places, values, 0.4, label=MEASURES[name])
        axes.bar_label(bars, ["" if own else "n/a" for own in theirs], fontsize=7)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_xlabel("mean over labels, percent")
    axes.legend(loc="lower right")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
