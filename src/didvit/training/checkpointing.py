"""Training states on disk, from which a stopped run continues as if it had not stopped."""

import hashlib
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from didvit.config import ConfigError
from didvit.config.serialization import changed_settings
from didvit.data.table import Table
from didvit.files import whole_file

KEPT = 2
"""Number of states that are kept: the newest, and one more in case that it is damaged."""

DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
    *(RuntimeError, OSError, EOFError, ValueError),
)
"""Errors that reading a damaged state raises."""

_MAY_DIFFER = (
    "output",
    "resume",
    "schedule.save_every",
    "runtime.device",
    "data.workers",
    "data.root",
    "data.train",
    "data.val",
)
"""Settings that may differ in a resumed run: they change its result by rounding at most. Where the
data lie does not matter, as their digests must be the same."""


def save_state(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state after a step, whole or not at all, and then remove the oldest.

    Raises:
        OSError: It cannot be written (the disk is full, say). Earlier states stay whole.
    """
    try:
        with whole_file(folder / f"{step:08d}.pt") as path:
            torch.save(state, path)
    except RuntimeError as error:  # torch raises it if a write failed
        raise OSError(
            f"the training state cannot be written to {folder}; is the disk full? ({error})"
        ) from error
    states = _states(folder)
    # A newer one is damaged, or the run would have continued from it.
    newer = [path for path in states if path.name > f"{step:08d}.pt"]
    for path in (*newer, *states[len(newer) + KEPT :]):
        path.unlink(missing_ok=True)


def load_newest_state(
    folder: Path, warn: Callable[[str], None] = lambda message: None
) -> dict[str, Any] | None:
    """Load the newest whole state; None where there is none.

    Args:
        folder: Folder that `save_state` wrote to.
        warn: Receives a message for every damaged state.
    """
    for path in _states(folder):
        try:
            with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
                damaged = archive.testzip()
            if damaged is None:
                return torch.load(path, map_location="cpu", weights_only=True)
            reason = f"its checksum is wrong at {damaged}"
        except DAMAGE as error:
            reason = str(error).partition("\n")[0]
        warn(f"{path} is damaged ({reason}); the run continues from an earlier state")
    return None


def _states(folder: Path) -> list[Path]:
    """Paths of the states, newest first."""
    return sorted(folder.glob("[0-9]*.pt"), reverse=True)


def check_same_run(path: Path, settings: dict[str, Any], data: dict[str, str]) -> None:
    """Refuse to continue with other settings or data than the run began with.

    Args:
        path: Path of the run's ``train.json``. If there is none, nothing is refused.
        settings: Configuration as JSON values.
        data: Digests of the tables, by `data_digests`.

    Raises:
        ConfigError: A setting or a data set differs, or the file is damaged.
    """
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        old_settings, old_data = dict(before["settings"]), dict(before["data"])
        changes = changed_settings(_portable(old_settings), _portable(settings), _MAY_DIFFER)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read, so the run cannot be resumed") from error
    changes += [
        f"data.{name} has other images or labels than it had"
        for name in data
        if old_data.get(name) != data[name]
    ]
    if changes:
        raise ConfigError(
            f"resume continues with the settings of the run in {path.parent}, but "
            f"{'; '.join(changes)}; expected the same, or another output folder"
        )


def data_digests(table: Table, validation: Table) -> dict[str, str]:
    """Digests of the training and validation tables, the same wherever their files are."""
    return {"train": _digest(table), "val": _digest(validation)}


def _digest(table: Table) -> str:
    digest = hashlib.sha256(json.dumps(table.labels).encode())
    for image in table.images:
        digest.update(Path(str(image)).name.encode(errors="backslashreplace"))
    digest.update(table.targets.astype("int8").tobytes())
    return digest.hexdigest()


def _portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the path of a weights file cut to its name and its folder's."""
    model = settings["model"]
    weights = str(Path(*Path(model["weights"]).parts[-2:]))
    return {**settings, "model": {**model, "weights": weights}}
