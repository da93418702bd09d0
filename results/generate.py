"""Write docs/results.md from results/text and the JSON files of results/ and benchmarks/results/.

    python results/generate.py

Figures in the documentation come from here alone; a test fails where the page is stale.
"""

import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from didvit.experiments.boxes import box_markdown
from didvit.experiments.measures import mean_of, score
from didvit.experiments.plans import EXPERIMENTS
from didvit.experiments.results import difference_text, markdown, most_seeds
from didvit.method import NORMALIZATIONS
from didvit.model_card import LIMITS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
CARD = ROOT / "src" / "didvit" / "models" / "default" / "README.md"
FUSION_ORDER = ("global", "local", "max", "mean")

CASES = {
    "{}": "both branches, K = 4",
    '{"activation_checkpointing": true}': "the same with activation checkpointing",
    '{"model.top_n": 0}': "the baseline",
}
"""Of the recipe's steps."""

SPATIAL_MEASURES = {
    "max_over_mean": "largest value over the mean",
    "mass_of_peaks": "share of its sum in its peaks (the 3 largest of 256 patches)",
    "peaks_in_objects": "peaks in a labeled object's box",
    "mass_in_objects": "share of its sum in the objects' boxes",
    "peaks_of_first_block": "peaks that receive the most attention in the first block",
    "peaks_of_last_block": "peaks that receive the most attention in the last block",
    "peaks_of_largest_norm": "peaks whose tokens have the largest norm after the last block",
}


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    CARD.write_text(card(), encoding="utf-8")
    figures = PAGE.parent / "experiments"
    figures.mkdir(exist_ok=True)
    for figure in (ROOT / "results" / "experiments").iterdir():
        if figure.suffix in (".png", ".jpg"):
            shutil.copyfile(figure, figures / figure.name)


def card() -> str:
    """The model card of the default model."""
    run = _read("results/coco18-default.json")
    model, scored = _shipped(), _preset("test", "didvit")
    metrics = [["fusion", "mAP", "95 %", "CF1", "OF1"]]
    for name in FUSION_ORDER:
        row = scored["fusions"][name]
        low, high = row["mAP_interval"]
        counts = [f"{row['all'][count]:.1f}" for count in ("CF1", "OF1")]
        metrics.append([name, f"{row['mAP']:.1f}", f"{low:.1f}-{high:.1f}", *counts])
    by_label = [["label", "AP"]]
    own = scored["fusions"][model["fusion"]]["AP"]
    by_label += [[label, f"{ap:.1f}"] for label, ap in own.items()]
    height, width = model["image_size"]
    return _text("card").format(
        **model,
        num_labels=len(run["labels"]),
        num_tiles=model["tiles"] ** 2,
        num_images=scored["num_images"],
        height=height,
        width=width,
        packed_mb=run["packed_mb"],
        metrics=_table(metrics),
        by_label=_table(by_label),
        limits=LIMITS,
    )


