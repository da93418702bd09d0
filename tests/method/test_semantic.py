import pytest
import torch

import oracles
from didvit.method.semantic import SemanticHead


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (4, 3)])
@pytest.mark.parametrize(("width", "categories"), [(1, 1), (6, 4)])
def test_equals_the_loop(batch, grid, width, categories):
    head = SemanticHead(width, categories).double()
    tokens = torch.randn(batch, width, *grid, dtype=torch.float64)
    output = head(tokens)
    weight = head.projection.weight.detach().numpy()[:, :, 0, 0]
    bias = head.projection.bias.detach().numpy()
    for image in range(batch):
        maps, logits = oracles.semantic_maps(tokens[image].numpy(), weight, bias)
        torch.testing.assert_close(output.semantic_maps[image], torch.from_numpy(maps))
        torch.testing.assert_close(output.logits[image], torch.from_numpy(logits))


def test_literal():
    head = SemanticHead(2, 1)
    head.load_state_dict(
        {"projection.weight": torch.tensor([[[[2.0]], [[-1.0]]]]), "projection.bias": torch.ones(1)}
    )
    tokens = torch.tensor([[[[1.0, 0.0]], [[0.0, 3.0]]]])  # two channels of a 1x2 grid
    maps, logits = head(tokens)
    # 2·1 - 1·0 + 1 = 3 and 2·0 - 1·3 + 1 = -2; their mean is 1/2.
    assert maps.tolist() == [[[[3.0, -2.0]]]]
    assert logits.tolist() == [[0.5]]


def test_gradient_reaches_tokens_weight_and_bias():
    head, tokens = SemanticHead(3, 2), torch.randn(1, 3, 2, 2, requires_grad=True)
    head(tokens).logits.sum().backward()
    assert head.projection.bias.grad.tolist() == [1.0, 1.0]
    torch.testing.assert_close(tokens.grad[0, :, 0, 0], head.projection.weight.sum(0).flatten() / 4)
    assert head.projection.weight.grad.abs().sum() > 0
