"""A model's calibration and thresholds, in its folder as ``decisions.json``."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from didvit.config import ConfigError
from didvit.decisions.aims import Aim, parse_aim
from didvit.decisions.calibration import Calibration, fit_calibration
from didvit.decisions.passes import PERCENTILES, ViewBudget, ViewPolicy, fit_view_policy
from didvit.decisions.thresholds import LabelThreshold, fit_thresholds
from didvit.files import write_json
from didvit.method.fusion import FUSIONS

FILE = "decisions.json"
LEARNED_FROM = "learned_from"
"""Field of a run's ``train.json``: `data_digest` of the data that the model learned from."""
FORMAT = 1
MOST_BYTES = 2**26
DIGITS = 6
"""Significant digits of what is stored."""


class DecisionsError(ValueError):
    """``decisions.json`` cannot be used; the message names it and says how to mend it."""


@dataclass(frozen=True)
class Decisions:
    """What turns a model's fused logits into probabilities and labels.

    Attributes:
        labels: The model's labels, in order.
        calibration: From logits to probabilities.
        aims: Thresholds per label, by aim; the first aim is the default.
        fusion: Name of the fusion whose logits they are for.
        weights: SHA-256 of the model's file of weights.
        data: What the tuning data were called.
        data_digest: `data_digest` of the tuning data.
        num_images: Number of images that they are tuned on.
        date: When, as ISO 8601.
        forced: They were tuned on data that the model learned from.
        views: Which images' views may be left out; None for a model that takes no views.
    """

    labels: tuple[str, ...]
    calibration: Calibration
    aims: dict[str, tuple[LabelThreshold, ...]]
    fusion: str
    weights: str
    data: str
    data_digest: str
    num_images: int
    date: str = field(default_factory=lambda: date.today().isoformat())
    forced: bool = False
    views: ViewPolicy | None = None

    @property
    def default_aim(self) -> str:
        """The aim whose thresholds are used where none is asked for."""
        return next(iter(self.aims))

    def probabilities(self, logits: Float[np.ndarray, "*n C"]) -> Float[np.ndarray, "*n C"]:
        """Calibrated probabilities of fused logits."""
        return self.calibration.probabilities(logits)

    def facts(self, aim: str | None = None) -> tuple[LabelThreshold, ...]:
        """The thresholds of an aim, with what they rest on; of the default aim for None.

        Raises:
            ConfigError: The aim is not stored.
        """
        wanted = self.default_aim if aim is None else str(parse_aim(aim))
        if wanted not in self.aims:
            raise ConfigError(
                f"the model has no thresholds for {wanted}, but for {', '.join(self.aims)}; make "
                f"them with 'didvit tune MODEL --data VAL --for {wanted}'"
            )
        return self.aims[wanted]

    def thresholds(self, aim: str | None = None) -> Float[np.ndarray, " C"]:
        """Least calibrated probability of each label, for an aim.

        Raises:
            ConfigError: The aim is not stored.
        """
        return np.array([label.threshold for label in self.facts(aim)])

    def view_budget(self, passes: float, most: float) -> ViewBudget | None:
        """What takes so many forward passes per image on average; None where all views do.

        Args:
            passes: From 1 (no views) to ``most``.
            most: With the views of all images.

        Raises:
            ConfigError: ``passes`` is out of its range, or there are no views to leave out.
        """
        if self.views is None or most <= 1:
            raise ConfigError(
                f"passes is {passes}, and the model takes no views, or was tuned before they could "
                "be left out; leave passes out, or tune it again with 'didvit tune MODEL --data "
                "VAL'"
            )
        if not isinstance(passes, Real) or not 1 <= passes <= most:
            raise ConfigError(
                f"passes is {passes}; expected a number from 1 (no views) to {most:g} (all views)"
            )
        least_uncertainty = self.views.least_uncertainty((passes - 1) / (most - 1))
        return (
            None if passes == most else ViewBudget(self.views, self.calibration, least_uncertainty)
        )


