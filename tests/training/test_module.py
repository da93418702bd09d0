import dataclasses
import functools
import math

import pytest
import torch

import oracles
from didvit.config import ConfigError, DiDConfig, LossConfig, with_settings
from didvit.data.table import Table
from didvit.method.backbone import ViTBackbone
from didvit.method.model import DiD
from didvit.method.semantic import SemanticHead
from didvit.method.views import resize_whole
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from didvit.modeling.start import build_start, load_teacher
from didvit.training.distributed import launch
from didvit.training.module import Learner, compile_backbone, seed_of, small_size
from runs import MODEL, equal, first_batch

LABELS = ("blue", "green", "red")
COLORS = Table((), (), LABELS)


@pytest.fixture
def model(randomized):
    return randomized(build_model(MODEL, 3), seed=7)


@pytest.fixture
def batch(make_config):
    """Sources and targets of the squares, some of them unknown."""
    sources, targets = first_batch(make_config())
    targets[0, 1] = targets[3, 2] = -1
    return sources, targets


def slow_loss(output, targets, config, weights=None):
    loss, slow = config.loss, oracles.LOSSES[config.loss.name]
    total = loss.global_weight * oracles.masked_mean(slow, output.global_logits, targets, weights)
    if output.view_logits.shape[1]:
        local = oracles.masked_mean(slow, output.local_logits, targets, weights)
        total += loss.local_weight * local
    return total


@pytest.mark.parametrize("name", oracles.LOSSES)
@pytest.mark.parametrize("top_n", [0, 1, 3])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 3.0)])
def test_loss_is_that_of_both_branches(make_config, randomized, batch, name, top_n, weights):
    of_branches = {"global_weight": 0.7, "local_weight": 1.6} if top_n else {}
    config = make_config(top_n=top_n, loss=LossConfig(name, **of_branches))
    model = randomized(build_model(config.model, 3), seed=7)
    tensor = None if weights is None else torch.tensor(weights)
    sources, targets = batch
    loss = Learner(model, config, tensor)(sources, targets, 0)
    with torch.no_grad():
        output = model(resize_whole(sources, (32, 48)), sources)
    assert loss.item() == pytest.approx(slow_loss(output, targets, config, weights), rel=1e-5)
    assert loss.requires_grad


def test_unknown_labels_teach_nothing(make_config, model, batch):
    sources, targets = batch
    learner = Learner(model, make_config())
    logits = learner.model(resize_whole(sources, (32, 48)), sources).global_logits
    logits.retain_grad()
    learner.branch_loss(logits, targets).backward()
    assert torch.equal(logits.grad == 0, targets == -1)


def test_sizes_and_forward_passes_change_at_their_steps(make_config, model, batch):
    config = make_config(
        steps=6, small_fraction=1 / 3, small_size=(32, 16), single_view_fraction=2 / 3
    )
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, images: seen.append(images[0].shape[-2:]))
    forward = model.backbone.forward_with_attention

    def watch(images):
        seen.append(images.shape[-2:])
        return forward(images)

    model.backbone.forward_with_attention = watch
    learner, sizes = Learner(model, config), []
    for step in range(6):
        learner(*batch, step)
        sizes.append([tuple(size) for size in seen])
        seen.clear()
    small, full = (32, 16), (32, 48)
    assert sizes == [[small], [small], [full], [full], [full, full], [full, full]]


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [
        ((32, 48), (16, 32)),  # 1 patch, and 1.5: halves go to the even number
        ((16, 16), (16, 16)),  # at least a patch
        ((64, 128), (32, 64)),
        ((80, 112), (32, 64)),  # 2.5, 3.5
        ((160, 160), (80, 80)),
    ],
)
def test_small_images_have_half_the_sides_in_whole_patches(make_config, image_size, expected):
    config = make_config(image_size=image_size, small_fraction=0.5)
    model = build_model(config.model, 3)
    assert small_size(config, model) == expected
    chosen = with_settings(config, {"small_size": (48, 16)})
    assert small_size(chosen, model) == (48, 16)


def test_random_strategies_repeat_and_follow_seed_step_and_part(make_config, randomized, batch):
    config = make_config(localization="random")
    model = randomized(build_model(config.model, 3))

    def loss(seed, *place):
        torch.rand(3)
        return Learner(model, dataclasses.replace(config, seed=seed))(*batch, *place).item()

    assert loss(0, 0) == loss(0, 0) == loss(0, 0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(1, 0), loss(1, 1), loss(0, 0, 1)}) == 5


def test_seeds_differ_in_the_bits_that_torch_uses():
    seeds = [seed_of(*numbers) for numbers in ((0, 0), (0, 1), (1, 0), (2**31 - 1, 0), (0, 0, 1))]
    assert len({seed % 2**32 for seed in seeds}) == 5
    assert seed_of(3, 4) == seed_of(3, 4)


