"""Devices by name."""

import torch

from didvit.method.config import ConfigError

DEVICES = "auto, cpu, cuda, cuda:N or mps"


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device named; for None or ``"auto"`` a CUDA GPU where there is one, else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if device not in (None, "auto"):
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"device {str(device)!r} cannot be used; expected {DEVICES} "
                f"({str(error).splitlines()[0]})"
            ) from error
        if chosen.type == "meta":  # which holds no numbers
            raise ConfigError(f"device 'meta' cannot be used; expected {DEVICES}")
        return chosen
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
