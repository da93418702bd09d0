"""What thresholds are for, in the words of the command line."""

from dataclasses import dataclass
from typing import Literal

from didvit.config import ConfigError

Kind = Literal["f1", "precision", "recall", "count"]
EXPECTED = "f1, count, precision=P or recall=R, with a number between 0 and 1"


@dataclass(frozen=True)
class Aim:
    """What a label's threshold is chosen for.

    Attributes:
        kind: ``f1``: the highest F1. ``precision`` and ``recall``: at least a value. ``count``: as
            many predictions as there are labels.
        value: Least precision or recall; None for the others.
    """

    kind: Kind
    value: float | None = None

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind}={self.value!r}"


def parse_aim(text: str) -> Aim:
    """An aim from its text.

    >>> parse_aim("precision=0.9")
    Aim(kind='precision', value=0.9)
    >>> str(parse_aim("f1"))
    'f1'

    Raises:
        ConfigError: It is none.
    """
    kind, equals, number = text.strip().partition("=")
    if kind in ("f1", "count") and not equals:
        return Aim(kind)
    if kind in ("precision", "recall") and equals:
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if 0 < value < 1:
            return Aim(kind, value)
        mend = f"; {value:g} % is {value / 100:g}" if 1 < value < 100 else ""
        raise ConfigError(
            f"the aim is {text!r}; expected {kind}=X with a number between 0 and 1{mend}"
        )
    raise ConfigError(f"the aim is {text!r}; expected {EXPECTED}")
