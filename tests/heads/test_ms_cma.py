import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from didvit.heads.labels import LabelStatistics
from didvit.heads.ms_cma import (
    CrossModalityAttention,
    MSCMAHead,
    embed_label_graph,
    graph_embedding_loss,
    label_adjacency,
)

SHAPES = [  # batch, D, C, scales, E, grid
    (1, 1, 1, 1, 2, (1, 1)),
    (1, 3, 4, 2, 5, (2, 3)),
    (2, 4, 3, 3, 3, (1, 1)),
    (3, 5, 2, 1, 4, (3, 2)),
]


def statistics_of(categories, seed=0, images=40, words=6):
    """Of labels that are thrown with different chances, and that all occur."""
    generator = torch.Generator().manual_seed(seed)
    chances = torch.rand(categories, generator=generator)
    targets = (torch.rand(images, categories, generator=generator) < chances).float()
    targets[0] = 1
    return LabelStatistics(targets.T @ targets, torch.randn(categories, words, generator=generator))


def no_statistics(categories, words=6):
    return LabelStatistics(torch.zeros(categories, categories), torch.zeros(categories, words))


def head_of(embed_dim, categories, num_scales, width):
    """A head whose label embeddings are drawn, which is quicker than to fit them."""
    head = MSCMAHead(embed_dim, no_statistics(categories), num_scales, width)
    head.graph_embeddings.normal_()
    return head


def cosines_of(embeddings):
    directions = F.normalize(embeddings, dim=-1)
    return directions @ directions.T


# The label graph


def slow_adjacency(co_occurrence):
    """The mean of P(i | j) and P(j | i)."""
    n = len(co_occurrence)
    result = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            given_j = co_occurrence[i, j] / co_occurrence[j, j] if co_occurrence[j, j] else 0
            given_i = co_occurrence[j, i] / co_occurrence[i, i] if co_occurrence[i, i] else 0
            result[i, j] = (given_j + given_i) / 2
    return result


def slow_cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return dot / norms if norms else 0.0


def slow_loss(embeddings, adjacency, weak=0.3):
    total = 0.0
    for i in range(len(embeddings)):
        for j in range(len(embeddings)):
            cosine = slow_cosine(embeddings[i], embeddings[j])
            if not (cosine < weak and adjacency[i, j] < weak):
                total += (cosine - adjacency[i, j]) ** 2
    return total


@given(seed=st.integers(0, 10_000), categories=st.integers(1, 6), absent=st.booleans())
def test_adjacency_equals_the_loop(seed, categories, absent):
    co_occurrence = statistics_of(categories, seed).co_occurrence.double()
    if absent:
        co_occurrence[0], co_occurrence[:, 0] = 0, 0
    adjacency = label_adjacency(co_occurrence)
    expected = torch.from_numpy(slow_adjacency(co_occurrence.numpy()))
    torch.testing.assert_close(adjacency, expected)
    assert torch.equal(adjacency, adjacency.T)
    assert ((adjacency >= 0) & (adjacency <= 1)).all()


