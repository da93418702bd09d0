import io
import os
import struct
import sys
from dataclasses import dataclass
from zlib import compress, crc32

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from didvit.data.images import ImageError, content_of, read_image, read_photograph
from didvit.data.kinds import IMAGE_SUFFIXES, list_folder
from didvit.data.pixels import array_pixels, pixels_of

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
    return tuple(image[y, x].tolist())


def rows_of(gray):
    """Rows of the values of an image whose three channels are the same."""
    assert gray.shape[2] == 3
    assert (gray == gray[..., :1]).all()
    return gray[..., 0].tolist()


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


def tiff(data, bits, width, sample_format=1, photometric=1, greatest=None):
    """A TIFF of one row of gray values."""
    tags = [
        *((256, 4, width), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric)),
        *((273, 4, 8), (277, 3, 1), (278, 4, 1), (279, 4, len(data))),
        *([(281, 4, greatest)] if greatest else []),
        (339, 3, sample_format),
    ]
    data += bytes(len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def bits12(*values):
    """Values of 12 bits, two in three bytes."""
    for one, two in zip(values[::2], values[1::2], strict=True):
        yield (one << 12 | two).to_bytes(3)


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
        refused(path, "the limit of 109 pixels; the environment variable DIDVIT_MAX_PIXELS")

    def test_as_many_pixels_as_the_limit_are_read(self, read, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 110)
        assert read(Image.new("RGB", (10, 11))).shape == (11, 10, 3)

    def test_photographs_of_telephones_are_within_the_limit(self, read):
        """Pillow's own limit is 89 megapixels; telephones take 108 and 200."""
        content = encoded(Image.new("1", (20_000, 5_400)), "PNG")
        assert read(content).shape == (5_400, 20_000, 3)
        assert Image.MAX_IMAGE_PIXELS == 89_478_485

    def test_the_environment_sets_the_limit(self, tmp_path, monkeypatch):
        path = tmp_path / "image.png"
        Image.new("RGB", (10, 11)).save(path)
        monkeypatch.setenv("DIDVIT_MAX_PIXELS", "109")
        refused(path, "it has 10 x 11, more than the limit of 109 pixels")
        monkeypatch.setenv("DIDVIT_MAX_PIXELS", "110")
        assert read_image(path).shape == (11, 10, 3)
        monkeypatch.setenv("DIDVIT_MAX_PIXELS", "many")
        refused(path, "DIDVIT_MAX_PIXELS is 'many'; expected a number of pixels")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
    @pytest.mark.timeout(20)
    def test_a_named_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "p.jpg")
        refused(tmp_path / "p.jpg", "not a regular file")
        with pytest.raises(ImageError, match=r"p\.jpg: not a regular file"):
            content_of(tmp_path / "p.jpg")

    @pytest.mark.parametrize("suffix", [".NEF", ".dng", ".cr2"])
    def test_raw_photographs_whose_thumbnail_pillow_would_read(self, tmp_path, suffix):
        path = tmp_path / f"image{suffix}"
        noise().save(path, "TIFF")
        refused(path, "a raw photograph of a camera; develop them into JPEG or TIFF")

    def test_without_a_limit_any_size_is_read(self, read, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert read(Image.new("RGB", (10, 11))).shape == (11, 10, 3)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
    def test_without_permission(self, tmp_path):
        path = tmp_path / "image.png"
        noise().save(path)
        path.chmod(0)
        refused(path, "ermission")

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
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable
        assert np.array_equal(pixels, np.asarray(image))

    def test_a_path_may_be_a_string(self, tmp_path):
        noise().save(tmp_path / "image.png")
        assert read_image(str(tmp_path / "image.png")).shape == (20, 30, 3)

    @pytest.mark.parametrize(
        ("ink", "expected"),
        [((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), (0, 0, 0))],
    )
    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk(self, read, kind, ink, expected):
        pixels = read(encoded(Image.new("CMYK", (16, 8), ink), kind))
        assert pixels.shape == (8, 16, 3)
        assert np.abs(np.subtract(pixel(pixels, 4, 4), expected)).max() <= 3

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bit_gray_is_scaled_not_clipped(self, read, kind):
        values = [0, 128, 129, 256, 257, 32768, 65278, 65535]
        image = Image.fromarray(np.array([values], dtype=np.uint16))
        # A 257th of each, rounded.
        expected = [0, 0, 1, 1, 1, 128, 254, 255]
        pixels = read(encoded(image, kind))
        assert pixels.shape == (1, 8, 3)
        assert rows_of(pixels) == [expected]

    def test_dark_16_bit_gray_stays_dark(self, read):
        image = Image.fromarray(np.full((4, 4), 200, dtype=np.uint16))
        assert np.unique(read(image)).tolist() == [1]

    def test_16_bit_big_endian_gray(self, read):
        image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 65535, 32768))
        assert rows_of(read(encoded(image, "TIFF"))) == [[255, 128]]

    def test_12_bit_gray_is_scaled_by_the_declared_depth(self, read):
        content = tiff(b"".join(bits12(0, 2048, 4095, 4095)), bits=12, width=4)
        assert rows_of(read(content)) == [[0, 128, 255, 255]]

    def test_gray_of_which_0_is_white(self, read):
        content = tiff(struct.pack("<3H", 0, 32768, 65535), bits=16, width=3, photometric=0)
        assert rows_of(read(content)) == [[255, 127, 0]]

    def test_16_bit_pgm(self, read):
        content = b"P5 3 1 1000\n" + struct.pack(">3H", 0, 500, 1000)
        assert rows_of(read(content)) == [[0, 128, 255]]

    @pytest.mark.parametrize("most", [2, 254, 300, 65534, 2**31 - 2])
    def test_32_bit_integers_are_refused_unless_the_file_says_which_is_white(self, tmp_path, most):
        """A maximum of 300 was read as nearly black."""
        values = struct.pack("<3i", 0, most // 2, most)
        path = tmp_path / "image.tif"
        path.write_bytes(tiff(values, bits=32, width=3, sample_format=2))
        refused(path, f"its values are 32-bit integers from 0 to {most}")
        path.write_bytes(tiff(values, bits=32, width=3, sample_format=2, greatest=most))
        assert rows_of(read_image(path)) == [[0, 128, 255]]
        path.write_bytes(tiff(values, bits=32, width=3, sample_format=2, greatest=most * 2))
        assert read_image(path).max() == 128

    def test_signed_16_bit_gray(self, read, tmp_path):
        values = struct.pack("<2h", 0, 32767)
        assert rows_of(read(tiff(values, bits=16, width=2, sample_format=2))) == [[0, 255]]
        (tmp_path / "i.tif").write_bytes(
            tiff(struct.pack("<2h", -5, 9), bits=16, width=2, sample_format=2)
        )
        refused(tmp_path / "i.tif", "integers from -5 to 9")

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0, 0.5, 1], [0, 128, 255]),  # was black: 0 and 1 of 255
            ([0, 0.25, 0.5], [0, 64, 128]),
            ([0, 127.5, 255], [0, 128, 255]),
            ([0, 0, 0], [0, 0, 0]),
        ],
    )
    def test_floats_are_scaled_by_their_range(self, read, values, expected):
        image = Image.fromarray(np.array([values], np.float32))
        assert rows_of(read(encoded(image, "TIFF"))) == [expected]

    @pytest.mark.parametrize(
        ("values", "got"),
        [
            ([-1, 1], "from -1 to 1"),
            ([0, 256], "from 0 to 256"),
            ([0, 65535], "from 0 to 65535"),
            ([0, 5], "from 0 to 5"),
            ([0, np.nan], "not finite"),
            ([0, np.inf], "not finite"),
        ],
    )
    def test_floats_of_no_known_range_are_refused(self, tmp_path, values, got):
        Image.fromarray(np.array([values], np.float32)).save(tmp_path / "image.tif")
        refused(tmp_path / "image.tif", got)

    def test_gray(self, read):
        image = Image.fromarray(np.array([[0, 100, 255]], dtype=np.uint8))
        assert rows_of(read(image)) == [[0, 100, 255]]

    def test_1_bit(self, read):
        image = Image.fromarray(np.array([[True, False, True]]))
        assert image.mode == "1"
        assert rows_of(read(image)) == [[255, 0, 255]]

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
        assert rows_of(read(image)) == [[100, 255, 204]]

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
        assert pixels.shape == (size[1], size[0], 3)
        assert int(pixels.min()) >= 254

    def test_an_animation_gives_its_first_frame(self, read):
        frames = [Image.new("RGB", (6, 4), color) for color in (RED, GREEN, BLUE)]
        content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        with Image.open(io.BytesIO(content)) as image:
            assert image.n_frames == 3
        pixels = read(content, "image.gif")
        assert pixels.shape == (4, 6, 3)
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
        assert pixels.shape == (height, width, 3)
        found = [pixel(pixels, y, x) for y in (4, height - 5) for x in (4, width - 5)]
        assert np.abs(np.subtract(found, corners)).max() <= 4  # JPEG rounds

    @pytest.mark.parametrize("orientation", [0, 9, 255])
    def test_an_impossible_orientation_is_ignored(self, read, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert read(encoded(noise(), "JPEG", exif=exif)).shape == (20, 30, 3)

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
        assert np.array_equal(read_image(Held(content)), read(content))

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


def png_chunk(kind, data, crc=None):
    crc = crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


class TestMetadata:
    """What is not pixels does no harm, however damaged."""

    # Written as a camera may: a height as a fraction, a width as text or negative, 72 dpi as -1/0.
    @pytest.mark.parametrize(
        "entry",
        [
            (0x0101, 5, 1, struct.pack("<II", 1, 0)),
            (0x0100, 2, 4, b"abcd"),
            (0x0100, 8, 1, struct.pack("<hh", -5, 0)),
            (0x011A, 10, 1, struct.pack("<ii", -1, 0)),
            (0x011A, 10, 1, struct.pack("<ii", -72, 1)),
            (0x8769, 4, 1, struct.pack("<i", -1)),
            (0x9286, 7, 2**31, bytes(4)),
            (0x0213, 99, 7, bytes(4)),
        ],
    )
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_odd_exif_beside_an_orientation(self, read, kind, entry):
        tag, of_kind, count, value = entry
        place = 8 + 2 + 2 * 12 + 4
        stored = struct.pack("<I", place) if len(value) > 4 else value
        entries = sorted(
            [
                struct.pack("<HHI", tag, of_kind, count) + stored,
                struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0),
            ]
        )
        exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + b"".join(entries) + bytes(4)
        exif += value if len(value) > 4 else b""
        content = encoded(noise(), kind, exif=b"Exif\0\0" + exif)
        assert read(content).shape == (30, 20, 3)

    @pytest.mark.parametrize("size", [10, 2 << 20])
    def test_texts_of_a_png_that_are_large_or_wrong(self, read, size):
        """A checksum that is wrong, megabytes, and what unpacks to them."""
        content = encoded(noise(), "PNG")
        for chunk in (
            png_chunk(b"tEXt", b"key\0" + b"x" * size, crc=1),
            png_chunk(b"zTXt", b"key\0\0" + compress(bytes(size))),
            png_chunk(b"iTXt", b"key\0\1\0\0\0" + compress(bytes(size))[:-3]),
            png_chunk(b"iCCP", b"name\0\0" + b"no profile" * 9),
        ):
            whole = content[:33] + chunk + content[33:]
            assert np.array_equal(read(whole), pixels_of(noise()))

    def test_pixels_of_a_png_that_are_wrong_are_still_refused(self, tmp_path):
        content = encoded(noise(), "PNG")
        text = png_chunk(b"zTXt", b"key\0\0" + compress(bytes(2 << 20)))
        place = content.index(b"IDAT") + 20
        broken = content[:33] + text + content[33:place] + b"\0\1\2\3" + content[place + 4 :]
        (tmp_path / "image.png").write_bytes(broken)
        refused(tmp_path / "image.png", "damaged")

    def test_warnings_of_pillow_do_not_come_without_a_name(self, read, recwarn):
        exif = b"Exif\0\0II*\0\x08\0\0\0\x63\0"  # 99 entries, and then the end
        assert read(encoded(noise(), "JPEG", exif=exif)).shape == (20, 30, 3)
        assert not [warning for warning in recwarn if "PIL" in str(warning.filename)]


