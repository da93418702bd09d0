"""Siblings of the cases, which were found by trying: read right, or told in a line."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from didvit.data.images import ImageError, read_image


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Six images, in a folder that relative paths start at."""
    monkeypatch.chdir(tmp_path)
    for i in range(6):
        Image.new("RGB", (48, 32), (i * 40, 10, 20)).save(f"{i}.png")
    return tmp_path


def write(name: str, *rows: str) -> str:
    Path(name).write_text("\n".join(rows) + "\n")
    return name


def test_labels_that_stand_for_nothing_are_told(didvit):
    """pandas writes 'nan' where a cell was empty, and so do others."""
    write("table.csv", "image,labels", "0.png,cat", "1.png,nan", "2.png,None", "3.png,")
    result = didvit("data check table.csv")
    assert "2 labels as programs write a missing value: 'None', 'nan'; leave" in result.notes


@pytest.mark.parametrize("length", [1001, 300_000])
def test_text_of_pages_is_no_label(didvit, length):
    write("table.csv", "image,labels", f"0.png,{'x' * length}", "1.png,dog")
    result = didvit("data check table.csv")
    result.assert_refused("table.csv, line 2: 'xxx", f"it has {length:,} characters; expected at")
    assert len(result.err) < 500


def test_long_labels_are_shortened_in_messages(didvit):
    write("table.csv", "image,labels", f"0.png,{'x' * 900}", "1.png,dog")
    result = didvit("data check table.csv")
    assert result.code == 0
    assert all(len(line) < 400 for line in result.notes.splitlines())


def test_the_index_of_pandas_is_no_column_of_labels(didvit):
    write("table.csv", ",image,labels", "0,0.png,cat", "1,1.png,dog")
    result = didvit("data check table.csv")
    assert result.code == 0
    assert "not read" not in result.notes


@pytest.mark.skipif(os.name != "posix", reason="links need rights here")
def test_links_to_folders_are_counted(didvit):
    for label in ("cat", "dog", "elsewhere"):
        os.makedirs(f"photos/{label}" if label != "elsewhere" else label)
        Image.new("RGB", (32, 32)).save(
            f"{label}/a.png" if label == "elsewhere" else f"photos/{label}/a.png"
        )
    os.symlink("../../elsewhere", "photos/cat/more")
    os.symlink(".", "photos/dog/loop")
    result = didvit("data check photos")
    assert result.code == 3
    assert "2 files passed over, such as cat/more, dog/loop: links to folders" in result.notes
    result = didvit("predict photos")
    assert (result.code, len(result.lines)) == (0, 2)
    assert "links to folders; name those themselves" in result.err


def shard(*members: str) -> bytes:
    """A tar file of pictures that have one label each."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i, member in enumerate(members):
            for suffix, content in (
                ("png", Path(f"{i}.png").read_bytes()),
                ("cls", member.encode()),
            ):
                info = tarfile.TarInfo(f"{member}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_shards_that_are_cut_off_between_samples_are_told(didvit):
    """Python's tarfile takes the end of the file for the end of the archive."""
    Path("cut.tar").write_bytes(shard("cat", "dog")[:2048])
    result = didvit("data check cut.tar")
    assert result.code == 3
    assert "cut.tar: it is cut off or damaged at byte 2,048, and what follows" in result.notes


def test_shards_with_a_damaged_header_are_told(didvit):
    content = bytearray(shard("cat", "dog"))
    content[2048:2056] = b"\xff" * 8
    Path("bad.tar").write_bytes(content)
    result = didvit("data check bad.tar")
    assert result.code == 3
    assert "bad.tar: it is cut off or damaged at byte 2,048" in result.notes


def test_joined_shards_are_told(didvit):
    """cat a.tar b.tar > joined.tar"""
    Path("joined.tar").write_bytes(shard("cat") + shard("dog"))
    result = didvit("data check joined.tar")
    assert result.code == 3
    assert "joined.tar: there is more behind its end, as where tar files were joined" in (
        result.notes
    )


def test_whole_shards_are_well(didvit):
    Path("whole.tar").write_bytes(shard("cat", "dog"))
    assert didvit("data check whole.tar").code == 0


