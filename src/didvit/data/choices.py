"""Choices that concern data, each written once. Free of PyTorch, so that ``--help`` is quick."""

from typing import Literal

Difficult = Literal["ignore", "positive", "negative"]
"""VOC labels of which an image has difficult objects alone: unknown, present or absent."""

WithoutLabels = Literal["keep", "drop"]
"""Images that are known to have no label at all."""

Missing = Literal["refuse", "keep"]
"""Images that a data set lists and that do not exist."""

Meter = Literal["known", "ml_gcn"]
"""Conventions of precision and recall: unknown labels do not count, or as in ML-GCN's code."""

Augmentation = Literal["multi_scale_crop", "random_resized_crop", "modern", "resize"]
"""How training images vary; see ``transforms.py``."""

Competition = Literal["comp1", "comp2"]
"""VOC's competitions: comp1 is for models that learned from VOC's training and validation data
alone, comp2 for models that learned from other data too."""
