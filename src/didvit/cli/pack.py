"""``didvit pack``."""

from pathlib import Path
from typing import Annotated

import tyro

from didvit.cli.options import SUCCESS, check_model
from didvit.config import ConfigError


def pack(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")],
    /,
    output: Path,
) -> int:
    """Write a trained model with 8-bit weights: a quarter of the size, nearly the same scores.

    Args:
        model: 'default', or a folder that 'didvit train' wrote.
        output: Folder for the packed model.
    """
    if output.exists():
        raise ConfigError(f"--output {output} is there already; choose another folder")
    check_model("the model", model)
    from didvit.cli.console import stderr_console
    from didvit.decisions.store import copy_decisions, read_decisions, weights_digest
    from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
    from didvit.modeling.folder import WEIGHTS, find_model

    checkpoint, folder = load_checkpoint(model), find_model(model)
    read_decisions(folder, checkpoint.labels, weights_digest(folder / WEIGHTS))  # refused at once
    save_checkpoint(output, checkpoint.model, checkpoint.labels, checkpoint.config, packed=True)
    copy_decisions(folder, output, checkpoint.labels, WEIGHTS)
    size = (output / WEIGHTS).stat().st_size
    stderr_console().print(f"{output}: {size / 1e6:.1f} MB", markup=False)
    return SUCCESS