def test_compressed_shards_and_endless_patterns_are_refused(didvit):
    Path("packed.tar").write_bytes(gzip.compress(shard("cat", "dog")))
    didvit("data check packed.tar").assert_refused("packed.tar", "unpack it with gunzip")
    didvit("data check shard-{000..999999999}.tar").assert_refused("1,000,000,000 files; expected")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"annotations": [{"id": 4, "image_id": 0}]}, "number 0 has no 'category_id'"),
        ({"annotations": [{"image_id": [0], "category_id": 1}]}, "its image_id is [0]; expected"),
        ({"annotations": None}, "a list under 'annotations', got NoneType"),
        ({"images": ["0.png"]}, "of its images, number 0 has no 'id'"),
        ({"categories": [{"id": 1}]}, "of its categories, number 0 has no 'name'"),
    ],
)
def test_what_lacks_in_coco_is_named(didvit, changes, part):
    content = {
        "images": [{"id": 0, "file_name": "0.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 0, "category_id": 1}],
    }
    Path("coco.json").write_text(json.dumps(content | changes))
    didvit("data check coco.json").assert_refused("coco.json", part)


@pytest.mark.parametrize("part", [0.5, 0.9, 0.999])
def test_jpeg_2000_that_is_cut_off_is_no_image(part):
    """OpenJPEG fills up what lacks at the end, and says nothing."""
    Image.effect_noise((64, 64), 80).save("a.jp2")
    content = Path("a.jp2").read_bytes()
    whole = read_image("a.jp2")
    Path("a.jp2").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ImageError, match=r"a\.jp2: the image is damaged"):
        read_image("a.jp2")
    Path("a.jp2").write_bytes(content)
    assert np.array_equal(read_image("a.jp2"), whole)


def test_addresses_are_no_files(didvit):
    didvit("predict https://example.org/a.jpg").assert_refused("is an address; expected files")


def test_a_run_whose_validation_measures_nothing_ends_in_words(didvit, tiny_training):
    write("train.csv", "image,labels", *(f"{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(4)))
    write("val.csv", "image,labels", "4.png,cat", "damaged.png,dog")
    Path("damaged.png").write_text("no image")
    command = "train --data.train train.csv --data.val val.csv --output run"
    result = didvit(command, *tiny_training)
    assert result.code == 0
    assert "cannot be measured, as the validation data have no label that is both present" in (
        result.err
    )


def test_damaged_training_images_are_counted(didvit, tiny_training):
    write("train.csv", "image,labels", "0.png,cat", "1.png,dog", "damaged.png,dog")
    write("val.csv", "image,labels", "4.png,cat", "5.png,dog")
    Path("damaged.png").write_text("no image")
    command = "train --data.train train.csv --data.val val.csv --output run"
    result = didvit(command, *tiny_training)
    assert result.code == 0
    assert "1 training image could not be read; another took the place of each; first: " in (
        result.err
    )


def test_weights_that_give_no_numbers_name_their_model(didvit, save_tiny_model):
    weights = save_tiny_model(Path("broken")) / "model.safetensors"
    state = safetensors.torch.load_file(weights)
    state = {k: torch.full_like(v, 3e38) if "patch_embed" in k else v for k, v in state.items()}
    safetensors.torch.save_file(state, weights)
    result = didvit("predict 0.png --model broken")
    result.assert_refused("--model broken: ", "the weights are damaged")


@pytest.mark.skipif(os.name != "posix", reason="the system has no such names")
@pytest.mark.parametrize("name", [b"a\nb.png", b"a b.png", b"a:b.png", b"\xff.png", b"[1].png"])
def test_odd_names_have_a_line_each(didvit, name):
    os.makedirs("photos/cat")
    path = os.path.join(b"photos/cat", name)
    Image.new("RGB", (32, 32)).save(io.BytesIO(), "PNG")
    with open(path, "wb") as file:
        file.write(Path("0.png").read_bytes())
    os.makedirs("photos/dog")
    Image.new("RGB", (32, 32), "white").save("photos/dog/b.png")
    result = didvit("predict photos")
    assert (result.code, len(result.lines)) == (0, 2)
    assert didvit("data check photos").code == 0
    with open(path, "wb") as file:
        file.write(b"no image")
    result = didvit("predict photos")
    assert result.code == 3
    failed, summary = result.err.splitlines()
    assert failed.startswith("failed photos/cat/")
    assert summary.startswith("2 images: ")
