import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didvit.heads.ml_decoder import MAX_GROUPS, MLDecoderHead

SMALL = {"width": 8, "num_heads": 2, "feedforward_dim": 6}


def randomized(*arguments, **settings):
    """A head in evaluation, whose biases and norms are not at 0 and 1, where mistakes hide."""
    head = MLDecoderHead(*arguments, **SMALL | settings).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head


def slow_linear(row, weight, bias):
    return [
        sum(w * x for w, x in zip(weights, row, strict=True)) + b
        for weights, b in zip(weight.tolist(), bias.tolist(), strict=True)
    ]


def slow_attention(module, query, rows):
    """Of one query and one image: the outcome, and the mean of the heads' weights."""
    width, heads = module.embed_dim, module.num_heads
    weights, biases = module.in_proj_weight.split(width), module.in_proj_bias.split(width)
    q = slow_linear(query, weights[0], biases[0])
    keys = [slow_linear(row, weights[1], biases[1]) for row in rows]
    values = [slow_linear(row, weights[2], biases[2]) for row in rows]
    part = width // heads
    mixed, mean = [0.0] * width, [0.0] * len(rows)
    for head in range(heads):
        channels = range(head * part, (head + 1) * part)
        scores = [sum(q[d] * key[d] for d in channels) / math.sqrt(part) for key in keys]
        exponentials = [math.exp(score - max(scores)) for score in scores]
        for n, exponential in enumerate(exponentials):
            weight = exponential / sum(exponentials)
            mean[n] += weight / heads
            for d in channels:
                mixed[d] += weight * values[n][d]
    return slow_linear(mixed, module.out_proj.weight, module.out_proj.bias), mean


def slow_norm(row, change, module):
    """Layer normalization of a residual sum."""
    row = [a + b for a, b in zip(row, change, strict=True)]
    mean = sum(row) / len(row)
    scale = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + module.eps)
    gains, biases = module.weight.tolist(), module.bias.tolist()
    return [(x - mean) / scale * g + b for x, g, b in zip(row, gains, biases, strict=True)]


def slow_relu(row):
    return [max(x, 0.0) for x in row]


def slow_head(head, tokens, num_categories, num_groups):
    """Of one image, ``(D, h, w)``: maps ``(C, h, w)`` and logits ``(C,)``, category by category."""
    _, height, columns = tokens.shape
    embedding, first, second = head.embedding[0], head.feedforward[0], head.feedforward[3]
    rows = [
        slow_relu(slow_linear(tokens[:, y, x].tolist(), embedding.weight, embedding.bias))
        for y in range(height)
        for x in range(columns)
    ]
    group_size = math.ceil(num_categories / num_groups)
    maps, logits = [], []
    for c in range(num_categories):
        k, j = c // group_size, c % group_size
        query = head.group_queries[k].tolist()
        pooled, attention = slow_attention(head.cross_attention, query, rows)
        query = slow_norm(query, pooled, head.norm1)
        hidden = slow_relu(slow_linear(query, first.weight, first.bias))
        query = slow_norm(query, slow_linear(hidden, second.weight, second.bias), head.norm2)
        weight = head.group_classifiers.weight[k, j].tolist()
        bias = head.group_classifiers.bias[c].item()
        logits.append(sum(w * q for w, q in zip(weight, query, strict=True)) + bias)
        maps.append(attention)
    maps = torch.tensor(maps, dtype=torch.float64)
    return maps.reshape(-1, height, columns), torch.tensor(logits, dtype=torch.float64)


@pytest.mark.parametrize(("categories", "groups"), [(1, 1), (4, 4), (4, 2), (5, 2), (7, 5), (6, 1)])
@pytest.mark.parametrize(("batch", "grid"), [(1, (1, 1)), (2, (2, 3)), (1, (3, 1))])
def test_equals_the_loop(categories, groups, batch, grid):
    head = randomized(5, categories, groups)
    tokens = torch.randn(batch, 5, *grid).double()
    output = head(tokens)
    for image in range(batch):
        maps, logits = slow_head(head, tokens[image], categories, groups)
        torch.testing.assert_close(output.semantic_maps[image], maps)
        torch.testing.assert_close(output.logits[image], logits)


