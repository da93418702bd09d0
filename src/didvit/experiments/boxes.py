"""How good the boxes are, for every localization and re-constraint: no compared system says."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch

from didvit.box_quality import score_boxes
from didvit.checkpoint import Checkpoint, load_checkpoint
from didvit.config_json import to_json
from didvit.data.boxes import AnnotatedImage, read_boxes
from didvit.data.table import DataError
from didvit.experiments.trainer import REVISION, digest
from didvit.files import whole_file, write_json
from didvit.inference import choose_device
from didvit.presets import PAPER
from didvit.run_folder import versions

DATA = {
    "cpu": ("coco80:val2017", "VOCdevkit/VOC2007:trainval", "VOCdevkit/VOC2007:test"),
    "paper": ("coco:val2014", "VOCdevkit/VOC2007:test"),
}
"""Images with boxes, relative to the root, by scale. Nothing learns from them."""

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
    scale: str,
    root: Path,
    device: str,
    cache: Path,
    resamples: int = 1000,
    tell: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """The quality of a model's boxes under all `SETTINGS`, and of trivial ones.

    Args:
        model: ``"default"`` or a model folder.
        scale: A key of `DATA`.
        root: The folder that its paths are relative to.
        device: Where to run.
        cache: Folder for what was measured, by what it was measured on and with.
        resamples: Of the bootstrap over images.
        tell: Told what is done next.

    Raises:
        CheckpointError, DataError: Of the model and the data.
    """
    trained = load_checkpoint(model)
    weights = hashlib.sha256(safetensors.torch.save(trained.model.state_dict())).hexdigest()
    data = {spec: read_boxes(str(root / spec), trained.labels) for spec in DATA[scale]}
    rows = []
    for spec, images in data.items():
        reports = {}
        for name, changes in SETTINGS.items():
            settings = {**PAPER, **changes}
            made_with = {
                "settings": {**to_json(replace(trained.config, **settings)), "weights": weights},
                "resamples": resamples,
                "images": _digest(images),
                "revision": REVISION,
            }
            path = cache / f"boxes-{digest(made_with)}.json"
            if not path.exists():
                tell(f"{spec}: {name}")
                checkpoint = load_checkpoint(model, settings)
                write_json(path, _measure(checkpoint, images, device, resamples))
            reports[name] = json.loads(path.read_text())
        rows += [_row(spec, name, report, "model") for name, report in reports.items()]
        # These look at no map, and are the same in every report.
        trivial = reports["none"]
        rows += [_row(spec, "whole image", trivial, "whole_image")]
        rows += [_row(spec, "center box of half the area", trivial, "center_box")]
    return {
        "experiment": "boxes",
        "scale": scale,
        "model": model,
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


def _digest(images: Sequence[AnnotatedImage]) -> str:
    """A name for images and their boxes, wherever they lie."""
    rows = [(image.image.name, image.size, image.boxes, image.labels) for image in images]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _row(spec: str, name: str, report: dict[str, Any], method: str) -> dict[str, Any]:
    return {"data": spec, "name": name, **report["counts"], **report["methods"][method]}


def box_markdown(results: dict[str, Any]) -> str:
    """A table for each data set, in Markdown, of the JSON."""
    lines = [
        "## The quality of the boxes",
        "",
        f"Of the model `{results['model']}`, in percent: the mean over labels, its 95 % interval "
        "over images, and the average over everything. Blank is a measure that "
        "says nothing of the setting.",
    ]
    for spec in dict.fromkeys(row["data"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["data"] == spec]
        first = rows[0]
        lines += [
            "",
            f"`{spec}`: {first['images']} images, {first['pairs']} labels in them, "
            f"{first['objects']} objects.",
            "",
            f"| | {' | '.join(MEASURES.values())} | area of a view |",
            f"| --- |{' --- |' * len(MEASURES)} --- |",
        ]
        lines += [f"| {row['name']} | {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> Sequence[str]:
    cells = []
    for name in MEASURES:
        low, high = row[name]["label_mean_interval"]
        cell = f"{row[name]['label_mean']:.1f} ({low:.0f}-{high:.0f}); {row[name]['overall']:.1f}"
        cells.append("" if name in NOT_THEIRS.get(row["name"], ()) else cell)
    return [*cells, f"{row['area']:.0f}"]


def draw_boxes(results: dict[str, Any], path: Path) -> None:
    """Pointing game and CorLoc of every setting, one panel for each data set."""
    from matplotlib.figure import Figure

    specs = list(dict.fromkeys(row["data"] for row in results["rows"]))
    figure = Figure(figsize=(4.5 * len(specs), 5), layout="constrained")
    panels = figure.subplots(1, len(specs), sharey=True, squeeze=False)[0]
    for axes, spec in zip(panels, specs, strict=True):
        rows = [row for row in results["rows"] if row["data"] == spec][::-1]
        for i, name in enumerate(("corloc", "pointing_game")):
            places = [place + 0.4 * i - 0.2 for place in range(len(rows))]
            theirs = [name not in NOT_THEIRS.get(row["name"], ()) for row in rows]
            values = [row[name]["label_mean"] * own for row, own in zip(rows, theirs, strict=True)]
            bars = axes.barh(places, values, 0.4, label=MEASURES[name])
            axes.bar_label(bars, ["" if own else "n/a" for own in theirs], fontsize=7)
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set_xlabel(f"mean over labels, percent\n{spec}")
    panels[-1].legend(loc="lower right")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
