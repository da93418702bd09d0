"""The experiments: the paper's tables 1 to 5 and figures 2 and 3, and what they leave open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from didvit.config import PAPER
from didvit.experiments.benchmarks import Data

Budget = Literal["equal_steps", "equal_passes"]
"""What a row shares with DiD at K = 4: the number of steps, or of forward passes in training."""

DID_PASSES = 5
"""Forward passes of DiD at K = 4, to learn from one image."""


@dataclass(frozen=True)
class Row:
    """One system or setting.

    Attributes:
        name: The paper's name for it, if there is one.
        changes: Settings that differ from the benchmark's, by name (see `with_settings`).
        paper: The paper's numbers, in percent: mAP, or All and Top-3 metrics by name.
        data: Data set and size that it is trained and scored on.
        budget: What it shares with DiD.
        scored_with: Settings of the method that differ when the trained model is scored.
        curve: Line of a figure that the row is a point of; empty for rows of a table.
        x: Place on the line.
        teacher: Row whose model, of the same seed, is the teacher. Its key is the setting
            ``teacher`` of ``changes``.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)
    data: Data = "coco"
    budget: Budget = "equal_steps"
    scored_with: Mapping[str, Any] = field(default_factory=dict)
    curve: str = ""
    x: float | None = None
    teacher: "Row | None" = None


def row_title(row: Row) -> str:
    """The name of a row, with its budget where that is equal passes.

    >>> row_title(Row("Baseline", {"top_n": 0}, budget="equal_passes"))
    'Baseline (equal passes)'
    """
    return f"{row.name} (equal passes)" if row.budget == "equal_passes" else row.name


Pair = tuple[tuple[str, Budget], tuple[str, Budget]]


@dataclass(frozen=True)
class Experiment:
    """Rows that are compared.

    Attributes:
        title: The question.
        rows: Systems or settings.
        differs: How it differs from the paper's experiment, at any scale.
        references: Names of the rows that others of the same data are compared with. Without one,
            the first row of the data is the reference.
        pairs: More rows to compare: A and B, by name and budget, of a difference A − B.
    """

    title: str
    rows: tuple[Row, ...]
    differs: str = ""
    references: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()

    def reference(self, row: Row) -> Row:
        """The row that a row is compared with. A reference is compared with itself."""
        of_data = [other for other in self.rows if other.data == row.data]
        return next((other for other in of_data if other.name in self.references), of_data[0])

    def comparisons(self, row: Row) -> list[tuple[Row, Row]]:
        """Pairs of rows A and B that a row takes part in: with its reference, and in ``pairs``."""
        reference = self.reference(row)
        pairs = [(row, reference)] if reference is not row else []
        planned = [(self.row(*a), self.row(*b)) for a, b in self.pairs]
        return pairs + [pair for pair in planned if any(side is row for side in pair)]

    def row(self, name: str, budget: Budget) -> Row:
        """The row with a name and budget.

        Raises:
            StopIteration: There is none.
        """
        return next(row for row in self.rows if (row.name, row.budget) == (name, budget))


BASELINE = {"top_n": 0}
OURS = {"view_scale": 0.5, "tiles": 2}
"""The settings of the preset didvit that differ from the paper's."""
COUNTS = ("CP", "CR", "CF1", "OP", "OR", "OF1")
PAPER_TABLE_1 = {
    "ML-GCN": "83.0  85.1 72.0 78.0 85.8 75.4 80.3  89.2 64.1 74.6 90.5 66.5 76.7",
    "MS-CMA": "83.8  82.9 74.4 78.4 84.4 77.9 81.0  88.2 65.0 74.9 90.2 67.4 77.1",
    "MCAR": "83.8  85.0 72.1 78.0 88.0 73.9 80.3  88.1 65.5 75.1 91.0 66.3 76.7",
    "SSGRL": "83.8  89.9 68.5 76.8 91.3 70.8 79.7  91.9 62.5 72.7 93.8 64.1 76.2",
    "ADD-GCN": "85.2  84.7 75.9 80.1 84.9 79.4 82.0  88.8 66.2 75.8 90.3 68.5 77.9",
    "Baseline": "85.1  86.8 73.5 79.6 87.6 76.9 81.9  90.1 65.2 75.7 91.7 67.9 78.0",
    "CSRA": "85.2  87.5 73.0 79.6 88.1 75.7 81.5  90.9 65.4 76.0 92.0 67.2 77.6",
    "DiD": "86.4  84.8 77.4 80.9 85.4 80.3 82.8  89.5 67.5 77.0 91.2 69.6 79.0",
}
"""Rows of the paper's table 1: mAP, then `COUNTS` of All and of Top-3."""

