"""How fast models are, on the same photographs, in turns."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from didvit.inference.predictor import Predictor


class Speed(NamedTuple):
    """Time of a prediction, without decoding.

    Attributes:
        batch_size: Photographs that the network took at once.
        cpu_seconds: CPU time of a photograph, over all threads; the median over batches.
        images_per_second: By the clock; the median over batches.
        ratio: CPU time, as a multiple of the first contestant's at the same batch size; the median
            over batches of the ratios.
    """

    batch_size: int
    cpu_seconds: float
    images_per_second: float
    ratio: float


def measure_speed(
    predictors: Mapping[str, Predictor],
    photographs: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    batch_size: int,
    advance: Callable[[int], None] = lambda batches: None,
) -> dict[str, Speed]:
    """Time predictors on batches of photographs; every batch is taken by all in turn.

    Args:
        predictors: By name; the first is what the others are compared with.
        photographs: One or more. A last batch that is not full is left out, unless it is the only
            one.
        batch_size: Photographs of a batch.
        advance: Called with 1 after each batch of a predictor.
    """
    batches = [
        photographs[start : start + batch_size]
        for start in range(0, max(len(photographs) - batch_size + 1, 1), batch_size)
    ]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in predictors}
    for batch in [batches[0], *batches]:  # the first is a trial
        for name, predictor in predictors.items():
            cpu, clock = time.process_time(), time.perf_counter()
            predictor.run(batch)
            spent = time.process_time() - cpu, time.perf_counter() - clock
            times[name].append((spent[0] / len(batch), spent[1] / len(batch)))
            advance(1)
    first = next(iter(times.values()))[1:]
    result = {}
    for name, values in times.items():
        cpu_times, clock_times = zip(*values[1:], strict=True)
        pairs = zip(cpu_times, first, strict=True)
        result[name] = Speed(
            batch_size,
            statistics.median(cpu_times),
            1 / statistics.median(clock_times),
            statistics.median(mine / max(theirs[0], 1e-9) for mine, theirs in pairs),
        )
    return result
