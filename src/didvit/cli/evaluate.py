"""``didvit evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING

from didvit.cli.options import (
    RESAMPLES,
    SLOW_INT8,
    SOMETHING_FAILED,
    SUCCESS,
    OptionalAim,
    OptionalCompetition,
    OptionalCount,
    OptionalEngine,
    OptionalFile,
    OptionalFolder,
    OptionalPasses,
    OptionalPrecision,
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
from didvit.config.serialization import to_json
from didvit.data.choices import Difficult, Meter, WithoutLabels

if TYPE_CHECKING:
    from didvit.data.table import Table
    from didvit.evaluation.decided import DecidedReport
    from didvit.evaluation.report import Report
    from didvit.evaluation.scores import Scores
    from didvit.inference.predictor import Predictor

MOST_RESAMPLES = 200
"""Of the bootstrap for calibration, whose figures take far longer than mAP."""

ESTIMATES = "the fusions local and max hold estimates for the images whose views were left out"
TUNED_HERE = (
    "the thresholds and the calibration were tuned on these very data: what is measured of them is "
    "too good, and not unbiased; expected a data set of its own"
)


def evaluate(
    *,
    data: str,
    model: str = "default",
    aim: OptionalAim = None,
    preset: OptionalPreset = None,
    passes: OptionalPasses = None,
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
    engine: OptionalEngine = None,
    precision: OptionalPrecision = None,
    device: str = "auto",
) -> int:
    """Score a model on labeled images: mAP with its 95 % interval, AP by label, precision, recall
    and F1. Precision, recall and F1 are given at a probability of 0.5, and at the thresholds that
    the model was tuned to.

    They are given for whole images (global), for their regions and tiles (local), and for two
    fusions of both (max and mean).

    Exit code 0; 3 if some images could not be read and were left out; 2 for wrong usage.

    Args:
        data: Data set, as PATH or PATH:SPLIT, in any format that training takes.
        model: 'default', or a folder that 'didvit train' wrote.
        aim: Which of the model's thresholds are measured, as in 'didvit predict'.
        preset: Settings of the method, as in 'didvit predict' (default: the model's own).
        passes: Forward passes per image, on average, as in 'didvit predict'.
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
        workers: Number of threads that read images. 0 reads in the command's own.
        threads: Number of threads on the CPU (default: the physical cores).
        engine: What computes, as in 'didvit predict'.
        precision: What onnx computes in, as in 'didvit predict'.
        device: Where, as in 'didvit predict'.
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
    from rich.console import Console
    from rich.markup import escape

    from didvit.cli.console import bar, decided_table, report_tables, stderr_console
    from didvit.data.datasets import read_dataset
    from didvit.data.wording import one_line
    from didvit.evaluation.evaluate import check_labeled, is_labeled, score
    from didvit.evaluation.report import report, submit
    from didvit.evaluation.voc_submission import check_names, image_ids, submitted_split
    from didvit.files import write_json
    from didvit.inference.cut import choose_cut
    from didvit.inference.engine import has_fast_int8
    from didvit.inference.predictor import load

    threads = threads or default_threads()
    predictor = load(model, device, preset, engine, threads, precision=precision)
    labels, fusion = predictor.labels, predictor.method.fusion
    choose_cut(labels, predictor.decisions, aim=aim)  # refuses an aim that is not stored
    predictor.view_budget(passes)  # refuses what is impossible
    table = read_dataset(data, labels, difficult=difficult, without_labels=without_labels)
    if not submission:
        check_labeled(table, data, "; --submission DIR writes the scores themselves")
    elif json or resamples != RESAMPLES:
        check_labeled(table, data, "; expected neither --json nor --resamples with it")
    if submission:  # before hours of scoring
        check_names(image_ids(table.images), table.labels)
    console = stderr_console()
    if precision == "int8" and not has_fast_int8():
        console.print(SLOW_INT8)
    with naming_model(model), bar("evaluating", len(table), console) as advance:
        scores = score(predictor, table, batch_size, workers, advance, passes)
    for failure in scores.failures:
        console.print(f"[red]failed[/red] {escape(one_line(failure))}")
    if submission:
        split = submitted_split(data)
        submit(submission, scores, table, fusion, split, competition or "comp1")
        console.print(f"the files for the evaluation server are in {escape(str(submission))}")
    if is_labeled(table):
        result = report(scores, labels, resamples, meter)
        decided = _decided(predictor, scores, table, aim, min(resamples, MOST_RESAMPLES))
        if json:
            content = {"model": model, "settings": to_json(predictor.config), "data": data}
            content["forward_passes"] = _passes(predictor, scores)
            content |= result.to_dict()
            content["decisions"] = decided.to_dict() if decided else None
            write_json(json, content)
        tables = report_tables(result, fusion)
        tables[1:1] = [decided_table(decided, result.fusions[fusion].all)] if decided else []
        for rows in tables:
            Console(emoji=False, highlight=False).print(rows)
        console.print(escape(_summary(result, fusion, json, _passes(predictor, scores))))
        if passes is not None:
            console.print(ESTIMATES)
        if decided and decided.tuned_here:
            console.print(TUNED_HERE)
    return SOMETHING_FAILED if scores.failures else SUCCESS


def _decided(
    predictor: "Predictor", scores: "Scores", table: "Table", aim: str | None, resamples: int
) -> "DecidedReport | None":
    """What the model's calibration and thresholds give, if it has any."""
    if predictor.decisions is None:
        return None
    from didvit.decisions.store import data_digest
    from didvit.evaluation.decided import decided_report

    digest = data_digest(table.images, table.targets)
    logits = scores.fused(predictor.method.fusion)
    return decided_report(logits, scores.targets, predictor.decisions, digest, aim, resamples)


def _passes(predictor: "Predictor", scores: "Scores") -> float:
    """Forward passes per image, on average."""
    most = predictor.method.forward_passes(len(predictor.labels))
    share = scores.has_views.mean() if len(scores.has_views) else 0
    return 1 + (most - 1) * float(share)


def _summary(result: "Report", fusion: str, json: Path | None, passes: float) -> str:
    """The end of an evaluation in words."""
    from didvit.data.wording import counted, first_few

    failed = f", {len(result.failures):,} failed and left out" if result.failures else ""
    measured = len(result.fusions[fusion].AP) - len(result.left_out)
    each = f"{passes:.3g} forward pass{'es' * (passes != 1)} per image"
    parts = [f"{counted(result.num_images, 'image')} scored{failed}, {each}"]
    if measured:
        mean = result.fusions[fusion].mAP
        parts.append(f"mAP {mean:.1f} over {counted(measured, 'label')} (fusion {fusion})")
    if result.left_out:
        names = first_few([f"{label} ({why})" for label, why in result.left_out.items()], 3)
        parts.append(f"not in mAP, as any order of the images would do: {names}")
    if json:
        parts.append(f"metrics in {json}")
    return "; ".join(parts)
