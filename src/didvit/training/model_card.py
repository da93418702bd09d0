"""The model card of a run: the model, its training data, its quality and its limits."""

import json
from pathlib import Path

from didvit.config import ModelConfig, TrainConfig
from didvit.data.table import Table
from didvit.decisions.store import FILE

BOXES = {
    "largest_component": "around the largest bright region of their maps",
    "mcar": "found as in MCAR",
    "random": "drawn at random",
    "hypotheses": "found as in HCP",
}
"""Each localization in words."""

DECISIONS = [
    "Scores are calibrated, and every label has a threshold, both tuned on the same validation",
    "images (`decisions.json`). `didvit evaluate` says on other images how good they are.",
    "",
]

LIMITS = """\
## Limits

- It knows the labels above and no others. It gives each of them a score, whatever an image shows.
- Boxes say what a score rests on. The model never saw a box in training: a box may hold a part of
  a thing, or its usual surroundings.
- Scores are probabilities on data like the training data. On other data, check them before you rely
  on a threshold.
"""


def model_card(folder: Path, config: TrainConfig, table: Table, validation: Table) -> str:
    """Write the card of the model in a run folder, in Markdown.

    Args:
        folder: Run folder, with ``metrics.json`` of the chosen model.
        config: Configuration of the run.
        table: Training data.
        validation: Validation data.
    """
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    model, positives = config.model, (table.targets == 1).sum(0)
    own = metrics["fusions"][model.method.fusion]
    rows = [
        f"| {name.replace('|', '&#124;')} | {_figure(own['AP'][name])} | {count} |"
        for name, count in zip(table.labels, positives, strict=True)
    ]
    fusions = [
        f"| {name} | {_figure(values['mAP'])} | {_figure(values['all']['CF1'])} "
        f"| {_figure(values['all']['OF1'])} |"
        for name, values in metrics["fusions"].items()
    ]
    height, width = model.image_size
    begun = f"the model {config.start_from}" if config.start_from else f"{model.weights} weights"
    schedule, optimizer = config.schedule, config.optimizer
    frozen = optimizer.freeze_blocks
    blocks = f" above its first {frozen} blocks" if frozen else ""
    learned = "the head alone" if optimizer.freeze_backbone else f"backbone{blocks} and head"
    taught = f" and the predictions of the model {config.loss.teacher}"
    losses = f"the {config.loss.name} loss{taught if config.loss.teacher else ''}"
    chosen = "which chose this step" if config.choose == "best" else "on which nothing was chosen"
    return "\n".join(
        [
            f"# {folder.resolve().name}",
            "",
            f"A model of didvit for {len(table.labels)} labels: {model.backbone} at "
            f"{height}x{width} pixels with the head {model.head}. It sees "
            f"{_views(model, table)}.",
            "",
            "## Use",
            "",
            "```bash",
            f"didvit predict photos/ --model {folder}",
            "```",
            "",
            "## Training",
            "",
            f"{schedule.steps} steps of {schedule.batch_size} images from {begun}, "
            f"{_seen(config)}; {learned} learned, with {optimizer.name} and "
            f"{losses}. {len(table)} training images "
            f"({', '.join(config.data.train)}). Every setting is in `train.json`.",
            "",
            "## Validation",
            "",
            f"Step {metrics['step']}, on {metrics['num_images']} images ({config.data.val}), "
            f"{chosen}; in percent. The model's own fusion is {model.method.fusion}.",
            "",
            "| fusion | mAP | CF1 | OF1 |",
            "| --- | --- | --- | --- |",
            *fusions,
            "",
            "| label | AP | training images |",
            "| --- | --- | --- |",
            *rows,
            "",
            *(DECISIONS if (folder / FILE).is_file() else []),
            LIMITS,
        ]
    )


def _views(model: ModelConfig, table: Table) -> str:
    method = model.method
    if method.top_n == 0:
        return "the whole image alone"
    count = min(method.top_n, len(table.labels))
    boxes = f"{count} box{'es' * (count > 1)} {BOXES[method.localization]}"
    tiles = f" and {method.tiles**2} tile{'s' * (method.tiles > 1)}" if method.tiles else ""
    return f"the whole image, and views of {boxes}{tiles}, at {method.view_scale:g} of its sides"


def _seen(config: TrainConfig) -> str:
    schedule = config.schedule
    on_views = schedule.steps - schedule.single_view_steps if config.model.method.top_n else 0
    if on_views == 0:
        return "on whole images alone"
    return f"{on_views} of them on views too"


def _figure(value: float | None) -> str:
    return "none in the data" if value is None else f"{value:.1f}"
