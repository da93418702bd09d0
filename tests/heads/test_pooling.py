"""Patch-level pooling against slow loops from the formulas."""

import math

import pytest
import torch

from didvit.heads import pooling
from didvit.heads.pooling import LogSumExpHead, TopPatchesHead


def maps_of(head, tokens):
    return head.projection(tokens)


@pytest.fixture
def tokens():
    return torch.randn(2, 6, 3, 4)


def test_log_sum_exp_is_its_formula(tokens):
    head = LogSumExpHead(6, 5)
    maps, logits = head(tokens)
    assert torch.equal(maps, maps_of(head, tokens))
    for b in range(2):
        for c in range(5):
            values = [math.exp(pooling.SHARPNESS * v) for v in maps[b, c].flatten().tolist()]
            expected = math.log(sum(values) / len(values)) / pooling.SHARPNESS
            assert logits[b, c].item() == pytest.approx(expected, abs=1e-5)


def test_top_patches_is_the_mean_of_the_largest(tokens):
    head = TopPatchesHead(6, 5)
    maps, logits = head(tokens)
    for b in range(2):
        for c in range(5):
            largest = sorted(maps[b, c].flatten().tolist())[-3:]  # a quarter of 12 patches
            assert logits[b, c].item() == pytest.approx(sum(largest) / 3, abs=1e-5)


def test_a_single_patch_is_itself():
    tokens = torch.randn(1, 6, 1, 1)
    for kind in (LogSumExpHead, TopPatchesHead):
        maps, logits = kind(6, 2)(tokens)
        torch.testing.assert_close(logits, maps[..., 0, 0])


def test_pooling_lies_between_mean_and_maximum(tokens):
    for kind in (LogSumExpHead, TopPatchesHead):
        maps, logits = kind(6, 5)(tokens)
        assert (logits >= maps.mean((-2, -1)) - 1e-5).all()
        assert (logits <= maps.amax((-2, -1)) + 1e-5).all()
