"""The paper's model, as PyTorch computes it, over a table: for training and experiments."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from didvit.config import ConfigError
from didvit.data.reading import read_in_order
from didvit.data.table import Table
from didvit.evaluation.scores import Branches, Scores, collect
from didvit.inference.pipeline import NonFiniteScoreError
from didvit.method.model import DiD, DiDOutput
from didvit.method.views import resize_whole


def score_table(
    model: DiD,
    table: Table,
    image_size: tuple[int, int],
    device: torch.device,
    batch_size: int = 8,
    workers: int = 0,
    advance: Callable[[int], None] = lambda images: None,
    part: tuple[int, int] = (0, 1),
) -> Scores:
    """Run the model, in evaluation mode, over a table.

    Args:
        model: DiD on ``device``.
        table: Images with the model's labels, in the model's order.
        image_size: Height and width of the network's input.
        device: Where to run.
        batch_size: Number of images that the network takes at once.
        workers: Number of threads that read images; 0 reads in this one.
        advance: Called with the number of images that were just done.
        part: ``(rank, world_size)`` scores every ``world_size``-th image, from ``rank`` on.

    Raises:
        ConfigError: ``batch_size`` is less than 1.
        NonFiniteScoreError, NonFiniteMapError: The weights are damaged.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; expected 1 or more")
    was_training, generator = model.training, torch.Generator().manual_seed(0)

    def run(photographs: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Branches:
        sources = [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in photographs]
        output = run_model(model, sources, image_size, device, generator)
        logits = output.global_logits.cpu().numpy(), output.local_logits.cpu().numpy()
        count = len(sources)
        return Branches(*logits, np.empty((count, 0)), np.full(count, model.config.top_n > 0))

    model.eval()
    indices = range(part[0], len(table), part[1])
    batches = read_in_order([table.images[i] for i in indices], batch_size, workers)
    scores = collect(run, batches, indices, table.targets, advance)
    model.train(was_training)
    return scores


@torch.inference_mode()
def run_model(
    model: DiD,
    sources: list[torch.Tensor],
    image_size: tuple[int, int],
    device: torch.device,
    generator: torch.Generator,
) -> DiDOutput:
    """DiD on photographs ``(3, H, W)`` of any sizes; random strategies draw from the generator.

    Raises:
        NonFiniteScoreError: A logit is NaN or infinite.
        NonFiniteMapError: An instance map is, where the model has regions to find in it.
    """
    sources = [source.to(device) for source in sources]
    output = model(resize_whole(sources, image_size), sources, generator)
    if not (output.global_logits.isfinite().all() and output.local_logits.isfinite().all()):
        raise NonFiniteScoreError(
            "the model gives scores that are NaN or infinite: the weights are damaged, or training "
            "diverged"
        )
    return output
