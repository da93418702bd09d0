import io
import os
import struct
from dataclasses import dataclass
from zlib import compress, crc32

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from didvit.data.images import IMAGE_SUFFIXES, ImageError, pixels_of, read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height=20, width=30, seed=0):
    """A picture that does not compress, so that a cut file lacks pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixel(image, y=0, x=0):
    return tuple(image[:, y, x].tolist())


@pytest.fixture
def read(tmp_path):
    """A function that writes bytes or a PIL image to a file and reads it."""

    def write_and_read(content, name="image.png", **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, **options)
        return read_image(path)

    return write_and_read


def refused(path, reason):
    """Reading the file is refused, and the message has its name, then the reason."""
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message.removeprefix(f"{path}: ")


class TestRefused:
    def test_missing_file(self, tmp_path):
        refused(tmp_path / "none.jpg", "there is no such file")

    def test_folder(self, tmp_path):
        refused(tmp_path, "directory")

    def test_path_through_a_file(self, tmp_path):
        (tmp_path / "file").write_text("text")
        refused(tmp_path / "file" / "image.jpg", "directory")

    def test_name_that_no_system_takes(self):
        refused("a\0b.jpg", "null")
        refused("a" * 5000 + ".jpg", "too long")

    def test_empty_file(self, tmp_path):
        (tmp_path / "image.jpg").touch()
        refused(tmp_path / "image.jpg", "the file is empty")

    def test_text_named_jpg(self, tmp_path):
        (tmp_path / "image.jpg").write_text("This is not a picture.\n" * 9)
        refused(tmp_path / "image.jpg", "not an image")

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
    @pytest.mark.parametrize("part", [0.5, 0.9])
    def test_truncated(self, tmp_path, kind, part):
        content = encoded(noise(), kind)
        (tmp_path / "image.jpg").write_bytes(content[: int(part * len(content))])
        refused(tmp_path / "image.jpg", "damaged" if kind != "WEBP" else "")

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF"])
    def test_signature_and_nothing_else(self, tmp_path, kind):
        (tmp_path / "image").write_bytes(encoded(noise(), kind)[:4])
        refused(tmp_path / "image", "")

    @pytest.mark.parametrize(("size", "times"), [((10, 11), "once"), ((20, 11), "twice")])
    def test_bomb(self, tmp_path, monkeypatch, size, times):
        path = tmp_path / "image.png"
        Image.new("RGB", size).save(path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 109)
        refused(path, "more pixels than the limit of 109")

    def test_as_many_pixels_as_the_limit_are_read(self, read, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 110)
        assert read(Image.new("RGB", (10, 11))).shape == (3, 11, 10)

    def test_without_a_limit_any_size_is_read(self, read, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert read(Image.new("RGB", (10, 11))).shape == (3, 11, 10)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
    def test_without_permission(self, tmp_path):
        path = tmp_path / "image.png"
        noise().save(path)
        path.chmod(0)
        refused(path, "ermission")

    def test_text_that_unpacks_to_megabytes(self, tmp_path):
        def chunk(kind, data):
            return (
                struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))
            )

        header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
        text = chunk(b"zTXt", b"key\0\0" + compress(bytes(2 << 20)))
        pixels = chunk(b"IDAT", compress(b"\0\1\2\3"))
        path = tmp_path / "image.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + text + pixels)
        refused(path, "too large")

    def test_kind_of_file_that_pillow_knows_only_in_part(self, tmp_path):
        path = tmp_path / "image.jpg"
        path.write_bytes(b"DDS " + struct.pack("<I", 124) + bytes(120))
        refused(path, "")

    def test_is_a_value_error(self):
        assert issubclass(ImageError, ValueError)


class TestModes:
    def test_rgb(self, read):
        image = noise()
        pixels = read(image)
        assert pixels.dtype == torch.uint8
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))

    def test_a_path_may_be_a_string(self, tmp_path):
        noise().save(tmp_path / "image.png")
        assert read_image(str(tmp_path / "image.png")).shape == (3, 20, 30)

    @pytest.mark.parametrize(
        ("ink", "expected"),
        [((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), (0, 0, 0))],
    )
    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk(self, read, kind, ink, expected):
        pixels = read(encoded(Image.new("CMYK", (16, 8), ink), kind))
        assert pixels.shape == (3, 8, 16)
        assert np.abs(np.subtract(pixel(pixels, 4, 4), expected)).max() <= 3

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bit_gray_is_scaled_not_clipped(self, read, kind):
        values = [0, 128, 129, 256, 257, 32768, 65278, 65535]
        image = Image.fromarray(np.array([values], dtype=np.uint16))
        # A 257th of each, rounded.
        expected = [0, 0, 1, 1, 1, 128, 254, 255]
        pixels = read(encoded(image, kind))
        assert pixels.shape == (3, 1, 8)
        assert pixels.tolist() == [[expected]] * 3

    def test_dark_16_bit_gray_stays_dark(self, read):
        image = Image.fromarray(np.full((4, 4), 200, dtype=np.uint16))
        assert read(image).unique().tolist() == [1]

    def test_16_bit_big_endian_gray(self, read):
        image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 65535, 32768))
        assert read(encoded(image, "TIFF")).tolist() == [[[255, 128]]] * 3

    def test_32_bit_gray_is_on_the_16_bit_scale(self):
        image = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.int32))
        assert pixels_of(image).tolist() == [[[0, 128, 255]]] * 3

    def test_gray(self, read):
        image = Image.fromarray(np.array([[0, 100, 255]], dtype=np.uint8))
        assert read(image).tolist() == [[[0, 100, 255]]] * 3

    def test_1_bit(self, read):
        image = Image.fromarray(np.array([[True, False, True]]))
        assert image.mode == "1"
        assert read(image).tolist() == [[[255, 0, 255]]] * 3

    def test_palette(self, read):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *GREEN])
        image.putdata([1, 0])
        pixels = read(image)
        assert (pixel(pixels), pixel(pixels, 0, 1)) == (GREEN, RED)

    @pytest.mark.parametrize("name", ["image.png", "image.gif"])
    def test_palette_with_transparency_is_laid_over_white(self, read, name):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *GREEN])
        image.putdata([1, 0])
        pixels = read(image, name, transparency=1)
        assert (pixel(pixels), pixel(pixels, 0, 1)) == (WHITE, RED)

    def test_palette_with_half_transparency(self, read):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *GREEN])
        image.putdata([1, 0])
        pixels = read(image, transparency=bytes([255, 128]))
        assert (pixel(pixels), pixel(pixels, 0, 1)) == ((127, 255, 127), RED)

    def test_rgba_is_laid_over_white(self, read):
        image = Image.new("RGBA", (3, 1))
        image.putdata([(*BLUE, 255), (*BLUE, 0), (0, 0, 0, 51)])
        pixels = read(image)
        assert [pixel(pixels, 0, x) for x in range(3)] == [BLUE, WHITE, (204, 204, 204)]

    def test_gray_with_alpha_is_laid_over_white(self, read):
        image = Image.new("LA", (3, 1))
        image.putdata([(100, 255), (100, 0), (0, 51)])
        assert read(image).tolist() == [[[100, 255, 204]]] * 3

    def test_rgb_with_one_transparent_color(self, read):
        image = Image.new("RGB", (2, 1), RED)
        image.putpixel((1, 0), BLUE)
        pixels = read(image, transparency=BLUE)
        assert (pixel(pixels), pixel(pixels, 0, 1)) == (RED, WHITE)


class TestShapes:
    @pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
    @pytest.mark.parametrize("name", ["image.png", "image.jpg"])
    def test_extreme_sizes(self, read, size, name):
        pixels = read(Image.new("RGB", size, WHITE), name)
        assert pixels.shape == (3, size[1], size[0])
        assert int(pixels.min()) >= 254

    def test_an_animation_gives_its_first_frame(self, read):
        frames = [Image.new("RGB", (6, 4), color) for color in (RED, GREEN, BLUE)]
        content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        with Image.open(io.BytesIO(content)) as image:
            assert image.n_frames == 3
        pixels = read(content, "image.gif")
        assert pixels.shape == (3, 4, 6)
        assert {pixel(pixels, y, x) for y in range(4) for x in range(6)} == {RED}

    # Where the stored corners (upper left red, upper right green, lower left blue, lower right
    # white) stand once the picture is upright: upper left, upper right, lower left, lower right.
    @pytest.mark.parametrize(
        ("orientation", "corners"),
        [
            (1, (RED, GREEN, BLUE, WHITE)),
            (2, (GREEN, RED, WHITE, BLUE)),  # mirrored
            (3, (WHITE, BLUE, GREEN, RED)),  # half a turn
            (4, (BLUE, WHITE, RED, GREEN)),  # upside down, mirrored
            (5, (RED, BLUE, GREEN, WHITE)),  # transposed
            (6, (BLUE, RED, WHITE, GREEN)),  # to be turned clockwise
            (7, (WHITE, GREEN, BLUE, RED)),  # transposed along the other diagonal
            (8, (GREEN, WHITE, RED, BLUE)),  # to be turned counter-clockwise
        ],
    )
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
    def test_pictures_are_turned_upright(self, read, kind, orientation, corners):
        image = Image.new("RGB", (64, 32))
        for x, y, color in ((0, 0, RED), (32, 0, GREEN), (0, 16, BLUE), (32, 16, WHITE)):
            image.paste(color, (x, y, x + 32, y + 16))
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        pixels = read(encoded(image, kind, exif=exif, **options))
        height, width = (32, 64) if orientation <= 4 else (64, 32)
        assert pixels.shape == (3, height, width)
        found = [pixel(pixels, y, x) for y in (4, height - 5) for x in (4, width - 5)]
        assert np.abs(np.subtract(found, corners)).max() <= 4  # JPEG rounds

    @pytest.mark.parametrize("orientation", [0, 9, 255])
    def test_an_impossible_orientation_is_ignored(self, read, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert read(encoded(noise(), "JPEG", exif=exif)).shape == (3, 20, 30)

    def test_suffixes_are_lower_case(self):
        assert all(suffix == f".{suffix.strip('.').lower()}" for suffix in IMAGE_SUFFIXES)
        assert {".jpg", ".jpeg", ".png", ".webp", ".gif"} <= IMAGE_SUFFIXES


@dataclass(frozen=True)
class Held:
    """A stored image that is held in memory."""

    content: bytes
    name: str = "shard.tar:7.jpg"

    def __str__(self):
        return self.name

    def resolve(self):
        return self

    def read(self):
        return self.content


class TestStored:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_pixels_are_those_of_a_file(self, read, kind):
        content = encoded(noise(), kind)
        assert torch.equal(read_image(Held(content)), read(content))

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"", "the file is empty"), (b"text", "not an image")]
    )
    def test_refused_by_name(self, content, reason):
        with pytest.raises(ImageError, match=f"^shard.tar:7.jpg: .*{reason}"):
            read_image(Held(content))

    def test_a_file_that_is_gone(self, tmp_path):
        class Gone(Held):
            def read(self):
                return (tmp_path / "none").read_bytes()

        with pytest.raises(ImageError, match=r"^shard.tar:7.jpg: there is no such file"):
            read_image(Gone(b""))


def reduced(height, width, least_size):
    """The sides at the largest divisor of 8, 4, 2, 1 that leaves them enough."""
    for divisor in (8, 4, 2, 1):
        enough = height >= divisor * least_size[0] and width >= divisor * least_size[1]
        if enough or divisor == 1:
            return -(-height // divisor), -(-width // divisor)
    raise AssertionError


class TestLeastSize:
    # Sides of the picture, least sides, and sides decoded: height, then width.
    @pytest.mark.parametrize(
        ("size", "least_size", "expected"),
        [
            ((64, 96), (64, 96), (64, 96)),
            ((64, 96), (33, 48), (64, 96)),
            ((64, 96), (32, 49), (64, 96)),
            ((64, 96), (32, 48), (32, 48)),
            ((64, 96), (16, 24), (16, 24)),
            ((64, 96), (8, 12), (8, 12)),
            ((64, 96), (1, 1), (8, 12)),
            ((64, 96), (8, 13), (16, 24)),
            ((65, 97), (32, 48), (33, 49)),
            ((65, 97), (33, 49), (65, 97)),  # 32.5 is not enough, though it is rounded up
            ((64, 96), (100, 10), (64, 96)),
            ((64, 96), (999, 999), (64, 96)),
            ((1, 96), (1, 1), (1, 96)),
        ],
    )
    def test_sizes(self, size, least_size, expected):
        image = Held(encoded(noise(*size), "JPEG"))
        assert tuple(read_image(image, least_size).shape) == (3, *expected)

    # Lying, the picture is 96 high and 64 wide, and half of that is enough; standing it is not.
    @pytest.mark.parametrize(
        ("orientation", "expected"),
        [*((i, (64, 96)) for i in (0, 1, 2, 3, 4, 9)), *((i, (48, 32)) for i in (5, 6, 7, 8))],
    )
    def test_the_least_size_is_of_the_upright_picture(self, orientation, expected):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Held(encoded(noise(64, 96), "JPEG", exif=exif))
        assert tuple(read_image(image, (40, 20)).shape[1:]) == expected

    @given(*[st.integers(1, 90)] * 4, st.integers(1, 8))
    @settings(max_examples=60)
    def test_both_sides_of_the_upright_picture_stay_enough(
        self, height, width, least_height, least_width, orientation
    ):
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = encoded(Image.new("RGB", (width, height)), "JPEG", exif=exif)
        upright = (height, width) if orientation <= 4 else (width, height)
        least_size = least_height, least_width
        shape = tuple(read_image(Held(content), least_size).shape[1:])
        assert shape == reduced(*upright, least_size)
        for side, whole, least in zip(shape, upright, least_size, strict=True):
            assert side >= min(whole, least)

    @pytest.mark.parametrize("orientation", [1, 6])
    def test_the_picture_is_the_same(self, orientation):
        """At half the size each pixel is about the mean of the four that it stands for."""
        pixels = np.random.default_rng(0).integers(60, 200, (4, 6, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        large = Image.fromarray(pixels).resize((96, 64), Image.Resampling.BICUBIC)
        image = Held(encoded(large, "JPEG", exif=exif, quality=95, subsampling=0))
        whole = read_image(image).float()
        half = read_image(image, (30, 30)).float()
        means = torch.nn.functional.avg_pool2d(whole, 2)
        assert half.shape == means.shape
        assert (half - means).abs().max() < 8

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_other_modes_of_jpeg(self, mode):
        image = Held(encoded(Image.new(mode, (96, 64)), "JPEG"))
        assert read_image(image, (16, 24)).shape == (3, 16, 24)

    def test_progressive(self):
        image = Held(encoded(noise(64, 96), "JPEG", progressive=True))
        assert read_image(image, (16, 24)).shape == (3, 16, 24)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "BMP"])
    def test_other_kinds_are_whole(self, kind):
        image = Held(encoded(noise(64, 96), kind))
        assert torch.equal(read_image(image, (8, 12)), read_image(image))

    def test_damage_is_still_an_image_error(self):
        content = encoded(noise(64, 96), "JPEG")
        with pytest.raises(ImageError, match="damaged"):
            read_image(Held(content[: len(content) // 2]), (8, 12))


def exif_entry(tag, kind, count, value):
    return struct.pack("<HHI", tag, kind, count) + value


def exif_with(*entries):
    body = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + body


SIDEWAYS = exif_entry(0x0112, 3, 1, b"\6\0\0\0")


ODD_ENTRIES = {
    "width of unknown kind": exif_entry(0x0100, 7, 1, b"abcd"),
    "width in letters": exif_entry(0x0100, 2, 4, b"abc\0"),
    "description that is a number": exif_entry(0x010E, 11, 1, bytes(4)),
    "resolution of unknown kind": exif_entry(0x011A, 7, 1, b"abcd"),
    "pointer that points nowhere": exif_entry(0x8769, 7, 1, b"abcd"),
    "text longer than the file": exif_entry(0x010E, 2, 9999, bytes(4)),
}


@pytest.mark.parametrize("odd", ODD_ENTRIES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_metadata_beside_the_orientation(read, odd):
    """Pillow cannot write such metadata anew, as it does when it turns a picture."""
    content = encoded(noise(), "JPEG", exif=exif_with(ODD_ENTRIES[odd], SIDEWAYS))
    try:
        pixels = read(content, "image.jpg")
    except ImageError as error:
        message = str(error)
    else:
        assert pixels.shape == (3, 30, 20)
        return
    assert "image.jpg: " in message


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of corrupt EXIF
class TestDamage:
    """Whatever the bytes are, they are read, or refused as an image; nothing else happens."""

    def check(self, tmp_path_factory, content):
        path = tmp_path_factory.getbasetemp() / "damaged"
        path.write_bytes(content)
        try:
            pixels = read_image(path)
        except ImageError as error:
            message = str(error)
        else:
            assert pixels.dtype == torch.uint8
            assert pixels.ndim == 3
            assert len(pixels) == 3
            return
        assert message.startswith(f"{path}: ")

    @given(st.binary(max_size=200))
    @example(b"\x89PNG\r\n\x1a\n")
    @example(b"\xff\xd8\xff\xe1\x00\x10Exif\0\0")
    @example(b"GIF89a" + bytes(20))
    @example(b"II*\0" + b"\xff" * 40)
    @example(b"RIFF\x10\0\0\0WEBPVP8 ")
    def test_random_bytes(self, tmp_path_factory, content):
        self.check(tmp_path_factory, content)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"])
    @settings(max_examples=150)
    @given(data=st.data())
    def test_flipped_and_cut_files(self, tmp_path_factory, kind, data):
        exif = {} if kind in ("GIF", "BMP") else {"exif": exif_with(SIDEWAYS)}
        content = bytearray(encoded(noise(6, 9), kind, **exif))
        # Half of the damage is done to the header, where it is worst.
        place = st.integers(0, min(len(content), 120) - 1) | st.integers(0, len(content) - 1)
        for at, value in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=6)):
            content[at] = value
        end = data.draw(st.just(len(content)) | st.integers(1, len(content)))
        self.check(tmp_path_factory, bytes(content[:end]))
