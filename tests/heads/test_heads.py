"""Every head in the engine: built, trained, looked again with, saved and loaded."""

import dataclasses

import pytest
import torch

from didvit.checkpoint import load_checkpoint, save_checkpoint
from didvit.config import LossConfig
from didvit.data.datasets import read_dataset
from didvit.heads import HEADS, KNOWING_HEADS
from didvit.learner import build_start
from didvit.training import train
from runs import MODEL, equal

ALL_HEADS = [*HEADS, *KNOWING_HEADS]


def settings_of(head, **settings):
    embeddings = "random" if head in KNOWING_HEADS else None
    return dataclasses.replace(MODEL, head=head, label_embeddings=embeddings, **settings)


@pytest.mark.parametrize("head", ALL_HEADS)
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


@pytest.mark.parametrize("head", ALL_HEADS)
def test_a_new_head_is_sure_of_nothing(head, make_config, squares):
    """A head whose logits begin in the tens spends its first steps on getting rid of them."""
    model = build_start(make_config(model=settings_of(head)), read_dataset(str(squares[0]))).eval()
    with torch.no_grad():
        logits = model.head(model.backbone(torch.rand(8, 3, 32, 48))).logits
    assert logits.abs().max() < 3


@pytest.mark.parametrize("head", ALL_HEADS)
def test_it_learns_with_regions_and_without(head, make_config):
    config = make_config(
        model=settings_of(head),
        steps=4,
        global_steps=2,
        freeze_backbone=False,
        learning_rate=1e-3,
        evaluate_every=4,
        loss=LossConfig("asymmetric"),
    )
    folder = train(config)
    losses = [line.split(",")[1] for line in (folder / "steps.csv").read_text().splitlines()[1:]]
    assert len(losses) == 4
    assert load_checkpoint(folder).config.head == head


@pytest.mark.parametrize("head", KNOWING_HEADS)
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
