import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from didvit.config import ConfigError, LossConfig, with_settings
from didvit.config.serialization import to_json
from didvit.data.table import Table
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
from didvit.training import checkpointing as resume
from didvit.training import trainer as training
from didvit.training.checkpointing import (
    check_same_run,
    data_digests,
    load_newest_state,
    save_state,
)
from didvit.training.trainer import train
from runs import MODEL, Record, changed, equal, results_of, tiny_config, weights_of

pytestmark = pytest.mark.usefixtures("without_curves")

SETTINGS = {
    "steps": 7,
    "evaluate_every": 3,
    "save_every": 2,
    "ema": 0.8,
    "clip_norm": 5.0,
    "freeze_backbone": False,
    "single_view_fraction": 3 / 7,
    "small_fraction": 2 / 7,
    "small_size": (16, 32),
    "accumulate": 2,
    "localization": "random",
}


class KilledError(Exception):
    pass


class KilledAt(Record):
    """Ends the run when it is told of this."""

    def __init__(self, kind, step):
        super().__init__()
        self.kind, self.at = kind, step

    def step(self, step, *rest):
        super().step(step, *rest)
        if (self.kind, self.at) == ("step", step):
            raise KilledError

    def evaluation(self, step, *rest):
        super().evaluation(step, *rest)
        if (self.kind, self.at) == ("evaluation", step):
            raise KilledError