def decide(
    global_logits: Float[np.ndarray, "n C"],
    local_logits: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    labels: tuple[str, ...],
    aims: Sequence[Aim],
    *,
    fusion: str,
    weights: str,
    data: str,
    digest: str,
    forced: bool = False,
) -> Decisions:
    """Calibrate, and choose thresholds for one aim or more; the first becomes the default.

    Args:
        global_logits: Of the whole images of the tuning data.
        local_logits: Of their views; the same where the model takes none.
        targets: 1, 0, or -1 (unknown).
        labels: The model's labels.
        aims: What for.
        fusion: Of both logits.
        weights, data, digest, forced: See `Decisions`.

    Raises:
        ConfigError: No label has both images that have it and images that lack it.
    """
    has, lacks = (targets == 1).any(0), (targets == 0).any(0)
    if not (has & lacks).any():
        raise ConfigError(
            f"{data}: no label has both images that have it and images that lack it, so that "
            "nothing can be tuned; expected a validation set of the model's labels"
        )
    logits = FUSIONS[fusion](global_logits, local_logits)
    calibration = rounded(fit_calibration(logits, targets))
    probabilities = calibration.probabilities(logits)
    thresholds = {str(aim): tuple(fit_thresholds(probabilities, targets, aim)) for aim in aims}
    views = None
    if (local_logits != global_logits).any():
        views = fit_view_policy(global_logits, local_logits, FUSIONS[fusion], calibration)
    return Decisions(
        labels,
        calibration,
        thresholds,
        fusion,
        weights,
        data,
        digest,
        len(logits),
        forced=forced,
        views=views,
    )


def with_older_aims(new: Decisions, old: Decisions | None) -> Decisions:
    """New decisions, with the aims that older ones of the same model and data have besides."""
    if old is None or (old.data_digest, old.weights) != (new.data_digest, new.weights):
        return new
    return replace(
        new, aims={**new.aims, **{k: v for k, v in old.aims.items() if k not in new.aims}}
    )


def rounded(calibration: Calibration) -> Calibration:
    """The calibration with as many digits as are stored, so that thresholds fit what is read."""
    return Calibration(
        _round(calibration.slopes),
        _round(calibration.offsets),
        {c: (_round(x), _round(y)) for c, (x, y) in calibration.curves.items()},
        calibration.notes,
    )


def weights_digest(path: Path) -> str:
    """SHA-256 of a file of weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_digest(images: Sequence[Any], targets: Int[np.ndarray, "n C"]) -> str:
    """SHA-256 of the names of images, without their folders, and their labels, in any order."""
    rows = sorted(
        f"{str(image).replace(chr(92), '/').rpartition('/')[2]}\0".encode(errors="replace")
        + row.astype(np.int8).tobytes()
        for image, row in zip(images, targets, strict=True)
    )
    return hashlib.sha256(b"\n".join(rows)).hexdigest()


def write_decisions(folder: Path, decisions: Decisions) -> None:
    """Write ``decisions.json``, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    calibration = decisions.calibration
    labels = {}
    for c, label in enumerate(decisions.labels):
        entry: dict[str, Any] = {
            "slope": float(calibration.slopes[c]),
            "offset": float(calibration.offsets[c]),
        }
        if c in calibration.curves:
            x, y = calibration.curves[c]
            entry["curve"] = [x.tolist(), y.tolist()]
        if c in calibration.notes:
            entry["note"] = calibration.notes[c]
        labels[label] = entry
    content = {
        "format": FORMAT,
        "weights": decisions.weights,
        "data": decisions.data,
        "data_digest": decisions.data_digest,
        "num_images": decisions.num_images,
        "date": decisions.date,
        "forced": decisions.forced,
        "fusion": decisions.fusion,
        "views": _views_to_json(decisions.views),
        "calibration": labels,
        "aims": {
            aim: {
                label: _threshold_to_json(threshold)
                for label, threshold in zip(decisions.labels, thresholds, strict=True)
            }
            for aim, thresholds in decisions.aims.items()
        },
    }
    write_json(folder / FILE, content)


def copy_decisions(source: Path, target: Path, labels: tuple[str, ...], weights_file: str) -> bool:
    """Give a model the decisions of the one that it is a rounded copy of; whether there are any.

    Args:
        source: Folder of the original.
        target: Folder of the copy, with its weights.
        labels: The labels of both.
        weights_file: Name of the file of weights in both.

    Raises:
        DecisionsError: Those of the original are damaged, or of other weights.
    """
    decisions = read_decisions(source, labels, weights_digest(source / weights_file))
    if decisions is not None:
        write_decisions(target, replace(decisions, weights=weights_digest(target / weights_file)))
    return decisions is not None


