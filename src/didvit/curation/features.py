"""Features of a data set's images, kept in a file."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from didvit.config import ConfigError
from didvit.evaluation.evaluate import score_images
from didvit.files import whole_file
from didvit.inference.predictor import Predictor

ZIP_START = b"PK"
"""How NumPy's archives begin."""


class Features(NamedTuple):
    """Features of images that could be read.

    Attributes:
        indices: Places of the images.
        values: Mean patch tokens of the whole image, and the highest logits of its views.
        failures: For each image that could not be read, why.
    """

    indices: Int[np.ndarray, " n"]
    values: Float[np.ndarray, "n D"]
    failures: tuple[str, ...]


def features_of(
    predictor: Predictor,
    weights: str,
    images: Sequence[Any],
    cache: Path | None,
    batch_size: int = 8,
    workers: int = 0,
    advance: Callable[[int], None] = lambda images: None,
    tell: Callable[[str], None] = lambda message: None,
) -> Features:
    """Features of images, from a file if it holds those of this model and these images.

    Args:
        predictor: The model.
        weights: Digest of its weights.
        images: Paths, or images inside larger files.
        cache: The file; it is written anew if it is of others, or damaged. None: no file.
        batch_size, workers, advance: As for `didvit.evaluation.evaluate.score`.
        tell: Told when the file is used, or why it is not.
    """
    key = _key(predictor, weights, images)
    if cache is not None and (known := _read(cache, key, tell)) is not None:
        advance(len(images))
        return known
    scores = score_images(predictor, images, batch_size, workers, advance)
    values = np.concatenate([scores.features, scores.local_logits], 1).astype(np.float32)
    features = Features(scores.indices, values, scores.failures)
    if cache is not None:
        with whole_file(cache) as path, path.open("wb") as file:
            np.savez(
                file,
                key=np.array(key),
                indices=features.indices,
                values=values,
                failures=np.array(scores.failures, dtype=np.str_),
            )
    return features


def _key(predictor: Predictor, weights: str, images: Sequence[Any]) -> str:
    """What the features depend on: the model, and every image, in order, with size and time."""
    digest = hashlib.sha256(f"{weights} {predictor.method} {predictor.engine.name}".encode())
    for image in images:
        digest.update(f"{image}\0".encode(errors="surrogateescape"))
        if isinstance(image, Path) and image.is_file():
            status = image.stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def check_cache(path: Path) -> None:
    """Refuse to replace a file that is no cache.

    Raises:
        ConfigError: It is none.
    """
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if not file.read(4).startswith(ZIP_START):
                raise ConfigError(
                    f"--cache: {path} exists, and is no cache of features; choose another file"
                )


def _read(path: Path, key: str, tell: Callable[[str], None]) -> Features | None:
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                tell(f"{path} holds features of another model or other images; it is made anew")
                return None
            failures = tuple(map(str, arrays["failures"]))
            known = Features(arrays["indices"], arrays["values"], failures)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        tell(f"{path} is damaged; it is made anew")
        return None
    tell(f"features of {len(known.indices):,} images come from {path}")
    return known
