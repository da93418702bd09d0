import itertools
import re
import shutil

import numpy as np
import pytest
import torch
from timm.models.deit import VisionTransformerDistilled

import oracles
from didvit.method.backbone import ViTBackbone
from didvit.method.boxes import scale_boxes, tile_boxes
from didvit.method.config import PAPER, ConfigError, DiDConfig
from didvit.method.localization import LOCALIZERS
from didvit.method.model import FUSIONS, DiD, multi_view_loss
from didvit.method.reconstraint import RECONSTRAINTS
from didvit.method.rollout import NORMALIZATIONS, attention_rollout
from didvit.method.selection import SELECTORS
from didvit.method.semantic import SemanticHead
from didvit.method.views import crop_and_resize

CATEGORIES = 5


@pytest.fixture(scope="session")
def make_model(make_vit, randomized):
    """A function that builds DiD on a tiny transformer; ``vit`` holds the latter's settings."""

    def build(vit: dict | None = None, **settings) -> DiD:
        transformer = make_vit(**(vit or {}))
        head = randomized(SemanticHead(transformer.embed_dim, CATEGORIES), seed=1)
        return DiD(ViTBackbone(transformer), head, DiDConfig(**settings)).eval()

    return build


@pytest.fixture(scope="module")
def parts(make_vit, randomized):
    """A backbone of one block and a head, built once for all combinations of settings."""
    vit = make_vit(depth=1, embed_dim=12)
    return ViTBackbone(vit), randomized(SemanticHead(12, CATEGORIES), seed=1)


def check_output(output, batch, top_n, size, patch=8):
    height, width = size
    grid = (height // patch, width // patch)
    assert output.logits.shape == (batch, CATEGORIES)
    assert output.global_logits.shape == output.local_logits.shape == (batch, CATEGORIES)
    assert output.view_logits.shape == (batch, top_n, CATEGORIES)
    assert output.categories.shape == (batch, top_n)
    assert output.boxes.shape == (batch, top_n, 4)
    assert output.semantic_maps.shape == (batch, CATEGORIES, *grid)
    assert output.instance_maps.shape == (batch, CATEGORIES, *grid)
    assert output.spatial_map.shape == (batch, *grid)
    assert output.logits.isfinite().all()
    x0, y0, x1, y1 = output.boxes.unbind(-1)
    assert (x0 >= 0).all()
    assert (y0 >= 0).all()
    assert (x1 <= width).all()
    assert (y1 <= height).all()
    assert (x1 - x0 >= patch).all()
    assert (y1 - y0 >= patch).all()
    torch.testing.assert_close(output.local_logits, output.view_logits.amax(1))


def logits_of(model, views):
    """Logits of a batch of views, by the plain forward pass."""
    return model.head(model.backbone(views)).logits


def record_views(model):
    """A list that gets the views of every later forward pass of the model, batch by batch."""
    views = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: views.append(inputs[0].detach()))
    return views


# Settings together: every two choices of two settings meet in some case.

CHOICES = {
    "selection": SELECTORS,
    "normalization": NORMALIZATIONS,
    "reconstraint": RECONSTRAINTS,
    "localization": LOCALIZERS,
    "crop_from": ("raw", "input"),
    "fusion": FUSIONS,
}


def pairs_of(case):
    return set(itertools.combinations(case.items(), 2))


def covering_cases():
    """Few cases of all settings that hold every pair of choices: the best next case, greedily."""
    cases = [dict(zip(CHOICES, case, strict=True)) for case in itertools.product(*CHOICES.values())]
    missing, chosen = set().union(*map(pairs_of, cases)), []
    while missing:
        chosen.append(max(cases, key=lambda case: len(pairs_of(case) & missing)))
        missing -= pairs_of(chosen[-1])
    return chosen


@pytest.mark.parametrize("case", covering_cases(), ids=lambda case: "-".join(case.values()))
def test_combined_settings_give_valid_boxes(parts, case):
    model = DiD(*parts, DiDConfig(top_n=2, **case))
    with torch.no_grad():
        output = model(torch.rand(2, 3, 16, 24), list(torch.rand(2, 3, 20, 50)))
    check_output(output, 2, 2, (16, 24))
    expected = [
        oracles.fuse(*pair, case["fusion"])
        for pair in zip(output.global_logits.numpy(), output.local_logits.numpy(), strict=True)
    ]
    torch.testing.assert_close(output.logits, torch.from_numpy(np.stack(expected)))