AT_256 = {"mAP": 83.2}
"""The paper's DiD at 256 pixels (tables 3 to 5)."""

BASELINE_AT_256 = {"mAP": 81.3}
"""The paper's baseline at 256 pixels (table 3)."""


def _paper_on_coco(name: str) -> dict[str, float]:
    """The paper's metrics of a system, by name; none of a system that its table 1 has not."""
    columns = [
        "mAP",
        *(f"{count} {kind}" for kind in ("all", "top-3") for count in COUNTS),
    ]
    values = PAPER_TABLE_1.get(name, "").split()
    return dict(zip(columns, map(float, values), strict=True)) if values else {}


MCAR = {"reconstraint": "none", "localization": "mcar", "fusion": "max"}
HCP = {"reconstraint": "none", "localization": "hypotheses", "fusion": "local"}
SENTENCES = {"label_embeddings": "sentence"}

SINGLE_VIEW: dict[str, dict[str, Any]] = {
    "Baseline": {},
    "CSRA": {"head": "csra"},
    "ML-GCN": {"head": "ml_gcn", **SENTENCES},
    "MS-CMA": {"head": "ms_cma", **SENTENCES},
    "SSGRL": {"head": "ssgrl", **SENTENCES},
    "ADD-GCN": {"head": "add_gcn"},
    "Query2Label": {"head": "query2label"},
    "ML-Decoder": {"head": "ml_decoder"},
}
"""Systems with one view."""


def _single_view(budget: Budget) -> list[Row]:
    return [
        Row(name, {**changes, **BASELINE}, _paper_on_coco(name), budget=budget)
        for name, changes in SINGLE_VIEW.items()
    ]


DID = Row("DiD", {}, _paper_on_coco("DiD"))
BASELINE_WITH_VIEWS, WITH_VIEWS = "Baseline + views at test time", {"top_n": 4}

TABLE_1 = Experiment(
    "Table 1: DiD and the systems it is compared with, on COCO",
    (
        *_single_view("equal_steps"),
        *_single_view("equal_passes"),
        Row(BASELINE_WITH_VIEWS, BASELINE, scored_with=WITH_VIEWS),
        Row(BASELINE_WITH_VIEWS, BASELINE, budget="equal_passes", scored_with=WITH_VIEWS),
        Row("MCAR", {**MCAR, "box_threshold": 0.5}, _paper_on_coco("MCAR")),
        Row("HCP", HCP),
        DID,
        Row("DiD, rows", {"normalization": "row"}),
        Row("DiD + CSRA", {"head": "csra"}),
    ),
    "The paper has ML-GCN, MS-CMA, MCAR, SSGRL and ADD-GCN on their authors' CNNs; here all are "
    "heads or views of one ViT. HCP, Query2Label, ML-Decoder, the baseline with views, DiD "
    "with row normalization and DiD + CSRA are not in its table.",
    ("DiD",),
    pairs=(
        ((BASELINE_WITH_VIEWS, "equal_steps"), ("Baseline", "equal_steps")),
        (("DiD", "equal_steps"), (BASELINE_WITH_VIEWS, "equal_steps")),
        ((BASELINE_WITH_VIEWS, "equal_passes"), ("Baseline", "equal_passes")),
        (("DiD + CSRA", "equal_steps"), ("CSRA", "equal_steps")),
        (("MS-CMA", "equal_steps"), ("Baseline", "equal_steps")),
        (("MS-CMA", "equal_passes"), ("Baseline", "equal_passes")),
    ),
)


