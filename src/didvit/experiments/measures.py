"""What a row of an experiment's JSON says, over its seeds."""

from statistics import fmean
from typing import Any


def score(row: dict[str, Any]) -> float:
    """Mean mAP over seeds of the row's own fusion."""
    return mean_of(row, "fusions", row["fusion"], "mAP")


def interval(row: dict[str, Any]) -> tuple[float, float]:
    """Over seeds, the lowest and highest mAP; of one seed, the 95 % interval over images."""
    runs = [run["fusions"][row["fusion"]] for run in row["runs"]]
    return _ends([(run["mAP"], run["mAP_interval"]) for run in runs])


def difference(row: dict[str, Any]) -> tuple[float, float, float] | None:
    """mAP less that of the reference, and its ends as in `interval`, over the seeds that both have.

    None where there is no such seed, as of a reference itself.
    """
    known = differences(row)
    if not known:
        return None
    ends = _ends([(one["mAP"], one["interval"]) for one in known])
    return (fmean(one["mAP"] for one in known), *ends)


def differences(row: dict[str, Any]) -> list[dict[str, Any]]:
    """From the reference, of every seed that both have."""
    return [run["difference"] for run in row["runs"] if run["difference"]]


def mean_of(row: dict[str, Any], *path: str) -> float:
    """Mean over seeds of what lies at a path in each run."""
    values = []
    for run in row["runs"]:
        value = run
        for key in path:
            value = value[key]
        values.append(value)
    return fmean(values)


def _ends(runs: list[tuple[float, tuple[float, float]]]) -> tuple[float, float]:
    """Of one run its interval, of several their lowest and highest value."""
    if len(runs) == 1:
        low, high = runs[0][1]
        return low, high
    values = [value for value, _ in runs]
    return min(values), max(values)
