"""``didvit predict``."""

import json as json_format
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from didvit.cli.options import (
    SLOW_INT8,
    SOMETHING_FAILED,
    SUCCESS,
    ImagePaths,
    OptionalAim,
    OptionalCount,
    OptionalEngine,
    OptionalFile,
    OptionalFolder,
    OptionalPasses,
    OptionalPrecision,
    OptionalPreset,
    Thresholds,
    check_count,
    check_device,
    check_file,
    check_folder,
    check_images,
    check_model,
    naming_model,
    parse_thresholds,
)
from didvit.cli.threads import default_threads, wait_without_spinning
from didvit.config import ConfigError

if TYPE_CHECKING:
    from didvit.inference.paths import FoundImages
    from didvit.inference.prediction import Prediction

NAMED_LABELS = 8
"""Labels that the summary counts by name."""


def predict(
    paths: ImagePaths = (),
    /,
    model: str = "default",
    output: OptionalFolder = None,
    json: OptionalFile = None,
    overwrite: bool = False,
    threshold: Thresholds = (),
    aim: OptionalAim = None,
    preset: OptionalPreset = None,
    top_n: OptionalCount = None,
    passes: OptionalPasses = None,
    show_others: bool = False,
    batch_size: int = 8,
    threads: OptionalCount = None,
    engine: OptionalEngine = None,
    precision: OptionalPrecision = None,
    device: str = "auto",
) -> int:
    """Tag photographs: one JSON line per image, and a picture of what was found where.

    Paths come first, then options. Exit code 0 if every image succeeded, 3 if some failed, 2 for
    wrong usage.

    Args:
        paths: Image files, folders (with the folders in them), and globs.
        model: 'default', or a folder that 'didvit train' wrote.
        output: Folder for one picture per image, in the same subfolders: labels, the regions of
            those that were found, and heat maps.
        json: File for the JSON lines; without it they go to the standard output.
        overwrite: Replace pictures and JSON lines of an earlier run, which are refused otherwise.
        threshold: Least score of a label, in [0, 1], in place of the model's own thresholds: X for
            all labels, or label=X for one; several may follow.
        aim: Which of the model's thresholds: an aim that 'didvit tune' stored, such as
            precision=0.85 (default: the first of them; 'default' has f1 and precision=0.85).
        preset: Settings of the method, in place of the model's own: 'didvit' takes 4 regions and 4
            tiles at half the input's sides, 'fast' the whole image alone, 'paper' 4 regions at the
            input's sides (default: the model's own; those of 'default' are 'didvit').
        top_n: Number of regions; 0 takes the whole image alone (default: the preset's, or the
            model's own).
        passes: Forward passes per image, on average over images like those that the model was
            tuned on, from 1 to the model's own (3 for 'default'): images whose labels the whole
            image leaves uncertain have views, the others none (default: views for all).
        show_others: Draw regions of labels below the threshold too, marked as not found.
        batch_size: Number of images that the network takes at once.
        threads: Number of threads on the CPU (default: the physical cores).
        engine: What computes: 'onnx' (ONNX Runtime), 'openvino' or 'pytorch' (default: onnx where
            the model has graphs, as 'default' has, else pytorch).
        precision: What onnx computes in: 'fp32', or 'int8', which is faster, and whose scores
            differ a little (default: int8 where the model has graphs for it, as 'default' has, and
            the processor is fast at it).
        device: 'auto' takes a CUDA GPU where PyTorch computes and there is one; or a device of
            PyTorch such as 'cuda:1'.
    """
    if not all(paths) or not paths:
        raise ConfigError("no images: expected files, folders or globs after 'didvit predict'")
    check_folder("--output", output)
    check_file("--json", json)
    check_images(paths)
    chosen = parse_thresholds("--threshold", threshold)
    check_count("--batch-size", batch_size, least=1)
    if threads is not None:
        check_count("--threads", threads, least=1)
    check_device("--device", device)
    check_model("--model", model)
    wait_without_spinning()
    from rich.markup import escape

    from didvit.cli.console import bar, stderr_console
    from didvit.data.wording import one_line
    from didvit.files import whole_file
    from didvit.inference.paths import PICTURE_MARK, check_pictures, picture_names, search
    from didvit.inference.prediction import Failure, Prediction

    found = search(paths, output)
    pictures = picture_names(found.images, found.base, output) if output else {}
    check_pictures(pictures, overwrite)
    _check_lines(json, overwrite)

    from didvit.data.images import ImageError
    from didvit.inference.engine import has_fast_int8
    from didvit.inference.predictor import load

    console = stderr_console()
    if precision == "int8" and not has_fast_int8():
        console.print(SLOW_INT8)
    threads = threads or default_threads()
    predictor = load(model, device, preset, engine, threads, precision=precision)
    results = predictor.stream(found.images, chosen, top_n, batch_size, aim, passes)
    failed, seen = 0, _Seen()
    # On a terminal the lines themselves show how far it is.
    shown = len(found.images) > 1 and not (json is None and sys.stdout.isatty())

    def fail(failure: Failure, write: Callable[[dict], None]) -> None:
        write(failure.to_dict())
        console.print(f"[red]failed[/red] {escape(one_line(failure.error))}")

    progress = bar("predicting", len(found.images), console, shown)
    with naming_model(model), _json_lines(json) as write, progress as tick:
        for path, error in found.failures.items():
            fail(Failure(path, error), write)
        for image, result in zip(found.images, results, strict=True):
            line = result.to_dict()
            if output and isinstance(result, Prediction):
                try:
                    picture = result.plot(show_others)
                except ImageError as error:  # the file is gone since it was read
                    result = Failure(result.image, str(error))
                else:
                    with whole_file(pictures[image]) as path:
                        picture.save(path, quality=90, comment=PICTURE_MARK)
                    line["picture"] = str(pictures[image])
            if isinstance(result, Failure):
                failed += 1
                fail(result, write)
            else:
                seen.add(result)
                write(line)
            tick(1)
    for sentence in _passed_over(found):
        console.print(escape(one_line(sentence)))
    summary = _summary(seen, failed + len(found.failures), json, output, passes is not None)
    console.print(escape(one_line(summary)))
    return SOMETHING_FAILED if failed or found.failures else SUCCESS


