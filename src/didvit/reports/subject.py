"""What a page says about a model and its data besides their figures."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from didvit.config import DiDConfig, ModelConfig
from didvit.modeling.folder import find_model, read_description

SUFFIXES = (".safetensors", ".onnx", ".data", ".json")
"""Of the files of a model's folder that decide what it predicts."""


class ModelFile(NamedTuple):
    """A file of a model's folder.

    Attributes:
        name: Its name.
        num_bytes: Its size.
        digest: SHA-256 of its content, in hexadecimal digits.
    """

    name: str
    num_bytes: int
    digest: str


@dataclass(frozen=True)
class Subject:
    """A model as it was measured.

    Attributes:
        name: What the user calls it.
        num_labels: Number of its labels.
        config: What it was built from.
        method: Settings of the method in use.
        engine: Name of what computes it.
        files: Files of its folder.
    """

    name: str
    num_labels: int
    config: ModelConfig
    method: DiDConfig
    engine: str
    files: tuple[ModelFile, ...]

    @property
    def num_bytes(self) -> int:
        """Size of these files together."""
        return sum(file.num_bytes for file in self.files)


def read_subject(model: str, method: DiDConfig, engine: str) -> Subject:
    """What the folder of a model says.

    Args:
        model: Folder, or name of a model that comes with the package.
        method: Settings of the method in use.
        engine: Name of the engine in use.

    Raises:
        CheckpointError: There is no such model, or its description is damaged.
    """
    folder = find_model(model)
    labels, config = read_description(folder)
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    files = tuple(_model_file(path) for path in paths if path.is_file())
    return Subject(model, len(labels), config, method, engine, files)


def _model_file(path: Path) -> ModelFile:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return ModelFile(path.name, path.stat().st_size, digest)