@given(st.integers(1, 60), st.data())
def test_every_category_has_a_place_and_every_group_a_category(categories, data):
    groups = data.draw(st.integers(1, categories))
    head = MLDecoderHead(3, categories, groups, **SMALL)
    made, group_size, _ = head.group_classifiers.weight.shape
    assert group_size == math.ceil(categories / groups)
    assert made == len(head.group_queries) <= groups
    assert (made - 1) * group_size < categories <= made * group_size
    maps, logits = head(torch.randn(2, 3, 2, 2))
    assert maps.shape == (2, categories, 2, 2)
    assert logits.shape == (2, categories)


@pytest.mark.parametrize(
    ("categories", "groups"), [(1, 1), (80, 80), (MAX_GROUPS, 100), (200, 100), (101, 51)]
)
def test_by_default_groups_are_the_categories_or_a_hundred(categories, groups):
    head = MLDecoderHead(3, categories, **SMALL)
    assert len(head.group_queries) == groups


def test_categories_of_a_group_share_their_map():
    maps, logits = randomized(5, 5, 2)(torch.randn(1, 5, 2, 3).double())
    assert torch.equal(maps[:, 0], maps[:, 2])
    assert torch.equal(maps[:, 3], maps[:, 4])
    assert not torch.allclose(maps[:, 2], maps[:, 3])
    assert len(set(logits[0].tolist())) == 5


def test_maps_are_attention_over_locations():
    maps, _ = randomized(5, 4)(torch.randn(2, 5, 3, 4).double())
    assert maps.min() > 0
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(2, 4).double())


def test_groups_do_not_see_one_another():
    head, tokens = randomized(5, 4, 2), torch.randn(1, 5, 2, 2).double()
    before = head(tokens).logits
    head.group_queries[1] += 1
    assert torch.isclose(head(tokens).logits, before).tolist() == [[True, True, False, False]]


def test_gradient_reaches_tokens_and_every_parameter_and_queries_are_fixed():
    head = MLDecoderHead(5, 5, 2, width=32, feedforward_dim=32)
    tokens = torch.randn(2, 5, 3, 2, requires_grad=True)
    head(tokens).logits.square().sum().backward()
    unreached = [name for name, p in head.named_parameters() if p.grad.abs().sum() == 0]
    assert unreached == []
    reached = head.group_classifiers.weight.grad.abs().sum(-1) > 0
    assert reached.tolist() == [[True, True, True], [True, True, False]]  # 5 categories of 6 places
    assert tokens.grad.abs().sum(1).gt(0).all()
    assert not head.group_queries.requires_grad


def test_dropout_is_for_training_alone():
    head, tokens = MLDecoderHead(5, 4, **SMALL, dropout=0.5), torch.randn(2, 5, 3, 3)
    assert not torch.equal(head(tokens).logits, head(tokens).logits)
    maps = head(tokens).semantic_maps
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(2, 4))  # no weight is dropped
    head.eval()
    assert torch.equal(head(tokens).logits, head(tokens).logits)


def test_state_round_trip_at_every_grid():
    """The fixed queries are chance, and so they are saved."""
    saved, loaded = randomized(5, 7, 3), randomized(5, 7, 3)
    assert not torch.equal(saved.group_queries, loaded.group_queries)
    loaded.load_state_dict(saved.state_dict())
    for grid in [(1, 1), (2, 5), (4, 3)]:
        tokens = torch.randn(2, 5, *grid).double()
        assert saved(tokens).semantic_maps.shape == (2, 7, *grid)
        assert all(map(torch.equal, saved(tokens), loaded(tokens)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_groups": 0}, "num_groups is 0; expected 1 to 4"),
        ({"num_groups": 5}, "num_groups is 5; expected 1 to 4"),
        ({"width": 9, "num_heads": 2}, "width is 9.*num_heads, 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MLDecoderHead(5, 4, **settings)


def test_defaults_are_the_papers():
    head = MLDecoderHead(3, 150)
    assert head.group_queries.shape == (75, 768)  # 150 categories, two to each of at most 100
    assert head.cross_attention.num_heads == 8
    assert head.feedforward[0].out_features == 2048
    assert head.dropout.p == head.feedforward[2].p == 0.1
