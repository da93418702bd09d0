"""The experiments: the paper's tables 1 to 5 and figures 2 and 3, and what they leave open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from didvit.experiments.benchmarks import Data
from didvit.presets import DIDVIT, PAPER

Budget = Literal["steps", "looks"]
"""What a row has as much of as DiD with K = 4: steps, or looks (forward passes) in them."""

DID_LOOKS = 5
"""Of DiD with K = 4, to learn from an image."""


@dataclass(frozen=True)
class Row:
    """One system or setting.

    Attributes:
        name: As the paper has it, where it has it.
        model: What it changes in the benchmark's model.
        paper: The paper's numbers, in percent: mAP, or All and Top-3 metrics by name.
        data: What it is trained and scored on.
        budget: What it is given as much of as DiD.
        scored_with: Changes to the model when it is scored, after training without them.
        curve: The line of a figure that it is a point of; of a table's row, nothing.
        x: Where on the line.
    """

    name: str
    model: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)
    data: Data = "coco"
    budget: Budget = "steps"
    scored_with: Mapping[str, Any] = field(default_factory=dict)
    curve: str = ""
    x: float | None = None


@dataclass(frozen=True)
class Experiment:
    """Rows that are compared.

    Attributes:
        title: What is asked.
        rows: Systems or settings.
        differs: What differs from the paper's experiment at any scale.
        references: Names of the rows that the others of the same data are compared with; of data
            where there is none, the first.
    """

    title: str
    rows: tuple[Row, ...]
    differs: str = ""
    references: tuple[str, ...] = ()

    def reference(self, row: Row) -> Row:
        """What a row is compared with; a reference with itself."""
        of_data = [other for other in self.rows if other.data == row.data]
        return next((other for other in of_data if other.name in self.references), of_data[0])


BASELINE = {"top_n": 0}
OURS = {name: value for name, value in DIDVIT.items() if value != PAPER[name]}
DID_ALL = {"CP": 84.8, "CR": 77.4, "CF1": 80.9, "OP": 85.4, "OR": 80.3, "OF1": 82.8}
DID_TOP_3 = {"CP": 89.5, "CR": 67.5, "CF1": 77.0, "OP": 91.2, "OR": 69.6, "OF1": 79.0}
DID_COCO = {
    "mAP": 86.4,
    **{f"{name} all": value for name, value in DID_ALL.items()},
    **{f"{name} top-3": value for name, value in DID_TOP_3.items()},
}

MCAR = {"reconstraint": "none", "localization": "mcar", "fusion": "max"}
HCP = {"reconstraint": "none", "localization": "hypotheses", "fusion": "local"}
SENTENCES = {"label_embeddings": "sentence"}

SINGLE_VIEW: dict[str, tuple[dict[str, Any], float | None]] = {
    "Baseline": ({}, 85.1),
    "CSRA": ({"head": "csra"}, 85.2),
    "ML-GCN": ({"head": "ml_gcn", **SENTENCES}, 83.0),
    "MS-CMA": ({"head": "ms_cma", **SENTENCES}, 83.8),
    "SSGRL": ({"head": "ssgrl", **SENTENCES}, 83.8),
    "ADD-GCN": ({"head": "add_gcn"}, 85.2),
    "Query2Label": ({"head": "query2label"}, None),
    "ML-Decoder": ({"head": "ml_decoder"}, None),
}
"""Heads that look once, with the paper's mAP on COCO."""


def _single_view(budget: Budget, data: Data = "coco", names: tuple[str, ...] = ()) -> list[Row]:
    return [
        Row(
            name,
            {**model, **BASELINE},
            {} if paper is None else {"mAP": paper},
            data,
            budget,
        )
        for name, (model, paper) in SINGLE_VIEW.items()
        if not names or name in names
    ]


DID = Row("DiD", {}, DID_COCO)