# The whole against the loops.


def timm_forward_pass(vit, images):
    """Patch tokens ``(B, D, h, w)`` and head-mean attentions by timm and its unfused attention."""
    attentions, hooks = [], []
    for block in vit.blocks:
        block.attn.fused_attn = False
        hooks.append(
            block.attn.attn_drop.register_forward_hook(
                lambda module, inputs, output: attentions.append(output.mean(1).numpy())
            )
        )
    with torch.no_grad():
        tokens = vit.forward_features((images - 0.5) / 0.5)[:, vit.num_prefix_tokens :]
    for block, hook in zip(vit.blocks, hooks, strict=True):
        block.attn.fused_attn = True
        hook.remove()
    patch_height, patch_width = vit.patch_embed.patch_size
    grid = images.shape[2] // patch_height, images.shape[3] // patch_width
    return tokens.mT.reshape(len(images), -1, *grid).numpy(), attentions


def step_by_step(model, images, sources, normalization, reconstraint, settings):
    """The method on one image at a time, every step by its oracle; only the blocks are timm's."""
    vit, size = model.backbone.vit, tuple(images.shape[-2:])
    weight = model.head.projection.weight.detach().numpy()[:, :, 0, 0]
    bias = model.head.projection.bias.detach().numpy()
    results = []
    for image, source in zip(images, sources, strict=True):
        (tokens,), attentions = timm_forward_pass(vit, image[None])
        maps, global_logits = oracles.semantic_maps(tokens, weight, bias)
        spatial_map = oracles.rollout(
            [attention[0] for attention in attentions],
            maps.shape[1:],
            vit.num_prefix_tokens,
            vit.has_class_token,
            normalization,
        )
        instance_maps = oracles.reconstrain(spatial_map, maps, reconstraint)
        categories = oracles.select(global_logits, model.config.top_n, settings["selection"])
        boxes, views = [], []
        for category in categories:
            find = oracles.component_box
            if settings["localization"] == "mcar":
                find = oracles.mcar_box
            threshold, patch_size = model.config.box_threshold, vit.patch_embed.patch_size
            box = find(instance_maps[category], size, threshold, patch_size)
            boxes.append(box)
            from_input = settings["crop_from"] == "input"
            canvas = (image if from_input else source).numpy()
            canvas_box = oracles.scale_box(box, size, canvas.shape[1:])
            views.append(oracles.crop_and_resize(canvas, canvas_box, size, from_input))
        view_logits = []
        for view in views:
            (tokens,), _ = timm_forward_pass(vit, torch.from_numpy(view)[None])
            view_logits.append(oracles.semantic_maps(tokens, weight, bias)[1])
        local_logits = oracles.local_logits(np.stack(view_logits))
        results.append(
            (
                oracles.fuse(global_logits, local_logits, settings["fusion"]),
                global_logits,
                local_logits,
                np.stack(view_logits),
                np.array(categories),
                np.array(boxes),
                maps,
                spatial_map,
                instance_maps,
            )
        )
    return [np.stack(part) for part in zip(*results, strict=True)]


@pytest.mark.parametrize(
    ("vit", "normalization", "reconstraint", "settings"),
    [
        ({}, "column", "hadamard", {}),
        ({}, "row", "hadamard", {"selection": "ascending", "crop_from": "input"}),
        ({"reg_tokens": 2}, "row", "sum", {"fusion": "max"}),
        ({"class_token": False}, "column", "hadamard", {"localization": "mcar"}),
        (
            {"kind": VisionTransformerDistilled, "global_pool": "token"},
            "column",
            "none",
            {"crop_from": "input", "fusion": "local"},
        ),
    ],
)
def test_forward_equals_the_loops_step_by_step(
    make_model, vit, normalization, reconstraint, settings
):
    settings = {
        **{
            "selection": "descending",
            "localization": "largest_component",
            "crop_from": "raw",
            "fusion": "mean",
        },
        **settings,
    }
    model = make_model(
        vit, top_n=2, normalization=normalization, reconstraint=reconstraint, **settings
    ).double()
    images = torch.rand(2, 3, 24, 32).double()
    sources = [torch.rand(3, 40, 50).double(), torch.randint(0, 256, (3, 19, 32)).to(torch.uint8)]
    with torch.no_grad():
        output = model(images, sources)
    expected = step_by_step(model, images, sources, normalization, reconstraint, settings)
    check_output(output, 2, 2, (24, 32))
    for name, value, other in zip(output._fields, output, expected, strict=True):
        if name in ("categories", "boxes"):
            assert value.tolist() == other.tolist(), name
        else:
            # uint8 sources become single-precision pixels.
            torch.testing.assert_close(
                value.double(), torch.from_numpy(other), rtol=1e-5, atol=1e-6, msg=name
            )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_equals_the_loop(fusion):
    one, other = torch.randn(2, 3, 4)
    expected = [
        oracles.fuse(*pair, fusion) for pair in zip(one.numpy(), other.numpy(), strict=True)
    ]
    torch.testing.assert_close(FUSIONS[fusion](one, other), torch.from_numpy(np.stack(expected)))


