"""``didvit experiment``. Heavy imports happen when it runs."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

from didvit.cli.options import RESAMPLES, SUCCESS, check_device, check_folder, check_model
from didvit.config import ConfigError
from didvit.config.training import Precision
from didvit.experiments.benchmarks import Scale

if TYPE_CHECKING:
    from didvit.experiments.plans import Experiment, Row
    from didvit.experiments.scoring import Runner
    from didvit.inference.prediction import Prediction

Name = Literal[
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "figure2",
    "figure3",
    "normalization",
    "order",
    "fusion",
    "presets",
    "crop-source",
    "view-size",
    "pretraining",
    "single-pass",
    "boxes",
]

FIGURE_3_IMAGES = 6

UNUSED = {
    "boxes": (
        *("cache", "seeds", "rows", "images"),
        *("precision", "accumulate", "activation_checkpointing", "workers"),
    ),
    "figure3": (
        *("cache", "seeds", "rows", "resamples"),
        *("precision", "accumulate", "activation_checkpointing", "workers"),
    ),
}
"""Options that do nothing with an experiment. All others have no use for images and model."""


def experiment(
    name: Annotated[Name, tyro.conf.Positional],
    /,
    root: Path,
    scale: Scale = "cpu",
    runs: Path = Path("results/runs"),
    cache: Path = Path("runs/experiments"),
    seeds: tuple[int, ...] = (0,),
    rows: tuple[str, ...] = (),
    images: tuple[str, ...] = (),
    model: str = "default",
    resamples: int = RESAMPLES,
    precision: Precision | None = None,
    accumulate: int = 1,
    activation_checkpointing: bool = False,
    workers: int | None = None,
    device: str = "auto",
) -> int:
    """Repeat an experiment of the paper, or of ours, and print the paper's numbers beside ours.

    Each row and seed becomes one file of results, with its scores beside it. A row that has its
    file is not trained again, and an interrupted row continues. To add seeds, run the command with
    other --seeds. To add results of another machine, copy its files into --runs.

    Args:
        name: A table or figure of the paper, or a question that it leaves open.
        root: Folder with the data: coco (annotations, train2014, val2014) and VOCdevkit at the
            paper's scale; coco40k and weights at the others; for boxes coco80 and coco80b too.
        scale: 'paper' is the full recipe; 'gpu' is ViT-Ti/16 at 256 pixels, minutes on a GPU;
            'gpu-deit' the same with DeiT-Ti; 'cpu' the same at 128 pixels, for two cores.
        runs: Folder of results.
        cache: Folder for trained models; several commands may share it.
        seeds: Seeds to train every row with.
        rows: Titles of rows to run, and those they are compared with. All if none is named.
        images: For figure3: image files, folders or globs. The first test images if none is named.
        model: For boxes and figure3: 'default', or a folder that 'didvit train' wrote.
        resamples: Resamples of the bootstrap over images, for the intervals.
        precision: Precision of training, as in 'didvit train'. Unset: the scale's own.
        accumulate: Parts that a batch is cut into, as in 'didvit train'.
        activation_checkpointing: Less memory, more time, as in 'didvit train'.
        workers: Processes that read images. Unset: the scale's own.
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    _refuse_unused(name, dict(locals()))
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ConfigError(f"--seeds is {seeds}; expected one or more different numbers from 0 on")
    if resamples < 1:
        raise ConfigError(f"--resamples is {resamples}; expected 1 or more")
    if not root.is_dir():
        raise ConfigError(f"--root {root} is no folder; expected the one that holds the data")
    check_folder("--runs", runs)
    check_folder("--cache", cache)
    check_device("--device", device)
    check_model("--model", model)

    from didvit.cli.console import TrainingConsole, stderr_console
    from didvit.experiments.benchmarks import SCALES
    from didvit.experiments.scoring import Runner

    console, folder = stderr_console(), runs / scale

    def tell(message: str) -> None:
        console.print(message, markup=False)

    if name == "boxes":
        _boxes(model, scale, root, folder, device, resamples, tell)
        return SUCCESS
    if name == "figure3":
        images = images or _first_test_images(scale, root)
        _draw_figure_3(model, images, device, folder / "figure3.jpg")
        tell(f"{folder / 'figure3.jpg'} is written")
        return SUCCESS
    training = {
        "precision": precision,
        "accumulate": accumulate,
        "activation_checkpointing": activation_checkpointing,
    }
    runner = Runner(
        benchmarks={
            data: benchmark.with_training(workers, training)
            for data, benchmark in SCALES[scale].items()
        },
        runs=folder,
        root=root.resolve(),
        cache=cache.resolve(),
        device=device,
        resamples=resamples,
        observe=lambda config: TrainingConsole(config, console),
        tell=tell,
    )
    _run(runner, name, rows, seeds)
    return SUCCESS