def page() -> str:
    """The text of docs/results.md."""
    run = _read("results/coco18-default.json")
    speed = _read("benchmarks/results/inference.json")
    scored, branches = _preset("test", "didvit"), _read("results/coco18-branches.json")
    validation = _preset("val", "didvit")
    analysis = _read("results/spatial-map.json")
    fusions, model = scored["fusions"], _shipped()
    columns = ("CP", "CR", "CF1", "OP", "OR", "OF1")
    header = ["fusion", "mAP", "95 %", *(f"{c} all" for c in columns)]
    metrics = [[*header, *(f"{c} top-3" for c in columns)]]
    for name in FUSION_ORDER:
        row = fusions[name]
        low, high = row["mAP_interval"]
        values = [row[k][c] for k in ("all", "top3") for c in columns]
        cells = (f"{value:.1f}" for value in values)
        metrics.append([name, f"{row['mAP']:.1f}", f"{low:.1f}-{high:.1f}", *cells])
    by_label = [["label", "AP"]]
    by_label += [[k, f"{v:.1f}"] for k, v in fusions[model["fusion"]]["AP"].items()]
    training = [
        ["input", "time ratio", "quartiles", "engine, images/s"]
        + [f"read by {n} worker{'s' * (n != 1)}, images/s" for n in (0, 1, 2)]
    ]
    for size in (112, 224):
        row = _read(f"benchmarks/results/training-{size}.json")
        low, high = row["ratio_quartiles"]
        training.append(
            [
                str(size),
                f"{row['ratio']:.2f}",
                f"{low:.2f}-{high:.2f}",
                f"{row['engine_images_per_second']:.1f}",
                *(f"{value:.0f}" for value in row["loader_images_per_second"].values()),
            ]
        )
    recipe = _read("benchmarks/results/recipe-steps.json")
    recipe_steps = [["step", "seconds", "seconds for 32 images", "peak memory, MB"]]
    for row in recipe["rows"]:
        seconds = row["seconds"][-1]
        recipe_steps.append(
            [
                CASES[json.dumps(row["settings"])],
                f"{seconds:.0f}",
                f"{seconds * 32 / recipe['batch_size']:.0f}",
                f"{row['peak_mb']:.0f}",
            ]
        )
    return _text("page").format(
        **model,
        training=_table(training),
        training_cores=row_machine(_read("benchmarks/results/training-224.json")),
        recipe_steps=_table(recipe_steps),
        recipe_batch=recipe["batch_size"],
        num_validation=validation["num_images"],
        num_images=scored["num_images"],
        branches=_branches(branches),
        branches_commands=_branches_commands(branches),
        local_op_start=_preset("val", "paper")["fusions"]["local"]["all"]["OP"],
        local_op_both=branches["rows"][1]["local_all"]["OP"],
        boxes=_boxes(),
        spatial_map=_spatial_map(analysis),
        reconstrained=_reconstrained(analysis),
        analyzed_images=analysis["num_images"],
        negative_maps=100 * analysis["negative_maps"],
        first_block=analysis["received_by_block"][0],
        largest_later_block=max(analysis["received_by_block"][1:]),
        norm_peak=analysis["norm_peak"],
        objects=100 * analysis["objects"],
        summary=_filled(_text("summary")).strip(),
        claims=_filled(_text("claims")).strip(),
        experiments="\n\n".join(_experiments()),
        seconds=run["duration"],
        history=_table(
            [["step", "loss", "mAP"]]
            + [
                [str(row["step"]), f"{float(row['loss']):.3f}", f"{float(row['val_global']):.1f}"]
                for row in run["history"]
            ]
        ),
        packed_mb=run["packed_mb"],
        unpacked_mb=run["unpacked_mb"],
        before=float(run["history"][-1]["val_global"]),
        after=validation["fusions"]["global"]["mAP"],
        validation=_table(
            [
                list(FUSION_ORDER),
                [f"{validation['fusions'][name]['mAP']:.2f}" for name in FUSION_ORDER],
            ]
        ),
        pack_command=run["commands"]["pack"],
        evaluation="results/presets-test.json",
        presets=_presets(),
        gain=_gain("test"),
        validation_gain=_gain("val"),
        metrics=_table(metrics),
        by_label=_table(by_label),
        seed=run["seed"],
        train_command=run["commands"]["train"],
        evaluate_command=run["commands"]["evaluate"],
        comment=run["comment"],
        source_height=speed["source_size"][0],
        source_width=speed["source_size"][1],
        speed=_inference(speed["rows"]),
        repeats=speed["repeats"],
        cores=speed["cores"],
        processor=speed["processor"],
        benchmark_command=speed["command"],
        versions=_table([["package", "version"], *map(list, run["versions"].items())]),
    )


def _shipped() -> dict:
    """The settings of the default model."""
    return _read("src/didvit/models/default/config.json")["model"]


def _preset(data: str, name: str) -> dict:
    """What the default model has under a preset on the validation or test images."""
    rows = _read(f"results/presets-{data}.json")["rows"]
    return next(row for row in rows if row["preset"] == name)


def _presets() -> str:
    """Both presets side by side."""
    header = "preset, K, tiles, sides of views, looks, validation, test, 95 %, local on test"
    rows = [header.split(", ")]
    for row in _read("results/presets-test.json")["rows"]:
        settings = row["settings"]
        own, validation = (
            _preset(data, row["preset"])["fusions"][settings["fusion"]] for data in ("test", "val")
        )
        low, high = own["mAP_interval"]
        rows.append(
            [
                row["preset"],
                str(settings["top_n"]),
                str(settings["tiles"] ** 2),
                f"{settings['view_scale']:g} of the input's",
                f"{row['looks']:g}",
                f"{validation['mAP']:.1f}",
                f"{own['mAP']:.1f}",
                f"{low:.1f}-{high:.1f}",
                f"{row['fusions']['local']['mAP']:.1f}",
            ]
        )
    return _table(rows)


