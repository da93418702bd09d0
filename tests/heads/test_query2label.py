import math

import pytest
import torch

from didvit.heads.query2label import Query2LabelHead, sine_positions


def randomized(*arguments, **settings):
    """A head in evaluation, whose biases and norms are not at 0 and 1, where mistakes hide."""
    head = Query2LabelHead(*arguments, **settings).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head


def slow_linear(row, weight, bias):
    return [
        sum(w * x for w, x in zip(weights, row, strict=True)) + b
        for weights, b in zip(weight.tolist(), bias.tolist(), strict=True)
    ]


def slow_attention(module, queries, keys, values):
    """Multi-head attention of one image, and the mean of its heads' weights, entry by entry."""
    width, heads = module.embed_dim, module.num_heads
    weights, biases = module.in_proj_weight.split(width), module.in_proj_bias.split(width)
    q, k, v = (
        [slow_linear(row, *projection) for row in rows]
        for rows, *projection in zip((queries, keys, values), weights, biases, strict=True)
    )
    part = width // heads
    mean = [[0.0] * len(k) for _ in q]
    outcomes = []
    for i in range(len(q)):
        mixed = [0.0] * width
        for head in range(heads):
            channels = range(head * part, (head + 1) * part)
            scores = [
                sum(q[i][d] * k[j][d] for d in channels) / math.sqrt(part) for j in range(len(k))
            ]
            exponentials = [math.exp(score - max(scores)) for score in scores]
            for j, exponential in enumerate(exponentials):
                weight = exponential / sum(exponentials)
                mean[i][j] += weight / heads
                for d in channels:
                    mixed[d] += weight * v[j][d]
        outcomes.append(slow_linear(mixed, module.out_proj.weight, module.out_proj.bias))
    return outcomes, mean


def slow_norm(row, change, module):
    """Layer normalization of a residual sum."""
    row = [a + b for a, b in zip(row, change, strict=True)]
    mean = sum(row) / len(row)
    scale = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + module.eps)
    gains, biases = module.weight.tolist(), module.bias.tolist()
    return [(x - mean) / scale * g + b for x, g, b in zip(row, gains, biases, strict=True)]


def slow_feedforward(row, module):
    first, _, _, second = module
    hidden = [max(x, 0.0) for x in slow_linear(row, first.weight, first.bias)]
    return slow_linear(hidden, second.weight, second.bias)


def slow_positions(height, columns, width):
    """One number at a time: half of the channels for the row, half for the column."""
    rows = []
    for y in range(height):
        for x in range(columns):
            row = []
            for p in (2 * math.pi * (y + 1) / height, 2 * math.pi * (x + 1) / columns):
                for channel in range(width // 2):
                    angle = p / 10_000 ** (2 * (channel // 2) / (width // 2))
                    row.append(math.sin(angle) if channel % 2 == 0 else math.cos(angle))
            rows.append(row)
    return rows


def slow_head(head, tokens):
    """Of one image, ``(D, h, w)``: maps ``(C, h, w)`` and logits ``(C,)``, by the formulas."""
    width, height, columns = tokens.shape
    features = [tokens[:, y, x].tolist() for y in range(height) for x in range(columns)]
    keys = [
        [a + b for a, b in zip(*rows, strict=True)]
        for rows in zip(features, slow_positions(height, columns, width), strict=True)
    ]
    queries, attention = head.label_queries.tolist(), []
    for layer in head.layers:
        related, _ = slow_attention(layer.self_attention, queries, queries, queries)
        queries = [slow_norm(*rows, layer.norm1) for rows in zip(queries, related, strict=True)]
        pooled, attention = slow_attention(layer.cross_attention, queries, keys, features)
        queries = [slow_norm(*rows, layer.norm2) for rows in zip(queries, pooled, strict=True)]
        queries = [
            slow_norm(query, slow_feedforward(query, layer.feedforward), layer.norm3)
            for query in queries
        ]
    logits = [
        sum(w * q for w, q in zip(weight, query, strict=True)) + bias
        for weight, query, bias in zip(
            head.classifiers.weight.tolist(), queries, head.classifiers.bias.tolist(), strict=True
        )
    ]
    maps = torch.tensor(attention, dtype=torch.float64)
    return maps.reshape(-1, height, columns), torch.tensor(logits, dtype=torch.float64)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (1, 4), (2, 2), (3, 1)])
@pytest.mark.parametrize(
    ("batch", "categories", "grid"),
    [(1, 1, (1, 1)), (1, 3, (2, 3)), (2, 1, (3, 1)), (2, 4, (2, 2))],
)
def test_equals_the_loop(layers, heads, batch, categories, grid):
    head = randomized(8, categories, layers, heads, feedforward_dim=6)
    tokens = torch.randn(batch, 8, *grid).double()
    output = head(tokens)
    for image in range(batch):
        maps, logits = slow_head(head, tokens[image])
        # Position encodings are of float32.
        torch.testing.assert_close(output.semantic_maps[image], maps, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(output.logits[image], logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (7, 3)])
@pytest.mark.parametrize("width", [4, 8, 20])
def test_positions_equal_the_loop(grid, width):
    expected = torch.tensor(slow_positions(*grid, width))
    torch.testing.assert_close(sine_positions(*grid, width), expected, rtol=0, atol=1e-5)


def test_positions_of_a_grid_differ():
    positions = sine_positions(6, 4, 16)
    distances = torch.cdist(positions, positions) + torch.eye(24)
    assert distances.min() > 0.1


def test_maps_are_attention_over_locations():
    maps, _ = randomized(8, 5)(torch.randn(2, 8, 3, 4).double())
    assert maps.min() > 0
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(2, 5).double())


