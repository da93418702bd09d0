"""From a model and a table to a report: mAP, AP, and precision, recall and F1, for every fusion."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from didvit.config import ConfigError
from didvit.data.images import ImageError, read_image
from didvit.data.table import DataError, Table
from didvit.inference import run_model
from didvit.method import FUSIONS, DiD
from didvit.metrics import PrecisionRecall, average_precisions, precision_recall

TOP_K = 3


@dataclass(frozen=True)
class Scores:
    """Logits of a table's images, and their targets; images that cannot be read are left out."""

    global_logits: Float[np.ndarray, "n C"]
    local_logits: Float[np.ndarray, "n C"]
    targets: Int[np.ndarray, "n C"]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class FusionReport:
    """Metrics of one fusion, in percent.

    Attributes:
        mAP: Mean of ``AP`` over the labels that occur.
        AP: By label; None where no image has it.
        all: Of labels with a probability of at least 0.5.
        top3: Of those that are also among the image's three most probable.
    """

    mAP: float
    AP: dict[str, float | None]
    all: PrecisionRecall
    top3: PrecisionRecall


@dataclass(frozen=True)
class Report:
    """Metrics of a model on a table.

    Attributes:
        num_images: Images that the metrics are over.
        fusions: By fusion: global, local, max, mean.
        failures: Why images could not be read.
    """

    num_images: int
    fusions: dict[str, FusionReport]
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As ``didvit evaluate --json`` writes it."""
        fusions = {
            name: {
                **asdict(report),
                "mAP": None if np.isnan(report.mAP) else report.mAP,
                "all": report.all._asdict(),
                "top3": report.top3._asdict(),
            }
            for name, report in self.fusions.items()
        }
        return {
            "num_images": self.num_images,
            "fusions": fusions,
            "failures": list(self.failures),
        }


def score_table(
    model: DiD,
    table: Table,
    image_size: tuple[int, int],
    device: torch.device,
    batch_size: int = 8,
    advance: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Run the model, in evaluation mode, over a table.

    Args:
        model: On ``device``.
        table: With the model's labels, in the model's order.
        image_size: Height and width of the network's input.
        device: Where to run.
        batch_size: Images that the network takes at once.
        advance: Called with the number of images that were just done.

    Raises:
        ConfigError: ``batch_size`` is less than 1.
        DataError: No image can be read.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; expected 1 or more")
    was_training, generator = model.training, torch.Generator().manual_seed(0)
    model.eval()
    global_logits, local_logits, kept, failures = [], [], [], []
    for start in range(0, len(table), batch_size):
        sources: list[Tensor] = []
        indices = range(start, min(start + batch_size, len(table)))
        for index in indices:
            try:
                sources.append(read_image(table.images[index]))
                kept.append(index)
            except ImageError as error:
                failures.append(str(error))
        if sources:
            output = run_model(model, sources, image_size, device, generator)
            global_logits.append(output.global_logits.cpu())
            local_logits.append(output.local_logits.cpu())
        advance(len(indices))
    model.train(was_training)
    if not kept:
        raise DataError(f"none of the {len(table)} images can be read: {failures[0]}")
    return Scores(
        torch.cat(global_logits).double().numpy(),
        torch.cat(local_logits).double().numpy(),
        table.targets[kept],
        tuple(failures),
    )


def report(scores: Scores, labels: tuple[str, ...]) -> Report:
    """Metrics of every fusion, computed once over all scores."""
    global_logits = torch.from_numpy(scores.global_logits)
    local_logits = torch.from_numpy(scores.local_logits)
    fusions = {
        name: _fusion_report(FUSIONS[name](global_logits, local_logits), scores.targets, labels)
        for name in ("global", "local", "max", "mean")
    }
    return Report(len(scores.targets), fusions, scores.failures)


def _fusion_report(
    logits: Float[Tensor, "n C"], targets: Int[np.ndarray, "n C"], labels: tuple[str, ...]
) -> FusionReport:
    by_label = 100 * average_precisions(logits.numpy(), targets)
    probabilities = logits.sigmoid().numpy()
    everything = precision_recall(probabilities, targets)
    top = precision_recall(probabilities, targets, top_k=TOP_K)
    return FusionReport(
        mAP=float(np.nanmean(by_label)) if not np.isnan(by_label).all() else float("nan"),
        AP={
            label: None if np.isnan(ap) else float(ap)
            for label, ap in zip(labels, by_label, strict=True)
        },
        all=PrecisionRecall(*(100 * value for value in everything)),
        top3=PrecisionRecall(*(100 * value for value in top)),
    )
