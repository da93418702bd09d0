"""What a model's calibration and thresholds give on a data set."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from didvit.decisions.calibration import sigmoid
from didvit.decisions.store import Decisions
from didvit.evaluation.calibration import brier_score, pooled_calibration_error
from didvit.evaluation.metrics import Interval, PrecisionRecall, precision_recall


class Estimate(NamedTuple):
    """A figure with its 95 % interval over the choice of images, where one was asked for."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class DecidedReport:
    """Figures of a model's decisions. Precision, recall and F1 are in percent.

    Attributes:
        aim: What the thresholds are for.
        all: Precision and recall of labels whose probability reaches their threshold.
        calibration_error: Pooled expected calibration error of calibrated probabilities.
        calibration_error_before: That of sigmoids.
        brier: Brier score of calibrated probabilities, the mean over labels.
        brier_before: That of sigmoids.
        tuned_here: The decisions were tuned on these very data, so that all of it is too good.
    """

    aim: str
    all: PrecisionRecall
    calibration_error: Estimate
    calibration_error_before: Estimate
    brier: Estimate
    brier_before: Estimate
    tuned_here: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = asdict(self)
        values["all"] = self.all._asdict()
        for name in (
            "calibration_error",
            "calibration_error_before",
            "brier",
            "brier_before",
        ):
            estimate: Estimate = getattr(self, name)
            interval = list(estimate.interval) if estimate.interval else None
            values[name] = {"value": estimate.value, "interval": interval}
        return values


def decided_report(
    logits: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    decisions: Decisions,
    data_digest: str,
    aim: str | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> DecidedReport:
    """Measure decisions on scores.

    Args:
        logits: Fused logits.
        targets: 1, 0, or -1 (unknown).
        decisions: Those of the model.
        data_digest: `didvit.decisions.store.data_digest` of these data.
        aim: Which thresholds; None: those of the default aim.
        resamples: Number of resamples of the bootstrap over images; 0 leaves the intervals out.
        seed: Of its draws.

    Raises:
        ConfigError: There are no thresholds for the aim.
    """
    before, after = sigmoid(logits), decisions.probabilities(logits)
    margins = after - decisions.thresholds(aim)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(logits), len(logits)) for _ in range(resamples)]

    def estimate(metric: Callable, probabilities: np.ndarray) -> Estimate:
        values = [metric(probabilities[rows], targets[rows]) for rows in draws]
        interval = Interval(*np.percentile(values, (2.5, 97.5)).tolist()) if values else None
        return Estimate(float(metric(probabilities, targets)), interval)

    return DecidedReport(
        str(aim or decisions.default_aim),
        PrecisionRecall(*(100 * value for value in precision_recall(margins, targets, 0.0))),
        estimate(pooled_calibration_error, after),
        estimate(pooled_calibration_error, before),
        estimate(_mean_brier, after),
        estimate(_mean_brier, before),
        decisions.data_digest == data_digest,
    )


def _mean_brier(probabilities: np.ndarray, targets: np.ndarray) -> float:
    scores = brier_score(probabilities, targets)
    return float(np.nanmean(scores)) if not np.isnan(scores).all() else float("nan")