class _Seen:
    """What a run found, counted."""

    def __init__(self) -> None:
        self.images = self.with_labels = self.with_views = 0
        self.labels: Counter[str] = Counter()

    def add(self, prediction: "Prediction") -> None:
        self.images += 1
        self.with_labels += bool(prediction.labels)
        self.with_views += prediction.has_views
        self.labels.update(label.label for label in prediction.labels)


def _summary(
    seen: _Seen, failed: int, json: Path | None, output: Path | None, count_views: bool
) -> str:
    """The end of a run in words."""
    from didvit.data.wording import counted, first_few

    common = seen.labels.most_common()
    names = first_few([f"{label} {number}" for label, number in common], NAMED_LABELS)
    nothing = seen.images - seen.with_labels
    parts = [counted(seen.images + failed, "image")]
    if seen.with_labels:
        parts.append(f"{seen.with_labels:,} with labels ({names})")
    if nothing:
        parts.append(f"{nothing:,} with nothing that the model knows")
    if count_views:
        parts.append(f"{seen.with_views:,} with views")
    if failed:
        parts.append(f"{failed:,} of {seen.images + failed:,} failed")
    places = [f"JSON lines in {json}" if json else "", f"pictures in {output}" if output else ""]
    where = "; ".join(filter(None, places))
    return f"{parts[0]}: {', '.join(parts[1:])}{f'; {where}' if where else ''}"


def _passed_over(found: "FoundImages") -> list[str]:
    """What was not read, in words."""
    from didvit.data.wording import counted, first_few

    sentences = [str(of) for of in found.passed_over]
    if found.pictures:
        names = first_few(found.pictures, 3)
        number = counted(len(found.pictures), "image")
        sentences.append(f"{number} in the output folder left out: {names}")
    return sentences


def _check_lines(path: Path | None, overwrite: bool) -> None:
    """Refuse to replace the lines of an earlier run unasked.

    Raises:
        ConfigError: Names the file that is in the way.
    """
    from didvit.files import is_stream, partial_path

    if path is None or overwrite or is_stream(path):
        return
    for existing, what in (
        (path, "exists"),
        (partial_path(path), "has lines of an unfinished run"),
    ):
        if existing.exists() and existing.stat().st_size:
            raise ConfigError(
                f"--json: {existing} {what}; choose another file, or replace it with --overwrite"
            )


@contextmanager
def _json_lines(path: Path | None) -> Iterator[Callable[[dict], None]]:
    """A function that writes one JSON line, to a file or to the standard output."""
    from didvit.files import line_file

    if path is None:
        yield lambda line: _write_line(sys.stdout, line)
        return
    with line_file(path) as file:
        yield lambda line: _write_line(file, line)


def _write_line(file: TextIO, line: dict) -> None:
    text = json_format.dumps(line, ensure_ascii=False)
    try:
        text.encode(file.encoding)
    except UnicodeEncodeError:
        text = json_format.dumps(line)
    file.write(text + "\n")
    file.flush()
