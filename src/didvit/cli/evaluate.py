"""``didvit evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING

from didvit.cli.options import (
    RESAMPLES,
    SOMETHING_FAILED,
    SUCCESS,
    OptionalCompetition,
    OptionalCount,
    OptionalFile,
    OptionalFolder,
    OptionalPreset,
    check_count,
    check_data,
    check_device,
    check_file,
    check_folder,
    check_model,
    naming_model,
)
from didvit.cli.threads import default_threads, wait_without_spinning
from didvit.config import ConfigError
from didvit.config.presets import PRESETS
from didvit.config.serialization import to_json
from didvit.data.choices import Difficult, Meter, WithoutLabels

if TYPE_CHECKING:
    from didvit.evaluation.report import Report


def evaluate(
    *,
    data: str,
    model: str = "default",
    preset: OptionalPreset = None,
    json: OptionalFile = None,
    overwrite: bool = False,
    submission: OptionalFolder = None,
    competition: OptionalCompetition = None,
    difficult: Difficult = "ignore",
    without_labels: WithoutLabels = "keep",
    meter: Meter = "known",
    resamples: int = RESAMPLES,
    batch_size: int = 8,
    workers: int = 2,
    threads: OptionalCount = None,
    device: str = "auto",
) -> int:
    """Score a model on labeled images: mAP with its 95 % interval, AP by label, precision, recall
    and F1.

    They are given for whole images (global), for their regions and tiles (local), and for two
    fusions of both (max and mean).

    Exit code 0; 3 if some images could not be read and were left out; 2 for wrong usage.

    Args:
        data: Data set, as PATH or PATH:SPLIT, in any format that training takes.
        model: 'default', or a folder that 'didvit train' wrote.
        preset: Settings of the method, as in 'didvit predict' (default: the model's own).
        json: File for the metrics, in percent.
        overwrite: Replace an existing --json file, which is refused otherwise.
        submission: Folder for the scores in the format of VOC 2012's evaluation server.
        competition: With --submission: comp1 (the default) for a model that learned from VOC's
            training and validation data alone, comp2 for one that learned from other data too.
        difficult: VOC's labels with difficult objects alone: unknown, present or absent.
        without_labels: Images without any label (COCO has some): kept or left out.
        meter: Convention of precision and recall: unknown labels do not count, or as in ML-GCN's
            code.
        resamples: Number of resamples of the bootstrap for the intervals of mAP. It takes minutes
            on tens of thousands of images. 0 leaves the intervals out.
        batch_size: Number of images that the network takes at once.
        workers: Number of processes that read images. 0 reads in the command's own.
        threads: Number of threads on the CPU (default: the physical cores).
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    check_file("--json", json, overwrite)
    check_folder("--submission", submission)
    if competition and not submission:
        raise ConfigError(
            f"--competition {competition} is for the files of a submission; expected "
            "--submission DIR with it"
        )
    check_count("--resamples", resamples)
    check_count("--workers", workers)
    check_count("--batch-size", batch_size, least=1)
    check_device("--device", device)
    check_model("--model", model)
    check_data("--data", data)
    if threads is not None:
        check_count("--threads", threads, least=1)
    wait_without_spinning()
    import torch
    from rich.console import Console
    from rich.markup import escape

    from didvit.cli.console import bar, report_tables, stderr_console
    from didvit.data.datasets import read_dataset
    from didvit.data.wording import one_line
    from didvit.evaluation.evaluate import check_labeled, is_labeled, score
    from didvit.evaluation.report import report, submit
    from didvit.evaluation.voc_submission import check_names, image_ids, submitted_split
    from didvit.files import write_json
    from didvit.inference.predictor import Predictor
    from didvit.modeling.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(model, PRESETS[preset] if preset else None)
    labels, fusion = checkpoint.labels, checkpoint.config.method.fusion
    predictor = Predictor(checkpoint.model, labels, checkpoint.config.image_size, device)
    table = read_dataset(data, labels, difficult=difficult, without_labels=without_labels)
    if not submission:
        check_labeled(table, data, "; --submission DIR writes the scores themselves")
    elif json or resamples != RESAMPLES:
        check_labeled(table, data, "; expected neither --json nor --resamples with it")
    if submission:  # before hours of scoring
        check_names(image_ids(table.images), table.labels)
    console = stderr_console()
    torch.set_num_threads(threads or default_threads())
    with naming_model(model), bar("evaluating", len(table), console) as advance:
        scores = score(predictor, table, batch_size, workers, advance)
    for failure in scores.failures:
        console.print(f"[red]failed[/red] {escape(one_line(failure))}")
    if submission:
        split = submitted_split(data)
        submit(submission, scores, table, fusion, split, competition or "comp1")
        console.print(f"the files for the evaluation server are in {escape(str(submission))}")
    if is_labeled(table):
        result = report(scores, labels, resamples, meter)
        if json:
            settings = to_json(checkpoint.config)
            write_json(
                json, {"model": model, "settings": settings, "data": data, **result.to_dict()}
            )
        for rows in report_tables(result, fusion):
            Console(emoji=False, highlight=False).print(rows)
        console.print(escape(_summary(result, fusion, json)))
    return SOMETHING_FAILED if scores.failures else SUCCESS


def _summary(result: "Report", fusion: str, json: Path | None) -> str:
    """The end of an evaluation in words."""
    from didvit.data.wording import counted, first_few

    failed = f", {len(result.failures):,} failed and left out" if result.failures else ""
    measured = len(result.fusions[fusion].AP) - len(result.left_out)
    parts = [f"{counted(result.num_images, 'image')} scored{failed}"]
    if measured:
        mean = result.fusions[fusion].mAP
        parts.append(f"mAP {mean:.1f} over {counted(measured, 'label')} (fusion {fusion})")
    if result.left_out:
        names = first_few([f"{label} ({why})" for label, why in result.left_out.items()], 3)
        parts.append(f"not in mAP, as any order of the images would do: {names}")
    if json:
        parts.append(f"metrics in {json}")
    return "; ".join(parts)