@pytest.fixture(scope="module")
def whole(squares, tmp_path_factory):
    """The results of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return results_of(train(tiny_config(folder, *squares, **SETTINGS)).folder)


@pytest.fixture
def config(make_config):
    return make_config(**SETTINGS)


def kill(config, kind, step):
    with pytest.raises(KilledError):
        train(config, KilledAt(kind, step))


def going_on(config, **settings):
    return changed(config, resume=True, **settings)


def states(config):
    return sorted((config.output / "checkpoints").iterdir())


# Killed, and gone on with


@pytest.mark.parametrize(
    ("kind", "step"),
    [*(("step", step) for step in range(1, 8)), *(("evaluation", step) for step in (3, 6, 7))],
)
def test_killed_anywhere_it_ends_the_same(whole, config, kind, step):
    kill(config, kind, step)
    record = Record()
    assert train(going_on(config), record).folder == config.output
    assert results_of(config.output) == whole
    saved = (step - 1) // 2 * 2  # the observer hears of a step before it is saved
    assert record.of("start") == [(24, 3, 16, saved)]
    assert [call[0] for call in record.of("step")] == list(range(saved + 1, 8))
    assert record.of("warn") == []


def test_killed_again_and_again(whole, config):
    kill(config, "step", 3)
    for step in (4, 4, 5, 6, 7, 7):
        kill(going_on(config), "step", step)
    assert results_of(train(going_on(config)).folder) == whole


@pytest.mark.parametrize(
    ("name", "call"),
    [*(("save_checkpoint", call) for call in (0, 1, 3)), ("save_state", 0), ("save_state", 2)],
)
def test_killed_while_writing(whole, config, monkeypatch, name, call):
    calls, write = [], getattr(training, name)

    def dying(*arguments):
        calls.append(None)
        if len(calls) > call:
            raise KilledError
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, name, dying)
        with pytest.raises(KilledError):
            train(config)
    assert results_of(train(going_on(config)).folder) == whole


def test_killed_while_it_learns_from_a_teacher(squares, tmp_path, randomized):
    teaching = with_settings(MODEL, {"localization": "random"})
    model = randomized(build_model(teaching, 3), seed=8)
    save_checkpoint(tmp_path / "teacher", model, ("blue", "green", "red"), teaching)
    settings = {**SETTINGS, "loss": LossConfig(teacher=str(tmp_path / "teacher"))}
    whole, plain, config = (
        tiny_config(tmp_path / name, *squares, **of)
        for name, of in (("whole", settings), ("plain", SETTINGS), ("killed", settings))
    )
    kill(config, "step", 5)
    results = results_of(train(going_on(config)).folder)
    assert results == results_of(train(whole).folder)
    assert results["steps.csv"] != results_of(train(plain).folder)["steps.csv"]


def test_the_states_kept(config):
    train(config)
    assert [path.name for path in states(config)] == ["00000006.pt", "00000007.pt"]


def test_a_run_that_never_started_is_started(whole, config):
    assert results_of(train(going_on(config)).folder) == whole


def test_a_finished_run_is_left_as_it_is(whole, config):
    train(config)
    record = Record()
    assert train(going_on(config), record).folder == config.output
    assert record.calls == [("start", 24, 3, 16, 7)]
    assert results_of(config.output) == whole


# Damaged states


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def scribble(path):
    path.write_text("This is no training state.\n" * 100)


def other_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")


DAMAGES = [cut, flip, empty, scribble, other_archive]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen(tmp_path, damage):
    for step in (1, 2):
        save_state(tmp_path, step, {"step": step, "values": torch.arange(64.0)})
    damage(tmp_path / "00000002.pt")
    warnings = []
    assert load_newest_state(tmp_path, warnings.append)["step"] == 1
    (warning,) = warnings
    assert warning.startswith(f"{tmp_path / '00000002.pt'} is damaged (")
    assert "\n" not in warning


@pytest.mark.parametrize("damage", [cut, flip])
def test_the_state_before_a_damaged_one_is_used(whole, config, damage):
    kill(config, "step", 5)
    damage(states(config)[-1])
    record = Record()
    train(going_on(config), record)
    ((warning,),) = record.of("warn")
    assert warning.startswith(f"{config.output / 'checkpoints' / '00000004.pt'} is damaged (")
    assert record.of("start") == [(24, 3, 16, 2)]
    assert results_of(config.output) == whole


def test_without_a_whole_state_it_starts_anew(whole, config):
    kill(config, "step", 5)
    cut(states(config)[0])
    flip(states(config)[1])
    record = Record()
    train(going_on(config), record)
    assert len(record.of("warn")) == 2
    assert record.of("start") == [(24, 3, 16, 0)]
    assert results_of(config.output) == whole


def test_states_written_after_a_damaged_one_are_kept(whole, config):
    """Damaged states of later steps do not push them out."""
    kill(config, "step", 7)
    for path in states(config):
        flip(path)
    kill(going_on(config), "step", 4)
    record = Record()
    train(going_on(config), record)
    assert record.of("start") == [(24, 3, 16, 2)]
    assert record.of("warn") == []
    assert results_of(config.output) == whole


def test_no_byte_of_a_tensor_can_change_unseen(tmp_path):
    """As a checksum would have it; torch itself would load the state."""
    save_state(tmp_path, 1, {"values": torch.arange(64.0)})
    path = tmp_path / "00000001.pt"
    whole = path.read_bytes()
    start = whole.index(torch.arange(64.0).numpy().tobytes())
    for place in range(start, start + 256, 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        warnings = []
        assert load_newest_state(tmp_path, warnings.append) is None
        assert len(warnings) == 1
    path.write_bytes(whole)
    assert torch.equal(load_newest_state(tmp_path)["values"], torch.arange(64.0))


def test_any_cut_is_seen(tmp_path):
    save_state(tmp_path, 1, {"values": torch.arange(64.0), "losses": [1.0, 2.0]})
    path = tmp_path / "00000001.pt"
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        assert load_newest_state(tmp_path) is None


def test_no_state(tmp_path):
    assert load_newest_state(tmp_path / "missing") is None


# A full disk


@pytest.fixture
def small_files():
    """Let no file grow beyond so many bytes, as if the disk were full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_a_full_disk_leaves_the_states_before(tmp_path, small_files, size):
    state = {"values": torch.arange(100_000)}
    save_state(tmp_path, 1, state)
    before = (tmp_path / "00000001.pt").read_bytes()
    small_files(size)
    with pytest.raises(OSError, match="the training state cannot be written to") as caught:
        save_state(tmp_path, 2, state)
    assert str(tmp_path) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.pt"]
    assert (tmp_path / "00000001.pt").read_bytes() == before
    assert torch.equal(load_newest_state(tmp_path)["values"], state["values"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("write")])
def test_a_run_on_a_full_disk_can_go_on_later(whole, config, monkeypatch, error):
    save = torch.save

    def full(state, path):
        if state["progress"]["step"] < 4:
            return save(state, path)
        path.write_bytes(b"half of it")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(resume.torch, "save", full)
        with pytest.raises(OSError, match=r"No space left|cannot be written"):
            train(config)
    assert [path.name for path in states(config)] == ["00000002.pt"]
    assert results_of(train(going_on(config)).folder) == whole


def test_a_model_that_cannot_be_written_leaves_the_one_before(tmp_path, model_folder, small_files):
    loaded = load_checkpoint(model_folder)
    save_checkpoint(tmp_path / "model", loaded.model, loaded.labels, loaded.config)
    before = weights_of(tmp_path / "model")
    small_files(100_000)
    with pytest.raises(OSError, match="the model cannot be written to"):
        save_checkpoint(tmp_path / "model", loaded.model, loaded.labels, loaded.config)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
    assert equal(before, weights_of(tmp_path / "model"))


# Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 8}, "but schedule.steps was 7 and is 8"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"ema": 0.0}, "optimizer.ema was 0.8 and is 0.0"),
        ({"learning_rate": 0.1}, "optimizer.learning_rate was None and is 0.1"),
        ({"precision": "bf16-mixed"}, "runtime.precision was fp32 and is bf16-mixed"),
        ({"augmentation": "resize"}, "data.augmentation was multi_scale_crop and is resize"),
        ({"choose": "last"}, "choose was best and is last"),
        ({"loss": LossConfig("focal")}, "loss.name was soft_margin and is focal"),
        ({"small_size": (32, 32)}, r"schedule.small_size was \[16, 32\] and is \[32, 32\]"),
        ({"model": MODEL}, "model.method.localization was random and is largest_component"),
        ({"batch_size": 8, "seed": 2}, "schedule.batch_size was 6 and is 8; seed was 0 and is 2"),
    ],
)
def test_changed_settings_are_refused(config, settings, words):
    kill(config, "step", 1)
    before = (config.output / "train.json").read_bytes()
    with pytest.raises(ConfigError, match=words):
        train(going_on(config, **settings))
    assert (config.output / "train.json").read_bytes() == before


def test_other_data_are_refused(config):
    kill(config, "step", 1)
    data = dataclasses.replace(config.data, difficult="positive")
    with pytest.raises(ConfigError, match=r"data.difficult was ignore and is positive"):
        train(going_on(config, data=data))


def test_settings_that_do_not_matter_may_change(whole, config, tmp_path):
    kill(config, "step", 5)
    moved = config.output.rename(tmp_path / "moved")
    data = dataclasses.replace(config.data, workers=1)
    train(going_on(config, data=data, save_every=1, output=moved))
    assert results_of(moved) == whole


def test_data_may_lie_elsewhere(whole, config, tmp_path):
    kill(config, "step", 5)
    tables = []
    for spec in (config.data.train[0], config.data.val):
        folder = Path(spec).parent
        shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
        tables.append(f"{folder.name}/{Path(spec).name}")
    data = dataclasses.replace(
        config.data, train=(tables[0],), val=tables[1], root=tmp_path / "elsewhere"
    )
    train(going_on(config, data=data))
    assert results_of(config.output) == whole


def test_a_run_is_not_started_over(config):
    kill(config, "step", 3)
    with pytest.raises(ConfigError, match=r"holds a run already; .* --resume"):
        train(config)


def test_a_run_that_left_nothing_is_started_over(whole, config):
    kill(config, "step", 1)
    assert results_of(train(config).folder) == whole


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"settings": {}}', '{"data": {}}'])
def test_damaged_settings_are_refused(tmp_path, config, text):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(ConfigError, match=r"train\.json cannot be read"):
        check_same_run(tmp_path / "train.json", to_json(config), {})


def test_settings_of_another_version_are_refused(tmp_path, config):
    settings = to_json(config)
    content = {"settings": settings | {"old": 1}, "data": {}}
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="old was 1 and is None"):
        check_same_run(tmp_path / "train.json", settings, {})


# Data


@pytest.mark.parametrize("place", [0, 1])
def test_a_table_that_was_edited_is_refused(squares, tmp_path, place):
    tables = []
    for table in squares:
        folder = tmp_path / table.parent.name
        shutil.copytree(table.parent, folder)
        tables.append(folder / "table.csv")
    config = tiny_config(tmp_path / "run", *tables, **SETTINGS)
    kill(config, "step", 3)
    text = tables[place].read_text()
    tables[place].write_text(text.replace("1.png,blue", "1.png,red", 1))
    name = ("train", "val")[place]
    with pytest.raises(ConfigError, match=f"data.{name} has other images or labels than it had"):
        train(going_on(config))
    tables[place].write_text(text)
    train(going_on(config))


def test_digests_of_tables():
    one = Table((Path("x/a.png"), Path("x/b.png")), (frozenset("p"), frozenset()), ("p", "q"))
    moved = dataclasses.replace(one, images=(Path("y/a.png"), Path("y/b.png")))
    others = [
        dataclasses.replace(one, images=one.images[::-1]),
        dataclasses.replace(one, images=(Path("x/a.png"), Path("x/c.png"))),
        dataclasses.replace(one, image_labels=(frozenset("q"), frozenset())),
        dataclasses.replace(one, image_labels=(frozenset(), frozenset("p"))),
        dataclasses.replace(one, unknown=(frozenset("q"), frozenset())),
        dataclasses.replace(one, labels=("p", "r")),
    ]
    digests = [data_digests(table, one) for table in (one, moved, *others)]
    assert digests[0] == digests[1]
    assert len({digest["train"] for digest in digests}) == 7
    assert len({digest["val"] for digest in digests}) == 1