TABLE_1 = Experiment(
    "Table 1: DiD and the systems it is compared with, on COCO",
    (
        *_single_view("steps"),
        *_single_view("looks"),
        Row("MCAR", {**MCAR, "box_threshold": 0.5}, {"mAP": 83.8}),
        Row("HCP", HCP),
        DID,
        Row("DiD + CSRA", {"head": "csra"}),
    ),
    "The paper has ML-GCN, MS-CMA, MCAR, SSGRL and ADD-GCN on their authors' CNNs; here all are "
    "heads or views of one ViT. HCP, Query2Label, ML-Decoder and DiD + CSRA are not in its table.",
    ("DiD",),
)


def _voc(data: Data, hcp: float, ssgrl: float, add_gcn: float, did: float) -> list[Row]:
    year = data.removeprefix("voc")
    return [
        Row(f"Baseline, VOC {year}", BASELINE, {}, data),
        Row(f"HCP, VOC {year}", HCP, {"mAP": hcp}, data),
        Row(f"SSGRL, VOC {year}", {**SINGLE_VIEW["SSGRL"][0], **BASELINE}, {"mAP": ssgrl}, data),
        Row(f"ADD-GCN, VOC {year}", {"head": "add_gcn", **BASELINE}, {"mAP": add_gcn}, data),
        Row(f"DiD, VOC {year}", {}, {"mAP": did}, data),
    ]


TABLE_2 = Experiment(
    "Table 2: VOC 2007 and VOC 2012",
    (
        *_voc("voc2007", 90.9, 95.0, 96.0, 96.2),
        *_voc("voc2012", 90.5, 94.8, 95.5, 96.8),
    ),
    "The paper has HCP, SSGRL and ADD-GCN on their authors' CNNs, and VOC 2012 on that year's test "
    "set, whose labels are not public; ours is VOC 2007's. All rows have as many steps, those that "
    "learn from views several times the forward passes.",
    ("DiD, VOC 2007", "DiD, VOC 2012"),
)


def _ablation(
    name: str,
    model: Mapping[str, Any],
    paper: Mapping[str, float] | None = None,
    budget: Budget = "steps",
    **others: Any,
) -> Row:
    """A row about DiD's own parts: at 256 pixels, as the paper's are."""
    return Row(name, model, paper or {}, "coco-256", budget, **others)


TABLE_3 = Experiment(
    "Table 3: re-constraint of the semantic maps by the spatial map",
    (
        _ablation("Baseline", BASELINE, {"mAP": 81.3}),
        _ablation("Baseline", BASELINE, {"mAP": 81.3}, "looks"),
        _ablation("hadamard", {}, {"mAP": 83.2}),
        _ablation("sum", {"reconstraint": "sum"}, {"mAP": 82.0}),
        _ablation("none", {"reconstraint": "none"}, {"mAP": 82.5}),
        _ablation("hadamard, rows", {"normalization": "row"}),
        _ablation("shifted (ours)", {"reconstraint": "shifted"}),
        _ablation("sigmoid (ours)", {"reconstraint": "sigmoid"}),
        _ablation("scaled_sum (ours)", {"reconstraint": "scaled_sum"}),
    ),
    "The spatial map is about 1/N, so that sum is none in disguise.",
    ("hadamard",),
)

TABLE_4 = Experiment(
    "Table 4: localization",
    (
        _ablation("DiD's", {}, {"mAP": 83.2}),
        _ablation("MCAR's", {"localization": "mcar"}, {"mAP": 81.6}),
        _ablation("random", {"localization": "random"}, {"mAP": 81.6}),
    ),
)

TABLE_5 = Experiment(
    "Table 5: selection of categories",
    (
        _ablation("descending", {}, {"mAP": 83.2}),
        _ablation("ascending", {"selection": "ascending"}, {"mAP": 81.6}),
        _ablation("random", {"selection": "random"}, {"mAP": 81.6}),
    ),
)

