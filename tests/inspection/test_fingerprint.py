import io
import math
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from didvit.data.images import read_image
from didvit.inspection.fingerprint import (
    NEAR,
    Fingerprint,
    exact_groups,
    fingerprints,
    near_groups,
    near_pairs,
    perceptual_hash,
)

WORDS = st.integers(0, 2**64 - 1)


@st.composite
def clustered_hashes(draw):
    """Few words, and the same with a few of their bits turned over."""
    words = draw(st.lists(WORDS, min_size=1, max_size=4))
    bits = st.lists(st.integers(0, 63), max_size=8)
    copies = draw(st.lists(st.tuples(st.sampled_from(words), bits), max_size=25))
    return [word ^ sum(1 << bit for bit in set(bits)) for word, bits in copies]


def pairs_by_brute_force(hashes, threshold):
    return [
        [i, j]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (hashes[i] ^ hashes[j]).bit_count() <= threshold
    ]


def groups_by_brute_force(hashes, threshold):
    """Grow each group until nothing is near any of it."""
    groups, left = [], [i for i, looks in enumerate(hashes) if looks is not None]
    while left:
        group = [left.pop(0)]
        while found := [
            j for j in left if any((hashes[i] ^ hashes[j]).bit_count() <= threshold for i in group)
        ]:
            group += found
            left = [j for j in left if j not in found]
        groups += [sorted(group)] if len(group) > 1 else []
    return groups


class TestPerceptualHash:
    def test_against_the_definition_of_the_cosine_transform(self):
        gray = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
        coefficients = [
            sum(
                float(gray[y, x])
                * math.cos(math.pi * (2 * y + 1) * v / 64)
                * math.cos(math.pi * (2 * x + 1) * u / 64)
                for y in range(32)
                for x in range(32)
            )
            * (0.5**0.5 if u == 0 else 1)
            * (0.5**0.5 if v == 0 else 1)
            for v in range(8)
            for u in range(8)
        ]
        median = sorted(coefficients[1:])[31]
        bits = "".join(str(int(c > median)) for c in coefficients)
        assert perceptual_hash(np.stack([gray] * 3, axis=-1)) == int(bits, 2)

    @pytest.mark.parametrize("size", [(1, 1), (7, 300), (500, 400)])
    def test_images_of_one_color_have_none(self, size):
        assert perceptual_hash(np.full((*size, 3), 200, np.uint8)) is None

    def test_fine_noise_on_one_color_has_none(self):
        noise = np.random.default_rng(0).integers(120, 136, (400, 500, 3), dtype=np.uint8)
        assert perceptual_hash(noise) is None

    def test_a_single_pixel_high_image_has_one(self):
        ramp = np.repeat(np.arange(200, dtype=np.uint8), 3).reshape(1, 200, 3)
        assert perceptual_hash(ramp) is not None

    def test_copies_are_near_and_others_far(self, photographs):
        def jpeg(image):
            image.save(file := io.BytesIO(), "JPEG", quality=40)
            return Image.open(file)

        def distance(a, b):
            hashes = [perceptual_hash(np.array(image.convert("RGB"))) for image in (a, b)]
            return (hashes[0] ^ hashes[1]).bit_count()

        images = [Image.open(path).convert("RGB") for path in sorted(photographs.iterdir())]
        for image in images:
            others = [other for other in images if other is not image]
            assert distance(image, jpeg(image)) <= NEAR
            assert distance(image, image.resize((90, 70), Image.Resampling.LANCZOS)) <= NEAR
            assert distance(image, image.convert("L")) <= NEAR
            assert distance(image, ImageEnhance.Contrast(image).enhance(0.6)) <= NEAR
            turned = [image.transpose(way) for way in (Image.Transpose.FLIP_LEFT_RIGHT, 2, 3)]
            for other in (*others, *turned):
                assert distance(image, other) > 3 * NEAR