def test_fusion_literals():
    one, other = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, -4.0]])
    fused = {name: fuse(one, other).tolist() for name, fuse in FUSIONS.items()}
    assert fused == {
        "mean": [[2.0, -3.0]],
        "max": [[3.0, -2.0]],
        "global": [[1.0, -2.0]],
        "local": [[3.0, -4.0]],
    }


# The baseline.


@pytest.mark.parametrize("fusion", FUSIONS)
def test_baseline_is_the_head_on_the_backbone(make_model, fusion):
    model, images = make_model(top_n=0, fusion=fusion), torch.rand(3, 3, 16, 24)
    output = model(images)
    maps, logits = model.head(model.backbone(images))
    for value in (output.logits, output.global_logits, output.local_logits):
        torch.testing.assert_close(value, logits, rtol=0, atol=0)
    assert torch.equal(output.semantic_maps, maps)
    assert torch.equal(output.instance_maps, maps)
    assert output.spatial_map is None
    assert output.view_logits.shape == (3, 0, CATEGORIES)
    assert output.categories.shape == (3, 0)
    assert output.boxes.shape == (3, 0, 4)
    assert output.categories.dtype == output.boxes.dtype == torch.int64
    assert output.semantic_maps.requires_grad
    assert not output.instance_maps.requires_grad


def test_global_branch_is_the_baseline(make_model):
    images = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        baseline = make_model(top_n=0)(images)
        output = make_model(top_n=2, fusion="global")(images)
    torch.testing.assert_close(output.logits, baseline.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.semantic_maps, baseline.semantic_maps, rtol=1e-4, atol=1e-5)


# Inputs.


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (40, 16), (48, 48)])
@pytest.mark.parametrize("batch", [1, 3])
def test_input_of_any_whole_number_of_patches(make_model, size, batch):
    with torch.no_grad():
        check_output(make_model(top_n=3)(torch.rand(batch, 3, *size)), batch, 3, size)


@pytest.mark.parametrize("top_n", [0, 2])
@pytest.mark.parametrize("size", [(12, 24), (16, 25)])
def test_input_that_is_no_whole_number_of_patches(make_model, top_n, size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}.*8x8"):
        make_model(top_n=top_n)(torch.rand(2, 3, *size))


def test_sources_of_several_sizes_and_types_equal_one_by_one(make_model):
    model, images = make_model(top_n=2), torch.rand(3, 3, 16, 24)
    sources = [
        torch.rand(3, 16, 24),
        torch.randint(0, 256, (3, 61, 37), dtype=torch.uint8),
        torch.rand(3, 9, 100),
    ]
    with torch.no_grad():
        together = model(images, sources)
        for i in range(3):
            alone = model(images[i : i + 1], sources[i : i + 1])
            assert torch.equal(alone.boxes[0], together.boxes[i])
            torch.testing.assert_close(
                alone.view_logits[0], together.view_logits[i], rtol=1e-4, atol=1e-5
            )


def test_sources_change_the_views_and_nothing_before_them(make_model):
    model, images = make_model(top_n=2), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        plain, other = model(images), model(images, list(torch.rand(2, 3, 64, 64)))
    assert torch.equal(plain.boxes, other.boxes)
    assert torch.equal(plain.global_logits, other.global_logits)
    assert not torch.allclose(plain.view_logits, other.view_logits)


def test_images_are_the_sources_where_none_are_given(make_model):
    model, images = make_model(top_n=2), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(model(images).logits, model(images, list(images)).logits)