def _voc(data: Data, hcp: float, ssgrl: float, add_gcn: float, did: float) -> list[Row]:
    year = data.removeprefix("voc")
    return [
        Row(f"Baseline, VOC {year}", BASELINE, {}, data),
        Row(f"HCP, VOC {year}", HCP, {"mAP": hcp}, data),
        Row(f"SSGRL, VOC {year}", {**SINGLE_VIEW["SSGRL"], **BASELINE}, {"mAP": ssgrl}, data),
        Row(f"ADD-GCN, VOC {year}", {"head": "add_gcn", **BASELINE}, {"mAP": add_gcn}, data),
        Row(f"DiD, VOC {year}", {}, {"mAP": did}, data),
        Row(f"DiD, rows, VOC {year}", {"normalization": "row"}, {}, data),
    ]


TABLE_2 = Experiment(
    "Table 2: VOC 2007 and VOC 2012",
    (
        *_voc("voc2007", 90.9, 95.0, 96.0, 96.2),
        *_voc("voc2012", 90.5, 94.8, 95.5, 96.8),
    ),
    "The paper has HCP, SSGRL and ADD-GCN on their authors' CNNs, and VOC 2012 on that year's test "
    "set, whose labels are not public; ours is VOC 2007's. All rows have as many steps; rows that "
    "learn from views cost several times the forward passes.",
    ("DiD, VOC 2007", "DiD, VOC 2012"),
)


def _ablation(
    name: str,
    changes: Mapping[str, Any],
    paper: Mapping[str, float] | None = None,
    budget: Budget = "equal_steps",
    **others: Any,
) -> Row:
    """A row about DiD's own parts: at 256 pixels, as the paper's are."""
    return Row(name, changes, paper or {}, "coco-256", budget, **others)


def _sweep(
    curve: str,
    name: str,
    setting: str,
    values: Sequence[float],
    papers: Mapping[float, Mapping[str, float]],
) -> list[Row]:
    """The points of a curve: one setting at several values, with the paper's numbers by value.

    The point at the paper's own value changes nothing, and so shares its runs with DiD.
    """
    return [
        _ablation(
            name.format(value),
            {} if value == getattr(PAPER, setting) else {setting: value},
            papers.get(value),
            curve=curve,
            x=value,
        )
        for value in values
    ]


TABLE_3 = Experiment(
    "Table 3: re-constraint of the semantic maps by the spatial map",
    (
        _ablation("Baseline", BASELINE, BASELINE_AT_256),
        _ablation("Baseline", BASELINE, BASELINE_AT_256, "equal_passes"),
        _ablation("hadamard", {}, AT_256),
        _ablation("sum", {"reconstraint": "sum"}, {"mAP": 82.0}),
        _ablation("none", {"reconstraint": "none"}, {"mAP": 82.5}),
        _ablation("hadamard, rows", {"normalization": "row"}),
        _ablation("shifted (ours)", {"reconstraint": "shifted"}),
        _ablation("sigmoid (ours)", {"reconstraint": "sigmoid"}),
        _ablation("scaled_sum (ours)", {"reconstraint": "scaled_sum"}),
    ),
    "With column normalization the values of the spatial map are about 1/N, so that sum hardly "
    "differs from none.",
    ("hadamard",),
    pairs=(
        (("sum", "equal_steps"), ("Baseline", "equal_steps")),
        (("none", "equal_steps"), ("Baseline", "equal_steps")),
        (("sum", "equal_steps"), ("none", "equal_steps")),
        (("scaled_sum (ours)", "equal_steps"), ("none", "equal_steps")),
    ),
)

TABLE_4 = Experiment(
    "Table 4: localization",
    (
        _ablation("DiD's", {}, AT_256),
        _ablation("MCAR's", {"localization": "mcar"}, {"mAP": 81.6}),
        _ablation("MCAR's, λ = 0.5", {"localization": "mcar", "box_threshold": 0.5}),
        _ablation(
            "MCAR's, λ = 0.5, none",
            {"localization": "mcar", "box_threshold": 0.5, "reconstraint": "none"},
        ),
        _ablation("random", {"localization": "random"}, {"mAP": 81.6}),
        _ablation("Baseline", BASELINE),
    ),
    "The paper does not say with which λ it has MCAR's boxes: MCAR's own is 0.5, and λ = 0.6 where "
    "a row says nothing. MCAR itself has no re-constraint (none). That row and the baseline are "
    "not in its table.",
    pairs=(
        (("random", "equal_steps"), ("Baseline", "equal_steps")),
        (("MCAR's", "equal_steps"), ("Baseline", "equal_steps")),
        (("MCAR's, λ = 0.5", "equal_steps"), ("MCAR's", "equal_steps")),
        (("MCAR's, λ = 0.5, none", "equal_steps"), ("MCAR's, λ = 0.5", "equal_steps")),
        (("MCAR's", "equal_steps"), ("random", "equal_steps")),
    ),
)

