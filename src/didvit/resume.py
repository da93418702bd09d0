"""Training states on disk, from which a stopped run goes on as if it had never stopped."""

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
from didvit.config_json import upgrade
from didvit.data.table import Table
from didvit.files import whole_file

KEPT = 2
"""States that are kept: the newest, and one more in case that it is damaged."""

DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
    *(RuntimeError, OSError, EOFError, ValueError),
)
"""What reading a damaged state raises."""

_FREE = ("output", "resume", "save_every", "device", "data.workers", "data.root")
"""Settings that may differ in a resumed run, as they change its result by rounding at most."""


def save_state(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state after a step; it appears whole or not at all, and the oldest goes then.

    Raises:
        OSError: The disk is full, say; the states before are whole.
    """
    try:
        with whole_file(folder / f"{step:08d}.pt") as path:
            torch.save(state, path)
    except RuntimeError as error:  # torch's word for a write that failed
        raise OSError(
            f"the training state cannot be written to {folder}; is the disk full? ({error})"
        ) from error
    states = _states(folder)
    # A newer one is damaged, or the run would have gone on from it.
    newer = [path for path in states if path.name > f"{step:08d}.pt"]
    for path in (*newer, *states[len(newer) + KEPT :]):
        path.unlink(missing_ok=True)


def load_newest_state(
    folder: Path, warn: Callable[[str], None] = lambda message: None
) -> dict[str, Any] | None:
    """The newest state that is whole; None where there is none.

    Args:
        folder: Where `save_state` wrote.
        warn: Told of every damaged state that is passed over.
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
        warn(f"{path} is damaged ({reason}); the run goes on from before it")
    return None


def _states(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("[0-9]*.pt"), reverse=True)


def check_same_run(path: Path, settings: dict[str, Any], data: dict[str, str]) -> None:
    """Refuse to go on with other settings or data than the run began with.

    Args:
        path: ``train.json`` of the run; nothing is refused where it is missing.
        settings: The configuration as JSON values.
        data: `data_digests` of the tables.

    Raises:
        ConfigError: A setting or a data set differs, or the file is damaged.
    """
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        old_settings, old_data = dict(before["settings"]), dict(before["data"])
        old = _flat({**old_settings, "model": upgrade(old_settings["model"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read, so the run cannot be resumed") from error
    new = _flat(settings)
    changes = [
        f"{name} was {old.get(name)} and is {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if name not in _FREE and _stays(name, old.get(name)) != _stays(name, new.get(name))
    ]
    changes += [
        f"data.{name} has other images or labels than it had"
        for name in data
        if old_data.get(name) != data[name]
    ]
    if changes:
        raise ConfigError(
            f"resume goes on with the settings of the run in {path.parent}, but "
            f"{'; '.join(changes)}; expected the same, or another output folder"
        )


def data_digests(table: Table, validation: Table) -> dict[str, str]:
    """What tells one training and validation table from another, wherever their files lie."""
    return {"train": _digest(table), "val": _digest(validation)}


def _digest(table: Table) -> str:
    digest = hashlib.sha256(json.dumps(table.labels).encode())
    for image in table.images:
        digest.update(Path(str(image)).name.encode(errors="backslashreplace"))
    digest.update(table.targets.astype("int8").tobytes())
    return digest.hexdigest()


def _stays(name: str, value: Any) -> Any:
    """What of a setting has to stay; of a file of weights, its name and its folder's."""
    return Path(str(value)).parts[-2:] if name == "model.weights" else value


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat
