"""Render docs/results/ and the model card of the default model.

    python scripts/results.py

Every page is a template of scripts/text/. Its figures come from the runs in results/runs/ and from
the JSON files in results/ and benchmarks/results/, so that none is typed by hand:

    {score: EXPERIMENT | ROW}             test mAP, the mean over the row's seeds
    {score: EXPERIMENT | ROW | FUSION}    the same of another fusion
    {change: EXPERIMENT | A}              difference of mAP, row A − its reference, with its range
    {change: EXPERIMENT | A | B}          difference of mAP, A − B
    {sign: EXPERIMENT | A | B}            whether A is better than B, by the rule of `sign`
    {count: EXPERIMENT | ROW | all CR}    precision, recall or F1, with the range over seeds
    {seconds: EXPERIMENT | ROW}           duration of the training, the mean over seeds
    {images: EXPERIMENT | ROW}            number of images that it learned from, with repetitions
    {json: FILE | PATH | FORMAT}          a value of a JSON file, FILE without its suffix
    {made: NAME}                          what the function NAME below returns

EXPERIMENT is a name, at the scale `SCALE`, or NAME@SCALE.
"""

import json
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import correlation, fmean, stdev
from typing import Any

from didvit.experiments.benchmarks import SCALES
from didvit.experiments.boxes import box_markdown, draw_boxes
from didvit.experiments.figures import draw
from didvit.experiments.plans import COUNTS, EXPERIMENTS, row_title
from didvit.experiments.runs import difference_key, is_same_run
from didvit.experiments.tables import (
    FUSIONS,
    Measure,
    Results,
    difference_text,
    markdown,
    measured,
    read_results,
)
from didvit.files import whole_file
from didvit.method.rollout import NORMALIZATIONS
from didvit.training.model_card import LIMITS

ROOT = Path(__file__).resolve().parents[1]
TEXT = ROOT / "scripts" / "text"
PAGES = ROOT / "docs" / "results"
CARD = ROOT / "src" / "didvit" / "models" / "default" / "README.md"
SCALE = "gpu"
NOISE = 0.5
"""Rows that hardly differ (the three re-constraints) differ by up to this with one seed."""

RUNS = ROOT / "results" / "runs"
BOXES = RUNS / SCALE / "boxes" / "default.json"
DEFAULT_MODEL = ROOT / "results" / "default-model.json"

FIRST = {
    "default-model": "The default model",
    "speed": "Speed and memory",
    "claims": "Which of the paper's claims held",
}
LAST = {
    "decisions": "Thresholds and calibration",
    "passes": "Leaving views out",
    "curation": "Label errors, and what to label next",
    "figure3": "Figure 3: regions that a model finds",
    "boxes": "The quality of the boxes",
    "spatial-map": "What the spatial map does",
    "history": "The former benchmark",
    "robustness": "Damaged and odd inputs",
}
TITLES = {**FIRST, **{name: plan.title for name, plan in EXPERIMENTS.items()}, **LAST}
"""Titles of the pages by name, in the order of the index."""

FIGURES = {name: name for name in EXPERIMENTS if name != "table2"} | {
    "pretraining": "pretraining@gpu-deit",
    "single-pass": "single-pass@cpu",
}
"""What the pages of experiments show. There is no run of table 2: the data are VOC's."""

TRAINED = {
    "hadamard": ("table3", "hadamard"),
    "sum": ("table3", "sum"),
    "none": ("table3", "none"),
    "shifted": ("table3", "shifted (ours)"),
    "sigmoid": ("table3", "sigmoid (ours)"),
    "scaled_sum": ("table3", "scaled_sum (ours)"),
    "hadamard, rows": ("table3", "hadamard, rows"),
    "shifted, rows": ("normalization", "row, shifted"),
    "hadamard, MCAR's boxes": ("table4", "MCAR's"),
    "hadamard, MCAR's boxes, λ = 0.5": ("table4", "MCAR's, λ = 0.5"),
    "none, HCP's boxes": ("table1", "HCP"),
    "random boxes": ("table4", "random"),
}
"""Settings of the boxes whose rows were trained, with their experiments."""