TABLE_5 = Experiment(
    "Table 5: selection of categories",
    (
        _ablation("descending", {}, AT_256),
        _ablation("ascending", {"selection": "ascending"}, {"mAP": 81.6}),
        _ablation("random", {"selection": "random"}, {"mAP": 81.6}),
        _ablation("Baseline", BASELINE),
    ),
    "The baseline is not in the paper's table.",
    pairs=(
        (("ascending", "equal_steps"), ("Baseline", "equal_steps")),
        (("random", "equal_steps"), ("Baseline", "equal_steps")),
        (("random", "equal_steps"), ("ascending", "equal_steps")),
    ),
)

LAMBDAS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

FIGURE_2 = Experiment(
    "Figure 2: the threshold λ and the number K of views",
    (
        *_sweep(
            "λ, K = 4",
            "λ = {:g}",
            "box_threshold",
            LAMBDAS,
            {0.6: AT_256},
        ),
        *_sweep(
            "K, λ = 0.6",
            "K = {:g}",
            "top_n",
            (0, 1, 2, 4, 6, 8),
            {0: BASELINE_AT_256, 4: AT_256},
        ),
    ),
    "The paper prints curves without numbers (those here are of tables 3 to 5): λ rises then "
    "falls, best at 0.7, always above the baseline; K rises, and is flat past 4. All points have "
    "as many steps, each of 1 + K forward passes.",
    ("K = 4",),
    pairs=(
        *(((f"λ = {value:g}", "equal_steps"), ("K = 0", "equal_steps")) for value in LAMBDAS),
        (("λ = 0.7", "equal_steps"), ("λ = 0.6", "equal_steps")),
        (("K = 1", "equal_steps"), ("K = 0", "equal_steps")),
        (("K = 2", "equal_steps"), ("K = 0", "equal_steps")),
    ),
)

NORMALIZATION = Experiment(
    "Column or row normalization of the attention in the rollout",
    (
        _ablation("column, hadamard", {}, AT_256),
        _ablation("row, hadamard", {"normalization": "row"}),
        _ablation("column, shifted", {"reconstraint": "shifted"}),
        _ablation("row, shifted", {"normalization": "row", "reconstraint": "shifted"}),
    ),
    "The paper's text has columns, its authors' code has rows; it compares neither.",
)

ORDER = Experiment(
    "The order of the rollout's product",
    (
        _ablation("last block first", {}, AT_256),
        _ablation("first block first", {"rollout_order": "ascending"}),
    ),
    "Equation 5 can be read both ways.",
)

FUSION = Experiment(
    "What fusion adds to each branch, and what training through views adds to views at test time",
    (
        _ablation("DiD, mean", {}, AT_256),
        _ablation("DiD, max", {"fusion": "max"}),
        _ablation("DiD, global", {"fusion": "global"}),
        _ablation("DiD, local", {"fusion": "local"}),
        _ablation("Baseline", BASELINE, BASELINE_AT_256),
        _ablation("Baseline", BASELINE, BASELINE_AT_256, "equal_passes"),
        _ablation(BASELINE_WITH_VIEWS, BASELINE, scored_with=WITH_VIEWS),
        _ablation(BASELINE_WITH_VIEWS, BASELINE, {}, "equal_passes", scored_with=WITH_VIEWS),
    ),
    "The paper does not say how it fuses.",
    pairs=(
        ((BASELINE_WITH_VIEWS, "equal_steps"), ("Baseline", "equal_steps")),
        ((BASELINE_WITH_VIEWS, "equal_passes"), ("Baseline", "equal_passes")),
        (("DiD, mean", "equal_steps"), (BASELINE_WITH_VIEWS, "equal_steps")),
        (("DiD, global", "equal_steps"), ("Baseline", "equal_steps")),
        (("DiD, local", "equal_steps"), ("Baseline", "equal_steps")),
    ),
)

