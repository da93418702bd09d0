import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from didvit.config import DiDConfig, ModelConfig
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
from didvit.modeling.quantize import SCALE, pack, unpack

SHAPES = hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)
VALUES = st.floats(-1e6, 1e6, width=32, allow_subnormal=False).map(
    lambda value: 0.0 if abs(value) < 1e-30 else value  # where float32 itself loses digits
)


@given(hnp.arrays(np.float32, SHAPES, elements=VALUES))
def test_error_is_at_most_half_a_step_of_the_channel(array):
    tensor = torch.from_numpy(array)
    restored = unpack(pack({"x.weight": tensor}))["x.weight"]
    assert restored.shape == tensor.shape
    assert restored.dtype == torch.float32
    for channel, (values, others) in enumerate(zip(tensor, restored, strict=True)):
        step = values.abs().max().item() / 127
        error = (values - others).abs().max().item()
        assert error <= step / 2 * (1 + 1e-4), channel
        assert others.abs().max().item() == pytest.approx(values.abs().max().item(), rel=1e-6)


def test_table():
    packed = pack({"x.weight": torch.tensor([[127.0, -1.4, 63.5], [0.0, 0.0, 0.0], [-2.54, 0, 1]])})
    assert packed["x.weight"].tolist() == [[127, -1, 64], [0, 0, 0], [-127, 0, 50]]
    assert packed["x.weight"].dtype == torch.int8
    assert packed["x.weight" + SCALE].tolist() == pytest.approx([1, 0, 0.02])


def test_channels_of_zeros_stay_zeros():
    restored = unpack(pack({"x.weight": torch.zeros(2, 3)}))["x.weight"]
    assert torch.equal(restored, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("name", "shape"), [("x.bias", (3,)), ("norm.weight", (3,)), ("pos_embed", (1, 4, 3))]
)
def test_what_is_no_matrix_stays_as_it_is(name, shape):
    state = {name: torch.randn(shape)}
    assert pack(state).keys() == state.keys()
    assert torch.equal(unpack(pack(state))[name], state[name])
    assert torch.equal(pack(state)[name], state[name])


def test_names_and_order_come_back():
    state = {name: torch.randn(2, 3) for name in ("b.weight", "a.bias", "a.weight", "cls_token")}
    assert list(unpack(pack(state))) == list(state)


def test_a_missing_scale():
    packed = pack({"x.weight": torch.randn(2, 3)})
    del packed["x.weight" + SCALE]
    with pytest.raises(KeyError, match=r"x\.weight:scale"):
        unpack(packed)


@pytest.fixture(scope="module")
def models(tmp_path_factory, randomized):
    """A model and its packed copy, of 2.7 million weights."""
    config = ModelConfig("vit_tiny_patch16_224", "random", (32, 48), method=DiDConfig(top_n=2))
    model = randomized(build_model(config, 5))
    folder = tmp_path_factory.mktemp("models")
    for name in ("whole", "packed"):
        save_checkpoint(folder / name, model, tuple("abcde"), config, packed=name == "packed")
    return folder / "whole", folder / "packed"


def test_a_packed_file_is_a_quarter_of_the_size(models):
    whole, packed = ((folder / "model.safetensors").stat().st_size for folder in models)
    assert packed < 0.3 * whole


def test_a_packed_folder_is_loaded_as_any_other(models):
    whole, packed = map(load_checkpoint, models)
    assert packed.labels == whole.labels
    assert packed.config == whole.config
    states = [{**loaded.model.state_dict()} for loaded in (whole, packed)]
    assert all(tensor.dtype == torch.float32 for tensor in states[1].values())
    expected = unpack(pack(states[0]))
    assert all(torch.equal(states[1][name], expected[name]) for name in expected)


def test_scores_of_a_packed_model_are_near(models):
    """Scores of whole images: a box may jump."""
    whole, packed = (load_checkpoint(folder).model.with_top_n(0) for folder in models)
    images = torch.rand(4, 3, 32, 48)
    with torch.no_grad():
        scores = [model(images).logits.sigmoid() for model in (whole, packed)]
    assert not torch.equal(*scores)
    assert (scores[0] - scores[1]).abs().max() < 0.05
    assert (scores[0] - scores[0].mean(0)).abs().max() > 0.1


def test_packing_twice_changes_nothing_more(models, tmp_path):
    loaded = load_checkpoint(models[1])
    save_checkpoint(tmp_path, loaded.model, loaded.labels, loaded.config, packed=True)
    states = [
        safetensors.torch.load_file(folder / "model.safetensors")
        for folder in (models[1], tmp_path)
    ]
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-6, atol=0)