def _refuse_unused(name: Name, options: dict[str, Any]) -> None:
    """Refuse options that were given and would do nothing."""
    parameters = inspect.signature(experiment).parameters
    for option in UNUSED.get(name, ("images", "model")):
        if options[option] != parameters[option].default:
            flag = f"--{option.replace('_', '-')}"
            raise ConfigError(f"{flag} does nothing with {name}; expected a command without it")


def _run(runner: "Runner", name: str, chosen: tuple[str, ...], seeds: Sequence[int]) -> None:
    """Run an experiment, or chosen rows of it, and print its table."""
    from didvit.experiments.plans import EXPERIMENTS
    from didvit.experiments.tables import markdown, possible_rows, read_results
    from didvit.training.trainer import TrainingError

    plan = EXPERIMENTS[name]
    rows = possible_rows(plan, runner.benchmarks)
    if not rows:
        raise ConfigError(f"{name} has no data at this --scale; expected --scale cpu or paper")
    if chosen:
        rows = _chosen_rows(name, plan, rows, chosen)
    runner.check(rows)
    failures = runner.run_all(plan, rows, seeds)
    if len(failures) == len(rows) * len(seeds):
        raise TrainingError(f"no row of {name} could be trained: {'; '.join(failures)}")
    print(f"# {plan.title}\n")
    print(markdown(read_results(plan, runner.benchmarks, runner.runs)), end="")


def _chosen_rows(
    name: str, plan: "Experiment", rows: Sequence["Row"], chosen: tuple[str, ...]
) -> list["Row"]:
    """The rows of the titles, and their references."""
    from didvit.experiments.plans import row_title

    titles = {row_title(row): row for row in rows}
    unknown = [title for title in chosen if title not in titles]
    if unknown:
        raise ConfigError(
            f"--rows {unknown[0]!r} is no row of {name}; expected of {', '.join(map(repr, titles))}"
        )
    wanted = [titles[title] for title in chosen]
    wanted += [plan.reference(row) for row in wanted]
    return [row for row in rows if any(row is one for one in wanted)]


def _boxes(
    model: str,
    scale: Scale,
    root: Path,
    folder: Path,
    device: str,
    resamples: int,
    tell: Callable[[str], None],
) -> None:
    """Measure the boxes of a model, write them and print their tables."""
    from didvit.experiments.boxes import box_markdown, box_results
    from didvit.files import write_json

    results = box_results(model, scale, root, device, resamples, tell)
    write_json(folder / "boxes" / f"{Path(model).name}.json", results)
    print(box_markdown(results), end="")


def _first_test_images(scale: Scale, root: Path) -> tuple[str, ...]:
    """Some images that no row learns from."""
    from didvit.data.datasets import read_dataset
    from didvit.experiments.benchmarks import SCALES

    images = read_dataset(str(root / SCALES[scale]["coco"].test)).images[:FIGURE_3_IMAGES]
    return tuple(map(str, images))


def _draw_figure_3(model: str, images: tuple[str, ...], device: str, path: Path) -> None:
    """Draw what a model finds on some photographs, with the paper's views."""
    from didvit.data.images import read_image
    from didvit.experiments.pictures import draw_figure_3
    from didvit.inference.paths import find_images
    from didvit.inference.predictor import load

    pixels = [read_image(image) for image in find_images(list(images))]
    predictor = load(model, None if device == "auto" else device, "paper")
    predictions = predictor.predict(pixels)
    draw_figure_3(cast("list[Prediction]", predictions), path)
