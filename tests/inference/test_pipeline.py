"""Prediction around an engine of a few lines, whose logits are means of pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from didvit.config import PAPER
from didvit.inference.engine import GlobalPass
from didvit.inference.pipeline import NonFiniteScoreError, run, steps_of
from didvit.method import model as torch_model
from didvit.method.localization import NonFiniteMapError

SIZE, PATCH = (32, 48), (8, 8)
WEIGHTS = np.array([[3, 0, 0], [0, 2, 0], [0, 0, 1], [1, 1, -2]], np.float32)  # C 3


class Means:
    """Four categories, whose maps are colors of patches, and whose logits are the maps' means."""

    name, all_at_once, input_size, patch_size = "means", False, SIZE, PATCH

    def __init__(self):
        self.passes, self.views = [], []

    def global_pass(self, images, with_boxes=True):
        self.passes.append((images, with_boxes))
        patches = images.reshape(len(images), 3, 4, 8, 6, 8).mean((3, 5))
        maps = np.einsum("cd,bdhw->bchw", WEIGHTS, patches)
        features = patches.mean((2, 3))
        logits = maps.mean((2, 3))
        return GlobalPass(logits, features, maps, 2 * maps, maps[:, 0] if with_boxes else None)

    def view_logits(self, views):
        self.views.append(views)
        return views.mean((2, 3)) @ WEIGHTS.T

    def check_method(self, method):
        pass


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


PHOTOGRAPHS = [noise(50, 70), noise(20, 200, 1), noise(*SIZE, 2)]


class Chosen:
    """A budget that gives views to the images of these places, and estimates -5 for all."""

    def __init__(self, *places):
        self.places, self.asked = places, []

    def estimated(self, global_logits):
        return np.full_like(global_logits, -5)

    def needs_views(self, fused_logits):
        self.asked.append(fused_logits)
        return np.isin(np.arange(len(fused_logits)), self.places)


def ran(photographs, engine=None, budget=None, **changes):
    method = replace(PAPER, **{"top_n": 2, "tiles": 2, **changes})
    return run(engine or Means(), photographs, method, steps_of(method), None, budget)


def test_shapes_and_types_of_what_comes_out():
    output = ran(PHOTOGRAPHS)
    shapes = {
        **dict.fromkeys(("logits", "global_logits", "local_logits"), (3, 4)),
        **{"view_logits": (3, 6, 4), "features": (3, 3), "categories": (3, 2), "boxes": (3, 2, 4)},
        **dict.fromkeys(("semantic_maps", "instance_maps"), (3, 2, 4, 6)),
        **{"spatial_map": (3, 4, 6), "has_views": (3,)},
    }
    assert {name: getattr(output, name).shape for name in output._fields} == shapes
    assert output.boxes.dtype == output.categories.dtype == np.int64
    np.testing.assert_array_equal(output.local_logits, output.view_logits.max(1))
    np.testing.assert_array_equal(output.instance_maps, 2 * output.semantic_maps)


def test_the_engine_gets_pixels_from_0_to_1_in_batches_of_the_inputs_area():
    white = np.full((40, 60, 3), 255, np.uint8)
    for scale, most in ((1.0, 1), (0.5, 4)):
        engine = Means()
        ran([white, noise(40, 60)], engine, view_scale=scale)
        ((images, with_boxes),) = engine.passes
        assert with_boxes
        assert (images[0] == 1).all()
        for given_images in (images, *engine.views):
            assert given_images.dtype == np.float32
            assert given_images.flags.c_contiguous
            assert 0 <= given_images.min() <= given_images.max() <= 1
        sizes = [len(views) for views in engine.views]
        assert max(sizes) == most
        assert sum(sizes) == 2 * 6
        assert {views.shape[2:] for views in engine.views} == {(32 * scale, 48 * scale)}


@pytest.mark.parametrize("fusion", ["mean", "max", "global", "local"])
def test_images_without_views_have_the_local_logits_that_are_estimated(fusion):
    whole = ran(PHOTOGRAPHS, fusion=fusion)
    engine, budget, chosen = Means(), Chosen(0, 2), np.array([True, False, True])
    output = ran(PHOTOGRAPHS, engine, budget, fusion=fusion)
    fuse = steps_of(replace(PAPER, fusion=fusion)).fuse
    estimated = fuse(whole.global_logits, np.full_like(whole.global_logits, -5))
    np.testing.assert_array_equal(budget.asked, [estimated])
    np.testing.assert_array_equal(output.has_views, chosen)
    assert sum(map(len, engine.views)) == 2 * 6
    for name in ("global_logits", "features", "categories", "boxes", "spatial_map"):
        np.testing.assert_array_equal(getattr(output, name), getattr(whole, name))
    for name in ("logits", "local_logits", "view_logits"):
        expected = getattr(whole, name)[chosen]
        np.testing.assert_allclose(getattr(output, name)[chosen], expected, rtol=1e-6)
    np.testing.assert_array_equal(output.logits[1], estimated[1])
    assert (output.local_logits[1] == -5).all()
    assert (output.view_logits[1] == -np.inf).all()


