"""``didvit rank``."""

import csv
from pathlib import Path

from didvit.cli.options import (
    SOMETHING_FAILED,
    SUCCESS,
    ImagePaths,
    OptionalAim,
    OptionalCount,
    OptionalEngine,
    check_count,
    check_device,
    check_file,
    check_images,
    check_model,
    naming_model,
)
from didvit.cli.threads import default_threads, wait_without_spinning
from didvit.config import ConfigError

COLUMNS = ("rank", "image", "priority", "uncertainty", "disagreement", "novelty", "doubts")


def rank(
    paths: ImagePaths = (),
    /,
    *,
    output: Path,
    budget: int = 200,
    model: str = "default",
    overwrite: bool = False,
    aim: OptionalAim = None,
    batch_size: int = 8,
    workers: int = 2,
    threads: OptionalCount = None,
    engine: OptionalEngine = None,
    device: str = "auto",
) -> int:
    """Choose the photographs whose labels would teach a model the most.

    The candidates are those of which the model is least sure; of these, those that differ most from
    one another are taken. Exit code 0; 3 if some images could not be read; 2 for wrong usage.

    Args:
        paths: Image files, folders (with the folders in them), and globs.
        output: File for the choice (.csv), in the order in which to label.
        budget: How many photographs to choose.
        model: The model that is to learn from them: 'default', or a folder that 'didvit train'
            wrote.
        overwrite: Replace an existing --output file, which is refused otherwise.
        aim: Which of the model's thresholds the labels in doubt are near to, as in 'didvit
            predict'.
        batch_size: Number of images that the network takes at once.
        workers: Number of threads that read images. 0 reads in the command's own.
        threads: Number of threads on the CPU (default: the physical cores).
        engine: What computes, as in 'didvit predict'.
        device: Where, as in 'didvit predict'.
    """
    if not all(paths) or not paths:
        raise ConfigError("no images: expected files, folders or globs after 'didvit rank'")
    check_images(paths)
    check_file("--output", output, overwrite)
    check_count("--budget", budget, least=1)
    check_model("--model", model)
    check_count("--batch-size", batch_size, least=1)
    check_count("--workers", workers)
    check_device("--device", device)
    if threads is not None:
        check_count("--threads", threads, least=1)
    wait_without_spinning()
    from rich.markup import escape

    from didvit.cli.console import bar, stderr_console
    from didvit.curation.rank import rank as choose
    from didvit.data.images import ImageError
    from didvit.data.wording import counted, one_line
    from didvit.evaluation.evaluate import score_images
    from didvit.files import whole_file
    from didvit.inference.cut import choose_cut
    from didvit.inference.paths import search
    from didvit.inference.predictor import load

    found = search(paths)
    console = stderr_console()
    predictor = load(model, device, None, engine, threads or default_threads())
    cut = choose_cut(predictor.labels, predictor.decisions, aim=aim)
    with naming_model(model), bar("reading", len(found.images), console) as advance:
        scores = score_images(predictor, found.images, batch_size, workers, advance)
    failures = (*found.failures.values(), *scores.failures)
    for failure in failures:
        console.print(f"[red]failed[/red] {escape(one_line(failure))}")
    if not len(scores.indices):
        raise ImageError("no image can be read, so that there is nothing to choose from")
    probabilities = cut.calibration.probabilities
    chosen = choose(
        probabilities(scores.fused(predictor.method.fusion)),
        probabilities(scores.global_logits),
        probabilities(scores.local_logits),
        cut.thresholds,
        scores.features,
        budget,
    )
    with (
        whole_file(output) as path,
        path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for place, one in enumerate(chosen, start=1):
            image = found.images[int(scores.indices[one.image])]
            doubts = "|".join(predictor.labels[c] for c in one.doubts)
            numbers = one.priority, one.uncertainty, one.disagreement, one.novelty
            writer.writerow((place, image, *(f"{number:.4f}" for number in numbers), doubts))
    console.print(
        f"{len(chosen):,} of {counted(len(scores.indices), 'image')} chosen, in {output}",
        markup=False,
        soft_wrap=True,
    )
    return SOMETHING_FAILED if failures else SUCCESS
