"""Tiny random transformers, shared by the tests."""

import os

import hypothesis
import jaxtyping
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

# A slow machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# There is a test process per core. More threads than cores wait for one another most of the time.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the commands that tests start


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter anew, so that tokens differ and attention is far from uniform.

    timm starts class tokens at 1e-6 and biases at 0, which would hide mistakes.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            if "token" in name or "pos_embed" in name:
                parameter.copy_(draw)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * draw)
            elif parameter.ndim == 1:  # LayerNorm and LayerScale
                parameter.copy_(1 + 0.2 * draw)
            else:
                gain = 2 if "qkv" in name else 1
                parameter.copy_(gain * draw / parameter[0].numel() ** 0.5)
    return module.eval()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def unchecked_types():
    """Switch the type checks of the tests off: compilers and users never meet them."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def make_vit():
    """A function that builds a tiny transformer with random parameters."""

    def build(seed: int = 0, kind: type = VisionTransformer, **settings) -> VisionTransformer:
        defaults = {
            "img_size": (32, 48),
            "patch_size": 8,
            "embed_dim": 24,
            "depth": 2,
            "num_heads": 3,
            "num_classes": 0,
            "global_pool": "",
            "dynamic_img_size": True,
        }
        return randomize(kind(**{**defaults, **settings}), seed)

    return build


@pytest.fixture(scope="session")
def randomized():
    """The function that draws a module's parameters anew."""
    return randomize


LABELS = ("cat", "cup", "dog", "person", "spoon")


@pytest.fixture(scope="session")
def save_tiny_model():
    """A function that writes a model folder around timm's tiny transformer, input 32x48."""
    from didvit.config import ModelConfig, with_settings
    from didvit.modeling.build import build_model
    from didvit.modeling.checkpoint import save_checkpoint

    def save(folder, labels=LABELS, **settings):
        tiny = ModelConfig("test_vit", weights="random", image_size=(32, 48))
        config = with_settings(tiny, {"top_n": 2, **settings})
        model = randomize(build_model(config, len(labels)), seed=3)
        save_checkpoint(folder, model, labels, config)
        return folder

    return save


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, save_tiny_model):
    """A model of five labels that looks at two regions."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def predictor(model_folder):
    from didvit.inference.predictor import load

    return load(model_folder, "cpu")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Three real photographs of different sizes, as PNG files."""
    import skimage.data
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    for name, step in (("astronaut", 4), ("chelsea", 2), ("coffee", 3)):
        pixels = getattr(skimage.data, name)()[::step, ::step]
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def write_squares(folder, count, seed):
    """Pictures of colored squares on gray, and ``table.csv`` of the colors in each; its path."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    colors = {"blue": (20, 20, 250), "green": (20, 250, 20), "red": (250, 20, 20)}
    folder.mkdir(parents=True)
    rows = ["image,labels"]
    for i in range(count):
        pixels = rng.integers(110, 140, (32, 48, 1)).repeat(3, 2).astype(np.uint8)
        # Every combination of colors comes up, and the empty one too.
        present = [color for bit, color in enumerate(colors) if i >> bit & 1]
        for color, cell in zip(present, rng.permutation(6), strict=False):
            y, x = divmod(int(cell), 3)
            pixels[16 * y + 2 : 16 * y + 14, 16 * x + 2 : 16 * x + 14] = colors[color]
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{'|'.join(present)}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder / "table.csv"


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Tables of 24 pictures to learn the colors from and 16 to validate on."""
    folder = tmp_path_factory.mktemp("squares")
    return write_squares(folder / "train", 24, 0), write_squares(folder / "val", 16, 1)


@pytest.fixture
def make_config(squares, tmp_path):
    """A function that makes a configuration of a few tiny steps; runs go to ``tmp_path``."""
    from runs import tiny_config

    def make(name="run", train=None, val=None, **settings):
        return tiny_config(tmp_path / name, train or squares[0], val or squares[1], **settings)

    return make


@pytest.fixture
def without_curves(monkeypatch):
    """No picture at an evaluation, which would take longer than a tiny run does."""
    monkeypatch.setattr("didvit.training.run_folder._draw_curves", lambda *arguments: None)


@pytest.fixture(scope="session")
def coco18():
    """The folder of the ``coco18`` photographs; tests that want it are skipped where it is not."""
    import os
    from pathlib import Path

    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DIDVIT_DATA", beside)) / "coco18"
    if not folder.is_dir():
        pytest.skip(f"there are no photographs at {folder}; set DIDVIT_DATA to their folder")
    return folder
