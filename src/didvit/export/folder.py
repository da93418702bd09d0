"""An exported model as a folder: weights, graphs, labels, decisions, and the proof."""

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import safetensors.torch

from didvit.config import ConfigError
from didvit.data.images import ImageError, StoredImage, read_image
from didvit.data.table import Table
from didvit.decisions.store import FILE, copy_decisions
from didvit.export.graphs import TAGS_GRAPH, write_graphs
from didvit.export.parity import Parity, ParityError, measure_parity
from didvit.export.quantized import write_int8_graph
from didvit.files import whole_file, write_json
from didvit.inference.engine import GLOBAL_GRAPH, IR_SUFFIX, VIEWS_GRAPH, is_installed
from didvit.inference.pipeline import whole_images
from didvit.inference.predictor import load
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
from didvit.modeling.folder import CONFIG, WEIGHTS, find_model

Format = Literal["onnx", "openvino"]
ExportPrecision = Literal["fp32", "fp16", "int8"]
PARITY = "parity.json"
MOST_MEASURED = 32
"""Photographs that show which layers stay in float32."""

MEASURED_SIZE = (1024, 1024)
"""Height and width that are enough of them."""


def export_model(
    model: str | Path,
    output: Path,
    images: Sequence[Path | StoredImage],
    *,
    format: Format = "onnx",
    precision: ExportPrecision = "fp32",
    table: Table | None = None,
    threads: int | None = None,
    workers: int = 0,
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda message: None,
) -> Parity:
    """Export a model, and prove that it gives what the model gives.

    The folder is a model folder, which `didvit.inference.predictor.load` opens. It appears whole,
    or not at all.

    Args:
        model: Folder or name of a model.
        output: The folder to write.
        images: Photographs for the proof, and for the choice of layers that are in 8 bits.
        format: ``onnx``: graphs that ONNX Runtime and OpenVINO run. ``openvino``: OpenVINO's own.
        precision: Of the weights: as they are in the model, halved, or in 8 bits. With 8 bits
            there are graphs that compute in 8 bits too, beside those that compute in float32.
        table: Labeled images, for mAP; needed for int8.
        threads: Number of threads of the proof.
        workers: Number of threads that read the labeled images.
        overwrite: Replace an earlier export.
        tell: Told what is being done.

    Raises:
        ConfigError: A setting is impossible, or ``output`` exists.
        CheckpointError: There is no such model, or it is damaged.
        ExportError: A part of the model cannot be exported.
        ParityError: The export differs too much.
    """
    for name, value, kind in (
        ("format", format, Format),
        ("precision", precision, ExportPrecision),
    ):
        if value not in get_args(kind):
            raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(get_args(kind))}")
    if precision == "int8" and (table is None or format != "onnx"):
        raise ConfigError(
            "precision int8 needs the format onnx, and labeled images, as it must lose at most 0.3 "
            "mAP; expected --data VAL"
        )
    if format == "openvino" and not is_installed("openvino"):
        raise ConfigError("format openvino needs OpenVINO: pip install 'didvit[openvino]'")
    folder, output = find_model(model), Path(os.path.realpath(output))
    _check_output(output, folder, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name[:40]}-{uuid.uuid4().hex[:12]}")
    temporary.mkdir()
    try:
        _write(folder, temporary, format, precision, tell)
        if precision == "int8":
            write_int8_graphs(temporary, images)
        tell("running the model and its export on the same photographs")
        source = load(folder, engine="pytorch", threads=threads)
        engine = "openvino" if format == "openvino" else "onnx"
        products = "int8" if precision == "int8" else None
        export = load(temporary, engine=engine, threads=threads, precision=products)
        parity = measure_parity(source, export, images, table, workers, tell)
        parity.check(precision)
        write_json(temporary / PARITY, parity.to_dict(precision))
        old = temporary.with_name(f"{temporary.name}-old")
        if output.exists():
            output.rename(old)
        temporary.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return parity


def _write(
    folder: Path,
    target: Path,
    format: Format,
    precision: ExportPrecision,
    tell: Callable[[str], None],
) -> None:
    original = load_checkpoint(folder)
    if precision == "fp32":
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(folder / name, target / name)
    else:
        save_checkpoint(
            target, original.model, original.labels, original.config, packed=precision == "int8"
        )
    if precision == "fp16":
        state = safetensors.torch.load_file(target / WEIGHTS)
        halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        with whole_file(target / WEIGHTS) as path:
            safetensors.torch.save_file(halves, path)
    if (folder / "README.md").is_file():
        shutil.copyfile(folder / "README.md", target / "README.md")
    tell("tracing the graphs")
    checkpoint = load_checkpoint(target)
    computed = "fp16" if precision == "fp16" else "fp32"  # those in 8 bits come beside them
    graphs = write_graphs(
        target, checkpoint.model, checkpoint.config.image_size, computed, checkpoint.labels
    )
    copy_decisions(folder, target, original.labels, WEIGHTS)
    if format == "openvino":
        for graph in graphs:
            _convert(graph)


def write_int8_graphs(folder: Path, images: Sequence[Path | StoredImage]) -> None:
    """Write graphs that compute in 8 bits beside those of a folder.

    Args:
        folder: A model folder with graphs, whose weights are packed in 8 bits.
        images: Photographs, of which the first that can be read show which layers stay in float32.

    Raises:
        ParityError: None can be read.
        OSError: A file cannot be written.
    """
    photographs = []
    for image in images:
        if len(photographs) == MOST_MEASURED:
            break
        try:
            photographs.append(read_image(image, MEASURED_SIZE))
        except ImageError:
            continue
    if not photographs:
        raise ParityError("none of the photographs can be read, so that no layers can be chosen")
    for name in (GLOBAL_GRAPH, VIEWS_GRAPH, TAGS_GRAPH):
        path = folder / name
        if path.is_file():
            write_int8_graph(path, lambda size: [whole_images([one], size) for one in photographs])


def _convert(graph: Path) -> None:
    """Write OpenVINO's form of a graph in its place; half weights stay half."""
    import openvino

    from didvit.inference.engines.openvino import core

    model = core().read_model(graph)
    openvino.save_model(model, graph.with_suffix(IR_SUFFIX), compress_to_fp16=False)
    graph.unlink()


def _check_output(output: Path, folder: Path, overwrite: bool) -> None:
    if output in (folder.resolve(), Path.cwd()):
        raise ConfigError(
            f"--output {output} is the model itself, or the current folder; choose another folder"
        )
    if not output.exists():
        return
    ours = output.is_dir() and (output / PARITY).is_file() and (output / CONFIG).is_file()
    if not output.is_dir() or (any(output.iterdir()) and not ours):
        raise ConfigError(f"--output {output} exists, and is no export; choose another folder")
    strange = [path.name for path in output.iterdir() if not _is_of_an_export(path)]
    if strange:
        raise ConfigError(
            f"--output {output} holds {strange[0]!r}, which no export wrote; choose another folder"
        )
    if any(output.iterdir()) and not overwrite:
        raise ConfigError(
            f"--output {output} is an export already; choose another folder, or replace it with "
            "--overwrite"
        )


def _is_of_an_export(path: Path) -> bool:
    known = (CONFIG, WEIGHTS, PARITY, FILE, "README.md")
    return path.name in known or path.suffix in (".onnx", ".xml", ".bin")