FIGURE_2 = Experiment(
    "Figure 2: the threshold λ and the number K of views",
    (
        *(
            _ablation(f"λ = {value}", {"box_threshold": value}, curve="λ, K = 4", x=value)
            for value in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
        ),
        *(
            _ablation(f"K = {value}", {"top_n": value}, curve="K, λ = 0.6", x=value)
            for value in (0, 1, 2, 4, 6, 8)
        ),
    ),
    "The paper prints curves without numbers: λ rises then falls, best at 0.7, always above the "
    "baseline; K rises, and is flat past 4.",
    ("K = 4",),
)

NORMALIZATION = Experiment(
    "Column or row normalization of the attention in the rollout",
    (
        _ablation("column, hadamard", {}),
        _ablation("row, hadamard", {"normalization": "row"}),
        _ablation("column, shifted", {"reconstraint": "shifted"}),
        _ablation("row, shifted", {"normalization": "row", "reconstraint": "shifted"}),
    ),
    "The paper's text has columns, its authors' code has rows; it compares neither.",
)

ORDER = Experiment(
    "The order of the rollout's product",
    (
        _ablation("last block first", {}),
        _ablation("first block first", {"rollout_order": "ascending"}),
    ),
    "Equation 5 can be read both ways.",
)

FUSION = Experiment(
    "What fusion adds over each branch, and training over looking again at test time alone",
    (
        _ablation("DiD, mean", {}),
        _ablation("DiD, max", {"fusion": "max"}),
        _ablation("DiD, global", {"fusion": "global"}),
        _ablation("DiD, local", {"fusion": "local"}),
        _ablation("Baseline", BASELINE),
        _ablation("Baseline", BASELINE, {}, "looks"),
        _ablation("Baseline, looks again at test time", BASELINE, {}, scored_with={"top_n": 4}),
        _ablation(
            "Baseline, looks again at test time",
            BASELINE,
            {},
            "looks",
            scored_with={"top_n": 4},
        ),
    ),
    "The paper does not say how it fuses.",
)

PRESETS = Experiment(
    "Our way to learn and to look again against the paper's",
    (
        _ablation("paper: learns and looks at four regions", {}),
        _ablation(
            "learns from whole images, looks at four regions",
            BASELINE,
            {},
            "looks",
            scored_with={"top_n": 4},
        ),
        _ablation(
            "didvit: learns from whole images, looks at regions and tiles at half the sides",
            BASELINE,
            {},
            "looks",
            scored_with={"top_n": 4, **OURS},
        ),
    ),
    "The paper has no such comparison. All rows have as many looks to learn with. Half of "
    "112 pixels, the CPU scale's input, is 4x4 patches: too little for our preset, whose views are "
    "for inputs of 16x16 patches.",
)

CROP_SOURCE = Experiment(
    "Views cut from the raw image or from the network's input",
    (_ablation("raw", {}), _ablation("input", {"crop_from": "input"})),
    "The paper's text has the raw image, its authors' code the input; with the latter, corners are "
    "aligned and nothing is antialiased, as in that code.",
)

VIEW_SIZE = Experiment(
    "The size of views",
    tuple(
        _ablation(
            f"{part:g} of the input's sides",
            {"view_scale": part},
            curve="side of views, as a part of the input's",
            x=part,
        )
        for part in (0.5, 0.75, 1.0, 1.5)
    ),
    "The paper looks at views at the size of the input.",
    ("1 of the input's sides",),
)

EXPERIMENTS: dict[str, Experiment] = {
    "table1": TABLE_1,
    "table2": TABLE_2,
    "table3": TABLE_3,
    "table4": TABLE_4,
    "table5": TABLE_5,
    "figure2": FIGURE_2,
    "normalization": NORMALIZATION,
    "order": ORDER,
    "fusion": FUSION,
    "presets": PRESETS,
    "crop-source": CROP_SOURCE,
    "view-size": VIEW_SIZE,
}
"""By the name that ``didvit experiment`` takes; `pictures` has figure 3."""
