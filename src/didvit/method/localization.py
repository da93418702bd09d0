"""Section 2.2.4: dynamic instance localization, from an instance map to a box (table 4).

Every localizer takes the K instance maps of each image ``(B, K, h, w)``, the input's height and
width, λ, the patch's height and width, and a generator (None: torch's own). It gives boxes int64
``(B, K, 4)``, ``[x0, y0, x1, y1)`` in pixels of the input, on the maps' device; K = 0 gives
``(B, 0, 4)``. No gradient. Localizers that read the maps raise `NonFiniteMapError` at NaN.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

Size = tuple[int, int]
Maps = Float[Tensor, "B K h w"]
Boxes = Int[Tensor, "B K 4"]
Random = Generator | None
Localizer = Callable[[Tensor, Size, float, Size, Random], Tensor]


class NonFiniteMapError(ValueError):
    """An instance map holds NaN or infinity, so that it has no box."""


@torch.no_grad()
def localize_largest_component(
    maps: Maps, image_size: Size, box_threshold: float, patch_size: Size, generator: Random = None
) -> Boxes:
    """The tight box of the largest 8-connected region above λ of the map's own range.

    The map is upsampled bilinearly to the input, scaled to [0, 1] by its own minimum and maximum,
    and cut at λ. Of equally large regions, the one that row-major reading meets first. A constant
    map gives the whole image. A box smaller than a patch grows to one.
    """
    large = _upsample(maps.flatten(0, 1), image_size)  # B*K H W
    low, high = large.amin((-2, -1), keepdim=True), large.amax((-2, -1), keepdim=True)
    large.sub_(low).div_(high - low)  # in [0, 1]; in place: these are the largest tensors here
    foreground = (large > box_threshold).view(torch.uint8).cpu().numpy()
    constant = (maps.amax((-2, -1)) == maps.amin((-2, -1))).flatten().tolist()
    height, width = image_size
    boxes = [
        # Nothing is foreground where λ rounds to 1.
        (0, 0, width, height) if is_constant or not mask.any() else _largest_component(mask)
        for mask, is_constant in zip(foreground, constant, strict=True)
    ]
    return _finish(boxes, maps, image_size, patch_size)


@torch.no_grad()
def localize_mcar(
    maps: Maps, image_size: Size, box_threshold: float, patch_size: Size, generator: Random = None
) -> Boxes:
    """On each axis, the interval around the peak of the sigmoid map's maxima.

    The maxima of the upsampled sigmoid map over rows, and over columns, are scaled to [0, 1]. The
    interval holds the first peak and the values above λ next to it, and is at least 1/8 of the side
    (MCAR, Gao & Zhou, TIP 2021, section III-B). A constant axis gives the whole side.
    docs/deviations.md lists what differs from MCAR's code.
    """
    large = _upsample(maps.flatten(0, 1).sigmoid(), image_size)  # B*K H W
    over_rows, over_columns = large.amax(-2).cpu().numpy(), large.amax(-1).cpu().numpy()
    height, width = image_size
    boxes = []
    for x_profile, y_profile in zip(over_rows, over_columns, strict=True):
        x0, x1 = _grow(*_peak_interval(x_profile, box_threshold), -(-width // 8), width)
        y0, y1 = _grow(*_peak_interval(y_profile, box_threshold), -(-height // 8), height)
        boxes.append((x0, y0, x1, y1))
    return _finish(boxes, maps, image_size, patch_size)


@torch.no_grad()
def localize_random(
    maps: Maps, image_size: Size, box_threshold: float, patch_size: Size, generator: Random = None
) -> Boxes:
    """Two corners drawn uniformly over the image, whatever the maps; a generator of the CPU."""
    height, width = image_size
    draws = torch.rand((*maps.shape[:2], 2, 2), generator=generator).sort(dim=2).values
    corners = (draws * torch.tensor([width, height])).round().long()  # B K (low, high) (x, y)
    return _finish(corners.reshape(-1, 4).tolist(), maps, image_size, patch_size)


LOCALIZERS: dict[str, Localizer] = {
    "largest_component": localize_largest_component,
    "mcar": localize_mcar,
    "random": localize_random,
}


def _upsample(maps: Float[Tensor, "n h w"], image_size: Size) -> Float[Tensor, "n H W"]:
    if not maps.isfinite().all():
        raise NonFiniteMapError(
            "an instance map holds NaN or infinity: the weights are damaged, or training diverged"
        )
    maps = maps.float().unsqueeze(1)  # n 1 h w: n may be 0
    return F.interpolate(maps, image_size, mode="bilinear", align_corners=False).squeeze(1)


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


def _finish(boxes: list, maps: Tensor, image_size: Size, patch_size: Size) -> Boxes:
    """Boxes of at least one patch, as a tensor shaped and placed like the maps."""
    grown = []
    for x0, y0, x1, y1 in boxes:
        x0, x1 = _grow(x0, x1, patch_size[1], image_size[1])
        y0, y1 = _grow(y0, y1, patch_size[0], image_size[0])
        grown.append((x0, y0, x1, y1))
    return torch.tensor(grown, dtype=torch.int64, device=maps.device).view(*maps.shape[:2], 4)