def test_no_image_may_need_views():
    engine = Means()
    output = ran(PHOTOGRAPHS, engine, Chosen())
    assert not engine.views
    np.testing.assert_array_equal(output.logits, (output.global_logits - 5) / 2)


def test_without_boxes_there_is_one_pass():
    engine = Means()
    output = ran(PHOTOGRAPHS, engine, top_n=0)
    assert [with_boxes for _, with_boxes in engine.passes] == [False]
    assert not engine.views
    assert output.spatial_map is None
    assert not output.has_views.any()
    assert output.boxes.shape == (3, 0, 4)
    assert output.view_logits.shape == (3, 0, 4)
    assert output.semantic_maps.shape == (3, 0, 4, 6)
    for name in ("logits", "local_logits", "global_logits"):
        np.testing.assert_allclose(getattr(output, name), ran(PHOTOGRAPHS).global_logits)


def test_more_boxes_than_categories_are_as_many_as_categories():
    assert ran(PHOTOGRAPHS, top_n=9).boxes.shape == (3, 4, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["global_pass", "view_logits"])
def test_scores_that_are_no_numbers_are_refused(value, where):
    class Damaged(Means):
        def global_pass(self, images, with_boxes=True):
            seen = super().global_pass(images, with_boxes)
            if where == "global_pass":
                seen.logits[-1, -1] = value
            return seen

        def view_logits(self, views):
            logits = super().view_logits(views)
            if where == "view_logits":
                logits[-1, -1] = value
            return logits

    with pytest.raises(NonFiniteScoreError, match="the weights are damaged"):
        ran(PHOTOGRAPHS, Damaged())


def test_maps_that_are_no_numbers_are_refused_where_regions_are_found_in_them():
    class Damaged(Means):
        def global_pass(self, images, with_boxes=True):
            seen = super().global_pass(images, with_boxes)
            return seen._replace(instance_maps=np.full_like(seen.instance_maps, np.nan))

    with pytest.raises(NonFiniteMapError):
        ran(PHOTOGRAPHS, Damaged())
    assert ran(PHOTOGRAPHS, Damaged(), top_n=0).logits.shape == (3, 4)


def test_random_strategies_draw_from_the_generator():
    changes = {"selection": "random", "localization": "random"}
    method = replace(PAPER, top_n=2, **changes)
    first, second, other = (
        run(Means(), PHOTOGRAPHS, method, steps_of(method), np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.categories, second.categories)
    assert (first.boxes != other.boxes).any()


@pytest.mark.parametrize("fusion", torch_model.FUSIONS)
def test_fusions_are_those_of_the_model(fusion):
    branches = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    expected = torch_model.FUSIONS[fusion](*map(torch.from_numpy, branches))
    fuse = steps_of(replace(PAPER, fusion=fusion)).fuse
    np.testing.assert_array_equal(fuse(*branches), expected)


# Cutting and resizing


def seen_view(array, box, **changes):
    """What the engine sees of a box in pixels of the input."""
    method = replace(PAPER, **{"top_n": 1, **changes})
    engine = Means()
    steps = steps_of(method)._replace(localize=lambda maps, *_: np.array([[box]]))
    run(engine, [array], method, steps)
    return engine.views[0][0].transpose(1, 2, 0)


BOXES = st.tuples(
    st.integers(0, 47), st.integers(0, 31), st.integers(1, 48), st.integers(1, 32)
).filter(lambda box: box[0] < box[2] and box[1] < box[3])


@given(BOXES, st.sampled_from([(64, 96), (320, 480), (32, 48)]))
@settings(max_examples=40)
def test_a_view_has_no_pixel_from_around_its_box(box, size):
    """White inside the box and black around it: the view is white."""
    scale = size[0] // SIZE[0]
    x0, y0, x1, y1 = (scale * side for side in box)
    array = np.zeros((*size, 3), np.uint8)
    array[y0:y1, x0:x1] = 255
    assert (seen_view(array, box) == 1).all()
    if scale == 1:
        np.testing.assert_allclose(seen_view(array, box, crop_from="input"), 1, rtol=1e-6)


@given(BOXES, st.integers(0, 100), st.sampled_from([0.5, 1.0, 1.5]))
@settings(max_examples=40)
def test_views_from_the_input_have_aligned_corners(box, seed, scale):
    """As PyTorch resizes them in training."""
    array = noise(*SIZE, seed)
    x0, y0, x1, y1 = box
    crop = torch.from_numpy(array[y0:y1, x0:x1].copy()).permute(2, 0, 1)[None] / 255
    size = (int(32 * scale), int(48 * scale))
    expected = F.interpolate(crop, size, mode="bilinear", align_corners=True)[0]
    view = seen_view(array, box, crop_from="input", view_scale=scale)
    np.testing.assert_allclose(view, expected.permute(1, 2, 0), atol=1e-4)


def test_views_of_the_photograph_are_antialiased():
    stripes = np.zeros((320, 480, 3), np.uint8)
    stripes[:, ::2] = 255
    view = seen_view(stripes, (0, 0, 48, 32))
    assert (abs(view - 0.5) < 0.05).all()
    part = Image.fromarray(stripes[:160, 100:370])
    expected = np.asarray(part.resize((48, 32), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(seen_view(stripes, (10, 0, 37, 16)), expected, atol=1e-6)