def _gain(data: str) -> str:
    """What our preset adds to the paper's, with its interval."""
    gain = _read(f"results/presets-{data}.json")["didvit_less_paper"]
    low, high = gain["interval"]
    return f"{gain['mAP']:+.2f} ({low:+.2f} to {high:+.2f})"


def _inference(rows: list[dict]) -> str:
    """Time and memory of a prediction, by case and preset."""
    header = "backbone, input, batch, preset, over its looks, range, over the paper's time, seconds"
    table = [[*header.split(", "), "memory ratio", "MB"]]
    for row in rows:
        low, high = row["ratio_range"]
        table.append(
            [
                *(str(row[key]) for key in ("backbone", "image_size", "batch", "preset")),
                f"{row['ratio']:.2f}",
                f"{low:.2f}-{high:.2f}",
                f"{row['over_paper']:.2f}",
                f"{row['did_seconds']:.2f}",
                f"{row['peak_ratio']:.2f}",
                f"{row['did_peak_mb']:.0f}",
            ]
        )
    return _table(table)


def _branches(content: dict) -> str:
    rows = [["", "steps", "images", "forward passes", *FUSION_ORDER]]
    for row in content["rows"]:
        counts = [str(row[name]) for name in ("steps", "images", "passes")]
        rows.append([row["name"], *counts, *(f"{row['validation'][f]:.1f}" for f in FUSION_ORDER)])
    return _table(rows)


def _branches_commands(content: dict) -> str:
    common = (
        content["common"]
        .replace(" --start", " \\\n  --start")
        .replace(" --learn", " \\\n  --learn")
    )
    return "\n".join(
        f"{common} \\\n  {row['options']} --output runs/{row['steps']}-steps"
        for row in content["rows"]
        if row["options"]
    )


def _experiments() -> Iterator[str]:
    """What has been run of the paper's experiments, in their order."""
    for name in EXPERIMENTS:
        path = f"results/experiments/{name}-cpu.json"
        if (ROOT / path).exists():
            yield markdown(_read(path)).strip()
            yield f"![{EXPERIMENTS[name].title}](experiments/{name}-cpu.png)"
            results = _read(path)
            command = f"didvit experiment {name} --root data --output results/experiments"
            commands = (f"`{command}{options}`" for options in _options(results))
            text = f"{_filled(_text(name)).strip()} {_seeds_text(results)}"
            yield f"{text} From `{path}`, by {', then '.join(commands)}."
        if name == "figure2" and (ROOT / "results/experiments/figure3-cpu.jpg").exists():
            yield _filled(_text("figure3")).strip()


def _options(results: dict) -> list[str]:
    """Of the commands that made an experiment's rows, in turn."""
    made = []
    for options in (*results.get("kept", []), results):
        seeds, limit = options["seeds"], options["repeat_limit"]
        text = f" --rows {shlex.join(options['chosen'])}" if options.get("chosen") else ""
        text += "" if seeds == [0] else f" --seeds {' '.join(map(str, seeds))}"
        text += "" if limit is None else f" --repeat-limit {limit:g}"
        made.append(f"{text} --keep" if made else text)
    return made


def _seeds_text(results: dict) -> str:
    """What an experiment's JSON says of its seeds, in words."""
    seeds, limit = results["seeds"], results["repeat_limit"]
    if "kept" in results:
        names = Counter(row["name"] for row in results["rows"])
        by_number: dict[int, list[str]] = {}
        for row in results["rows"]:
            name = row["name"] if names[row["name"]] == 1 else f"{row['name']} ({row['budget']})"
            by_number.setdefault(len(row["runs"]), []).append(f"`{name}`")
        parts = [f"{number} of {', '.join(rows)}" for number, rows in by_number.items()]
        if len(parts) > 1:
            return f"Seeds: {'; '.join(parts)}."
        number = next(iter(by_number))
        return "One seed." if number == 1 else f"{number} seeds."
    if len(seeds) == 1:
        return "One seed."
    if limit is None:
        return f"{len(seeds)} seeds."
    return f"{len(seeds)} seeds; of rows over {limit:g} looks, but the one compared with, one."