def test_where_a_category_attends_depends_on_position_alone_if_tokens_are_equal():
    head = randomized(8, 3)
    maps, logits = head(torch.ones(1, 8, 3, 4).double())
    assert (maps.amax((-2, -1)) - maps.amin((-2, -1)) > 1e-4).all()
    torch.testing.assert_close(logits, head(torch.ones(1, 8, 2, 2).double()).logits)


def test_queries_attend_to_one_another():
    """Another query's change is seen by the first one."""
    head, tokens = randomized(8, 3), torch.randn(1, 8, 2, 2).double()
    before = head(tokens).logits
    with torch.no_grad():
        head.label_queries[2] += 1
    assert not torch.allclose(head(tokens).logits[0, 0], before[0, 0])


def test_each_category_has_its_own_classifier():
    head, tokens = randomized(8, 3), torch.randn(1, 8, 2, 2).double()
    before = head(tokens).logits
    with torch.no_grad():
        head.classifiers.weight[1] += 1
    assert (head(tokens).logits != before).tolist() == [[False, True, False]]


def test_gradient_reaches_tokens_and_every_parameter():
    head, tokens = Query2LabelHead(8, 4), torch.randn(2, 8, 3, 2, requires_grad=True)
    head(tokens).logits.square().sum().backward()
    unreached = [name for name, p in head.named_parameters() if p.grad.abs().sum() == 0]
    assert unreached == []
    assert head.label_queries.grad.abs().sum(-1).gt(0).all()
    assert tokens.grad.abs().sum(1).gt(0).all()


def test_dropout_is_for_training_alone():
    head, tokens = Query2LabelHead(8, 4, dropout=0.5), torch.randn(2, 8, 3, 3)
    assert not torch.equal(head(tokens).logits, head(tokens).logits)
    maps = head(tokens).semantic_maps
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(2, 4))  # no weight is dropped
    head.eval()
    assert torch.equal(head(tokens).logits, head(tokens).logits)


def test_state_round_trip_at_every_grid():
    saved, loaded = randomized(8, 4), randomized(8, 4)
    loaded.load_state_dict(saved.state_dict())
    for grid in [(1, 1), (2, 5), (4, 3)]:
        tokens = torch.randn(2, 8, *grid).double()
        assert saved(tokens).semantic_maps.shape == (2, 4, *grid)
        assert all(map(torch.equal, saved(tokens), loaded(tokens)))


def test_defaults_are_the_papers():
    head = Query2LabelHead(12, 3)
    assert len(head.layers) == 2
    for layer in head.layers:
        assert layer.cross_attention.num_heads == layer.self_attention.num_heads == 4
        assert layer.feedforward[0].out_features == 4 * 12
        assert layer.dropout.p == layer.self_attention.dropout == 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 6, "num_heads": 2}, "embed_dim is 6; expected a multiple of 4"),
        ({"embed_dim": 8, "num_heads": 3}, "embed_dim is 8.*num_heads, 3"),
        ({"embed_dim": 8, "num_layers": 0}, "num_layers is 0; expected 1 or more"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Query2LabelHead(num_categories=3, **settings)
