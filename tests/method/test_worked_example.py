"""The example of docs/worked-example.md: every figure of that page, computed by the library.

A grid of 3x3 patches of 2x2 pixels, two blocks, a class token and nine patches:

    1 2 3
    4 5 6
    7 8 9
"""

from fractions import Fraction

import pytest
import torch

from didvit.method.localization import localize_largest_component
from didvit.method.reconstraint import RECONSTRAINTS
from didvit.method.rollout import NORMALIZATIONS, attention_rollout
from didvit.method.selection import select_descending
from didvit.method.semantic import SemanticHead


def attention(rows):
    """Every token attends to itself, but for the given rows ``{token: {other token: part}}``."""
    matrix = torch.eye(10, dtype=torch.float64)
    for token, attended in rows.items():
        matrix[token] = 0
        for other, part in attended.items():
            matrix[token, other] = part
    return matrix[None]


# First block: the class token (0) attends to itself and to patch 1; patches 5 and 9 attend to
# themselves and to patch 6. Last block: the class token attends to patches 5 and 9.
FIRST = attention({0: {0: 1 / 2, 1: 1 / 2}, 5: {5: 1 / 2, 6: 1 / 2}, 9: {9: 1 / 2, 6: 1 / 2}})
LAST = attention({0: {5: 1 / 2, 9: 1 / 2}})

SEMANTIC_MAP = [
    [-1, 6, 3],
    [-1, 3, 6],
    [-1, 1, 2],
]

SPATIAL_MAP = {
    # After the last block, e·G_2: the columns of LAST + E sum to 1 (class token), 5/2 (patches 5
    # and 9, 1/2 from the class token and 2 of their own) and 2 (the others), so that the row is
    #     class token 1/1 = 1, patch 5 (1/2)/(5/2) = 1/5, patch 9 1/5.
    # Times G_1: the columns of FIRST + E sum to
    #     patch 1: 1/2 + 2 = 5/2;  patches 5, 9: 3/2;  patch 6: 1/2 + 1/2 + 2 = 3.
    "column": [
        ["1/5", "0", "0"],  # patch 1: 1·(1/2)/(5/2)
        ["0", "1/5", "1/15"],  # patch 5: (1/5)(3/2)/(3/2); patch 6: 2·(1/5)(1/2)/3
        ["0", "0", "1/5"],  # patch 9: as patch 5
    ],
    # All rows of attention + E sum to 2: G = (attention + E)/2. The row after the last block is
    #     class token 1/2, patch 5 1/4, patch 9 1/4.
    "row": [
        ["1/8", "0", "0"],  # patch 1: (1/2)(1/4)
        ["0", "3/16", "1/8"],  # patch 5: (1/4)(3/4); patch 6: 2·(1/4)(1/4)
        ["0", "0", "3/16"],  # patch 9: as patch 5
    ],
}

INSTANCE_MAP = {
    ("column", "hadamard"): [
        ["-1/5", "0", "0"],
        ["0", "3/5", "2/5"],  # (1/5)·3, (1/15)·6
        ["0", "0", "2/5"],  # (1/5)·2
    ],
    ("row", "hadamard"): [
        ["-1/8", "0", "0"],
        ["0", "9/16", "3/4"],  # (3/16)·3, (1/8)·6
        ["0", "0", "3/8"],  # (3/16)·2
    ],
    ("column", "sum"): [
        ["-4/5", "6", "3"],  # -1 + 1/5
        ["-1", "16/5", "91/15"],  # 3 + 1/5, 6 + 1/15
        ["-1", "1", "11/5"],  # 2 + 1/5
    ],
    ("row", "sum"): [
        ["-7/8", "6", "3"],
        ["-1", "51/16", "49/8"],
        ["-1", "1", "35/16"],
    ],
    ("column", "none"): SEMANTIC_MAP,
    ("row", "none"): SEMANTIC_MAP,
}

# At λ = 1/2, in the 6x6 pixels of the input.
BOX = {
    ("column", "hadamard"): [2, 1, 6, 6],
    ("row", "hadamard"): [2, 2, 6, 6],
    ("column", "sum"): [2, 0, 6, 6],
    ("row", "sum"): [2, 0, 6, 6],
    ("column", "none"): [2, 0, 6, 5],
    ("row", "none"): [2, 0, 6, 5],
}

