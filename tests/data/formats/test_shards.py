import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from didvit.data.datasets import read_dataset
from didvit.data.formats.shards import expand
from didvit.data.images import ImageError, read_image
from refusals import refused


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


def write_tar(path, members, mode="w"):
    """A tar file of names and contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key, seed, *labels):
    return [(f"{key}.png", png(seed)[0]), (f"{key}.json", json.dumps({"labels": labels}))]


class TestRead:
    def test_pixels_and_labels(self, tmp_path):
        path = write_tar(
            tmp_path / "0.tar", [*sample("a", 0, "cat", "dog"), *sample("b", 1), *sample("c", 2)]
        )
        table = read_dataset(path)
        assert [str(image) for image in table.images] == [f"{path}:{key}.png" for key in "abc"]
        assert table.image_labels == ({"cat", "dog"}, set(), set())
        for seed, image in enumerate(table.images):
            assert np.array_equal(read_image(image), png(seed)[1])

    @pytest.mark.parametrize(
        ("kind", "text", "present", "unknown"),
        [
            ("json", '{"labels": ["cat", "dog"], "unknown": ["cow"]}', {"cat", "dog"}, {"cow"}),
            ("json", '{"labels": []}', set(), set()),
            ("cls", "cat", {"cat"}, set()),
            ("cls", "cat|traffic light\n", {"cat", "traffic light"}, set()),
            ("txt", "cat\nKäse\n", {"cat", "Käse"}, set()),
            ("txt", "", set(), set()),
        ],
    )
    def test_kinds_of_labels(self, tmp_path, kind, text, present, unknown):
        members = [(f"a.{kind}", text), ("a.png", png(0)[0]), *sample("b", 1, "eel")]
        table = read_dataset(write_tar(tmp_path / "0.tar", members))
        assert table.image_labels == (present, {"eel"})
        assert table.unknown == ((unknown, set()) if unknown else ())

    def test_json_without_labels_gives_way_to_the_others(self, tmp_path):
        members = [("a.png", png(0)[0]), ("a.json", '{"url": "x"}'), ("a.cls", "cat")]
        assert read_dataset(write_tar(tmp_path / "0.tar", members)).image_labels == ({"cat"},)

    @pytest.mark.parametrize("kind", ["jpg", "jpeg", "png", "webp", "JPG", "avif", "tif", "bmp"])
    def test_kinds_of_images(self, tmp_path, kind):
        members = [("a.cls", "cat"), (f"a.{kind}", png(0)[0])]
        assert read_dataset(write_tar(tmp_path / "0.tar", members)).images[0].name.endswith(kind)

    def test_samples_are_told_by_folder_and_name_up_to_the_first_dot(self, tmp_path):
        members = [
            ("x.y/a.png", png(0)[0]),
            ("x.y/a.cls", "cat"),
            ("x.y/a.seg.png", png(1)[0]),  # a mask beside the image
            ("z/a.cls", "dog"),
            ("z/a.png", png(2)[0]),
            ("z/._a.png", b"metadata of a Macintosh"),
            ("README.txt", "about"),
        ]
        table = read_dataset(write_tar(tmp_path / "0.tar", members))
        assert [image.name.rpartition(":")[2] for image in table.images] == ["x.y/a.png", "z/a.png"]
        assert table.image_labels == ({"cat"}, {"dog"})

    def test_samples_with_dots_in_their_names(self, tmp_path):
        """They were passed over in silence, with their labels."""
        members = [
            *(("22.05.jpg", png(0)[0]), ("22.05.cls", "cat"), ("22.06.jpg", png(1)[0])),
            *(("22.06.cls", "dog"), *sample("b", 2, "eel")),
        ]
        path = write_tar(tmp_path / "0.tar", members)
        table = read_dataset(path)
        assert table.image_labels == ({"cat"}, {"dog"}, {"eel"})
        assert table.notes == (
            f"{path}: 2 samples with dots in their names are told apart at the last dot: 22.05, "
            "22.06",
        )

    @pytest.mark.parametrize(
        "members",
        [
            [("a.left.jpg", b"1"), ("a.right.jpg", b"2"), ("a.cls", "cat")],
            [("a.exr", b"1"), ("a.cls", "cat")],
            [("a.cls", "cat")],
        ],
    )
    def test_labels_without_an_image_are_counted(self, tmp_path, members):
        if len(members) == 3:
            refused(write_tar(tmp_path / "0.tar", members), "a.left.jpg: there is no .json")
            return
        path = write_tar(tmp_path / "0.tar", [*members, *sample("b", 0, "dog")])
        table = read_dataset(path)
        assert table.image_labels == ({"dog"},)
        assert table.problems == (
            f"{path}: 1 sample without an image that can be read, passed over: a."
            f"{', '.join(sorted(name.partition('.')[2] for name, _ in members))}",
        )

    def test_links_are_counted(self, tmp_path):
        path = write_tar(tmp_path / "0.tar", sample("a", 0, "cat"))
        with tarfile.open(path, "a") as tar:
            link = tarfile.TarInfo("b.png")
            link.type, link.linkname = tarfile.SYMTYPE, "a.png"
            tar.addfile(link)
        assert read_dataset(path).problems == (f"{path}: 1 link in tar files passed over: b.png",)

    def test_long_names(self, tmp_path):
        key = "é" * 180
        table = read_dataset(write_tar(tmp_path / "0.tar", sample(key, 5, "cat")))
        assert np.array_equal(read_image(table.images[0]), png(5)[1])

    @pytest.mark.parametrize("spec", ["wds", "wds/t-{09..11}.tar", "root:wds"])
    def test_several_shards(self, tmp_path, spec):
        folder = tmp_path / ("root/wds" if "root" in spec else "wds")
        for number, label in (("10", "cat"), ("09", "dog"), ("11", "eel")):
            write_tar(folder / f"t-{number}.tar", sample("a", int(number), label))
        table = read_dataset(f"{tmp_path}/{spec}")
        assert table.image_labels == ({"dog"}, {"cat"}, {"eel"})
        assert np.array_equal(read_image(table.images[1]), png(10)[1])

    def test_images_can_be_sent_to_other_processes(self, tmp_path):
        table = read_dataset(
            write_tar(tmp_path / "0.tar", [*sample("a", 0, "cat"), *sample("b", 1, "dog")])
        )
        assert pickle.loads(pickle.dumps(table)) == table
        loader = DataLoader(table.images, 1, num_workers=1, collate_fn=read_first)
        assert all(np.array_equal(got, png(seed)[1]) for seed, got in enumerate(loader))


def read_first(images):
    return read_image(images[0])


class TestRefused:
    def test_missing_shard(self, tmp_path):
        write_tar(tmp_path / "0.tar", sample("a", 0, "cat"))
        refused(f"{tmp_path}/{{0..1}}.tar", str(tmp_path / "1.tar"), "there is no such file")

    @pytest.mark.parametrize("content", [b"", b"text", bytes(511), b"\1" * 2048])
    def test_files_that_are_no_tar(self, tmp_path, content):
        (tmp_path / "0.tar").write_bytes(content)
        refused(tmp_path / "0.tar", "0.tar: cannot be read as an uncompressed tar file")

    def test_compressed(self, tmp_path):
        path = write_tar(tmp_path / "0.tar", sample("a", 0, "cat"), "w:gz")
        refused(path, "cannot be read as an uncompressed tar file")

    def test_no_images(self, tmp_path):
        refused(write_tar(tmp_path / "0.tar", [("a.json", "{}")]), "there are no images in it")

    @pytest.mark.parametrize(
        ("others", "reason"),
        [
            ([], "no .json, .cls or .txt"),
            ([("a.json", "{}")], "'labels'"),
            ([("a.json", "[]")], "expected a JSON object"),
            ([("a.json", "{")], "not JSON"),
            ([("a.json", b"\xff\xff")], "not JSON"),
            ([("a.cls", b"\xff")], "UTF-8"),
        ],
    )
    def test_samples_without_labels(self, tmp_path, others, reason):
        members = [*sample("b", 1, "cat"), ("a.png", png(0)[0]), *others]
        path = write_tar(tmp_path / "0.tar", members)
        refused(path, f"{path}:a.png: ", reason)

    @pytest.mark.parametrize("name", ["a.json", "a.png"])
    def test_a_file_that_stands_twice(self, tmp_path, name):
        members = sample("a", 0, "cat")
        path = write_tar(tmp_path / "0.tar", [*members, (name, dict(members)[name])])
        refused(path, f"{name} stands twice in it")

    def test_two_images_of_one_sample(self, tmp_path):
        path = write_tar(tmp_path / "0.tar", [*sample("a", 0, "cat"), ("a.jpg", png(1)[0])])
        refused(path, "a.png and a.jpg are images of one sample")

    def test_a_shard_that_is_cut_or_gone_later(self, tmp_path):
        path = write_tar(tmp_path / "0.tar", sample("a", 0, "cat"))
        image = read_dataset(path).images[0]
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(ImageError, match=r"0\.tar:a\.png: the image is damaged"):
            read_image(image)
        path.unlink()
        with pytest.raises(ImageError, match=r"0\.tar:a\.png: there is no such file"):
            read_image(image)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("x-{098..100}.tar", ["x-098.tar", "x-099.tar", "x-100.tar"]),
        ("{0..1}/{1..2}.tar", ["0/1.tar", "0/2.tar", "1/1.tar", "1/2.tar"]),
        ("{a..b}.tar", ["{a..b}.tar"]),
        ("{3..1}", []),
    ],
)
def test_patterns(pattern, expected):
    assert expand(pattern) == [Path(path) for path in expected]
