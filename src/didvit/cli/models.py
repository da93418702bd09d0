"""``didvit models``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import tyro

from didvit.cli.options import SUCCESS, OptionalFile, check_file
from didvit.config import ConfigError

if TYPE_CHECKING:
    from didvit.modeling.architectures import Architecture

COLUMNS = ("name", "M", "input", "patch", "class token", "rotary", "license")


def models(
    pattern: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="[FILTER]", help_behavior_hint="")
    ] = "*",
    /,
    json: OptionalFile = None,
) -> int:
    """List timm's models that can be the backbone, smallest first.

    One line for each set of weights: name, parameters in millions, input size and patch in pixels,
    whether it has a class token and rotary positions, and the license of its weights ('?' where
    timm does not state it). Nothing is downloaded. Exit code 0; 2 if no name fits.

    Args:
        pattern: A part of the name, such as dinov3, or a glob of the whole name, such as
            '*small*clip*'.
        json: File for the list.
    """
    check_file("--json", json)
    import gc

    from didvit.cli.console import bar, stderr_console
    from didvit.data.wording import counted
    from didvit.files import write_json
    from didvit.modeling.architectures import accepted, candidates

    names = candidates(pattern)
    gc.freeze()  # half of the time would go into searching PyTorch for garbage, again and again
    console = stderr_console()
    with bar("models", len(names), console) as advance:
        found = sorted(accepted(names, advance), key=lambda row: (row.parameters, row.name))
    if not found:
        raise ConfigError(
            f"no model that can be the backbone fits {pattern!r}; expected a part of a name, such "
            "as dinov3, or a glob in quotes, such as '*small*clip*'"
        )
    if json:
        write_json(json, [row._asdict() for row in found])
    print("\n".join(_aligned([COLUMNS, *map(_cells, found)])))
    console.print(
        f"{counted(len(found), 'model')}. To use one: didvit train --model.backbone NAME "
        "--model.weights pretrained (or a .safetensors file)"
    )
    return SUCCESS


def _cells(row: "Architecture") -> tuple[str, ...]:
    size, patch = ("x".join(map(str, sides)) for sides in (row.image_size, row.patch_size))
    flags = ("yes" if flag else "no" for flag in (row.class_token, row.rotary))
    license = (row.license or "?") if row.pretrained else "(no weights in timm)"
    return row.name, f"{row.parameters / 1e6:.1f}", size, patch, *flags, license


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines. Names are never cut: they are there to be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