SPATIAL_MEASURES = {
    "max_over_mean": "largest value / mean",
    "mass_of_peaks": "share of the map's sum in its peaks (the 3 largest of 324 patches)",
    "peaks_in_objects": "peaks in a labeled object's box",
    "mass_in_objects": "share of the map's sum in the objects' boxes",
    "peaks_of_first_block": "peaks that receive the most attention in the first block",
    "peaks_of_last_block": "peaks that receive the most attention in the last block",
    "peaks_of_largest_norm": "peaks whose tokens have the largest norm after the last block",
}


def main() -> None:
    PAGES.mkdir(exist_ok=True)
    for path, text in rendered().items():
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for name, shown in FIGURES.items():
        draw(experiment(shown), PAGES / f"{name}.png")
    draw_boxes(read(BOXES), PAGES / "boxes.png")


def rendered() -> dict[Path, str]:
    """All pages, and the card."""
    pages = {PAGES / "index.md": template("index")}
    for name, title in TITLES.items():
        parts = [f"# {title}", template(name)]
        if name in FIGURES:
            shown = FIGURES[name]
            parts += [f"![{title}]({name}.png)", markdown(experiment(shown)).strip()]
            parts += [command(shown)]
        pages[PAGES / f"{name}.md"] = "\n\n".join(parts)
    pages[CARD] = template("card") + f"\n\n{LIMITS}"
    return {path: wrapped(text) for path, text in pages.items()}


def command(name: str) -> str:
    """The command of an experiment, for all seeds that any of its rows has."""
    seeds = sorted({seed for row in experiment(name).rows for seed in row.seeds})
    plan, scale = _plan_and_scale(name)
    return (
        f"Runs: `results/runs/{scale}/`, by `didvit experiment {plan} --scale {scale} --root data "
        f"--seeds {' '.join(map(str, seeds))}`; see [experiments](../experiments.md)."
    )


def _plan_and_scale(name: str) -> tuple[str, str]:
    plan, _, scale = name.partition("@")
    return plan, scale or SCALE


def wrapped(text: str, width: int = 100) -> str:
    """A page with its paragraphs and lists cut into lines; the rest is as it was."""
    parts = re.split(r"(^```.*?^```$)", text.strip(), flags=re.DOTALL | re.MULTILINE)
    parts[::2] = ["\n\n".join(map(_wrapped_block, part.split("\n\n"))) for part in parts[::2]]
    return "".join(parts) + "\n"


