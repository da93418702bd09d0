from pathlib import Path

import pytest
from PIL import Image

from didvit.config import ConfigError
from didvit.data.images import ImageError
from didvit.inference.paths import (
    PICTURE_MARK,
    check_pictures,
    find_images,
    is_own_picture,
    picture_names,
    search,
)


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


def named(found, output):
    """Pictures by image, both as text below their folders."""
    pictures = picture_names(found.images, found.base, output)
    return {
        str(image.relative_to(found.base)): picture.relative_to(output).as_posix()
        for image, picture in pictures.items()
    }


def make_own(*paths):
    """Pictures as ``didvit predict`` makes them."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(path, comment=PICTURE_MARK)


def test_pictures_mirror_the_folders_of_the_images(tmp_path):
    photos = tmp_path / "photos"
    touch(*(photos / name for name in ("a.jpg", "x/a.jpg", "x/y/a.png", "z/b.tar.png")))
    expected = {
        **{"a.jpg": "a.jpg", "x/a.jpg": "x/a.jpg", "x/y/a.png": "x/y/a.jpg"},
        "z/b.tar.png": "z/b.tar.jpg",
    }
    out = tmp_path / "out"
    by_folder = search([photos], out)
    assert by_folder.base == photos
    assert named(by_folder, out) == expected
    # Named one by one, or as a shell expands photos/*, they go to the same places.
    assert named(search(sorted(photos.iterdir()), out), out) == expected
    assert named(search([f"{photos}/**/*.*g"], out), out) == expected


def test_images_of_several_folders_do_not_meet(tmp_path):
    touch(tmp_path / "2023" / "a.jpg", tmp_path / "2024" / "a.jpg")
    out = tmp_path / "out"
    expected = {"2023/a.jpg": "2023/a.jpg", "2024/a.jpg": "2024/a.jpg"}
    assert named(search([tmp_path / "2023", tmp_path / "2024"], out), out) == expected
    files = [tmp_path / "2023" / "a.jpg", tmp_path / "2024" / "a.jpg"]
    assert named(search(files, out), out) == expected
    assert named(search(files[:1], out), out) == {"a.jpg": "a.jpg"}


def test_relative_paths(tmp_path, monkeypatch):
    touch(tmp_path / "photos" / "x" / "a.jpg", tmp_path / "b.jpg")
    monkeypatch.chdir(tmp_path)
    found = search(["photos", "b.jpg"], Path("out"))
    pictures = picture_names(found.images, found.base, Path("out"))
    assert list(pictures.values()) == [Path("out/photos/x/a.jpg"), Path("out/b.jpg")]


def test_names_that_collide_in_a_folder_are_numbered(tmp_path):
    images = [tmp_path / name for name in ("a.jpg", "a.png", "b/A.gif", "A.gif", "a-2.jpg")]
    names = picture_names(images, tmp_path, tmp_path / "out")
    assert list(names) == images
    relative = [p.relative_to(tmp_path / "out").as_posix() for p in names.values()]
    assert relative == ["a.jpg", "a-2.jpg", "b/A.jpg", "A-3.jpg", "a-2-2.jpg"]


def test_what_lies_in_the_output_folder_is_left_out(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "photos" / "pictures"
    touch(photos / "a.jpg", photos / "pictures2" / "b.jpg", out / "sub" / "c.jpg")
    kept, left = [photos / "a.jpg", photos / "pictures2" / "b.jpg"], [out / "sub" / "c.jpg"]
    for paths in ([photos], [f"{photos}/**/*.jpg"], [photos, out / "missing" / ".." / "nothing"]):
        found = search(paths, out)
        assert found.images[:2] == tuple(kept)
        assert found.pictures == tuple(left)
    assert search([photos]).pictures == ()


def test_own_pictures_are_left_out_however_they_are_named(tmp_path):
    """As a shell expands photos/* and photos/**/*.jpg."""
    photos, out = tmp_path / "photos", tmp_path / "photos" / "pictures"
    touch(photos / "a.jpg")
    make_own(out / "a.jpg", out / "x" / "b.jpg")
    for paths in ([photos / "a.jpg", out], [photos / "a.jpg", out / "a.jpg", out / "x" / "b.jpg"]):
        found = search(paths, out)
        assert found.images == (photos / "a.jpg",)
        assert found.pictures == (out / "a.jpg", out / "x" / "b.jpg")
        assert picture_names(found.images, photos, out) == {photos / "a.jpg": out / "a.jpg"}


def test_photographs_among_pictures_are_not_left_out_but_refused(tmp_path):
    touch(tmp_path / "out" / "photograph.jpg")
    named = tmp_path / "out" / "photograph.jpg"
    found = search([named], tmp_path / "out")
    assert found.images == (named,)
    with pytest.raises(ConfigError, match=r"among the photographs.*photograph\.jpg"):
        picture_names(found.images, found.base, tmp_path / "out")


def test_no_picture_goes_where_images_are(tmp_path):
    photos = tmp_path / "photos"
    touch(photos / "a.png", photos / "x" / "b.png")
    (tmp_path / "link").symlink_to(photos)
    for output in (photos, tmp_path / "link"):
        found = search([photos], output)
        with pytest.raises(ConfigError, match=r"a\.png, and could replace .* --output .*pictures"):
            picture_names(found.images, found.base, output)
    found = search([photos / "x"], photos)
    assert list(picture_names(found.images, found.base, photos).values()) == [photos / "b.jpg"]


def test_existing_pictures_are_replaced_only_where_that_is_asked_for(tmp_path):
    pictures = {tmp_path / name: tmp_path / "out" / name for name in ("a.jpg", "b.jpg")}
    check_pictures(pictures, overwrite=False)
    make_own(tmp_path / "out" / "b.jpg")
    with pytest.raises(ConfigError, match=r"1 of the pictures exist.*b\.jpg.*--overwrite"):
        check_pictures(pictures, overwrite=False)
    check_pictures(pictures, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_picture_of_ours_is_never_replaced(tmp_path, overwrite):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg", comment="a holiday")
    (tmp_path / "b.jpg").mkdir()
    for name in ("a.jpg", "b.jpg"):
        assert not is_own_picture(tmp_path / name)
        with pytest.raises(ConfigError, match=rf"{name} exists, and is no picture"):
            check_pictures({tmp_path / "image": tmp_path / name}, overwrite)


def test_every_path_is_tried(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "empty" / "notes.txt")
    found = search([tmp_path / "empty", tmp_path / "a.jpg", f"{tmp_path}/*.webp", ""])
    assert found.images == (tmp_path / "a.jpg",)
    assert list(found.failures) == [str(tmp_path / "empty"), f"{tmp_path}/*.webp", ""]
    assert "no images in this folder" in found.failures[str(tmp_path / "empty")]
    nothing = search(["*.nothing"])
    assert nothing.images == ()
    assert list(nothing.failures) == ["*.nothing"]


def test_what_is_passed_over_is_named(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "b.nef", tmp_path / "x" / "c.NEF", tmp_path / "notes.txt")
    of_images, of_others = sorted(search([tmp_path]).passed_over, key=lambda of: of.reason)[::-1]
    assert set(of_images.paths) == {tmp_path / "b.nef", tmp_path / "x" / "c.NEF"}
    assert "raw" in of_images.reason
    assert of_others.paths == (tmp_path / "notes.txt",)


def test_empty_path_is_refused():
    with pytest.raises(ImageError, match="a path is empty"):
        find_images([""])