# The column-normalized Hadamard map, times 80, upsampled to 6x6 pixels. Along an axis the values
# a, b, c of a line become a, (3a+b)/4, (a+3b)/4, (3b+c)/4, (b+3c)/4, c.
UPSAMPLED_TIMES_80 = [
    [-16, -12, -4, 0, 0, 0],
    [-12, -6, 6, 11, 9, 8],
    [-4, 6, 26, 33, 27, 24],
    [0, 9, 27, 35, 33, 32],
    [0, 3, 9, 17, 27, 32],
    [0, 0, 0, 8, 24, 32],
]


def exact(rows):
    return torch.tensor([[float(Fraction(value)) for value in row] for row in rows]).double()


def spatial_map(normalization):
    return attention_rollout([FIRST, LAST], (3, 3), normalization=NORMALIZATIONS[normalization])


def instance_map(normalization, reconstraint):
    maps = torch.tensor(SEMANTIC_MAP, dtype=torch.float64)[None, None]
    return RECONSTRAINTS[reconstraint](spatial_map(normalization), maps)


def box(normalization, reconstraint):
    maps = instance_map(normalization, reconstraint).numpy()
    return localize_largest_component(maps, (6, 6), 0.5, (2, 2))[0, 0].tolist()


def test_attention_rows_sum_to_one():
    assert torch.equal(FIRST.sum(-1), torch.ones(1, 10).double())
    assert torch.equal(LAST.sum(-1), torch.ones(1, 10).double())


def test_global_logit():
    """-1 + 6 + 3 - 1 + 3 + 6 - 1 + 1 + 2 = 18; 18/9 = 2. It beats a category of logit 1."""
    head = SemanticHead(1, 2)
    head.load_state_dict(
        {
            "projection.weight": torch.tensor([[[[0.0]]], [[[1.0]]]]),
            "projection.bias": torch.tensor([1.0, 0.0]),
        }
    )
    maps, logits = head(torch.tensor(SEMANTIC_MAP).float()[None, None])
    assert maps[0, 1].tolist() == SEMANTIC_MAP
    assert logits.tolist() == [[1.0, 2.0]]
    assert select_descending(logits.detach().numpy(), 1).tolist() == [[1]]


@pytest.mark.parametrize("normalization", SPATIAL_MAP)
def test_spatial_map(normalization):
    torch.testing.assert_close(spatial_map(normalization)[0], exact(SPATIAL_MAP[normalization]))


@pytest.mark.parametrize(("normalization", "reconstraint"), INSTANCE_MAP)
def test_instance_map(normalization, reconstraint):
    expected = exact(INSTANCE_MAP[normalization, reconstraint])
    torch.testing.assert_close(instance_map(normalization, reconstraint)[0, 0], expected)


def test_upsampled_instance_map():
    maps = torch.nn.functional.interpolate(
        instance_map("column", "hadamard"), (6, 6), mode="bilinear"
    )
    expected = torch.tensor(UPSAMPLED_TIMES_80).double()
    torch.testing.assert_close(80 * maps[0, 0], expected)


def test_box_by_hand():
    """Minimum -16, maximum 35: scaled above 1/2 is above -16 + 51/2 = 9.5."""
    above = [
        (x, y) for y, row in enumerate(UPSAMPLED_TIMES_80) for x, v in enumerate(row) if v > 9.5
    ]
    assert above == [
        *[(3, 1)],
        *[(2, 2), (3, 2), (4, 2), (5, 2)],
        *[(2, 3), (3, 3), (4, 3), (5, 3)],
        *[(3, 4), (4, 4), (5, 4)],
        *[(4, 5), (5, 5)],
    ]
    columns, rows = zip(*above, strict=True)
    assert [min(columns), min(rows), max(columns) + 1, max(rows) + 1] == [2, 1, 6, 6]


@pytest.mark.parametrize(("normalization", "reconstraint"), BOX)
def test_box(normalization, reconstraint):
    assert box(normalization, reconstraint) == BOX[normalization, reconstraint]
