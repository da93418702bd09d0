"""The engine of PyTorch, on any of its devices."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from didvit.config import DiDConfig, ModelConfig
from didvit.devices import choose_device
from didvit.inference.engine import GlobalPass, Size
from didvit.inference.pipeline import Steps
from didvit.method.model import DiD
from didvit.modeling.checkpoint import load_checkpoint


class PyTorchEngine:
    """A trained DiD.

    Args:
        model: The trained DiD. It is put into evaluation mode.
        input_size: Height and width of the network's input.
        device: Where it runs. None takes a CUDA GPU where there is one.

    Raises:
        ConfigError: There is no such device.
    """

    name = "pytorch"

    def __init__(self, model: DiD, input_size: Size, device: str | torch.device | None = None):
        self.device = choose_device(device)
        self.all_at_once = self.device.type != "cpu"
        self.model = model.to(self.device).eval()
        self.input_size, self.patch_size = input_size, model.backbone.patch_size

    @torch.inference_mode()
    def global_pass(
        self, images: Float[np.ndarray, "B 3 H W"], with_boxes: bool = True
    ) -> GlobalPass:
        """The forward pass over whole images. Without boxes there is no spatial map."""
        pixels = torch.from_numpy(images).to(self.device)
        if not with_boxes:
            tokens = self.model.backbone(pixels)
            maps, logits = self.model.head(tokens)
            features = tokens.mean((-2, -1))
            return GlobalPass(_array(logits), _array(features), _array(maps), _array(maps), None)
        view = self.model.global_view(pixels)
        return GlobalPass(
            _array(view.logits),
            _array(view.features),
            _array(view.semantic_maps),
            _array(view.instance_maps),
            _array(view.spatial_map),
        )

    @torch.inference_mode()
    def view_logits(self, views: Float[np.ndarray, "n 3 H W"]) -> Float[np.ndarray, "n C"]:
        """Logits of views of any size in whole patches."""
        tokens = self.model.backbone(torch.from_numpy(views).to(self.device))
        return _array(self.model.head(tokens).logits)

    def check_method(self, method: DiDConfig) -> None:
        """Nothing is refused: all settings that a model can be built with can be run."""

    def steps(self) -> Steps:
        """The model's own functions, which need not be those that its settings name."""

        def fuse(global_logits: np.ndarray, local_logits: np.ndarray) -> np.ndarray:
            both = torch.from_numpy(global_logits), torch.from_numpy(local_logits)
            return self.model.fuse(*both).numpy()

        return Steps(self.model.select, self.model.localize, fuse)


def load_pytorch(
    model: str | Path,
    method: DiDConfig | None = None,
    device: Any = None,
    threads: int | None = None,
) -> tuple[PyTorchEngine, tuple[str, ...], ModelConfig, Steps]:
    """The engine, the labels, the settings and the steps of a model folder.

    ``threads``, where given, is set for all of PyTorch in this process.

    Raises:
        ConfigError: There is no such device.
        CheckpointError, WeightsError: The model cannot be loaded.
    """
    checkpoint = load_checkpoint(model, method)
    engine = PyTorchEngine(checkpoint.model, checkpoint.config.image_size, device)
    if threads is not None:
        torch.set_num_threads(threads)
    config = replace(checkpoint.config, method=checkpoint.model.config)
    return engine, checkpoint.labels, config, engine.steps()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
