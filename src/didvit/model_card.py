"""A model card: what a model is, what it learned from, how good it is, and what to mind."""

import json
from pathlib import Path

from didvit.config import ModelConfig, TrainConfig
from didvit.data.table import Table

LIMITS = """\
## Limits

- It knows the labels above and no others, and answers for every one of them whatever an image
  shows.
- Boxes say where the model looked; it never saw a box in training. A box may be a part of a thing,
  or what usually surrounds it.
- Scores are probabilities on data like the training data; on other data, check them before a
  threshold is relied on.
"""


def model_card(folder: Path, config: TrainConfig, table: Table, validation: Table) -> str:
    """The card of the model in a run folder, in Markdown.

    Args:
        folder: With ``metrics.json`` of the chosen model.
        config: What it was trained with.
        table: What it learned from.
        validation: What it was scored on.
    """
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    model, positives = config.model, (table.targets == 1).sum(0)
    own = metrics["fusions"][model.fusion]
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
    blocks = f" above its first {config.freeze_blocks} blocks" if config.freeze_blocks else ""
    learned = "the head alone" if config.freeze_backbone else f"backbone{blocks} and head"
    chosen = "which chose this step" if config.choose == "best" else "on which nothing was chosen"
    return "\n".join(
        [
            f"# {folder.resolve().name}",
            "",
            f"A model of didvit for {len(table.labels)} labels: {model.backbone} at "
            f"{height}x{width} pixels with the head {model.head}; looks again at "
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
            f"{config.steps} steps of {config.batch_size} images from {begun}, {_seen(config)}; "
            f"{learned} learned, "
            f"with {config.optimizer} and the {config.loss.name} loss. {len(table)} training "
            f"images ({', '.join(config.data.train)}). Every setting is in `train.json`.",
            "",
            "## Validation",
            "",
            f"Step {metrics['step']}, on {metrics['num_images']} images ({config.data.val}), "
            f"{chosen}; in percent. The model's own fusion is {model.fusion}.",
            "",
            "| fusion | mAP | CF1 | OF1 |",
            "| --- | --- | --- | --- |",
            *fusions,
            "",
            "| label | AP | training images |",
            "| --- | --- | --- |",
            *rows,
            "",
            LIMITS,
        ]
    )


def _views(model: ModelConfig, table: Table) -> str:
    if model.top_n == 0:
        return "nothing"
    count = min(model.top_n, len(table.labels))
    regions = f"{count} region{'s' * (count > 1)} found by {model.localization}"
    tiles = f" and {model.tiles**2} tile{'s' * (model.tiles > 1)}" if model.tiles else ""
    return f"{regions}{tiles}, at {model.view_scale:g} of these sides"


def _seen(config: TrainConfig) -> str:
    on_regions = config.steps - config.num_global_steps if config.model.top_n else 0
    if on_regions == 0:
        return "on whole images alone"
    return f"{on_regions} of them on regions too"


def _figure(value: float | None) -> str:
    return "none in the data" if value is None else f"{value:.1f}"
