"""Every head in the engine: built, trained with views and without, saved and loaded."""

import pytest
import torch

from didvit.config import LossConfig, with_settings
from didvit.data.datasets import read_dataset
from didvit.heads import HEADS, LabelStatistics
from didvit.method.semantic import HeadOutput
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
from didvit.modeling.start import build_start
from didvit.training.trainer import train
from runs import MODEL, equal

NEED_STATISTICS = ("ml_gcn", "ssgrl", "ms_cma")


def settings_of(head, **settings):
    embeddings = "random" if HEADS[head].needs_label_statistics else None
    return with_settings(MODEL, {"head": head, "label_embeddings": embeddings, **settings})


def test_what_heads_say_of_themselves():
    several = {name: kind.num_levels for name, kind in HEADS.items() if kind.num_levels != 1}
    assert several == {"ms_cma": 3, "multi_level_queries": 3}
    assert tuple(name for name, kind in HEADS.items() if kind.needs_label_statistics) == (
        NEED_STATISTICS
    )


@pytest.mark.parametrize("name", HEADS)
def test_what_heads_say_is_how_they_are_built(name):
    kind, categories, width = HEADS[name], 3, 8
    statistics = LabelStatistics(torch.ones(categories, categories), torch.randn(categories, 5))
    head = kind(width, statistics if kind.needs_label_statistics else categories)
    output = head(torch.randn(2, width * kind.num_levels, 4, 6))
    assert isinstance(output, HeadOutput)
    assert output.semantic_maps.shape == (2, categories, 4, 6)
    assert output.logits.shape == (2, categories)


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_model_is_the_same(head, make_config, squares, tmp_path):
    config = make_config(model=settings_of(head))
    model = build_start(config, read_dataset(str(squares[0]))).eval()
    save_checkpoint(tmp_path / "model", model, ("a", "b", "c"), config.model)
    loaded = load_checkpoint(tmp_path / "model").model
    assert equal(loaded.state_dict(), model.state_dict())
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        one, other = model(images), loaded(images)
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.boxes, other.boxes)


@pytest.mark.parametrize("head", HEADS)
def test_a_new_head_is_sure_of_nothing(head, make_config, squares):
    """A head whose logits begin in the tens spends its first steps on getting rid of them."""
    model = build_start(make_config(model=settings_of(head)), read_dataset(str(squares[0]))).eval()
    with torch.no_grad():
        logits = model.head(model.backbone(torch.rand(8, 3, 32, 48))).logits
    assert logits.abs().max() < 3


@pytest.mark.parametrize("head", HEADS)
def test_it_learns_with_views_and_without(head, make_config):
    config = make_config(
        model=settings_of(head),
        steps=4,
        single_view_fraction=0.5,
        freeze_backbone=False,
        learning_rate=1e-3,
        evaluate_every=4,
        loss=LossConfig("asymmetric"),
    )
    folder = train(config).folder
    losses = [line.split(",")[1] for line in (folder / "steps.csv").read_text().splitlines()[1:]]
    assert len(losses) == 4
    assert load_checkpoint(folder).config.head == head


@pytest.mark.parametrize("head", NEED_STATISTICS)
def test_the_label_graph_is_that_of_the_training_data(head, make_config, squares):
    table = read_dataset(str(squares[0]))
    model = build_start(make_config(model=settings_of(head)), table)
    expected = [
        [int((row * column).sum()) for column in table.targets.T] for row in table.targets.T
    ]
    assert model.head.co_occurrence.tolist() == expected


@pytest.mark.parametrize(("head", "taken"), [("csra", True), ("baseline", False)])
def test_a_head_is_taken_over_by_its_like_alone(head, taken, make_config, squares, tmp_path):
    table = read_dataset(str(squares[0]))
    config = make_config(model=settings_of("csra"))
    trained = build_start(config, table)
    save_checkpoint(tmp_path / "trained", trained, table.labels, config.model)
    torch.manual_seed(1)
    settings = make_config(model=settings_of(head), start_from=str(tmp_path / "trained"))
    start = build_start(settings, table)
    assert equal(start.backbone.state_dict(), trained.backbone.state_dict())
    assert (start.head.state_dict().keys() == trained.head.state_dict().keys()) == taken
    if taken:
        assert equal(start.head.state_dict(), trained.head.state_dict())


def test_csra_settings_reach_the_head(make_config, squares):
    settings = settings_of("csra", csra_heads=4, csra_weight=0.3)
    head = build_start(make_config(model=settings), read_dataset(str(squares[0]))).head
    assert (len(head.temperatures), head.attention_weight) == (4, 0.3)