def test_crops_from_the_input_ignore_the_sources(make_model):
    model, images = make_model(top_n=2, crop_from="input"), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(
            model(images, list(torch.rand(2, 3, 50, 50))).logits, model(images).logits
        )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_sources_must_be_as_many_as_images(make_model, count):
    with pytest.raises(ValueError, match=f"2 images came with {count} sources"):
        make_model(top_n=1)(torch.rand(2, 3, 16, 24), [torch.rand(3, 16, 24)] * count)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_sources_of_another_precision_than_the_model(make_model, dtype):
    model, images = make_model(top_n=1), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        expected = model(images)
        output = model(images, list(images.to(dtype)))
    torch.testing.assert_close(output.logits.float(), expected.logits, rtol=0.02, atol=0.02)


def test_double_precision(make_model):
    model, images = make_model(top_n=2), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        single = model(images)
        double = model.double()(images.double())
    assert double.logits.dtype == double.spatial_map.dtype == torch.float64
    assert torch.equal(single.boxes, double.boxes)
    torch.testing.assert_close(single.logits.double(), double.logits, rtol=1e-3, atol=1e-4)


def test_views_come_in_batches_of_the_images(make_model):
    model = make_model(top_n=4)
    views = record_views(model)
    with torch.no_grad():
        output = model(torch.rand(3, 3, 16, 24), list(torch.rand(3, 3, 40, 40)))
    assert [tuple(batch.shape) for batch in views] == [(3, 3, 16, 24)] * 4
    assert output.view_logits.shape == (3, 4, CATEGORIES)


def test_batch_equals_one_by_one(make_model):
    model, images = make_model(top_n=3), torch.rand(3, 3, 24, 16)
    with torch.no_grad():
        together = model(images)
        for i in range(3):
            alone = model(images[i : i + 1])
            assert torch.equal(alone.categories[0], together.categories[i])
            assert torch.equal(alone.boxes[0], together.boxes[i])
            torch.testing.assert_close(alone.logits[0], together.logits[i], rtol=1e-4, atol=1e-5)


def test_all_categories_may_get_a_view(make_model):
    with torch.no_grad():
        output = make_model(top_n=CATEGORIES)(torch.rand(2, 3, 16, 24))
    assert output.categories.sort().values.tolist() == [list(range(CATEGORIES))] * 2


# Gradients.


def gradients(loss, parameters):
    return torch.autograd.grad(loss, list(parameters), allow_unused=True)


@pytest.mark.parametrize("branch", ["global_logits", "local_logits"])
def test_gradient_reaches_head_and_backbone_through_both_branches(make_model, branch):
    model = make_model({"init_values": 0.5, "reg_tokens": 1}, top_n=2)
    output = model(torch.rand(2, 3, 16, 24), list(torch.rand(2, 3, 33, 44)))
    weight = torch.randn(2, CATEGORIES)
    for gradient in gradients((getattr(output, branch) * weight).sum(), model.parameters()):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("localization", LOCALIZERS)
@pytest.mark.parametrize("reconstraint", RECONSTRAINTS)
def test_no_gradient_through_maps_and_boxes(make_model, reconstraint, localization):
    model = make_model(top_n=2, reconstraint=reconstraint, localization=localization)
    output = model(torch.rand(2, 3, 16, 24))
    assert output.semantic_maps.requires_grad
    assert output.view_logits.requires_grad
    for value in (output.spatial_map, output.instance_maps, output.boxes, output.categories):
        assert not value.requires_grad