@pytest.mark.parametrize("localization", ["largest_component", "mcar"])
def test_maps_that_are_not_finite_give_nan(make_config, batch, localization):
    config = make_config(localization=localization)
    model = build_model(config.model, 3)
    with torch.no_grad():
        model.head.projection.bias[1] = math.nan
    assert math.isnan(Learner(model, config)(*batch, 0).item())


# Distillation


@pytest.fixture
def teacher(randomized):
    """A model at another size whose boxes are random."""
    config = with_settings(MODEL, {"image_size": (48, 32), "localization": "random"})
    return Checkpoint(randomized(build_model(config, 3), seed=8), LABELS, config)


@pytest.mark.parametrize("name", oracles.LOSSES)
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_teacher_has_its_share_of_the_global_loss(
    make_config, model, batch, teacher, name, share
):
    loss = LossConfig(name, global_weight=0.7, teacher="t", teacher_weight=share)
    config, (sources, targets) = make_config(loss=loss), batch
    value = Learner(model, config, teacher=teacher)(sources, targets, 3)
    seed = torch.Generator().manual_seed(seed_of(config.seed, 0, 3, 0))
    with torch.no_grad():
        output = model(resize_whole(sources, (32, 48)), sources)
        soft = teacher.model(resize_whole(sources, (48, 32)), sources, seed).logits.sigmoid()
    p, slow = output.global_logits.sigmoid(), oracles.LOSSES[name]
    of_soft = -(soft * p.log() + (1 - soft) * (1 - p).log()).mean().item()
    hard = oracles.masked_mean(slow, output.global_logits, targets, None)
    local = oracles.masked_mean(slow, output.local_logits, targets, None)
    expected = 0.7 * ((1 - share) * hard + share * of_soft) + local
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_the_teacher_does_not_learn_and_is_no_part_of_the_module(
    make_config, model, batch, teacher
):
    learner = Learner(model, make_config(loss=LossConfig(teacher="t")), teacher=teacher)
    plain = Learner(model, make_config())
    assert list(learner.state_dict()) == list(plain.state_dict())
    assert len(list(learner.parameters())) == len(list(plain.parameters()))
    learner.train()
    learner(*batch, 0).backward()
    assert not any(module.training for module in teacher.model.modules())
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_the_teacher_draws_nothing_that_layers_draw_from(make_config, model, batch, teacher):
    learner = Learner(model, make_config(loss=LossConfig(teacher="t")), teacher=teacher)
    before = torch.get_rng_state()
    loss = learner(*batch, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert learner(*batch, 0).item() == loss.item()


def test_a_teacher_of_other_labels_is_refused(make_config, trained):
    config = make_config(loss=LossConfig(teacher=trained))
    before = torch.get_rng_state()
    loaded = load_teacher(config, LABELS)
    assert loaded is not None
    assert not loaded.model.training
    assert torch.equal(torch.get_rng_state(), before)  # the head's first weights come from there
    with pytest.raises(ConfigError, match="has other labels than the training data \\(3 and 2\\)"):
        load_teacher(config, ("blue", "green"))
    assert load_teacher(make_config(), LABELS) is None


# Precision


@pytest.mark.parametrize("reconstraint", ["hadamard", "sum", "none"])
def test_bf16_is_near_fp32(make_config, randomized, batch, reconstraint, monkeypatch):
    config = make_config(reconstraint=reconstraint)
    learner = Learner(randomized(build_model(config.model, 3), seed=7), config)
    exact = learner(*batch, 0).item()
    maps, global_view = [], learner.model.global_view
    monkeypatch.setattr(
        learner.model, "global_view", lambda images: maps.append(global_view(images)) or maps[-1]
    )
    fabric = launch(with_settings(config, {"precision": "bf16-mixed"}))
    loss = fabric.setup(learner)(*batch, 0)
    assert maps[0].logits.dtype == torch.bfloat16
    assert maps[0].spatial_map.dtype == torch.float32
    assert loss.dtype == torch.float32
    assert loss.item() != exact
    assert loss.item() == pytest.approx(exact, rel=0.05)


def test_rollout_in_bf16_is_that_of_the_same_attention_in_fp32(make_config, model, batch):
    """The product of all blocks' attention would lose its digits."""
    images = resize_whole(batch[0], (32, 48))
    with torch.autocast("cpu", torch.bfloat16):
        _, attentions = model.backbone.forward_with_attention(images)
        spatial_map = model.global_view(images).spatial_map
    assert all(attention.dtype == torch.float32 for attention in attentions)
    row = torch.zeros(len(images), attentions[0].shape[-1], dtype=torch.float64)
    row[:, 0] = 1
    for attention in reversed(attentions):
        matrix = attention.double() + torch.eye(attention.shape[-1]).double()
        row = (row[:, None] @ (matrix / matrix.sum(-2, keepdim=True)))[:, 0]
    expected = row[:, 1:].unflatten(-1, spatial_map.shape[-2:])
    torch.testing.assert_close(spatial_map.double(), expected, atol=1e-6, rtol=1e-4)


# Memory and speed


@pytest.mark.parametrize("top_n", [0, 1])
def test_recomputed_activations_give_the_same_gradients(make_config, batch, randomized, top_n):
    config = make_config(top_n=top_n)
    model = randomized(build_model(config.model, 3)).train()
    learner = Learner(model, config)

    def gradients():
        runs = []
        hook = model.backbone.vit.blocks[0].norm1.register_forward_hook(lambda *_: runs.append(1))
        model.zero_grad()
        learner(*batch, 0).backward()
        hook.remove()
        return {name: p.grad.clone() for name, p in model.named_parameters()}, len(runs)

    kept, once = gradients()
    model.backbone.recompute_activations = True
    recomputed, twice = gradients()
    assert equal(kept, recomputed)
    assert twice == 2 * once


def test_compiled_backbone_gives_the_same(
    make_config, make_vit, batch, unchecked_types, monkeypatch
):
    """The graphs alone: turning them into machine code takes minutes."""
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    config, backbone = make_config(), ViTBackbone(make_vit())
    head = SemanticHead(backbone.embed_dim, 3)
    model = DiD(backbone, head, DiDConfig(top_n=1)).train()
    names = list(model.state_dict())

    def results():
        model.zero_grad()
        loss = Learner(model, config)(*batch, 0)
        loss.backward()
        return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}

    loss, gradients = results()
    compile_backbone(model)
    compiled_loss, compiled_gradients = results()
    assert len(traced) == 2  # the global view, and the local views
    assert compiled_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(compiled_gradients[name], gradient, atol=1e-5, rtol=1e-4)
    assert list(model.state_dict()) == names