WHOLE = "trained on whole images, "

PRESETS = Experiment(
    "Our way of training and predicting against the paper's",
    (
        _ablation("paper: trained and scored with four views", {}, AT_256),
        _ablation(f"{WHOLE}one view", BASELINE, {}, "equal_passes"),
        _ablation(f"{WHOLE}four views", BASELINE, {}, "equal_passes", scored_with=WITH_VIEWS),
        _ablation(
            f"{WHOLE}views of the preset didvit",
            BASELINE,
            {},
            "equal_passes",
            scored_with={**WITH_VIEWS, **OURS},
        ),
    ),
    "The paper has no such comparison. All rows have as many forward passes in training.",
    pairs=tuple(
        ((f"{WHOLE}{one}", "equal_passes"), (f"{WHOLE}{other}", "equal_passes"))
        for one, other in (
            ("views of the preset didvit", "four views"),
            ("views of the preset didvit", "one view"),
        )
    ),
)

CROP_SOURCE = Experiment(
    "Views cut from the raw image or from the network's input",
    (_ablation("raw", {}, AT_256), _ablation("input", {"crop_from": "input"})),
    "The paper's text has the raw image, its authors' code the input; with the latter, corners are "
    "aligned and nothing is antialiased, as in that code.",
)

VIEW_SIZE = Experiment(
    "The size of views",
    tuple(
        _sweep(
            "side of views / side of the input",
            "view_scale = {:g}",
            "view_scale",
            (0.5, 0.75, 1.0, 1.5),
            {1.0: AT_256},
        )
    ),
    "The paper's views have the size of the input. All points have as many steps, each of "
    "1 + 4 s² forward passes, s being the scale.",
    ("view_scale = 1",),
)

PRETRAINING = Experiment(
    "Another pre-training of the backbone",
    (
        _ablation("Baseline", BASELINE),
        _ablation("Baseline", BASELINE, budget="equal_passes"),
        _ablation(BASELINE_WITH_VIEWS, BASELINE, scored_with=WITH_VIEWS),
        _ablation(BASELINE_WITH_VIEWS, BASELINE, {}, "equal_passes", scored_with=WITH_VIEWS),
        _ablation("DiD", {}),
        _ablation("none", {"reconstraint": "none"}),
        _ablation("sum", {"reconstraint": "sum"}),
    ),
    "The paper has one pre-training. These are the rows that its main claims rest on.",
    ("DiD",),
    pairs=(
        ((BASELINE_WITH_VIEWS, "equal_steps"), ("Baseline", "equal_steps")),
        ((BASELINE_WITH_VIEWS, "equal_passes"), ("Baseline", "equal_passes")),
        (("DiD", "equal_steps"), (BASELINE_WITH_VIEWS, "equal_steps")),
    ),
)

MULTI_LEVEL = {"head": "multi_level_queries"}
POOLED = {"log-sum-exp": {"head": "log_sum_exp"}, "top patches": {"head": "top_patches"}}

SINGLE_PASS = Experiment(
    "One forward pass against the views of DiD",
    (
        _ablation("DiD", {}),
        _ablation("Baseline", BASELINE),
        _ablation(
            "distilled from DiD", {**BASELINE, "teacher": "did"}, teacher=_ablation("DiD", {})
        ),
        *(_ablation(name, {**head, **BASELINE}) for name, head in POOLED.items()),
        _ablation("multi-level queries", {**MULTI_LEVEL, **BASELINE}),
        _ablation("Baseline", BASELINE, budget="equal_passes"),
        _ablation("log-sum-exp", {**POOLED["log-sum-exp"], **BASELINE}, budget="equal_passes"),
    ),
    "The paper has no such rows. A teacher adds five forward passes to a step, without gradients.",
    ("DiD",),
    pairs=(
        *(
            ((name, "equal_steps"), ("Baseline", "equal_steps"))
            for name in ("distilled from DiD", *POOLED, "multi-level queries")
        ),
        (("log-sum-exp", "equal_passes"), ("Baseline", "equal_passes")),
    ),
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
    "pretraining": PRETRAINING,
    "single-pass": SINGLE_PASS,
}
"""By the name that ``didvit experiment`` takes; `pictures` has figure 3, `boxes` the boxes."""
