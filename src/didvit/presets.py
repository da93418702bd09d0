"""How to look again, by name: as the paper does, and, cheaper, as we do by default."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Preset = Literal["didvit", "paper"]

PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "top_n": 4,
        "box_threshold": 0.6,
        "selection": "descending",
        "normalization": "column",
        "rollout_order": "descending",
        "reconstraint": "hadamard",
        "localization": "largest_component",
        "box_padding": 0.0,
        "view_scale": 1.0,
        "tiles": 0,
        "crop_from": "raw",
        "fusion": "mean",
    }
)
"""As the paper has it (fusion, and the order of the rollout: as we read it)."""

DIDVIT: Mapping[str, Any] = MappingProxyType({**PAPER, "view_scale": 0.5, "tiles": 2})
"""As many regions, and four tiles, at half the sides: the work of 3 looks in place of 5."""

PRESETS: Mapping[Preset, Mapping[str, Any]] = MappingProxyType({"didvit": DIDVIT, "paper": PAPER})
"""Settings of `ModelConfig`, by the name that ``--preset`` takes."""