# What a run begins with


@pytest.fixture
def trained(tmp_path, model):
    save_checkpoint(tmp_path / "trained", model, LABELS, MODEL)
    return str(tmp_path / "trained")


def head_of(model):
    return model.head.state_dict()


def test_start_without_a_model_is_that_of_the_weights(make_config):
    torch.manual_seed(0)
    one = build_start(make_config(), COLORS)
    torch.manual_seed(0)
    assert equal(one.state_dict(), build_model(MODEL, 3).state_dict())


def test_start_from_a_model_of_the_same_labels(make_config, trained, model):
    notes = []
    start = build_start(make_config(start_from=trained), COLORS, notes.append)
    assert equal(start.state_dict(), model.state_dict())
    assert notes == [f"start_from {trained}: backbone and head are kept, with the same 3 labels"]


@pytest.mark.parametrize("labels", [("a", "b", "c"), ("blue", "red", "green"), ("blue", "green")])
def test_start_from_a_model_of_other_labels(make_config, trained, model, labels):
    config = make_config(start_from=trained)
    torch.manual_seed(0)
    notes = []
    start = build_start(config, Table((), (), labels), notes.append)
    (note,) = notes
    assert "the backbone is kept, and the head is new, as labels differ: 3 before" in note
    assert equal(start.backbone.state_dict(), model.backbone.state_dict())
    torch.manual_seed(0)
    assert equal(head_of(start), head_of(build_model(MODEL, len(labels))))


@pytest.mark.parametrize("size", [(64, 48), (16, 32)])
def test_start_from_a_model_of_another_size(make_config, trained, model, size):
    config = make_config(image_size=size, top_n=2, fusion="max", start_from=trained)
    start = build_start(config, COLORS)
    assert (start.config.top_n, start.backbone.grid_size(size)) == (
        2,
        (size[0] // 16, size[1] // 16),
    )
    own, theirs = start.state_dict(), model.state_dict()
    position = "backbone.vit.pos_embed"
    assert own[position].shape[1] == 1 + size[0] * size[1] // 256
    for name in own.keys() - {position}:
        assert torch.equal(own[name], theirs[name]), name
    # At its own size the trained model resamples as it goes; so the two agree there.
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = model.with_top_n(0)(images).logits
        torch.testing.assert_close(start.eval().with_top_n(0)(images).logits, expected)


def test_start_from_another_backbone(make_config, trained):
    config = make_config(backbone="test_vit2", start_from=trained)
    with pytest.raises(ConfigError, match="has the backbone test_vit; expected test_vit2"):
        build_start(config, COLORS)


def test_start_needs_no_weights_of_the_backbone(make_config, trained):
    config = make_config(weights="missing.safetensors", start_from=trained)
    assert build_start(config, COLORS).config.top_n == 1


def test_start_leaves_the_trained_model_as_it_is(make_config, trained):
    before = load_checkpoint(trained).model.state_dict()
    start = build_start(make_config(start_from=trained), COLORS)
    for parameter in start.parameters():
        torch.nn.init.zeros_(parameter)
    assert equal(load_checkpoint(trained).model.state_dict(), before)
