"""Statistics of the labels: co-occurrence in the training data, and a vector for each label.

A label's vector is random, or comes from a sentence model (all-MiniLM-L6-v2; Reimers & Gurevych,
EMNLP 2019), or from a table of word vectors such as GloVe's (Pennington et al., EMNLP 2014).
"""

import hashlib
import importlib.util
import re
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

RANDOM_WIDTH = 300
"""Width of random label embeddings, as of the paper's GloVe vectors."""


class LabelEmbeddingError(ValueError):
    """There are no word vectors for the labels; the message says what to change."""


class LabelStatistics(NamedTuple):
    """Statistics that heads with a label graph are built from.

    Zeros are placeholders that a state dict replaces.

    Attributes:
        co_occurrence: At ``[i, j]``, the number of training images with both labels i and j. The
            diagonal counts the images of each label.
        embeddings: One word vector per label.
    """

    co_occurrence: Float[Tensor, "C C"]
    embeddings: Float[Tensor, "C E"]


def co_occurrence_of(targets: Shaped[Tensor, "n C"] | Shaped[np.ndarray, "n C"]) -> Tensor:
    """Count the images that have both labels, for every pair: ``(C, C)``, float32.

    Args:
        targets: 1 (the image has the label), 0 (it has not) or -1 (unknown: counts as absent).
            No image at all gives zeros.

    >>> co_occurrence_of(torch.tensor([[1, 1], [1, 0]])).tolist()
    [[2.0, 1.0], [1.0, 1.0]]
    """
    present = (torch.as_tensor(targets) == 1).float()
    return present.T @ present


def conditional_probabilities(co_occurrence: Float[Tensor, "C C"]) -> Float[Tensor, "C C"]:
    """Compute the probability of label j given label i, at ``[i, j]``; 0 if i never occurs."""
    return co_occurrence / co_occurrence.diagonal().clamp(min=1)[:, None]


def label_embeddings(source: str, labels: tuple[str, ...]) -> Float[Tensor, "C E"]:
    """Look up or compute one word vector per label, in the order of the labels.

    Args:
        source: ``"random"``: normal numbers that depend on the label's text alone (E = 300).
            ``"sentence"``: the sentence model's vectors (E = 384). Otherwise the path of a text
            table with a line ``word v1 v2 …`` per word; a label is the mean of its words' vectors.
        labels: One label or more.

    Returns:
        Vectors of unit length, whatever their source, so that heads begin with small logits.

    Raises:
        LabelEmbeddingError: The sentence model is not installed, or the table cannot be read, has
            another form or lacks a word.

    >>> label_embeddings("random", ("cat", "dog")).shape
    torch.Size([2, 300])
    """
    if source == "random":
        vectors = np.stack([_random_vector(label) for label in labels])
    elif source == "sentence":
        vectors = _sentence_vectors(labels)
    else:
        vectors = _table_vectors(Path(source), labels)
    return F.normalize(torch.from_numpy(vectors))


def _random_vector(label: str) -> Float32[np.ndarray, " E"]:
    seed = int.from_bytes(hashlib.sha256(label.encode()).digest())
    return np.random.default_rng(seed).standard_normal(RANDOM_WIDTH, dtype=np.float32)


def _sentence_vectors(labels: tuple[str, ...]) -> Float32[np.ndarray, "C E"]:
    package = importlib.util.find_spec("all_minilm_l6_v2")  # not imported: it prints
    if package is None or package.origin is None:
        raise LabelEmbeddingError(
            "label embeddings are 'sentence', but the sentence model is not installed; install it "
            "with: pip install '.[labels]' in a clone of didvit, or use 'random'"
        )
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(Path(package.origin).with_name("model.zip")) as archive:
            archive.extractall(folder)
        model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    return model.encode(list(labels), show_progress_bar=False)


def _table_vectors(table: Path, labels: tuple[str, ...]) -> Float32[np.ndarray, "C E"]:
    """Mean vector of each label's words, in lower case."""
    if not table.is_file():
        raise LabelEmbeddingError(
            f"label embeddings are {str(table)!r}; expected 'random', 'sentence' or the path of a "
            f"text file of word vectors, one 'word v1 v2 ...' a line"
        )
    words = {label: re.findall(r"[^\W_]+", label.lower()) or [label] for label in labels}
    vectors = _read_table(table, {word for parts in words.values() for word in parts})
    missing = sorted({word for parts in words.values() for word in parts} - vectors.keys())
    if missing:
        raise LabelEmbeddingError(
            f"{table} has no vector for {', '.join(missing)}; add a line for each, rename the "
            f"labels, or use 'sentence' or 'random'"
        )
    means = [np.mean([vectors[word] for word in words[label]], axis=0) for label in labels]
    return np.stack(means)


def _read_table(table: Path, wanted: set[str]) -> dict[str, Float32[np.ndarray, " E"]]:
    """Vectors of the wanted words that the table has. The first line of a word counts."""
    vectors: dict[str, np.ndarray] = {}
    with table.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            word, _, values = line.partition(" ")
            if word not in wanted or word in vectors:
                continue
            try:
                vectors[word] = np.array(values.split(), dtype=np.float32)
            except ValueError as error:
                raise LabelEmbeddingError(
                    f"{table}, line {number}: expected {word!r} and numbers; correct the line"
                ) from error
    widths = {word: len(vector) for word, vector in vectors.items()}
    if len(set(widths.values())) > 1 or 0 in widths.values():
        raise LabelEmbeddingError(
            f"{table} has vectors of different lengths, {widths}; expected one length, 1 or more"
        )
    return vectors