class TestFingerprints:
    def test_digest_size_and_hash(self, photographs):
        images = sorted(photographs.iterdir())
        for image, result in zip(images, fingerprints(images), strict=True):
            pixels = read_image(image)
            digest = sha256(image.read_bytes()).digest()
            assert result == (digest, perceptual_hash(pixels), pixels.shape[1], pixels.shape[0])

    def test_size_is_that_of_the_upright_image(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
        Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
        (result,) = fingerprints([tmp_path / "a.jpg"])
        assert isinstance(result, Fingerprint)
        assert (result.width, result.height) == (20, 30)

    def test_bad_files_do_not_end_the_run(self, photographs, tmp_path):
        good = photographs / "coffee.png"
        for name, content in {
            "empty.png": b"",
            "text.png": b"no image",
            "cut.png": good.read_bytes()[:-3000],
        }.items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "folder.png").mkdir()
        names = ("empty.png", "text.png", "cut.png", "folder.png", "missing.png")
        images = [path for name in names for path in (tmp_path / name, good)]
        results = list(fingerprints(images))
        for image, result in zip(images[::2], results[::2], strict=True):
            assert isinstance(result, str)
            assert result.startswith(f"{image}: ")
        assert len(set(results[1::2])) == 1
        assert isinstance(results[1], Fingerprint)

    def test_workers_change_nothing(self, photographs, tmp_path):
        (tmp_path / "bad.png").touch()
        images = [*sorted(photographs.iterdir()), tmp_path / "bad.png"] * 10
        assert list(fingerprints(images, workers=2)) == list(fingerprints(images))

    def test_an_image_within_another_file_is_read_once(self, photographs):
        content, reads = (photographs / "coffee.png").read_bytes(), []

        class Stored:
            name = "shard:coffee"

            def __str__(self):
                return self.name

            def read(self):
                reads.append(self.name)
                return content

        assert list(fingerprints([Stored()])) == list(fingerprints([photographs / "coffee.png"]))
        assert reads == ["shard:coffee"]

    def test_no_images(self):
        assert list(fingerprints([])) == []


class TestNearPairs:
    @given(clustered_hashes(), st.integers(0, 9))
    def test_against_brute_force(self, hashes, threshold):
        pairs = near_pairs(np.array(hashes, np.uint64), threshold)
        assert pairs.tolist() == pairs_by_brute_force(hashes, threshold)

    @pytest.mark.parametrize("threshold", [0, 4, 24, 63])
    def test_against_brute_force_on_many(self, threshold):
        hashes = np.random.default_rng(0).integers(0, 2**64, 150, dtype=np.uint64)
        hashes[100:] = hashes[:50] ^ np.uint64(0b1111)
        expected = pairs_by_brute_force(hashes.tolist(), threshold)
        assert near_pairs(hashes, threshold).tolist() == expected
        assert len(expected) >= (50 if threshold else 0)

    @pytest.mark.parametrize("hashes", [[], [5]])
    def test_fewer_than_two(self, hashes):
        assert near_pairs(np.array(hashes, np.uint64)).shape == (0, 2)

    @pytest.mark.parametrize("first", range(0, 60, 3))
    def test_differing_bits_may_be_anywhere(self, first):
        hashes = np.array([0, 0b1111 << first, 0b11111 << first], np.uint64)
        assert near_pairs(hashes, 4).tolist() == [[0, 1], [1, 2]]


class TestGroups:
    @given(clustered_hashes(), st.lists(st.integers(0, 30), max_size=4), st.integers(0, 6))
    def test_near_groups_against_brute_force(self, hashes, blanks, threshold):
        for place in blanks:
            hashes.insert(place, None)
        assert near_groups(hashes, threshold) == groups_by_brute_force(hashes, threshold)

    def test_a_chain_is_one_group(self):
        assert near_groups([0b1111_1111, 1 << 60, 0, 0b1111], 4) == [[0, 1, 2, 3]]
        assert near_groups([0b1111_1111, 1 << 60, 0, 0b1111], 3) == [[1, 2]]

    def test_exact_groups(self):
        assert exact_groups([b"a", b"b", b"a", b"c", b"b", b"a"]) == [[0, 2, 5], [1, 4]]
        assert exact_groups([b"a", b"b"]) == exact_groups([]) == []
