import os

import pytest

from didvit.config import ConfigError
from didvit.data.images import ImageError
from didvit.paths import find_images, picture_names


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folders_are_searched_and_sorted(tmp_path):
    wanted = [tmp_path / name for name in ("a.PNG", "b/c.jpeg", "b/d/e.gif", "z.jpg")]
    hidden = [tmp_path / name for name in (".h.jpg", ".cache/i.jpg", "b/.j/k.png", "b/._c.jpg")]
    touch(*reversed(wanted), *hidden, tmp_path / "notes.txt", tmp_path / "no_suffix")
    (tmp_path / "folder.jpg").mkdir()
    assert find_images([tmp_path]) == wanted
    assert find_images([tmp_path / "b"]) == wanted[1:3]


def test_a_hidden_folder_that_is_named_is_searched(tmp_path):
    touch(tmp_path / ".hidden" / "a.jpg")
    assert find_images([tmp_path / ".hidden"]) == [tmp_path / ".hidden" / "a.jpg"]


def test_current_folder(tmp_path, monkeypatch):
    touch(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in find_images(["."])] == ["a.jpg"]


def test_paths_keep_their_order_and_come_once(tmp_path):
    a, b, c = (tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg"))
    touch(a, b, c)
    assert find_images([c, str(a), tmp_path, a]) == [c, a, b]
    assert find_images([]) == []


def test_globs(tmp_path):
    touch(*(tmp_path / name for name in ("b1.jpg", "b2.jpg", "c.jpg", "sub/b3.jpg", ".b4.jpg")))
    names = [path.name for path in find_images([tmp_path / "b?.jpg"])]
    assert names == ["b1.jpg", "b2.jpg"]
    assert [p.name for p in find_images([f"{tmp_path}/*"])] == ["b1.jpg", "b2.jpg", "c.jpg"]
    assert [p.name for p in find_images([f"{tmp_path}/**/b*.jpg"])] == [
        "b1.jpg",
        "b2.jpg",
        "b3.jpg",
    ]
    with pytest.raises(ImageError, match="no file matches"):
        find_images([tmp_path / "*.webp"])
    (tmp_path / "only.folder").mkdir()
    with pytest.raises(ImageError, match="no file matches; folders do"):
        find_images([tmp_path / "only.*"])


def test_names_with_glob_characters_are_names_first(tmp_path):
    touch(tmp_path / "a[1].jpg", tmp_path / "a1.jpg", tmp_path / "what?.jpg")
    assert find_images([tmp_path / "a[1].jpg"]) == [tmp_path / "a[1].jpg"]
    assert find_images([tmp_path / "what?.jpg"]) == [tmp_path / "what?.jpg"]
    touch(tmp_path / "[x]" / "b.jpg", tmp_path / "[x]" / "c.jpg")
    assert find_images([tmp_path / "[x]"]) == [tmp_path / "[x]" / n for n in ("b.jpg", "c.jpg")]


def test_empty_folder(tmp_path):
    touch(tmp_path / "notes.txt")
    with pytest.raises(ImageError, match=r"no images in this folder .*\.jpg"):
        find_images([tmp_path])


def test_missing_file_is_kept_for_the_reader_to_report(tmp_path):
    assert find_images([tmp_path / "missing.jpg"]) == [tmp_path / "missing.jpg"]


def test_picture_names(tmp_path):
    images = [tmp_path / name for name in ("a.jpg", "a.png", "b/A.gif", "a-2.jpg", "x.tar.png")]
    names = picture_names(images, tmp_path / "out")
    assert list(names) == [str(image) for image in images]
    stems = ["a", "a-2", "A-3", "a-2-2", "x.tar"]
    assert [p.stem for p in names.values()] == stems
    assert {p.suffix for p in names.values()} == {".jpg"}
    assert {p.parent for p in names.values()} == {tmp_path / "out"}
    assert len({os.fspath(p).lower() for p in names.values()}) == len(images)


def test_pictures_made_before_are_left_out(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "out" / "a.jpg", tmp_path / "output" / "b.jpg")
    kept = [tmp_path / "a.jpg", tmp_path / "output" / "b.jpg"]
    assert find_images([tmp_path], leave_out=tmp_path / "out") == kept
    # A file that is named is not left out.
    named = tmp_path / "out" / "a.jpg"
    assert find_images([named], leave_out=tmp_path / "out") == [named]


def test_no_picture_goes_where_images_are(tmp_path):
    touch(tmp_path / "photos" / "a.png", tmp_path / "b.png")
    images = [tmp_path / "b.png", tmp_path / "photos" / "a.png"]
    with pytest.raises(ConfigError, match=r"folder of the image a\.png.*choose another folder"):
        picture_names(images, tmp_path / "photos")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(ConfigError, match="choose another folder"):
        picture_names(images, tmp_path / "link")


def test_empty_path_is_refused():
    with pytest.raises(ImageError, match="a path is empty"):
        find_images([""])