def test_adjacency_by_hand():
    # 4 images have the first label, 2 the second, 1 both: P = 1/4 and 1/2. None has the third.
    counts = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    expected = [[1.0, 0.375, 0.0], [0.375, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert label_adjacency(counts).tolist() == expected


@given(seed=st.integers(0, 10_000), categories=st.integers(1, 6))
def test_loss_equals_the_loop(seed, categories):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(categories, 3, generator=generator, dtype=torch.float64)
    adjacency = torch.rand(categories, categories, generator=generator, dtype=torch.float64)
    adjacency = (adjacency + adjacency.T) / 2
    adjacency.fill_diagonal_(1)
    loss = graph_embedding_loss(embeddings, adjacency).item()
    assert loss == pytest.approx(slow_loss(embeddings.numpy(), adjacency.numpy()), abs=1e-12)


@pytest.mark.parametrize(
    ("cosine", "adjacency", "expected"),
    [
        (0.0, 0.2, 0.0),  # both weak: nothing to learn
        (-1.0, 0.2, 0.0),
        (0.8, 0.2, 2 * 0.6**2),  # weakly related, yet alike
        (0.0, 0.5, 2 * 0.5**2),  # strongly related, yet unlike
        (0.8, 0.5, 2 * 0.3**2),
    ],
)
def test_weak_relations_are_relaxed(cosine, adjacency, expected):
    embeddings = torch.tensor([[2.0, 0.0], [3 * cosine, 3 * math.sqrt(1 - cosine**2)]])
    loss = graph_embedding_loss(embeddings, torch.tensor([[1.0, adjacency], [adjacency, 1.0]]))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


# The embeddings


def test_embeddings_fit_the_graph():
    """Two cliques of labels: alike within, not alike across, whatever their word vectors are."""
    cliques = torch.tensor([[1.0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]).repeat(10, 1)
    words = torch.randn(5, 6)
    embeddings = embed_label_graph(LabelStatistics(cliques.T @ cliques, words), 8)
    assert embeddings.shape == (5, 8)
    same = (cliques.T @ cliques) > 0
    cosines = cosines_of(embeddings)
    assert cosines[same].min() > 0.9
    assert cosines[~same].max() < 0.4
    assert not torch.allclose(cosines[same], cosines_of(words)[same], atol=0.3)


@pytest.mark.parametrize("seed", [0, 1])
def test_embeddings_fit_better_than_the_word_vectors(seed):
    statistics = statistics_of(7, seed)
    adjacency = label_adjacency(statistics.co_occurrence)
    fitted = graph_embedding_loss(embed_label_graph(statistics, 16), adjacency)
    assert fitted < 0.1 * graph_embedding_loss(statistics.embeddings, adjacency)


def test_embeddings_depend_on_the_statistics_alone():
    first, second = statistics_of(4, 0), statistics_of(4, 1)
    torch.manual_seed(1)
    embeddings = embed_label_graph(first, 5)
    torch.manual_seed(2)
    with torch.no_grad():
        assert torch.equal(embed_label_graph(first, 5), embeddings)
    other_words = first._replace(embeddings=second.embeddings)
    other_counts = first._replace(co_occurrence=second.co_occurrence)
    assert not torch.equal(embed_label_graph(other_words, 5), embeddings)
    assert not torch.equal(embed_label_graph(other_counts, 5), embeddings)


def test_fitting_leaves_the_generator_alone():
    statistics, before = statistics_of(3), torch.get_rng_state()
    assert not embed_label_graph(statistics, 4).requires_grad
    assert torch.equal(torch.get_rng_state(), before)


def test_no_statistics_give_zeros_and_finite_output():
    head = MSCMAHead(3, no_statistics(4), num_scales=2, width=5)
    assert torch.equal(head.graph_embeddings, torch.zeros(4, 5))
    maps, logits = head(torch.randn(2, 6, 2, 2))
    assert torch.equal(maps, torch.zeros(2, 4, 2, 2))
    assert torch.equal(logits, head.classifiers.bias.expand(2, 4))


def test_labels_without_images_or_with_equal_words_are_no_failure():
    counts = torch.diag(torch.tensor([3.0, 0.0, 2.0]))
    embeddings = embed_label_graph(LabelStatistics(counts, torch.zeros(3, 6)), 4)
    assert embeddings.isfinite().all()


# The head


def slow_project(token, state, scale):
    """Linear, layer normalization, ReLU, linear."""
    name = f"scales.{scale}.projection"
    weight, bias = state[f"{name}.0.weight"], state[f"{name}.0.bias"]
    hidden = [float(row @ token) + b for row, b in zip(weight, bias, strict=True)]
    mean = sum(hidden) / len(hidden)
    variance = sum((value - mean) ** 2 for value in hidden) / len(hidden)
    gain, shift = state[f"{name}.1.weight"], state[f"{name}.1.bias"]
    for i, value in enumerate(hidden):
        hidden[i] = max(0.0, (value - mean) / math.sqrt(variance + 1e-5) * gain[i] + shift[i])
    weight, bias = state[f"{name}.3.weight"], state[f"{name}.3.bias"]
    return [float(row @ np.array(hidden)) + b for row, b in zip(weight, bias, strict=True)]


def slow_attention(tokens, state, scale):
    """Cosines ``C h w`` and vectors ``C D`` of one image in one scale."""
    labels = state["graph_embeddings"]
    width, height, columns = tokens.shape
    cosines, vectors = np.zeros((len(labels), height, columns)), np.zeros((len(labels), width))
    for c, label in enumerate(labels):
        for y in range(height):
            for x in range(columns):
                cosines[c, y, x] = slow_cosine(slow_project(tokens[:, y, x], state, scale), label)
        total = sum(max(0.0, value) for value in cosines[c].flat)
        for y in range(height):
            for x in range(columns):
                if total:
                    vectors[c] += max(0.0, cosines[c, y, x]) / total * tokens[:, y, x]
    return cosines, vectors


@pytest.mark.parametrize(("batch", "embed_dim", "categories", "scales", "width", "grid"), SHAPES)
def test_equals_the_loop(batch, embed_dim, categories, scales, width, grid, randomized):
    head = randomized(head_of(embed_dim, categories, scales, width).double())
    state = {name: value.numpy() for name, value in head.state_dict().items()}
    tokens = torch.randn(batch, scales * embed_dim, *grid, dtype=torch.float64)
    output = head(tokens)
    for image in range(batch):
        vectors, cosines = [], np.zeros(0)
        for scale in range(scales):
            part = tokens[image, scale * embed_dim : (scale + 1) * embed_dim].numpy()
            cosines, vector = slow_attention(part, state, scale)
            vectors.append(vector)
        logits = [
            sum(
                state["classifiers.weight"][c, scale * embed_dim + d] * vectors[scale][c, d]
                for scale in range(scales)
                for d in range(embed_dim)
            )
            + state["classifiers.bias"][c]
            for c in range(categories)
        ]
        torch.testing.assert_close(output.semantic_maps[image], torch.from_numpy(cosines))
        torch.testing.assert_close(output.logits[image], torch.tensor(logits).double())


def identity_attention():
    """Attention whose label space is that of its two-channel tokens (1, 0) and (0, 1)."""
    attention = CrossModalityAttention(2, 2)
    attention.projection = torch.nn.Sequential()  # nothing but the tokens themselves
    return attention


def test_attention_by_hand():
    # Three patches along x, along y, and against x. The label is 3:4 between x and y.
    tokens = torch.tensor([[[[1.0, 0.0, -2.0]], [[0.0, 5.0, 0.0]]]])
    cosines, vectors = identity_attention()(tokens, torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(cosines, torch.tensor([[[[0.6, 0.8, -0.6]]]]))
    # The weights are 0.6 / 1.4, 0.8 / 1.4 and 0.
    torch.testing.assert_close(vectors, torch.tensor([[[0.6 / 1.4, 4.0 / 1.4]]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_category_that_is_unlike_every_patch_sees_nothing(dtype):
    tokens = torch.tensor([[[[1.0, 2.0]], [[0.0, 1.0]]]], dtype=dtype, requires_grad=True)
    cosines, vectors = identity_attention()(tokens, torch.tensor([[-1.0, -1.0]], dtype=dtype))
    assert (cosines < 0).all()
    assert vectors.tolist() == [[[0.0, 0.0]]]
    (gradient,) = torch.autograd.grad(vectors.sum(), tokens)
    assert gradient.tolist() == [[[[0.0, 0.0]], [[0.0, 0.0]]]]


@given(seed=st.integers(0, 10_000), patches=st.integers(1, 6), scale=st.floats(0.1, 10))
def test_a_vector_is_a_mean_of_tokens_and_lengths_of_labels_do_not_matter(seed, patches, scale):
    generator = torch.Generator().manual_seed(seed)
    attention = CrossModalityAttention(3, 4)
    tokens = torch.randn(2, 3, 1, patches, generator=generator)
    labels = torch.randn(5, 4, generator=generator)
    cosines, vectors = attention(tokens, labels)
    assert (cosines.abs() <= 1 + 1e-6).all()
    sees = (cosines > 0).flatten(2).any(-1)  # B C
    low, high = tokens.amin((-2, -1))[:, None], tokens.amax((-2, -1))[:, None]
    inside = (vectors >= low - 1e-5) & (vectors <= high + 1e-5)
    assert inside.all(-1)[sees].all()
    assert (vectors[~sees] == 0).all()
    torch.testing.assert_close(attention(tokens, scale * labels).vectors, vectors)


def test_the_maps_are_of_the_last_scale():
    head, tokens = head_of(3, 4, 2, 5), torch.randn(1, 6, 2, 2)
    other = tokens.clone()
    other[:, :3] += 1
    assert torch.equal(head(other).semantic_maps, head(tokens).semantic_maps)
    assert not torch.equal(head(other).logits, head(tokens).logits)
    other[:, 3:] += torch.randn(3, 2, 2)
    assert not torch.equal(head(other).semantic_maps, head(tokens).semantic_maps)


def test_an_image_does_not_depend_on_its_batch():
    head, tokens = head_of(3, 4, 2, 5).train(), torch.randn(3, 6, 2, 2)
    torch.testing.assert_close(head(tokens[:1]).logits, head(tokens).logits[:1])


def test_patches_may_stand_anywhere():
    """The order of the patches changes the places of the maps' values and nothing else."""
    head, tokens = head_of(3, 4, 2, 5), torch.randn(2, 6, 2, 3)
    turned = tokens.flip(-1).transpose(-1, -2)  # another grid too
    output, moved = head(tokens), head(turned)
    torch.testing.assert_close(moved.logits, output.logits)
    torch.testing.assert_close(moved.semantic_maps, output.semantic_maps.flip(-1).transpose(-1, -2))


@pytest.mark.parametrize("categories", [1, 4])
def test_gradient_reaches_the_tokens_and_every_parameter(categories):
    head = head_of(3, categories, num_scales=2, width=8)
    tokens = torch.randn(2, 6, 2, 3, requires_grad=True)
    head(tokens).logits.sum().backward()
    gradients = {"tokens": tokens.grad, **{n: p.grad for n, p in head.named_parameters()}}
    assert [name for name, grad in gradients.items() if grad is None or not grad.any()] == []


def test_statistics_are_saved_and_loaded_into_a_head_of_zeros():
    head = MSCMAHead(3, statistics_of(4), num_scales=2, width=5)
    empty = no_statistics(4)
    other = MSCMAHead(3, empty, num_scales=2, width=5)
    other.load_state_dict(head.state_dict())
    tokens = torch.randn(2, 6, 3, 3)
    assert torch.equal(other(tokens).logits, head(tokens).logits)
    assert torch.equal(other(tokens).semantic_maps, head(tokens).semantic_maps)
    assert torch.equal(other.co_occurrence, statistics_of(4).co_occurrence)
    assert torch.equal(other.label_embeddings, statistics_of(4).embeddings)
    assert not empty.co_occurrence.any()  # what the caller gave is still the caller's