def _filled(text: str) -> str:
    """A text with our mAP in place of ``{experiment/row/steps}``, or ``.../fusion}``.

    ``{less/experiment/row/steps}`` is what a row adds to its reference, with its interval, and
    ``{pair/experiment/row (budget)/row (budget)}`` what the first adds to the second;
    ``{count/experiment/row/steps/all/CR}`` is a row's precision, recall or F1 of its own fusion,
    with the lowest and highest seed where it has several;
    ``{difference/one experiment/row/steps/other experiment/row/steps}`` is one less the other,
    over the seeds that both have.
    """

    def figure(place: re.Match) -> str:
        parts = place[1].split("/")
        if parts[0] == "difference":
            return f"{_difference(_row(*parts[1:4]), _row(*parts[4:])):.1f}"
        if parts[0] == "less":
            return difference_text(_row(*parts[1:]), most_seeds(_experiment(parts[1])))
        if parts[0] == "pair":
            results = _experiment(parts[1])
            pair = next(pair for pair in results["pairs"] if pair["rows"] == parts[2:])
            return difference_text(pair, most_seeds(results))
        if parts[0] == "count":
            return _count(_row(*parts[1:4]), *parts[4:])
        if len(parts) == 4:
            return f"{score({**_row(*parts[:3]), 'fusion': parts[3]}):.1f}"
        return f"{score(_row(*parts)):.1f}"

    return re.sub(r"\{([^{}]+)\}", figure, text)


def _count(row: dict, *path: str) -> str:
    """A metric of a row's own fusion, mean over its seeds, and their lowest and highest."""
    mean = mean_of(row, "fusions", row["fusion"], *path)
    values = [mean_of({"runs": [run]}, "fusions", row["fusion"], *path) for run in row["runs"]]
    spread = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
    return f"{mean:.1f}{spread}"


def _row(name: str, row_name: str, steps: str) -> dict:
    rows = _experiment(name)["rows"]
    (row,) = (row for row in rows if (row["name"], row["steps"]) == (row_name, int(steps)))
    return row


def _experiment(name: str) -> dict:
    return _read(f"results/experiments/{name}-cpu.json")


def _difference(row: dict, other: dict) -> float:
    """Of the mean mAP over the seeds that both have."""
    seeds = {run["seed"] for run in row["runs"]} & {run["seed"] for run in other["runs"]}
    of_both = (
        {**row, "runs": [run for run in row["runs"] if run["seed"] in seeds]}
        for row in (row, other)
    )
    first, second = map(score, of_both)
    return first - second


def _spatial_map(analysis: dict) -> str:
    """How peaked the spatial map is, and what its peaks are, by normalization."""
    rows = [["", *analysis["spatial"]]]
    for key, title in SPATIAL_MEASURES.items():
        values = [measures[key] for measures in analysis["spatial"].values()]
        rows.append([title, *(f"{v:.2f}" if v >= 1 else f"{100 * v:.1f} %" for v in values)])
    return _table(rows)


def _reconstrained(analysis: dict) -> str:
    """What becomes of the boxes under every re-constraint, of negative and of other maps."""
    header = ["", "IoU with `none`'s box", "the same, negative maps", "area", "area, negative maps"]
    rows, boxes = [header], analysis["boxes"]
    for normalization in NORMALIZATIONS:
        for strategy in dict.fromkeys(box["reconstraint"] for box in boxes):
            if strategy == "none":
                continue
            by_maps = {
                box["maps"]: box
                for box in boxes
                if (box["normalization"], box["reconstraint"]) == (normalization, strategy)
            }
            others, negative = by_maps["others"], by_maps["negative"]
            rows.append(
                [
                    f"{strategy}, {normalization}s",
                    f"{others['iou_with_none']:.2f}",
                    f"{negative['iou_with_none']:.2f}",
                    f"{100 * others['area']:.1f} %",
                    f"{100 * negative['area']:.1f} %",
                ]
            )
    return _table(rows)


def _boxes() -> str:
    """The tables of the boxes' quality, without their title."""
    return box_markdown(_read("results/experiments/boxes-cpu.json")).partition("\n\n")[2].strip()


def row_machine(result: dict) -> str:
    """The machine of a benchmark."""
    return result["versions"]["machine"]


def _text(name: str) -> str:
    return (ROOT / "results" / "text" / f"{name}.md").read_text(encoding="utf-8")


def _read(name: str) -> dict:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "| --- " * len(rows[0]) + "|")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