def test_local_gradient_is_that_of_fixed_views(make_model):
    """With the views given once and for all, the local branch has the same gradient."""
    model = make_model(top_n=2).double()
    views = record_views(model)
    output = model(torch.rand(2, 3, 16, 24).double())
    through_model = gradients(output.local_logits.square().sum(), model.parameters())
    assert [tuple(batch.shape) for batch in views] == [(2, 3, 16, 24)] * 2
    fixed = torch.stack([logits_of(model, batch) for batch in list(views)]).amax(0)
    for one, other in zip(
        through_model, gradients(fixed.square().sum(), model.parameters()), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_global_gradient_is_that_of_the_baseline(make_model):
    model, images = make_model(top_n=2).double(), torch.rand(2, 3, 16, 24).double()
    through_model = gradients(model(images).global_logits.square().sum(), model.parameters())
    logits = model.head(model.backbone(images)).logits
    for one, other in zip(
        through_model, gradients(logits.square().sum(), model.parameters()), strict=True
    ):
        torch.testing.assert_close(one, other)


# Randomness.


@pytest.mark.parametrize("settings", [{"selection": "random"}, {"localization": "random"}], ids=str)
def test_generator_makes_random_parts_reproducible(make_model, settings):
    model, images = make_model(top_n=3, **settings), torch.rand(4, 3, 16, 24)

    def run(seed):
        with torch.no_grad():
            return model(images, generator=torch.Generator().manual_seed(seed))

    one, again, other = run(1), run(1), run(2)
    for value, same in zip(one, again, strict=True):
        assert torch.equal(value, same)
    changed = "categories" if "selection" in settings else "boxes"
    assert not torch.equal(getattr(one, changed), getattr(other, changed))


def test_default_model_has_nothing_random(make_model):
    model, images = make_model(), torch.rand(2, 3, 16, 24)
    state = torch.get_rng_state()
    with torch.no_grad():
        one, again = model(images), model(images)
    assert torch.equal(one.logits, again.logits)
    assert torch.equal(torch.get_rng_state(), state)


# Settings.


def test_more_boxes_than_categories(parts):
    model = DiD(*parts, DiDConfig(top_n=CATEGORIES + 1))
    with pytest.raises(ValueError, match=f"top_n is {CATEGORIES + 1}.*{CATEGORIES} categories"):
        model(torch.rand(1, 3, 16, 24))


def test_defaults_are_the_papers(parts):
    model = DiD(*parts)
    assert model.config is PAPER
    assert model.select is SELECTORS["descending"]
    assert model.normalize is NORMALIZATIONS["column"]
    assert model.reconstrain is RECONSTRAINTS["hadamard"]
    assert model.localize is LOCALIZERS["largest_component"]
    assert model.fuse is FUSIONS["mean"]


@pytest.mark.parametrize(
    ("setting", "attribute", "functions"),
    [
        ("selection", "select", SELECTORS),
        ("normalization", "normalize", NORMALIZATIONS),
        ("reconstraint", "reconstrain", RECONSTRAINTS),
        ("localization", "localize", LOCALIZERS),
        ("fusion", "fuse", FUSIONS),
    ],
)
def test_names_choose_functions(parts, setting, attribute, functions):
    for name, function in functions.items():
        assert getattr(DiD(*parts, DiDConfig(**{setting: name})), attribute) is function


def test_a_localization_that_the_method_does_not_have(parts):
    config = DiDConfig(localization="hypotheses")
    with pytest.raises(ConfigError, match=r"^localization is 'hypotheses'; expected .*localize"):
        DiD(*parts, config)
    assert DiD(*parts, config, localize=LOCALIZERS["mcar"]).localize is LOCALIZERS["mcar"]


@pytest.mark.parametrize("top_n", [0, 1, 3])
def test_another_number_of_boxes_shares_the_parts(make_model, top_n):
    model, images = make_model(top_n=2), torch.rand(2, 3, 16, 24)
    other = model.with_top_n(top_n)
    assert (other.config.top_n, model.config.top_n) == (top_n, 2)
    assert (other.backbone, other.head) == (model.backbone, model.head)
    with torch.no_grad():
        expected = make_model(top_n=top_n)(images)
        assert torch.equal(other(images).logits, expected.logits)
        assert other(images).view_logits.shape == expected.view_logits.shape


def test_your_own_functions_in_place_of_named_ones(parts):
    """The last categories, a fixed box, and the smaller of the two logits."""

    def last(logits, top_n, rng):
        return np.tile(np.arange(CATEGORIES)[-top_n:], (len(logits), 1))

    def left_half(maps, image_size, box_threshold, patch_size, rng):
        assert (image_size, box_threshold, patch_size) == ((16, 24), 0.3, (8, 8))
        return np.tile([0, 0, 12, 16], (*maps.shape[:2], 1))

    model = DiD(
        *parts,
        DiDConfig(top_n=2, box_threshold=0.3),
        select=last,
        normalize=lambda row, attention: row,
        reconstrain=lambda spatial_map, maps: maps + 7,
        localize=left_half,
        fuse=torch.minimum,
    )
    with torch.no_grad():
        output = model(torch.rand(2, 3, 16, 24))
    assert output.categories.tolist() == [[3, 4]] * 2
    assert output.boxes.tolist() == [[[0, 0, 12, 16]] * 2] * 2
    assert output.spatial_map.abs().sum() == 0  # the class token's row never left it
    assert torch.equal(output.instance_maps, output.semantic_maps + 7)
    assert torch.equal(output.logits, torch.minimum(output.global_logits, output.local_logits))


# The loss.


def test_loss_equals_the_loop(make_model):
    output = make_model(top_n=2)(torch.rand(3, 3, 16, 24))
    targets = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    expected = oracles.multi_view_loss(
        output.global_logits.detach().double().numpy(),
        output.local_logits.detach().double().numpy(),
        targets.numpy(),
    )
    assert multi_view_loss(output, targets).item() == pytest.approx(expected, rel=1e-5)


def test_loss_of_the_baseline_has_one_term(make_model):
    output, targets = make_model(top_n=0)(torch.rand(2, 3, 16, 24)), torch.zeros(2, CATEGORIES)
    expected = oracles.soft_margin_loss(
        output.global_logits.detach().double().numpy(), targets.numpy()
    )
    assert multi_view_loss(output, targets).item() == pytest.approx(expected, rel=1e-5)


def test_loss_does_not_depend_on_fusion(make_model):
    images, targets = torch.rand(2, 3, 16, 24), torch.ones(2, CATEGORIES)
    losses = {
        multi_view_loss(make_model(top_n=2, fusion=fusion)(images), targets).item()
        for fusion in FUSIONS
    }
    assert len(losses) == 1


def test_loss_literal(make_model):
    """All logits 0: every term is ln 2, whatever the targets."""
    output = make_model(top_n=1)(torch.rand(2, 3, 16, 24))
    zeros = torch.zeros(2, CATEGORIES)
    output = output._replace(global_logits=zeros, local_logits=zeros)
    targets = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    assert multi_view_loss(output, targets).item() == pytest.approx(2 * np.log(2))


# Compilation.


def check_compiled(model, backend):
    images, sources = torch.rand(2, 3, 16, 24), list(torch.rand(2, 3, 40, 30))
    with torch.no_grad():
        expected = model(images, sources)
        model.global_view = torch.compile(model.global_view, fullgraph=True, backend=backend)
        model.backbone.compile(fullgraph=True, backend=backend)
        try:
            output = model(images, sources)
        finally:
            torch.compiler.reset()
    assert torch.equal(output.boxes, expected.boxes)
    for name in ("logits", "semantic_maps", "spatial_map", "instance_maps", "view_logits"):
        torch.testing.assert_close(
            getattr(output, name), getattr(expected, name), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("vit", "normalization"),
    [({}, "column"), ({"reg_tokens": 2}, "row"), ({"class_token": False}, "column")],
    ids=str,
)
def test_forward_passes_compile_as_one_graph(make_model, unchecked_types, vit, normalization):
    check_compiled(make_model(vit, top_n=2, normalization=normalization), "aot_eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_global_view_compiles_with_inductor(make_model, unchecked_types):
    """The global view alone: it does all that a local view does, and kernels cost seconds."""
    model, images = make_model({"depth": 1}, top_n=2), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        try:
            compiled = torch.compile(model.global_view, fullgraph=True)(images)
        finally:
            torch.compiler.reset()
        for value, expected in zip(compiled, model.global_view(images), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_compiled_global_view(make_model, unchecked_types):
    model, images = make_model(top_n=2), torch.rand(2, 3, 16, 24)
    expected = gradients(model.global_view(images).logits.square().sum(), model.parameters())
    global_view = torch.compile(model.global_view, fullgraph=True, backend="aot_eager")
    try:
        compiled = gradients(global_view(images).logits.square().sum(), model.parameters())
    finally:
        torch.compiler.reset()
    for one, other in zip(compiled, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_views_of_another_size(make_model):
    """They are cut at the same boxes, and have fewer patches."""
    images, sources = torch.rand(2, 3, 16, 24), list(torch.rand(2, 3, 40, 60))
    model, small = make_model(top_n=2), make_model(top_n=2, view_scale=0.6)
    with torch.no_grad():
        output, expected = small(images, sources), model(images, sources)
        assert torch.equal(output.boxes, expected.boxes)
        for i, source in enumerate(sources):
            boxes = scale_boxes(output.boxes[i].numpy(), (16, 24), (40, 60))
            views = crop_and_resize([source] * 2, boxes, (8, 16))
            torch.testing.assert_close(output.view_logits[i], logits_of(small, views))


@pytest.mark.parametrize(
    ("scale", "at_once"),
    [(1.0, [2] * 5), (0.5, [8, 2]), (0.75, [4, 4, 2])],  # of 32x48: 16x24, 24x32
)
def test_small_views_share_a_forward_pass(make_model, scale, at_once):
    """As many as have the pixels of the global view; each has the logits it would have alone."""
    images, model = torch.rand(2, 3, 32, 48), make_model(top_n=5, view_scale=scale)
    sources, views = [torch.rand(3, 50, 60), torch.rand(3, 70, 40)], record_views(model)
    with torch.no_grad():
        output = model(images, sources)
        assert [len(batch) for batch in views] == at_once
        size = tuple(views[0].shape[-2:])
        for i, source in enumerate(sources):
            boxes = scale_boxes(output.boxes[i].numpy(), (32, 48), tuple(source.shape[-2:]))
            for k in range(5):
                alone = logits_of(model, crop_and_resize([source], boxes[k : k + 1], size))
                torch.testing.assert_close(output.view_logits[i, k], alone[0])


@pytest.mark.parametrize("crop_from", ["raw", "input"])
def test_views_of_tiles_come_after_those_of_boxes(make_model, crop_from):
    images, sources = torch.rand(2, 3, 16, 24), [torch.rand(3, 50, 60), torch.rand(3, 70, 40)]
    settings = {"top_n": 3, "crop_from": crop_from}
    plain, tiled = make_model(**settings), make_model(**settings, tiles=2)
    with torch.no_grad():
        expected, output = plain(images, sources), tiled(images, sources)
        assert torch.equal(output.boxes, expected.boxes)
        torch.testing.assert_close(output.view_logits[:, :3], expected.view_logits)
        from_input = crop_from == "input"
        for i, canvas in enumerate(images if from_input else sources):
            boxes = scale_boxes(tile_boxes(2, (16, 24)), (16, 24), tuple(canvas.shape[-2:]))
            views = crop_and_resize([canvas] * 4, boxes, (16, 24), from_input)
            torch.testing.assert_close(output.view_logits[i, 3:], logits_of(tiled, views))
    assert output.view_logits.shape == (2, 7, CATEGORIES)
    torch.testing.assert_close(output.local_logits, output.view_logits.amax(1))
    torch.testing.assert_close(output.logits, (output.global_logits + output.local_logits) / 2)


def test_gradient_reaches_the_model_through_tiles(make_model):
    model = make_model(top_n=1, tiles=2)
    output = model(torch.rand(2, 3, 16, 24))
    through_tiles = gradients(output.view_logits[:, 1:].square().sum(), model.parameters())
    assert all(gradient.isfinite().all() for gradient in through_tiles)
    assert any(gradient.abs().sum() > 0 for gradient in through_tiles)


def test_the_baseline_has_no_tiles(make_model):
    output = make_model(top_n=0, tiles=2)(torch.rand(2, 3, 16, 24))
    assert output.view_logits.shape == (2, 0, CATEGORIES)
    assert torch.equal(output.logits, output.global_logits)


def test_the_order_of_the_rollout_reaches_the_global_view(make_model):
    images = torch.rand(2, 3, 16, 24)
    spatial_maps = {}
    for order in ("descending", "ascending"):
        model = make_model({"depth": 3}, rollout_order=order)
        _, attentions = model.backbone.forward_with_attention(images)
        attentions = attentions if order == "descending" else attentions[::-1]
        spatial_maps[order] = model.global_view(images).spatial_map
        torch.testing.assert_close(spatial_maps[order], attention_rollout(attentions, (2, 3)))
    assert not torch.allclose(*spatial_maps.values())


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("top_n", [0, 2])
@pytest.mark.parametrize("shape", [(0, 3, 32, 48), (2, 1, 32, 48), (2, 4, 32, 48), (3, 32, 48)])
def test_images_of_another_shape_are_refused_with_what_was_expected(make_model, top_n, shape):
    with pytest.raises(ValueError, match=re.escape(f"images are {shape}; expected (B, 3, H, W)")):
        make_model(top_n=top_n)(torch.zeros(shape))
