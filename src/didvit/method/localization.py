"""Section 2.2.4: dynamic instance localization, from an instance map to a box (table 4).

Every localizer takes the K instance maps of each image ``(B, K, h, w)``, the input's height and
width, λ, the patch's height and width, and a random generator (None: a new one). It gives boxes
int64 ``(B, K, 4)``, ``[x0, y0, x1, y1)`` in pixels of the input; K = 0 gives ``(B, 0, 4)``.
Localizers that read the maps raise `NonFiniteMapError` at NaN.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator

from didvit.method.boxes import Size

Maps = Float[np.ndarray, "B K h w"]
Boxes = Int[np.ndarray, "B K 4"]
Random = Generator | None
Localizer = Callable[[np.ndarray, Size, float, Size, Random], np.ndarray]


class NonFiniteMapError(ValueError):
    """An instance map holds NaN or infinity, so that it has no box."""


def localize_largest_component(
    maps: Maps, image_size: Size, box_threshold: float, patch_size: Size, rng: Random = None
) -> Boxes:
    """The tight box of the largest 8-connected region above λ of the map's own range.

    The map is upsampled bilinearly to the input, scaled to [0, 1] by its own minimum and maximum,
    and cut at λ. Of equally large regions, the one that row-major reading meets first. A constant
    map gives the whole image. A box smaller than a patch grows to one.
    """
    boxes = [_component_box(large, box_threshold) for large in _upsample(maps, image_size)]
    return _finish(boxes, maps, image_size, patch_size)


def localize_mcar(
    maps: Maps, image_size: Size, box_threshold: float, patch_size: Size, rng: Random = None
) -> Boxes:
    """On each axis, the interval around the peak of the sigmoid map's maxima.

    The maxima of the upsampled sigmoid map over rows, and over columns, are scaled to [0, 1]. The
    interval holds the first peak and the values above λ next to it, and is at least 1/8 of the side
    (MCAR, Gao & Zhou, TIP 2021, section III-B). A constant axis gives the whole side.
    docs/deviations.md lists what differs from MCAR's code.
    """
    height, width = image_size
    boxes = []
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-maps))
    for large in _upsample(probabilities, image_size):
        x_interval = _peak_interval(large.max(0), box_threshold)
        y_interval = _peak_interval(large.max(1), box_threshold)
        x0, x1 = _grow(*x_interval, -(-width // 8), width)
        y0, y1 = _grow(*y_interval, -(-height // 8), height)
        boxes.append((x0, y0, x1, y1))
    return _finish(boxes, maps, image_size, patch_size)


def localize_random(
    maps: Maps, image_size: Size, box_threshold: float, patch_size: Size, rng: Random = None
) -> Boxes:
    """Two corners drawn uniformly over the image, whatever the maps."""
    height, width = image_size
    draws = np.sort((rng or np.random.default_rng()).random((*maps.shape[:2], 2, 2)), axis=2)
    corners = (draws * (width, height)).round().astype(np.int64)  # B K (low, high) (x, y)
    return _finish(corners.reshape(-1, 4).tolist(), maps, image_size, patch_size)


LOCALIZERS: dict[str, Localizer] = {
    "largest_component": localize_largest_component,
    "mcar": localize_mcar,
    "random": localize_random,
}


def _upsample(maps: Maps, image_size: Size) -> Iterator[Float[np.ndarray, "H W"]]:
    """One map after the other, enlarged bilinearly; pixels' centers are at halves."""
    if not np.isfinite(maps).all():
        raise NonFiniteMapError(
            "an instance map holds NaN or infinity: the weights are damaged, or training diverged"
        )
    height, width = image_size
    with np.errstate(over="ignore"):
        maps = maps.astype(np.float32)
    for image_maps in maps:
        for one in image_maps:
            if one.min() == one.max():  # rounding must not give it a peak
                yield np.full(image_size, one[0, 0])
            else:
                yield cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR)


def _component_box(large: Float[np.ndarray, "H W"], threshold: float) -> tuple[int, ...]:
    """The box of one enlarged map, which is overwritten."""
    low, high = large.min(), large.max()
    if low < high:
        with np.errstate(over="ignore", invalid="ignore"):  # a range beyond float32
            large -= low
            large /= high - low
        mask = (large > threshold).view(np.uint8)
        if mask.any():  # nothing is foreground where λ rounds to 1
            return _largest_component(mask)
    return 0, 0, large.shape[1], large.shape[0]


def _largest_component(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight box of the largest 8-connected component of a mask with at least one pixel."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]  # component 0 is the background
    largest = np.flatnonzero(areas == areas.max()) + 1
    component = int(largest[0])
    if len(largest) > 1:
        component = int(labels.ravel()[np.isin(labels, largest).argmax()])
    x0, y0, width, height, _ = stats[component].tolist()
    return x0, y0, x0 + width, y0 + height


def _peak_interval(profile: np.ndarray, threshold: float) -> tuple[int, int]:
    """Half-open run of values above the threshold that holds the first maximum."""
    low, high = profile.min(), profile.max()
    if high - low <= 1e-6 * high:  # constant, but for rounding; the values are sigmoids
        return 0, len(profile)
    below = np.flatnonzero((profile - low) / (high - low) <= threshold)
    peak = profile.argmax()
    after = np.searchsorted(below, peak)
    start = int(below[after - 1]) + 1 if after else 0
    return start, int(below[after]) if after < len(below) else len(profile)


def _grow(start: int, end: int, least: int, side: int) -> tuple[int, int]:
    """Widen an interval around its center to at least ``least``, shifted to stay in [0, side]."""
    if end - start >= least:
        return start, end
    start = min(max((start + end - least) // 2, 0), side - least)
    return start, start + least


def _finish(boxes: list, maps: Maps, image_size: Size, patch_size: Size) -> Boxes:
    """Boxes of at least one patch, as an array shaped like the maps."""
    grown = []
    for x0, y0, x1, y1 in boxes:
        x0, x1 = _grow(x0, x1, patch_size[1], image_size[1])
        y0, y1 = _grow(y0, y1, patch_size[0], image_size[0])
        grown.append((x0, y0, x1, y1))
    return np.array(grown, np.int64).reshape(*maps.shape[:2], 4)
