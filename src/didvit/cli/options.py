"""What several commands share: types of options, defaults, exit codes, and quick checks.

The checks come before anything heavy is imported or loaded. What they pass may still be refused
later, by the part that uses it.
"""

import glob
import importlib.resources
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro

from didvit.config import ConfigError
from didvit.config.presets import PRESETS, EngineName, Precision, Preset
from didvit.data.choices import Competition

SUCCESS, SOMETHING_FAILED = 0, 3

ImagePaths = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...", help_behavior_hint="")
]
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
OptionalModel = Annotated[str | None, tyro.conf.arg(metavar="MODEL", help_behavior_hint="")]
OptionalPreset = Annotated[
    Preset | None, tyro.conf.arg(metavar=f"{{{','.join(PRESETS)}}}", help_behavior_hint="")
]
OptionalEngine = Annotated[
    EngineName | None, tyro.conf.arg(metavar="{onnx,openvino,pytorch}", help_behavior_hint="")
]
OptionalPrecision = Annotated[
    Precision | None, tyro.conf.arg(metavar="{fp32,int8}", help_behavior_hint="")
]
OptionalText = Annotated[str | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
OptionalAim = Annotated[str | None, tyro.conf.arg(name="for", metavar="AIM", help_behavior_hint="")]
OptionalPasses = Annotated[float | None, tyro.conf.arg(metavar="X", help_behavior_hint="")]
Thresholds = Annotated[
    tuple[str, ...], tyro.conf.arg(metavar="X|LABEL=X...", help_behavior_hint="")
]
OptionalCompetition = Annotated[
    Competition | None, tyro.conf.arg(metavar="{comp1,comp2}", help_behavior_hint="")
]

SLOW_INT8 = (
    "[yellow]warning[/yellow] this processor is not known to have instructions for products in 8 "
    "bits (VNNI): such products may be slower than in float32, and overflow"
)

RESAMPLES = 1000
"""Of a bootstrap, where the user says nothing."""


def check_file(option: str, path: Path | None, overwrite: bool = True) -> None:
    """Refuse a folder where a file is to be written, and a file as its folder.

    Without ``overwrite``, a file that holds something is refused too.
    """
    if path and path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; expected a file")
    if path and not overwrite and path.is_file() and path.stat().st_size:
        raise ConfigError(
            f"{option}: {path} exists; choose another file, or replace it with --overwrite"
        )
    if path:
        check_folder(f"the folder of {option} {path},", path.parent)


def check_folder(option: str, path: Path | None) -> None:
    """Refuse a file where a folder is to be written."""
    if path and path.exists() and not path.is_dir():
        raise ConfigError(f"{option} {path} is a file; expected a folder")


def check_count(option: str, count: int, least: int = 0) -> None:
    """Refuse less than nothing, or than another least number."""
    if count < least:
        raise ConfigError(f"{option} is {count}; expected {least} or more")


def check_probability(option: str, value: float) -> None:
    """Refuse what is no probability; a percentage is a likely mistake."""
    if not 0 <= value <= 1:
        mend = f"; {value:g} % is {value / 100:g}" if 1 < value <= 100 else ""
        raise ConfigError(f"{option} is {value:g}; expected a probability in [0, 1]{mend}")


def parse_thresholds(option: str, texts: Sequence[str]) -> float | dict[str, float] | None:
    """Thresholds from ``X`` or ``label=X``; None where there are none.

    >>> parse_thresholds("--threshold", ["traffic light=0.7", "cat=0.2"])
    {'traffic light': 0.7, 'cat': 0.2}

    Raises:
        ConfigError: One is no probability, or X for all stands beside others.
    """
    by_label: dict[str, float] = {}
    for text in texts:
        label, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise ConfigError(f"{option} is {text!r}; expected X or LABEL=X, X in [0, 1]") from None
        check_probability(option, value)
        if not equals and len(texts) > 1:
            raise ConfigError(
                f"{option} has {text} for all labels, and others; expected one X, or LABEL=X each"
            )
        if not equals:
            return value
        by_label[label] = value
    return by_label or None


def check_device(option: str, name: str) -> None:
    """Refuse what is no name of a device; whether it is there is seen when PyTorch is."""
    if not re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d+)?", name):
        raise ConfigError(f"{option} is {name!r}; expected auto, cpu, cuda, cuda:N or mps")


def check_model(option: str, model: str) -> None:
    """Refuse a model that is neither a folder nor comes with the package."""
    packaged = importlib.resources.files("didvit") / "models"
    names = sorted(folder.name for folder in packaged.iterdir() if folder.is_dir())
    if model not in names and not os.path.isdir(model):
        raise ConfigError(
            f"{option}: there is no model {model!r}; expected a folder that 'didvit train' wrote, "
            f"or a model that comes with didvit: {', '.join(names)}"
        )


@contextmanager
def naming_model(model: str) -> Iterator[None]:
    """Name the model in the errors of weights that give no finite numbers.

    Raises:
        NonFiniteScoreError: The weights are damaged.
    """
    from didvit.inference.pipeline import NonFiniteScoreError
    from didvit.method.localization import NonFiniteMapError

    try:
        yield
    except (NonFiniteScoreError, NonFiniteMapError) as error:
        raise NonFiniteScoreError(f"--model {model}: {error}") from error


def check_images(paths: Sequence[str]) -> None:
    """Refuse a mistyped folder. A missing file among others is told in its own line, later."""
    if address := next((path for path in paths if re.match(r"[a-z]+://", path)), None):
        raise ConfigError(f"{address} is an address; expected files, folders or globs: download it")
    if not any(map(os.path.exists, paths)):
        for path in paths:
            if not os.path.splitext(path)[1] and not glob.has_magic(path):
                raise ConfigError(f"there is no such file or folder: {path}")


def check_data(option: str, spec: str, root: Path | None = None) -> None:
    """Refuse a data set whose path does not exist. Patterns of shards are left to their reader."""
    path = os.path.join(root, spec) if root else spec
    whole, _, _ = path.rpartition(":")
    if not any(map(os.path.exists, (path, whole))) and not re.search(r"[{*?\[]", path):
        raise ConfigError(f"{option}: there is no such file or folder: {whole or path}")
