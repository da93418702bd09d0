"""``didvit export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from didvit.cli.options import (
    SLOW_INT8,
    SUCCESS,
    OptionalCount,
    OptionalText,
    check_count,
    check_data,
    check_images,
    check_model,
    naming_model,
)
from didvit.cli.threads import default_threads, wait_without_spinning
from didvit.config import ConfigError
from didvit.data.choices import Difficult

if TYPE_CHECKING:
    from didvit.data.table import Table
    from didvit.export.parity import Parity

Images = Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...", help_behavior_hint="")]
MOST_IMAGES = 32
"""Photographs of the data that the proof takes, where none are named."""


def export(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")],
    /,
    *,
    output: Path,
    format: Literal["onnx", "openvino"] = "onnx",
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    images: Images = (),
    data: OptionalText = None,
    overwrite: bool = False,
    difficult: Difficult = "ignore",
    workers: int = 2,
    threads: OptionalCount = None,
) -> int:
    """Export a model to graphs that run without PyTorch, and prove that they give the same.

    The folder holds the graphs, the weights, the labels, the model's thresholds and its card.
    'didvit predict --model DIR' runs it. parity.json says how far it is from the model, on your
    photographs; where that is too far, the export fails and writes nothing.

    Args:
        model: 'default', or a folder that 'didvit train' wrote.
        output: Folder for the export.
        format: onnx: for ONNX Runtime, and for OpenVINO too. openvino: OpenVINO's own form.
        precision: Of the weights: as they are, in 16 bits, or in 8 bits. int8 has graphs that
            compute in 8 bits too, which processors that are fast at it take; it needs --data.
        images: Photographs for the proof, and for the choice of layers in 8 bits: files, folders
            and globs (default: the first of --data).
        data: Labeled data, as PATH or PATH:SPLIT, for the difference of mAP.
        overwrite: Replace an earlier export, which is refused otherwise.
        difficult: VOC's labels with difficult objects alone: unknown, present or absent.
        workers: Number of threads that read labeled images. 0 reads in the command's own.
        threads: Number of threads on the CPU (default: the physical cores).
    """
    check_model("the model", model)
    check_count("--workers", workers)
    if threads is not None:
        check_count("--threads", threads, least=1)
    if data is not None:
        check_data("--data", data)
    elif not images:
        raise ConfigError(
            "there is nothing to prove the export on; expected --images PATH, or --data PATH"
        )
    if images:
        check_images(images)
    wait_without_spinning()
    import onnxscript  # noqa: F401  (named first, as its extra brings PyTorch too)
    from rich.markup import escape

    from didvit.cli.console import stderr_console
    from didvit.data.wording import one_line
    from didvit.export.folder import export_model
    from didvit.inference.paths import find_images

    table = _table(model, data, difficult) if data else None
    paths = find_images(images) if images else list(table.images[:MOST_IMAGES]) if table else []
    console = stderr_console()
    if precision == "int8":
        from didvit.inference.engine import has_fast_int8

        if not has_fast_int8():
            console.print(f"{SLOW_INT8}; 'predict' computes in float32 here")

    def tell(message: str) -> None:
        console.print(escape(one_line(message)))

    with naming_model(model):
        parity = export_model(
            model,
            output,
            paths,
            format=format,
            precision=precision,
            table=table,
            threads=threads or default_threads(),
            workers=workers,
            overwrite=overwrite,
            tell=tell,
        )
    tell(_summary(parity, output))
    return SUCCESS


def _table(model: str, data: str, difficult: Difficult) -> "Table":
    from didvit.data.datasets import read_dataset
    from didvit.evaluation.evaluate import check_labeled
    from didvit.modeling.folder import find_model, read_description

    table = read_dataset(data, read_description(find_model(model)).labels, difficult=difficult)
    check_labeled(table, data)
    return table


def _summary(parity: "Parity", output: Path) -> str:
    from didvit.data.wording import counted

    size = sum(path.stat().st_size for path in output.iterdir()) / 1e6
    parts = [
        f"{output}: {size:.1f} MB",
        f"on {counted(parity.num_images, 'photograph')} scores differ by at most "
        f"{parity.score_difference:.5f}, and {parity.label_flips} labels cross their thresholds",
    ]
    if parity.mean_box_iou is not None:
        parts.append(f"mean IoU of boxes {parity.mean_box_iou:.3f}")
    if parity.mAP_source is not None:
        parts.append(f"mAP {parity.mAP_source:.2f} and {parity.mAP_export:.2f}")
    return "; ".join(parts)