def remove_decisions(folder: Path) -> bool:
    """Remove ``decisions.json``; whether there was one."""
    path = folder / FILE
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def read_decisions(folder: Path, labels: tuple[str, ...], weights: str) -> Decisions | None:
    """Read ``decisions.json``; None if there is none.

    Args:
        folder: Model folder.
        labels: The model's labels.
        weights: `weights_digest` of the model's file of weights.

    Raises:
        DecisionsError: It is damaged, of another version, of other weights or of other labels.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    mend = "tune the model again with 'didvit tune', or remove the file with --reset"
    if path.stat().st_size > MOST_BYTES:
        raise DecisionsError(f"{path} has more than {MOST_BYTES:,} bytes; {mend}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DecisionsError(
                f"{path} has format {content['format']}, and this version of didvit reads "
                f"{FORMAT}; {mend}"
            )
        decisions = _parse(content)
    except DecisionsError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise DecisionsError(f"{path} is damaged ({error!r}); {mend}") from error
    if decisions.weights != weights:
        raise DecisionsError(
            f"{path} was tuned with other weights (digest {decisions.weights[:12]}) than the "
            f"model's ({weights[:12]}); {mend}"
        )
    if decisions.labels != labels:
        raise DecisionsError(f"{path} has other labels than the model; {mend}")
    return decisions


def _parse(content: dict[str, Any]) -> Decisions:
    entries = content["calibration"]
    labels = tuple(entries)
    slopes, offsets = (
        np.array([float(entry[name]) for entry in entries.values()]) for name in ("slope", "offset")
    )
    curves = {
        c: (np.array(entry["curve"][0], float), np.array(entry["curve"][1], float))
        for c, entry in enumerate(entries.values())
        if "curve" in entry
    }
    notes = {c: str(e["note"]) for c, e in enumerate(entries.values()) if "note" in e}
    numbers = [slopes, offsets, *(values for curve in curves.values() for values in curve)]
    if not all(np.isfinite(values).all() for values in numbers) or (slopes <= 0).any():
        raise ValueError("a slope is not above 0, or a number is not finite")
    aims = {
        str(parse_aim(aim)): _read_aim(of_aim, labels) for aim, of_aim in content["aims"].items()
    }
    if not aims:
        raise ValueError("there are no aims")
    return Decisions(
        labels,
        Calibration(slopes, offsets, curves, notes),
        aims,
        str(content["fusion"]),
        str(content["weights"]),
        str(content["data"]),
        str(content["data_digest"]),
        int(content["num_images"]),
        str(content["date"]),
        bool(content["forced"]),
        _read_views(content.get("views")),
    )


def _views_to_json(views: ViewPolicy | None) -> dict[str, Any] | None:
    if views is None:
        return None
    return {
        "slope": views.slope,
        "offset": views.offset,
        "uncertainties": views.uncertainties.tolist(),
    }


def _read_views(content: dict[str, Any] | None) -> ViewPolicy | None:
    if content is None:
        return None
    slope, offset, uncertainties = (content[name] for name in ("slope", "offset", "uncertainties"))
    policy = ViewPolicy(float(slope), float(offset), np.array(uncertainties, float))
    if (
        policy.uncertainties.shape != PERCENTILES.shape
        or not (np.diff(policy.uncertainties) >= 0).all()
    ):
        raise ValueError("uncertainties of images are not percentiles")
    if not np.isfinite([policy.slope, policy.offset, *policy.uncertainties]).all():
        raise ValueError("a number of the views is not finite")
    return policy


def _read_aim(entries: dict[str, Any], labels: tuple[str, ...]) -> tuple[LabelThreshold, ...]:
    if tuple(entries) != labels:
        raise ValueError("thresholds are of other labels than the calibration")
    result = []
    for entry in entries.values():
        values = dict(entry)
        for name in ("precision_interval", "recall_interval"):
            if values[name] is not None:
                low, high = values[name]
                values[name] = float(low), float(high)
        threshold = LabelThreshold(**values)
        if not 0 <= threshold.threshold <= 1:
            raise ValueError(f"threshold is {threshold.threshold}; expected a probability")
        result.append(threshold)
    return tuple(result)


def _threshold_to_json(threshold: LabelThreshold) -> dict[str, Any]:
    return {
        name: [round(v, 4) for v in value]
        if isinstance(value, tuple)
        else round(value, 4)
        if name in ("precision", "recall") and value is not None
        else value
        for name, value in threshold._asdict().items()
    }


def _round(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{value:.{DIGITS}g}") for value in values])
