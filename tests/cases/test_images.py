"""Cases of image files and of folders of images: what is read, and how the rest is told."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from didvit.data.images import read_image


def test_photographs_with_odd_exif_numbers_are_read_and_turned(case, didvit):
    """03: the pixels and the orientation are whole, whatever the other tags hold."""
    folder = case("03")
    result = didvit("predict .")
    assert result.code == 0
    assert result.lines
    assert all((line["height"], line["width"]) == (320, 256) for line in result.lines)
    pixels = [read_image(path) for path in sorted(folder.glob("*.jpg"))]
    assert all(np.array_equal(pixels[0], other) for other in pixels[1:])


def test_floats_are_scaled_by_their_range(case, didvit):
    """12: [0, 1] and [0, 255] are the same picture."""
    folder = case("12")
    assert np.array_equal(read_image(folder / "zero-to-one.tif"), read_image("zero-to-255.tif"))
    one, other = didvit("predict .").lines
    assert one["labels"] == other["labels"]


@pytest.mark.parametrize(("least", "most"), [(-1, 1), (0, 256), (0, 3e38)])
def test_floats_of_no_known_range_are_refused(case, didvit, least, most):
    case("12")
    values = np.linspace(least, most, 32 * 48, dtype=np.float32).reshape(32, 48)
    Image.fromarray(values).save("odd.tif")
    result = didvit("predict odd.tif")
    assert result.code == 3
    assert result.lines[0]["error"].startswith("odd.tif: ")


def test_metadata_are_passed_over_and_damaged_pixels_are_not(case, didvit):
    """18: a PNG with a huge text is whole; half a JPEG is not."""
    case("18")
    result = didvit("data check t.csv")
    assert result.code == 3
    assert "2 unreadable images" in result.notes
    assert "bit-rot.jpg (the image is damaged" in result.notes
    assert "png-text-2mb.png" not in result.out


def test_every_image_of_a_label_folder_is_read_or_counted(case, didvit):
    """10: suffixes, files without one, and folders within a label's folder."""
    case("10")
    result = didvit("data check photos")
    assert result.code == 3
    assert "4 files (4 .jpg) passed over, such as more/0.jpg, big/0.jpg" in result.notes
    assert "1 folder without an image that can be read directly in it, so no label: dog" in (
        result.notes
    )
    assert "5 images in 1 data set with 2 labels" in result.notes
    names = Counter(line["image"] for line in didvit("predict photos").lines)
    assert len(names) == sum(names.values()) == 9


def test_a_folder_has_a_line_for_every_image(case, didvit):
    """11: what is read by its name is read in its folder too."""
    case("11")
    result = didvit("predict photos")
    assert result.code == 3  # the HEIC is a stub
    lines = {line["image"]: line for line in result.lines}
    assert list(lines) == [f"photos/{name}" for name in ("0.jpg", "a.avif", "b.jp2", "c.mpo")] + [
        "photos/d.HEIC"
    ]
    assert [name for name, line in lines.items() if "error" in line] == ["photos/d.HEIC"]
    assert "5 images: 4 with labels" in result.err


def test_heic_is_counted_where_it_cannot_be_read(case, didvit, monkeypatch):
    case("11")
    monkeypatch.setattr("didvit.data.kinds.reads_heif", lambda: False)
    result = didvit("predict photos")
    assert result.code == 0
    assert len(result.lines) == 4
    assert "1 file (1 .heic) passed over, such as photos/d.HEIC: HEIF photographs; " in result.err


def test_a_named_pipe_is_no_image(case, didvit):
    """14: nothing waits for what will not come."""
    import os

    case("14")
    os.mkfifo("photos/cat/p.jpg")
    result = didvit("data check photos")
    assert result.code == 3
    assert "photos/cat/p.jpg (not a regular file, but a pipe" in result.notes
    result = didvit("predict photos")
    assert (result.code, len(result.lines)) == (3, 3)
    with open("table.csv", "w") as file:
        file.write("image,labels\nphotos/cat/0.jpg,cat\nphotos/cat/p.jpg,dog\n")
    result = didvit("data check table.csv")
    assert result.code == 3
    assert "photos/cat/p.jpg" in result.notes
