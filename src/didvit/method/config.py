"""Every setting of the method, with the paper's values as defaults (2.2, 3.1)."""

from dataclasses import dataclass, fields, replace
from math import inf
from typing import Literal, get_args

Selection = Literal["descending", "ascending", "random"]
Normalization = Literal["column", "row"]
RolloutOrder = Literal["descending", "ascending"]
ReconstraintName = Literal["hadamard", "sum", "none", "shifted", "sigmoid", "scaled_sum"]
Localization = Literal["largest_component", "mcar", "random", "hypotheses"]
CropSource = Literal["raw", "input"]
Fusion = Literal["mean", "max", "global", "local"]


class ConfigError(Exception):
    """A setting is impossible; the message names it and says what was expected.

    This is no ValueError: the parser of the command line would reword those of nested settings.
    """


@dataclass(frozen=True)
class DiDConfig:
    """The settings of DiD. ``DiDConfig()`` is the paper's method.

    Raises:
        ConfigError: A setting is of the wrong type, out of its range or unknown.

    >>> DiDConfig(top_n=2).box_threshold
    0.6
    """

    top_n: int = 4
    """Number K of categories that get a view each, at most all. 0 is the single-view baseline."""
    box_threshold: float = 0.6
    """Part of a map's range above which it is foreground (λ), between 0 and 1."""
    selection: Selection = "descending"
    """Which categories get a view: those with the highest or the lowest logits, or random ones."""
    normalization: Normalization = "column"
    """How the rollout normalizes attention: 'column' is the paper's text, 'row' its code."""
    rollout_order: RolloutOrder = "descending"
    """The rollout's product starts at the last block (attention rollout), or at the first one,
    another reading of equation 5."""
    reconstraint: ReconstraintName = "hadamard"
    """How the spatial map acts on the semantic maps: the paper's three ways, then three of ours."""
    localization: Localization = "largest_component"
    """How an instance map becomes a box. 'hypotheses' is HCP's way: boxes of all maps compete."""
    view_scale: float = 1.0
    """Sides of views, as a multiple of the input's sides. They are rounded to whole patches."""
    tiles: int = 0
    """Rows, and columns, of overlapping tiles that become views too. 2 gives four tiles. The paper
    has none. With top_n 0 there are none either."""
    crop_from: CropSource = "raw"
    """Cut views from the photograph at its own resolution, or from the network's input."""
    fusion: Fusion = "mean"
    """How global and local logits become the prediction."""

    def __post_init__(self):
        for field in fields(self):
            choices = get_args(field.type)
            if choices and getattr(self, field.name) not in choices:
                self._refuse(field.name, "one of " + ", ".join(choices))
        for name in ("top_n", "tiles"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                self._refuse(name, "a whole number, 0 or more")
        for name, below in (("box_threshold", 1), ("view_scale", inf)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < below or value is True:
                self._refuse(name, f"a number between 0 and {below}, both excluded")

    def _refuse(self, name: str, expected: str) -> None:
        raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    def forward_passes(self, num_categories: int | None = None) -> float:
        """Cost of a prediction: 1 for the whole image, and each view's share of its area.

        Args:
            num_categories: There are at most as many boxes as categories. None: ``top_n`` boxes.

        >>> DiDConfig().forward_passes(), DiDConfig(top_n=0).forward_passes()
        (5.0, 1.0)
        """
        boxes = self.top_n if num_categories is None else min(self.top_n, num_categories)
        views = boxes + self.tiles**2 if boxes else 0
        return 1 + views * self.view_scale**2


PAPER = DiDConfig()
"""The paper's settings. It leaves open the fusion and the order of the rollout's product."""

DIDVIT = DiDConfig(view_scale=0.5, tiles=2)
"""Our cheaper settings: four boxes and four tiles at half the sides, 3 forward passes, not 5."""

FAST = replace(DIDVIT, top_n=0)
"""The whole image alone: one forward pass, no regions."""