def _wrapped_block(block: str, width: int = 100) -> str:
    if not block.strip() or block.lstrip().startswith(("|", "#", "!")):
        return block
    items = re.split(r"\n(?=- )", block)
    lines = [
        textwrap.fill(
            " ".join(item.split()),
            width,
            subsequent_indent="  " if item.lstrip().startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for item in items
    ]
    before, after = ("\n" if block.startswith("\n") else ""), ("\n" if block[-1] == "\n" else "")
    return before + "\n".join(lines) + after


def template(name: str) -> str:
    """A text with its figures filled in."""
    text = (TEXT / f"{name}.md").read_text(encoding="utf-8").strip()
    return re.sub(r"\{(\w+): ([^{}]+)\}", lambda place: filled(place[1], place[2]), text)


def filled(kind: str, arguments: str) -> str:
    """The text of one placeholder."""
    return KINDS[kind](*(part.strip() for part in " ".join(arguments.split()).split(" | ")))


@cache
def experiment(name: str) -> Results:
    plan, scale = _plan_and_scale(name)
    return read_results(EXPERIMENTS[plan], SCALES[scale], RUNS / scale)


@cache
def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def score(name: str, title: str, fusion: str = "") -> str:
    row = experiment(name).row(title)
    return f"{row.branch(fusion) if fusion else row.score.mean:.1f}"


def change(name: str, title: str, other: str = "") -> str:
    return _with_seeds(_difference(name, title, other)[0])


def sign(name: str, title: str, other: str = "") -> str:
    """Whether A is better than B: yes, likely, not decided, likely not, or no.

    All seeds have one sign where it is more than not decided. It is *yes* or *no* if no seed's
    interval over images has 0, and *likely* if most have not. With one seed, a difference below
    `NOISE` is not decided either.
    """
    measure, intervals = _difference(name, title, other)
    one = len(measure.seeds) == 1
    ends = intervals if measure.mean > 0 else [(-high, -low) for low, high in intervals]
    clear = sum(low > 0 for low, _ in ends)
    agree = one or measure.low * measure.high > 0
    small = one and abs(measure.mean) < NOISE
    if not agree or small or 2 * clear <= len(ends):
        word = "not decided"
    elif clear < len(ends):
        word = "likely" if measure.mean > 0 else "likely not"
    else:
        word = "yes" if measure.mean > 0 else "no"
    return f"{word} (1 seed)" if one else word


def _difference(name: str, title: str, other: str) -> tuple[Measure, list[tuple[float, float]]]:
    """The difference A − B, and its interval over images for every seed.

    Where the runs have B − A alone, it is turned around.
    """
    results = experiment(name)
    a = results.row(title)
    b = results.row(other or row_title(results.experiment.reference(a.row)))
    for row, compared, factor in ((a, b, 1), (b, a, -1)):
        key = difference_key(row.row, compared.row)
        known = [
            (run.seed, factor * found["mAP"], sorted(factor * end for end in found["interval"]))
            for run in row.runs
            if (found := run.differences.get(key))
        ]
        if known and not is_same_run(row.row, compared.row):
            return measured(known), [(low, high) for *_, (low, high) in known]
    raise ValueError(f"{name}: {title} and {other or 'its reference'} share no seed")


def seconds(name: str, title: str) -> str:
    return f"{fmean(run.seconds for run in experiment(name).row(title).runs):.0f}"


def former() -> str:
    """The former benchmark's differences beside those of today."""
    rows = [["difference of mAP, A − B", "formerly", "now"]]
    for row in read(ROOT / "results" / "former.json")["differences"]:
        plan = EXPERIMENTS[row["experiment"]]
        other = row["b"] or plan.reference(experiment(row["experiment"]).row(row["a"]).row).name
        measure = Measure(row["mean"], row["low"], row["high"], tuple(range(row["seeds"])))
        now = change(row["experiment"], row["a"], row["b"])
        rows.append([f"{row['a']} − {other}", _with_seeds(measure), now])
    return table(rows)


def images(name: str, title: str) -> str:
    schedule = experiment(name).row(title).runs[0].settings["schedule"]
    return f"{schedule['steps'] * schedule['batch_size']:,}"


def _with_seeds(measure: Measure) -> str:
    number = len(measure.seeds)
    return f"{difference_text(measure)} ({number} seed{'s' * (number > 1)})"


def count(name: str, title: str, metric: str) -> str:
    row = experiment(name).row(title)
    path = metric.replace("top-3", "top3").split()
    values = [row._replace(runs=(run,)).mean(*path) for run in row.runs]
    spread = f" [{min(values):.1f}, {max(values):.1f}]" if len(values) > 1 else ""
    return f"{row.mean(*path):.1f}{spread}"


def value(file: str, path: str, form: str = "") -> str:
    found = read(ROOT / f"{file}.json")
    for key in path.split("."):
        found = found[int(key) if isinstance(found, list) else key]
    return format(found, form)


def made(name: str) -> str:
    return MADE[name]()


def contents() -> str:
    return "\n".join(f"- [{title}]({name}.md)" for name, title in TITLES.items())


def metrics() -> str:
    kinds = [(kind, name) for kind in ("all", "top3") for name in COUNTS]
    titles = [f"{name} {'all' if kind == 'all' else 'top-3'}" for kind, name in kinds]
    return _fusion_table(titles, kinds)


def card_metrics() -> str:
    return _fusion_table(["CF1", "OF1"], [("all", "CF1"), ("all", "OF1")])


def _fusion_table(titles: list[str], paths: list[tuple[str, str]]) -> str:
    rows = [["fusion", "mAP", "95 %", *titles]]
    for name in FUSIONS:
        scored = _preset()["fusions"][name]
        low, high = scored["mAP_interval"]
        values = (f"{scored[kind][metric]:.1f}" for kind, metric in paths)
        rows.append([name, f"{scored['mAP']:.1f}", f"[{low:.1f}, {high:.1f}]", *values])
    return table(rows)


def labels() -> str:
    scored = _preset()
    precisions = scored["fusions"][scored["settings"]["fusion"]]["AP"]
    return table([["label", "AP"], *([label, f"{ap:.1f}"] for label, ap in precisions.items())])


def number_of_labels() -> str:
    return str(len(_preset()["fusions"]["mean"]["AP"]))


def model_size() -> str:
    size = (CARD.parent / "model.safetensors").stat().st_size
    return f"{size / 1e6:.1f} MB"


def presets() -> str:
    header = "preset | K | tiles | view scale | passes | mAP | 95 % | precision | recall"
    rows = [header.split(" | ")]
    for row in read(DEFAULT_MODEL)["rows"]:
        settings = row["settings"]
        own = row["fusions"][settings["fusion"]]
        low, high = own["mAP_interval"]
        tiles = settings["tiles"] ** 2 if settings["top_n"] else 0
        rows.append(
            [
                *(row["preset"], str(settings["top_n"]), str(tiles)),
                *(f"{settings['view_scale']:g}", f"{row['forward_passes']:g}"),
                *(f"{own['mAP']:.1f}", f"[{low:.1f}, {high:.1f}]"),
                *(f"{own['all']['OP']:.1f}", f"{own['all']['OR']:.1f}"),
            ]
        )
    return table(rows)


def preset_differences() -> str:
    sentences = []
    for found in read(DEFAULT_MODEL)["differences"]:
        low, high = found["interval"]
        a, b = found["rows"].split(" - ")
        sentences.append(f"`{a}` − `{b}` is {found['mAP']:+.2f} [{low:+.2f}, {high:+.2f}]")
    return "; ".join(sentences)


def frontier() -> str:
    """What candidates score at which cost, by size and views, fused by the mean."""
    header = "model | input | views | passes | GMACs | mAP | precision | recall"
    rows = [[*header.split(" | "), "precision at the global recall"]]
    for row in read(ROOT / "results" / "frontier.json")["rows"]:
        if row["fusion"] in ("max", "local"):
            continue
        keys = ("mAP", "precision", "recall", "precision_at_recall")
        rows.append(
            [
                *(row["model"], str(row["size"]), row["views"]),
                *(f"{row['forward_passes']:g}", f"{row['gigamacs']:.1f}"),
                *(f"{row[key]:.1f}" for key in keys),
            ]
        )
    return table(rows)


def candidates() -> str:
    rows = [["candidate", "input", "fusion", "mAP", "precision", "recall"]]
    for candidate in read(ROOT / "results" / "default-training.json")["candidates"]:
        for scored in candidate["validation"]:
            if scored["fusion"] in ("global", "local", "mean"):
                numbers = (f"{scored[key]:.1f}" for key in ("mAP", "precision", "recall"))
                rows.append([candidate["what"], str(scored["size"]), scored["fusion"], *numbers])
    return table(rows)


def nothing() -> str:
    """Tags of pictures without any of the labels, by score and threshold."""
    rows = [["pictures", "number", "score", "threshold", "tags", "pictures with tags"]]
    content = _check()
    for row in content["nothing"]:
        for name, tags in row["tags"].items():
            threshold = content["equal_recall"] if "equal" in name else 0.5
            cells = (name.partition(" ")[0], f"{threshold:.2f}", str(tags))
            tagged = str(row["tagged_images"][name])
            rows.append([f"`{row['data']}`", str(row["images"]), *cells, tagged])
    return table(rows)


def times() -> str:
    rows = [["model and preset", "seconds", "range", "of the former default's"]]
    for row in _check()["times"]:
        low, high = row["range"]
        cells = (f"{row['seconds']:.2f}", f"[{low:.2f}, {high:.2f}]", f"{row['over_former']:.2f}")
        rows.append([row["name"], *cells])
    return table(rows)


def _check() -> dict[str, Any]:
    return read(ROOT / "results" / "default-check.json")


def _preset() -> dict[str, Any]:
    """The default model under its own preset, on the test images."""
    return read(DEFAULT_MODEL)["rows"][0]


ENGINES = {
    "floor": ("floor: plain forward passes", "floor: one plain pass, PyTorch"),
    "DiD.forward": ("`DiD.forward`, PyTorch", None),
    "pytorch": ("`--engine pytorch`", "pytorch"),
    "openvino": ("`--engine openvino`", "openvino"),
    "onnx fp32": ("`--precision fp32`", "onnx fp32"),
    "onnx int8": ("the default: onnx, int8", "onnx int8"),
    "onnx int8, passes 2": ("the default, `--passes 2`", None),
    "onnx int8, passes 1.5": ("the default, `--passes 1.5`", None),
    "onnx int8, passes 1": ("the default, `--passes 1`", None),
    "version 0.1": ("version 0.1 of this repository, with its model", None),
}
"""Rows of the engines' benchmarks, of time and of memory, with what the page calls them."""


def engine_times() -> str:
    times = {row["name"]: row for row in _benchmark("engines")["rows"]}
    memory = {row["name"]: row for row in _benchmark("memory")["rows"]}
    rows = [["", "ms", "of the floor", "of `--engine pytorch`", "MB", "own MB"]]
    for name, (title, of_memory) in ENGINES.items():
        row, least = times[name], times["pytorch"]["seconds"]
        cells = [f"{1000 * row['seconds']:.0f}", f"{row['ratio']:.2f}"]
        cells.append(f"{row['seconds'] / least:.2f}")
        used = memory[of_memory] if of_memory else None
        cells += [f"{used[key]:.0f}" if used else "" for key in ("peak_megabytes", "own_megabytes")]
        rows.append([title, *cells])
    return table(rows)


def jpeg_times() -> str:
    times = {row["name"]: row["seconds"] for row in _benchmark("engines")["rows"]}
    both = (1000 * times[f"{name} the JPEG file"] for name in ("predicting", "reading"))
    return "{:.0f} ms, of which reading takes {:.0f}".format(*both)


def prediction_times() -> str:
    header = "backbone | input | batch | preset | time ratio | range | time / paper's | seconds"
    rows = [[*header.split(" | "), "memory ratio", "MB"]]
    for row in _benchmark("inference")["rows"]:
        low, high = row["ratio_range"]
        rows.append(
            [
                *(str(row[key]) for key in ("backbone", "image_size", "batch", "preset")),
                *(f"{row['ratio']:.2f}", f"[{low:.2f}, {high:.2f}]", f"{row['over_paper']:.2f}"),
                *(f"{row['did_seconds']:.2f}", f"{row['peak_ratio']:.2f}"),
                f"{row['did_peak_mb']:.0f}",
            ]
        )
    return table(rows)


def prediction_ratios() -> str:
    return _range(row["ratio"] for row in _benchmark("inference")["rows"])


def preset_ratios() -> str:
    rows = _benchmark("inference")["rows"]
    return _range(row["over_paper"] for row in rows if row["preset"] == "didvit")


def training_ratios() -> str:
    return _range(_benchmark(f"training-{size}")["ratio"] for size in (112, 224))


def training_times() -> str:
    workers = ("0", "1", "2")
    rows = [["input", "time ratio", "quartiles", "engine, images/s"]]
    rows[0] += [f"reading with {n} worker{'s' * (n != '1')}, images/s" for n in workers]
    for size in (112, 224):
        row = _benchmark(f"training-{size}")
        low, high = row["ratio_quartiles"]
        rows.append(
            [
                *(str(size), f"{row['ratio']:.2f}", f"[{low:.2f}, {high:.2f}]"),
                f"{row['engine_images_per_second']:.1f}",
                *(f"{row['loader_images_per_second'][n]:.0f}" for n in workers),
            ]
        )
    return table(rows)


def recipe_steps() -> str:
    cases = {
        "{}": "both branches, K = 4",
        '{"activation_checkpointing": true}': "the same with activation checkpointing",
        '{"model.top_n": 0}': "the baseline",
    }
    content = _benchmark("recipe-steps")
    rows = [["step", "seconds", "seconds for 32 images", "peak memory, MB"]]
    for row in content["rows"]:
        seconds = row["seconds"][-1]
        rows.append(
            [
                *(cases[json.dumps(row["settings"])], f"{seconds:.0f}"),
                *(f"{seconds * 32 / content['batch_size']:.0f}", f"{row['peak_mb']:.0f}"),
            ]
        )
    return table(rows)


def _benchmark(name: str) -> dict[str, Any]:
    return read(ROOT / "benchmarks" / "results" / f"{name}.json")


def boxes() -> str:
    return box_markdown(read(BOXES)).strip()


def _covered() -> list[tuple[str, float, float]]:
    """For settings that are trained too: coverage of the boxes, and mAP of the local branch."""
    found = {row["name"]: row for row in read(BOXES)["rows"]}
    return [
        (name, found[name]["coverage"]["overall"], experiment(table).row(title).branch("local"))
        for name, (table, title) in TRAINED.items()
    ]


def coverage() -> str:
    rows = sorted(_covered(), key=lambda row: -row[1])
    cells = [[name, f"{covered:.1f}", f"{score:.1f}"] for name, covered, score in rows]
    return table([["setting", "coverage, %", "local branch, mAP"], *cells])


def coverage_correlation() -> str:
    """Spearman's rank correlation of the two."""
    _, *measures = zip(*_covered(), strict=True)
    ranks = [list(map(sorted(values).index, values)) for values in measures]
    return f"{correlation(*ranks):.2f}"


def noise() -> str:
    return f"{NOISE:g} points"


def spatial_measures() -> str:
    spatial = read(ROOT / "results" / "spatial-map.json")["spatial"]
    rows = [["", *spatial]]
    for key, title in SPATIAL_MEASURES.items():
        values = [measures[key] for measures in spatial.values()]
        rows.append([title, *(f"{v:.2f}" if v >= 1 else f"{100 * v:.1f} %" for v in values)])
    return table(rows)


def reconstrained_boxes() -> str:
    header = "re-constraint, normalization | IoU with the box of `none` | the same, negative maps"
    rows = [[*header.split(" | "), "area", "area, negative maps"]]
    found = {
        (box["normalization"], box["reconstraint"], box["maps"]): box
        for box in read(ROOT / "results" / "spatial-map.json")["boxes"]
    }
    for normalization in NORMALIZATIONS:
        for strategy in dict.fromkeys(strategy for _, strategy, _ in found):
            if strategy == "none":
                continue
            both = [found[normalization, strategy, maps] for maps in ("others", "negative")]
            rows.append(
                [
                    f"{strategy}, {normalization}s",
                    *(f"{box['iou_with_none']:.2f}" for box in both),
                    *(f"{100 * box['area']:.1f} %" for box in both),
                ]
            )
    return table(rows)


def calibration() -> str:
    content = _decisions()["calibration"]
    rows = [["", "sigmoid", "calibrated"]]
    for key, title in (
        ("pooled_error", "expected calibration error, all pairs"),
        ("label_error", "expected calibration error, mean of labels"),
        ("brier", "Brier score, mean of labels"),
    ):
        cells = [content[key][when] for when in ("before", "after")]
        rows.append([title, *(f"{c['value']:.4f} ({c['low']:.4f}–{c['high']:.4f})" for c in cells)])
    return table(rows)


def aims() -> str:
    rows = [["aim", *COUNTS, "change of CF1", "change of OF1"]]
    for row in _decisions()["aims"]:
        changes = [f"{low:+.1f} to {high:+.1f}" for low, high in row["change"].values()]
        counts = [f"{row[name]:.1f}" for name in COUNTS]
        rows.append([f"`{row['aim']}`", *counts, *(changes if len(rows) > 1 else ["", ""])])
    return table(rows)


def budgets(*kinds: str) -> str:
    """Ways to spend forward passes: a table of those of some kinds."""
    rows = [["views", "forward passes", "mAP", "change", "share of the gain", "CF1", "OF1"]]
    for row in read(ROOT / "results" / "passes.json")["rows"]:
        if row["kind"] in kinds:
            low, high = row["interval"]
            figures = f"{row['mAP']:.1f}", f"{low:+.1f} to {high:+.1f}"
            gain = f"{row['share_of_gain']:.0f} %"
            counts = (f"{row[name]:.1f}" for name in ("CF1", "OF1"))
            rows.append([row["name"], f"{row['passes']:.2f}", *figures, gain, *counts])
    return table(rows)


def fixed_views() -> str:
    return budgets("fixed")


def adaptive_views() -> str:
    return budgets("adaptive")


def views_by_range() -> str:
    return budgets("range")


def int8_change() -> str:
    """Change of mAP by products in 8 bits, on test photographs, with its interval."""
    content = read(ROOT / "results" / "int8.json")
    low, high = content["interval"]
    change = content["mAP"]["int8"] - content["mAP"]["fp32"]
    return f"{change:+.1f} ({low:+.1f} to {high:+.1f})"


def audits() -> str:
    rows = [["seed", "labels turned", "first 200", "missing", "wrong"]]
    for row in _curation()["audit"]:
        shares = [f"{100 * row[kind]:.0f} %" for kind in ("all", "missing", "wrong")]
        rows.append([str(row["seed"]), f"{row['turned']:,}", *shares])
    return table(rows)


def choices() -> str:
    """Gain of the choice over a random one, with its standard error over seeds."""
    gains = [row["ranked"] - row["random"] for row in _curation()["choice"]]
    error = stdev(gains) / len(gains) ** 0.5
    ranked, random = (fmean(row[n] for row in _curation()["choice"]) for n in ("ranked", "random"))
    return (
        f"{ranked:.1f} mAP, against {random:.1f} of a random choice: {fmean(gains):+.1f} ± "
        f"{error:.1f} (standard error over {len(gains)} seeds)"
    )


def card_aims() -> str:
    """What the default model's own thresholds give."""
    own = ("sigmoid, 0.5", "precision=0.85", "f1")
    rows = {row["aim"]: row for row in _decisions()["aims"]}
    cells = [[aim, *(f"{rows[aim][name]:.1f}" for name in COUNTS)] for aim in own]
    return table([["thresholds for", *COUNTS], *cells])


def _curation() -> dict[str, Any]:
    return read(ROOT / "results" / "curation.json")


def _decisions() -> dict[str, Any]:
    return read(ROOT / "results" / "decisions" / "default.json")


def package_versions() -> str:
    versions = read(ROOT / "results" / "default-model.json")["versions"]
    return table([["package", "version"], *map(list, versions.items())])


def fuzzing() -> str:
    """Outcomes by kind of input."""
    outcomes = ("right", "read", "refused")
    rows = [["input", "number", "as written", "read otherwise", "refused in a line"]]
    for target in read(ROOT / "results" / "fuzzing.json")["targets"].values():
        for kind, of_kind in sorted(target["outcomes"].items()):
            numbers = [of_kind.get(outcome, 0) for outcome in outcomes]
            rows.append([kind, *(f"{number:,}" for number in (sum(numbers), *numbers))])
    return table(rows)


def fuzzing_summary() -> str:
    """Numbers of inputs and faults, and the time, in a sentence."""
    content = read(ROOT / "results" / "fuzzing.json")
    targets = content["targets"].values()
    number = sum(sum(of_kind.values()) for t in targets for of_kind in t["outcomes"].values())
    minutes = sum(target["seconds"] for target in targets) / 60
    faults = len(content["faults"])
    return (
        f"Of {number:,} inputs with seed {content['seed']}, {faults or 'none'} ended otherwise; "
        f"the run took {minutes:.0f} minutes on one core"
    )


def _range(values: Iterator[float]) -> str:
    found = list(values)
    return f"{min(found):.2f}-{max(found):.2f}"


def table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "| --- " * len(rows[0]) + "|")
    return "\n".join(lines)


KINDS: dict[str, Callable[..., str]] = {
    "score": score,
    "change": change,
    "sign": sign,
    "seconds": seconds,
    "images": images,
    "count": count,
    "json": value,
    "made": made,
}
MADE: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        *(contents, metrics, card_metrics, labels, number_of_labels, model_size, presets),
        *(preset_differences, frontier, candidates, nothing, times),
        *(prediction_times, prediction_ratios, preset_ratios, training_ratios, training_times),
        *(
            recipe_steps,
            boxes,
            coverage,
            coverage_correlation,
            noise,
            spatial_measures,
            reconstrained_boxes,
            package_versions,
        ),
        *(fuzzing, fuzzing_summary, former, calibration, aims, card_aims, audits, choices),
        *(fixed_views, adaptive_views, views_by_range, engine_times, jpeg_times),
        int8_change,
    )
}

if __name__ == "__main__":
    main()
