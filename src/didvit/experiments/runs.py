"""Runs on disk: one JSON file for each row and seed, and its test scores beside it.

A run lies at ``DATA/ROW.sSEED.json`` below the folder of its scale. Results of another seed or
another machine join the others by being copied there. Nothing else is stored: tables and figures
are rendered from the runs that exist.

The scores are needed for differences to rows that are added later. They are large, so the
repository has them for the rows that others are compared with, and no others. Differences that are
known lie in the JSON files.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from didvit.config import DataConfig, TrainConfig
from didvit.config.serialization import changed_settings, to_json
from didvit.data.table import DataError
from didvit.evaluation.scores import Scores
from didvit.experiments.plans import Row
from didvit.files import whole_file, write_json

_MAY_DIFFER = ("output", "resume", "runtime.device", "data.root", "data.workers")
"""Settings that change the result of a run by rounding at most."""


@dataclass(frozen=True)
class Run:
    """A row that was trained and scored with one seed.

    Attributes:
        row: Name of the row's settings, from `row_key`.
        seed: The seed that was asked for. The seed of its training is in ``settings``.
        settings: Its training configuration, with paths relative to the data root.
        scored_with: Settings of the method that differed when it was scored.
        forward_passes: For one image: in training, and in scoring.
        data: Digests of the data sets, by ``train``, ``val`` and ``test``; empty where unknown.
        seconds: Duration of the training, or of what was left of it after an interruption.
        versions: Packages and machine.
        validation: mAP on the validation images in percent, by fusion.
        num_images: Number of test images.
        fusions: Metrics on the test images by fusion, as `FusionReport` has them.
        differences: Paired differences A − B of test mAP in percent, by `difference_key`: ``mAP``
            and its 95 % ``interval`` over images. This run is A.
    """

    row: str
    seed: int
    settings: dict[str, Any]
    scored_with: dict[str, Any]
    forward_passes: tuple[float, float]
    data: dict[str, str]
    seconds: float
    versions: dict[str, str]
    validation: dict[str, float]
    num_images: int
    fusions: dict[str, Any]
    differences: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Training steps."""
        return self.settings["schedule"]["steps"]


def row_key(row: Row) -> str:
    """A name for how a row is trained and scored, whatever its fusion. It serves as a file name.

    >>> row_key(Row("sum", {"reconstraint": "sum"}))
    'reconstraint-sum'
    >>> row_key(Row("x", {"top_n": 0}, budget="equal_passes", scored_with={"top_n": 4}))
    'top_n-0.equal_passes.scored.top_n-4'
    """
    parts = [f"{name}-{value}" for name, value in sorted(row.changes.items()) if name != "fusion"]
    parts = parts or ["did"]
    if row.budget == "equal_passes":
        parts.append(row.budget)
    if row.scored_with:
        parts.append("scored")
        parts += [f"{name}-{value}" for name, value in sorted(row.scored_with.items())]
    return ".".join(parts)


def row_fusion(row: Row) -> str:
    """The fusion that a row's own figures are of."""
    return {"fusion": "mean", **row.changes, **row.scored_with}["fusion"]


def is_same_run(row: Row, other: Row) -> bool:
    """Whether two rows of the same data are one run with one fusion, under two names."""
    return (row_key(row), row_fusion(row)) == (row_key(other), row_fusion(other))


def difference_key(row: Row, other: Row) -> str:
    """The name of a difference among the ``differences`` of the run of ``row``."""
    return f"{row_fusion(row)} - {row_key(other)}:{row_fusion(other)}"


def run_path(folder: Path, row: Row, seed: int) -> Path:
    """The file of a run, in the folder of its scale."""
    return folder / row.data / f"{row_key(row)}.s{seed}.json"


def write_run(path: Path, run: Run) -> None:
    """Write the file of a run, whole or not at all."""
    write_json(path, asdict(run))


def read_run(path: Path) -> Run:
    """Read the file of a run.

    Raises:
        DataError: It is no JSON, or has other fields.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        run = Run(**content)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} is not the file of a run ({error}); delete it, and the experiment makes it "
            "again"
        ) from error
    return replace(run, forward_passes=tuple(run.forward_passes))


def find_runs(folder: Path, row: Row) -> dict[int, Path]:
    """The files of a row's runs by seed, in ascending order."""
    seeds = {}
    for path in (folder / row.data).glob("*.json"):
        key, _, seed = path.stem.rpartition(".s")
        if key == row_key(row) and seed.isdigit():
            seeds[int(seed)] = path
    return dict(sorted(seeds.items()))


def check_settings(path: Path, run: Run, config: TrainConfig) -> None:
    """Refuse a run of other settings than the plan has now.

    A setting that is newer than the run had its default: new settings change nothing by default.

    Raises:
        DataError: Names the settings, and how to mend it.
    """
    defaults = to_json(TrainConfig(DataConfig(("train",), "val"), Path("run")))
    changes = changed_settings(_merged(defaults, run.settings), to_json(config), _MAY_DIFFER)
    if changes:
        raise DataError(
            f"{path} was made with other settings: {'; '.join(changes)}; delete it to make it "
            "again, or choose another folder of runs"
        )


def _merged(defaults: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with defaults for those that are absent, in every group."""
    groups = {
        name for name in defaults.keys() & settings.keys() if isinstance(defaults[name], dict)
    }
    merged = {name: _merged(defaults[name], settings[name]) for name in groups}
    return {**defaults, **settings, **merged}


def check_data(path: Path, run: Run, data: Mapping[str, str]) -> None:
    """Refuse a run of other data than these digests are of. Unknown digests are not compared.

    Raises:
        DataError: Names the run, and how to mend it.
    """
    if run.data and data and run.data != data:
        other = ", ".join(name for name in data if run.data.get(name) != data[name])
        raise DataError(
            f"{path} was made with other data ({other}); delete it to make it again, or choose "
            "another folder of runs"
        )


def write_scores(path: Path, scores: Scores) -> None:
    """Write test scores beside a run, as 16-bit logits; without views, one branch stands for both.

    Args:
        path: The run's file; the array file has the suffix ``.npz``.
        scores: Already rounded to 16 bits, so that nothing is lost.
    """
    arrays: dict[str, Any] = {"global": scores.global_logits.astype(np.float16)}
    if not np.array_equal(scores.global_logits, scores.local_logits):
        arrays["local"] = scores.local_logits.astype(np.float16)
    with whole_file(path.with_suffix(".npz")) as temporary:
        np.savez_compressed(temporary, **arrays, targets=scores.targets.astype(np.int8))


def has_scores(path: Path) -> bool:
    """Whether the array file beside a run is there. Committed runs keep it for references alone."""
    return path.with_suffix(".npz").exists()


def read_scores(path: Path) -> Scores:
    """The test scores beside a run."""
    with np.load(path.with_suffix(".npz")) as arrays:
        main = arrays["global"].astype(float)
        local = arrays["local"].astype(float) if "local" in arrays else main
        return Scores(np.arange(len(main)), main, local, arrays["targets"].astype(int), ())
