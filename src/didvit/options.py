"""What options of several commands share: defaults, and what is refused."""

from pathlib import Path

from didvit.config import ConfigError

RESAMPLES = 1000
"""Of a bootstrap, where the user says nothing."""


def check_file(option: str, path: Path | None) -> None:
    """Refuse a folder where a file is to be written, and a file as its folder."""
    if path and path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; expected a file")
    if path:
        check_folder(f"the folder of {option} {path},", path.parent)


def check_count(option: str, count: int) -> None:
    """Refuse less than nothing."""
    if count < 0:
        raise ConfigError(f"{option} is {count}; expected 0 or more")


def check_folder(option: str, path: Path | None) -> None:
    """Refuse a file where a folder is to be written."""
    if path and path.exists() and not path.is_dir():
        raise ConfigError(f"{option} {path} is a file; expected a folder")