class TestKinds:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            *(("a.avif", "AVIF"), ("a.jp2", "JPEG2000"), ("a.mpo", "MPO"), ("a", "JPEG")),
            *(("a.tga", "TGA"), ("a.pgm", "PPM"), ("a.qoi", "QOI"), ("a.20240131", "PNG")),
        ],
    )
    def test_what_pillow_reads(self, read, name, kind, tmp_path):
        pixels = read(encoded(Image.new("RGB", (8, 6), RED), kind), name)
        assert pixels.shape == (6, 8, 3)
        assert np.abs(np.subtract(pixel(pixels, 3, 3), RED)).max() <= 8
        assert list_folder(tmp_path).images == (tmp_path / name,)

    def test_heif(self, read, tmp_path):
        pillow_heif = pytest.importorskip("pillow_heif")
        file = io.BytesIO()
        pillow_heif.from_pillow(Image.new("RGB", (64, 48), RED)).save(file)
        pixels = read(file.getvalue(), "a.HEIC")
        assert pixels.shape == (48, 64, 3)
        assert np.abs(np.subtract(pixel(pixels, 9, 9), RED)).max() <= 8
        assert list_folder(tmp_path).images == (tmp_path / "a.HEIC",)

    def test_heif_without_its_library(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        monkeypatch.setattr("didvit.data.kinds.reads_heif", lambda: False)
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
        refused(tmp_path / "a.heic", "install pillow-heif: pip install '.[heif]'")
        (of,) = list_folder(tmp_path).passed_over
        assert of.paths == (tmp_path / "a.heic",)
        assert "1 file (1 .heic) passed over" in str(of)
        assert "install pillow-heif" in str(of)


class TestJpegDamage:
    def photograph(self):
        y, x = np.mgrid[:160, :240]
        waves = np.stack([y + x, 2 * y, 255 - x], -1) + 40 * np.sin(x / 5)[..., None]
        return waves.clip(0, 255).astype(np.uint8)

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
    def test_garbage_from_the_middle_on(self, tmp_path, options):
        content = encoded(Image.fromarray(self.photograph()), "JPEG", quality=90, **options)
        middle = len(content) // 2
        noise = np.random.default_rng(3).integers(0, 256, len(content) - middle - 2, np.uint8)
        path = tmp_path / "image.jpg"
        path.write_bytes(content[:middle] + noise.tobytes() + content[-2:])
        refused(path, "the image is damaged")

    def test_data_that_end_too_early(self, tmp_path):
        """Without a wrong marker: decoders fill up with gray."""
        content = encoded(Image.fromarray(self.photograph()), "JPEG", quality=90)
        path = tmp_path / "image.jpg"
        path.write_bytes(content[: len(content) // 2] + content[-2:])
        refused(path, "the image is damaged (its compressed pixels end too early)")

    @pytest.mark.parametrize("size", [(240, 160), (17, 9), (1, 1), (8, 8)])
    def test_gray_images_are_whole(self, read, size):
        gray = Image.new("RGB", size, (128, 128, 128))
        assert np.unique(read(encoded(gray, "JPEG"))).tolist() == [128]

    @pytest.mark.parametrize(
        "options",
        [{"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}, {"quality": 5}],
    )
    def test_whole_images_and_what_stands_behind_them(self, read, options):
        content = encoded(Image.fromarray(self.photograph()), "JPEG", **options)
        expected = pixels_of(Image.open(io.BytesIO(content)))
        assert np.array_equal(read(content), expected)
        assert np.array_equal(read(content + b"\xff\x12 video of a telephone"), expected)

    def test_restarts_out_of_order(self, tmp_path):
        content = encoded(Image.fromarray(self.photograph()), "JPEG", restart_marker_rows=1)
        place = content.index(b"\xff\xd2")
        (tmp_path / "image.jpg").write_bytes(content[:place] + b"\xff\xd5" + content[place + 2 :])
        refused(tmp_path / "image.jpg", f"garbage at byte {place:,} of {len(content):,}")


class TestArrays:
    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.array([[0, 100, 255]], np.uint8), [0, 100, 255]),
            (np.array([[[0], [100]]], np.uint8), [0, 100]),
            (np.array([[0, 32768, 65535]], np.uint16), [0, 128, 255]),
            (np.array([[False, True]]), [0, 255]),
            (np.array([[0.0, 0.5, 1.0]], np.float64), [0, 128, 255]),
            (np.array([[[0, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 51]]], np.uint8), [0, 255, 204]),
        ],
    )
    def test_gray_and_more(self, array, expected):
        assert rows_of(array_pixels(array)) == [expected]

    def test_rgb_is_copied(self):
        array = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
        pixels = array_pixels(array)
        assert np.array_equal(pixels, array)
        array[:] = 0
        assert pixels.any()

    @pytest.mark.parametrize(
        ("array", "reason"),
        [
            (np.zeros((3, 40, 50), np.uint8), "its channels come first: pass array.transpose"),
            (np.zeros((40, 50, 2), np.uint8), "got an array (40, 50, 2) of uint8; expected gray"),
            (np.zeros((0, 50, 3), np.uint8), "not empty"),
            (np.zeros((4, 5, 3), np.int64), "expected uint8, uint16, floats in [0, 1] or booleans"),
            (np.full((4, 5, 3), 300.0), "floats from 300 to 300"),
            (np.full((4, 5, 3), -0.5), "floats from -0.5 to -0.5"),
        ],
    )
    def test_refused(self, array, reason):
        with pytest.raises(ImageError) as caught:
            array_pixels(array)
        assert reason in str(caught.value)


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
        assert read_image(image, least_size).shape == (*expected, 3)

    # Lying, the picture is 96 high and 64 wide, and half of that is enough; standing it is not.
    @pytest.mark.parametrize(
        ("orientation", "expected"),
        [*((i, (64, 96)) for i in (0, 1, 2, 3, 4, 9)), *((i, (48, 32)) for i in (5, 6, 7, 8))],
    )
    def test_the_least_size_is_of_the_upright_picture(self, orientation, expected):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Held(encoded(noise(64, 96), "JPEG", exif=exif))
        assert read_image(image, (40, 20)).shape[:2] == expected

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
        shape = read_image(Held(content), least_size).shape[:2]
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
        whole = read_image(image).astype(float)
        half = read_image(image, (30, 30)).astype(float)
        height, width, _ = half.shape
        assert whole.shape == (2 * height, 2 * width, 3)
        means = whole.reshape(height, 2, width, 2, 3).mean((1, 3))
        assert np.abs(half - means).max() < 8

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_other_modes_of_jpeg(self, mode):
        image = Held(encoded(Image.new(mode, (96, 64)), "JPEG"))
        assert read_image(image, (16, 24)).shape == (16, 24, 3)

    def test_progressive(self):
        image = Held(encoded(noise(64, 96), "JPEG", progressive=True))
        assert read_image(image, (16, 24)).shape == (16, 24, 3)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "BMP"])
    def test_other_kinds_are_whole(self, kind):
        image = Held(encoded(noise(64, 96), kind))
        assert np.array_equal(read_image(image, (8, 12)), read_image(image))

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
        assert pixels.shape == (30, 20, 3)
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
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert pixels.flags.c_contiguous
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


@pytest.mark.parametrize("least_size", [None, (4, 4)])
def test_a_damaged_png_is_refused_whatever_size_is_enough(tmp_path, least_size):
    """Pillow reads a PNG whole to find its orientation, and forgets that it failed."""
    content = encoded(noise(), "PNG")
    place = content.index(b"IDAT") + 20
    (tmp_path / "a.png").write_bytes(content[:place] + b"\0\1\2\3" + content[place + 4 :])
    with pytest.raises(ImageError, match="damaged"):
        read_photograph(tmp_path / "a.png", least_size)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(
    ("least_size", "scale"),
    [(None, 1), ((101, 101), 1), ((100, 100), 2), ((50, 50), 4), ((25, 25), 8)],
)
def test_a_photograph_knows_the_size_of_the_original(tmp_path, orientation, least_size, scale):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (320, 200)).save(tmp_path / "a.jpg", exif=exif)
    height, width = (320, 200) if orientation in (6, 8) else (200, 320)
    photograph = read_photograph(tmp_path / "a.jpg", least_size)
    assert (photograph.height, photograph.width) == (height, width)
    assert photograph.pixels.shape == (height // scale, width // scale, 3)
