"""Inputs that are mutated at random, and the judgment of what is made of them.

Of every input the outcome is a right result, or one line that names the input. `TARGETS` has a
function for each kind of input, which makes one in a folder and judges it. They are run by
tests/fuzz and, longer, by scripts/fuzz.py.
"""

import contextlib
import csv
import io
import json
import os
import signal
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from didvit.cli.main import main
from didvit.data.datasets import read_dataset
from didvit.data.images import ImageError, read_image
from didvit.data.table import Table

SECONDS = 20
"""Time after which an input counts as one that makes the program hang."""

Rng = np.random.Generator
Outcome = Literal["right", "read", "refused"]
"""Right: equal to what was written. Read: mutated, and a sound result. Refused: in one line."""


class FuzzError(AssertionError):
    """An outcome that may not be, with what it was."""


class Hang(BaseException):
    """An input took longer than `SECONDS`; no Exception, as these are caught."""


class Case(NamedTuple):
    """A judged input: its format, what was done to it, and the outcome."""

    kind: str
    mutation: str
    outcome: Outcome


@contextlib.contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Raise `Hang` after some time, where the system has such timers."""
    if not hasattr(signal, "setitimer") or threading.current_thread() != threading.main_thread():
        yield
        return

    def ring(*arguments: object) -> None:
        raise Hang(f"no outcome after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(target: str, number: int, seed: int, folder: Path) -> Case:
    """Make and judge an input, which depends on the target, the number and the seed alone.

    Raises:
        FuzzError: The outcome is neither right nor a refusal; the input stays in ``folder``.
    """
    rng = np.random.default_rng([seed, number, list(TARGETS).index(target)])
    try:
        with time_limit():
            return TARGETS[target](rng, folder)
    except (Exception, Hang) as error:
        raise FuzzError(
            f"{target} {number}, seed {seed}: {type(error).__name__}: {error}"
        ) from error


# Bytes


def cut(content: bytes, rng: Rng) -> bytes:
    return content[: rng.integers(len(content))]


def append(content: bytes, rng: Rng) -> bytes:
    return content + rng.bytes(rng.integers(1, 64))


def flip_bits(content: bytes, rng: Rng) -> bytes:
    data = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(len(data), size=rng.integers(1, 6))
    data[places] ^= (1 << rng.integers(8, size=len(places))).astype(np.uint8)
    return data.tobytes()


def flip_early_bits(content: bytes, rng: Rng) -> bytes:
    """Damage the headers, where sizes and offsets are."""
    return flip_bits(content[:64], rng) + content[64:]


def overwrite(content: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(content)))
    new = rng.bytes(rng.integers(1, 32))
    return content[:start] + new + content[start + len(new) :]


def write_extreme(content: bytes, rng: Rng) -> bytes:
    extreme = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff", b"\0\0", b"\x80"]
    start, new = int(rng.integers(len(content))), extreme[rng.integers(len(extreme))]
    return content[:start] + new + content[start + len(new) :]


def remove(content: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 16)) :]


def insert(content: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + rng.bytes(rng.integers(1, 16)) + content[start:]


def repeat(content: bytes, rng: Rng) -> bytes:
    start, stop = sorted(rng.integers(len(content) + 1, size=2))
    return content[:stop] + content[start:]


BYTE_MUTATIONS: dict[str, Callable[[bytes, Rng], bytes]] = {
    function.__name__: function
    for function in (
        *(cut, append, flip_bits, flip_early_bits, overwrite, write_extreme, remove, insert),
        repeat,
    )
}
LOSSLESS_MUTATIONS = ("none", "cut", "append")
"""After these, an image is as it was or cannot be read; anything between is a wrong result."""


def mutated(content: bytes, rng: Rng, whole: float = 0.1) -> tuple[str, bytes]:
    """The name of a mutation, and what it makes; "none" for the part ``whole``."""
    if not content or rng.random() < whole:
        return "none", content
    name = list(BYTE_MUTATIONS)[rng.integers(len(BYTE_MUTATIONS))]
    return name, BYTE_MUTATIONS[name](content, rng)


# Images

FORMATS: dict[str, tuple[str, tuple[str, ...], tuple[dict[str, Any], ...]]] = {
    "JPEG": (".jpg", ("RGB", "L", "CMYK"), ({}, {"progressive": True}, {"subsampling": 0})),
    "PNG": (".png", ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), ({}, {"optimize": True})),
    "GIF": (".gif", ("RGB", "L", "P"), ({}, {"save_all": True})),
    "WEBP": (".webp", ("RGB", "RGBA"), ({"lossless": True}, {"quality": 50}, {"save_all": True})),
    "TIFF": (
        ".tif",
        ("RGB", "L", "I;16", "F", "RGBA", "CMYK"),
        ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}),
    ),
    "BMP": (".bmp", ("RGB", "L", "1", "P"), ({},)),
    "JPEG2000": (".jp2", ("RGB", "L", "RGBA"), ({}, {"irreversible": True})),
    "AVIF": (".avif", ("RGB",), ({"speed": 10},)),
}
"""By Pillow's name: suffix, modes, and options of saving."""


def random_image(mode: str, rng: Rng) -> Image.Image:
    """Smooth colors with an edge, 8 to 32 pixels a side."""
    height, width = rng.integers(8, 33, size=2)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(rng.uniform(0.1, 0.6) * x + rng.uniform(0.1, 0.6) * y + i) for i in range(4)]
    pixels = np.stack(waves, 2) * 100 + 127
    pixels[int(height) // 2 :] = 255 - pixels[int(height) // 2 :]
    if mode == "I;16":
        return Image.fromarray((pixels[..., 0] * 257).astype(np.uint16))
    if mode == "F":
        return Image.fromarray((pixels[..., 0] / 255).astype(np.float32))
    image = Image.fromarray(pixels[..., :3].astype(np.uint8))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(pixels[..., 3].astype(np.uint8)))
    return image.convert(mode)


def fuzz_image(rng: Rng, folder: Path) -> Case:
    """An image file of a format that Pillow writes."""
    kind = list(FORMATS)[rng.integers(len(FORMATS))]
    suffix, modes, options = FORMATS[kind]
    image = random_image(modes[rng.integers(len(modes))], rng)
    settings = dict(options[rng.integers(len(options))])
    if settings.get("save_all"):
        settings["append_images"] = [ImageOps.mirror(image)]
    if kind in ("JPEG", "WEBP", "PNG") and rng.random() < 0.4:
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        settings["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    whole = folder / f"whole{suffix}"
    whole.write_bytes(buffer.getvalue())
    name, content = mutated(buffer.getvalue(), rng)
    # Suffixes tell nothing of the content.
    path = folder / f"image{suffix if rng.random() < 0.9 else '.png'}"
    path.write_bytes(content)
    least = (int(rng.integers(1, 16)),) * 2 if rng.random() < 0.3 else None
    expected = read_image(whole, least)
    try:
        pixels = read_image(path, least)
    except ImageError as error:
        if name == "none":
            raise FuzzError(f"a whole {kind} file is refused: {error}") from error
        check_message(str(error), path)
        return Case(kind, name, "refused")
    if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,) or not pixels.size:
        raise FuzzError(f"pixels of {pixels.shape} and {pixels.dtype}")
    if np.array_equal(pixels, expected):
        return Case(kind, name, "right")
    if name in LOSSLESS_MUTATIONS:
        raise FuzzError(f"{kind}, {name}: other pixels, without a word")
    return Case(kind, name, "read")


def check_message(message: str, *paths: Path) -> None:
    """A refusal is one line, and names the file or its folder."""
    if len(message.splitlines()) != 1:
        raise FuzzError(f"the message has several lines: {message!r}")
    if not any(path.name in message for path in paths):
        raise FuzzError(f"the message does not name {paths[0].name}: {message!r}")


# Data sets

LABELS = ("cat", "hot dog", "Käse", "猫", "traffic-light", "n01440764", "O'Neill", "c.v")
IMAGES = ("a.png", "b c.png", "ü.png", "sub/d.png", "e.f.png", "100.png")


class Truth(NamedTuple):
    """What a data set is to be read as: the labels of each image."""

    labels: tuple[str, ...]
    rows: dict[str, frozenset[str]]


def random_truth(rng: Rng, folder: Path) -> Truth:
    """Images on the disk, and labels, each of which an image has and another lacks."""
    names = [IMAGES[i] for i in rng.permutation(len(IMAGES))[: rng.integers(2, len(IMAGES) + 1)]]
    chosen = [LABELS[i] for i in rng.permutation(len(LABELS))[: rng.integers(1, 5)]]
    present = rng.random((len(names), len(chosen))) < 0.5
    present[0], present[1] = True, False
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + i, 8), (i * 20, 0, 0)).save(path)
    rows = {
        name: frozenset(label for label, has in zip(chosen, row, strict=True) if has)
        for name, row in zip(names, present, strict=True)
    }
    return Truth(tuple(chosen), rows)


def judge(
    spec: str, path: Path, kind: str, mutation: str, truth: Truth, root: Path, *paths: Path
) -> Case:
    """Read a data set through the library and the command, and compare it with the truth."""
    code, out, err = run_command("data", "check", spec, "--workers", "0")
    if code == 2:
        if mutation == "none":
            raise FuzzError(f"a whole {kind} data set is refused: {err}")
        if not err.startswith("didvit: error: ") or out:
            raise FuzzError(f"exit code 2 with {out!r} and {err!r}")
        check_message(err.rstrip("\n"), path, *paths)
        return Case(kind, mutation, "refused")
    if code not in (0, 3):
        raise FuzzError(f"exit code {code}: {err}")
    table = read_dataset(spec, missing="keep")
    check_table(table)
    found = dict(
        zip([name_of(image, root) for image in table.images], table.image_labels, strict=True)
    )
    if found == truth.rows and not any(table.unknown):
        return Case(kind, mutation, "right")
    if mutation == "cut" and kind == "WebDataset" and code == 0:
        raise FuzzError(f"{kind}: cut off, without a word")
    if mutation == "none":
        raise FuzzError(f"{kind}: read {found}, written {truth.rows}; unknown: {table.unknown}")
    return Case(kind, mutation, "read")


def name_of(image: Any, root: Path) -> str:
    """The name of an image as the truth has it."""
    if isinstance(image, Path):
        return str(image.relative_to(root)) if image.is_relative_to(root) else str(image)
    return image.member


def check_table(table: Table) -> None:
    """What holds of every table."""
    if not len(table) or not table.labels or len(set(table.labels)) < len(table.labels):
        raise FuzzError(f"{len(table)} images, labels {table.labels}")
    breaks = "\n\r\x00\x0b\x0c\x1b\x85\u2028\u2029"
    strange = [label for label in table.labels if not label.strip() or set(label) & set(breaks)]
    if strange:
        raise FuzzError(f"labels that cannot be printed: {strange}")
    if not all(of_image <= set(table.labels) for of_image in (*table.image_labels, *table.unknown)):
        raise FuzzError("an image has a label that is not among those of the table")
    if table.targets.shape != (len(table), len(table.labels)):
        raise FuzzError("targets of another shape")


def run_command(*arguments: str) -> tuple[int, str, str]:
    """Run the command in this process: exit code, standard output and standard error output."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    argv, sys.argv = sys.argv, ["didvit", *arguments]
    code: object = 0
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    return int(str(code or 0)), out, err


def fuzz_csv(rng: Rng, folder: Path) -> Case:
    """A CSV file in one of the dialects that tools write, then damaged as text or as cells."""
    truth = random_truth(rng, folder)
    delimiter = str(rng.choice([",", ";", "\t"]))
    image = str(rng.choice(["image", "Image", "filename", "file_name"]))
    if rng.random() < 0.5:
        header = [image, "labels"]
        rows = [[name, "|".join(sorted(of))] for name, of in truth.rows.items()]
    else:
        header = [image, *truth.labels]
        rows = [
            [name, *(str(int(label in of)) for label in truth.labels)]
            for name, of in truth.rows.items()
        ]
    cells = [header, *rows]
    cell_mutation = "none"
    if rng.random() < 0.5:
        cell_mutation = change_cells(cells, rng)
    buffer = io.StringIO()
    quoting = csv.QUOTE_ALL if rng.random() < 0.3 else csv.QUOTE_MINIMAL
    ending = str(rng.choice(["\n", "\r\n"]))
    csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=ending).writerows(cells)
    text = buffer.getvalue()
    if quoting == csv.QUOTE_MINIMAL and rng.random() < 0.2:
        text = text.replace(delimiter, f"{delimiter} ")  # Roboflow's spaces
    if rng.random() < 0.2:
        text += ending * 2
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))
    name, content = mutated(text.encode(encoding), rng, whole=0.5)
    mutation = name if cell_mutation == "none" else cell_mutation
    path = folder / "table.csv"
    path.write_bytes(content)
    return judge(str(path), path, "CSV", mutation, truth, folder)


CELLS = (
    *("", " ", "NaN", "nan", "null", "-1", "2", "1e400", "9" * 400, "0.5", "True", "\x00", "a\nb"),
    *('"', "'", "|", "||", "a|", "[]", "['cat']", "{}", "../../etc", "/", ".", "\u202e", "\ud7ff"),
    *("x" * 5000, "http://a/b.png", "a.png", "cat;cat"),
)


def change_cells(cells: list[list[str]], rng: Rng) -> str:
    """Change rows, columns or a cell in place; the name of the change."""
    row = int(rng.integers(len(cells)))
    kind = str(rng.choice(["cell", "drop cell", "add cell", "double row", "double column", "drop"]))
    if kind == "cell":
        cells[row][int(rng.integers(len(cells[row])))] = CELLS[rng.integers(len(CELLS))]
    elif kind == "drop cell":
        cells[row].pop()
    elif kind == "add cell":
        cells[row].append("cat")
    elif kind == "double row":
        cells.append(list(cells[row]))
    elif kind == "double column":
        for of in cells:
            of.append(of[-1])
    else:
        del cells[row]
    return kind


VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**400, 1.5, float("nan"), "", " ", "x", "\ud800", "a\nb", "../a.png"),
    *([], {}, [[]], [None], {"id": 1}, "1"),
)


def change_values(value: Any, rng: Rng) -> tuple[str, Any]:
    """JSON with one of its parts replaced, left out or doubled."""
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict | list):
            for key in list(part) if isinstance(part, dict) else range(len(part)):
                places.append((part, key))
                walk(part[key])

    value = json.loads(json.dumps(value))
    walk(value)
    if not places:
        return "none", value
    parent, key = places[rng.integers(len(places))]
    kind = str(rng.choice(["value", "drop", "double"]))
    if kind == "value":
        parent[key] = VALUES[rng.integers(len(VALUES))]
    elif kind == "drop" or isinstance(parent, dict):
        kind = "drop"
        del parent[key]
    else:
        parent.append(parent[key])
    return kind, value


def changed_json(value: Any, rng: Rng) -> tuple[str, bytes]:
    """JSON text: as it is, with a value changed, or with bytes changed."""
    draw, name = rng.random(), "none"
    if draw < 0.6:
        name, value = change_values(value, rng)
    text = json.dumps(value, ensure_ascii=bool(rng.random() < 0.5))
    content = text.encode("utf-8", "surrogatepass")
    return mutated(content, rng, whole=0) if draw > 0.8 else (name, content)


def fuzz_json_lines(rng: Rng, folder: Path) -> Case:
    """JSON lines, one of which is changed."""
    truth = random_truth(rng, folder)
    objects = [{"image": name, "labels": sorted(of)} for name, of in truth.rows.items()]
    lines = [json.dumps(value).encode() for value in objects]
    row = int(rng.integers(len(lines)))
    name, lines[row] = changed_json(objects[row], rng)
    if rng.random() < 0.1:
        lines, name = lines[:-1], "drop"
    path = folder / "rows.jsonl"
    start = b"\xef\xbb\xbf" if rng.random() < 0.2 else b""
    path.write_bytes(start + (b"\r\n" if rng.random() < 0.3 else b"\n").join(lines))
    return judge(str(path), path, "JSON lines", name, truth, folder)


def fuzz_coco(rng: Rng, folder: Path) -> Case:
    """COCO's file of instances."""
    images = folder / "val"
    truth = random_truth(rng, images)
    categories = [{"id": i + 1, "name": label} for i, label in enumerate(truth.labels)]
    names = list(truth.rows)
    annotations = [
        {"image_id": i, "category_id": truth.labels.index(label) + 1}
        for i, name in enumerate(names)
        for label in sorted(truth.rows[name])
    ]
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": categories,
        "annotations": [{"id": i, **of} for i, of in enumerate(annotations)],
    }
    name, text = changed_json(content, rng)
    path = folder / "annotations" / "instances_val.json"
    path.parent.mkdir()
    path.write_bytes(text)
    return judge(f"{folder}:val", path, "COCO", name, truth, images, folder)


def fuzz_voc(rng: Rng, folder: Path) -> Case:
    """A folder in VOC's layout, of one's own labels; a list or an annotation is changed."""
    root = folder / "VOC2007"
    images, xml = root / "JPEGImages", root / "Annotations"
    truth = random_truth(rng, images)
    names = [name for name in truth.rows if "/" not in name]
    truth = truth._replace(rows={name: truth.rows[name] for name in names})
    list_path = root / "ImageSets" / "Main" / "train.txt"
    for path in (list_path.parent, xml):
        path.mkdir(parents=True)
    contents = {list_path: "".join(f"{name.removesuffix('.png')}\n" for name in names)}
    for name, of in truth.rows.items():
        objects = "".join(
            f"<object><name>{label}</name><difficult>0</difficult></object>" for label in sorted(of)
        )
        contents[xml / name.replace(".png", ".xml")] = f"<annotation>{objects}</annotation>"
    chosen = list(contents)[rng.integers(len(contents))]
    mutation = "none"
    for path, text in contents.items():
        encoding = "utf-16" if path.suffix == ".xml" and rng.random() < 0.2 else "utf-8"
        content = text.encode(encoding)
        if path == chosen:
            mutation, content = mutated(content, rng)
        path.write_bytes(content)
    return judge(f"{root}:train", chosen, "VOC", mutation, truth, images, root, list_path)


def fuzz_shards(rng: Rng, folder: Path) -> Case:
    """A WebDataset shard, changed as a tar file or in its samples."""
    sources = folder / "sources"
    truth = random_truth(rng, sources)
    path = folder / "shard.tar"
    rows = {}
    sample_mutation = "none"
    with tarfile.open(path, "w") as tar:
        for name, of in truth.rows.items():
            stem = name.removesuffix(".png").replace(".", "-")
            image = (sources / name).read_bytes()
            kind = str(rng.choice(["json", "cls", "txt"]))
            labels: Any = sorted(of)
            text = json.dumps({"labels": labels}) if kind == "json" else "\n".join(labels)
            parts = {f"{stem}.png": image, f"{stem}.{kind}": text.encode()}
            if rng.random() < 0.1:
                change = str(rng.choice(["drop", "text", "double", "folder"]))
                sample_mutation = change
                if change == "drop":
                    parts.popitem()
                elif change == "text":
                    parts[f"{stem}.{kind}"] = mutated(text.encode() or b"x", rng, whole=0)[1]
                elif change == "double":
                    parts[f"{stem}.jpg"] = image
                else:
                    parts[f"{stem}.png/x"] = b""
            rows[f"{stem}.png"] = of
            for member, content in parts.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    name, content = mutated(path.read_bytes(), rng, whole=0.5)
    path.write_bytes(content)
    mutation = name if sample_mutation == "none" else sample_mutation
    return judge(str(path), path, "WebDataset", mutation, truth._replace(rows=rows), folder)


# Models


def fuzz_model(rng: Rng, folder: Path) -> Case:
    """A model folder: its settings or its weights are changed, and it predicts a photograph."""
    source = Path(os.environ[MODEL_VARIABLE])
    contents = {name: (source / name).read_bytes() for name in ("config.json", "model.safetensors")}
    chosen = "config.json" if rng.random() < 0.6 else "model.safetensors"
    if chosen == "config.json":
        mutation, contents[chosen] = changed_json(json.loads(contents[chosen]), rng)
    else:
        mutation, contents[chosen] = mutated(contents[chosen], rng)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    image = folder / "photo.png"
    random_image("RGB", rng).save(image)
    arguments = ("predict", str(image), "--device", "cpu", "--threads", "1", "--threshold", "0")
    code, out, err = run_command(*arguments, "--model", str(folder))
    if code == 2:
        if mutation == "none" or out:
            raise FuzzError(f"a whole model is refused, or lines are written: {err}")
        check_message(err.rstrip("\n"), folder)
        return Case("model", mutation, "refused")
    if code:
        raise FuzzError(f"exit code {code}: {err}")
    scores = [label["score"] for label in json.loads(out)["labels"]]
    if not np.isfinite(scores).all():
        raise FuzzError("a score is no number")
    same = out == run_command(*arguments, "--model", str(source))[1]
    if mutation == "none" and not same:
        raise FuzzError("a whole model gives other scores")
    return Case("model", mutation, "right" if same else "read")


MODEL_VARIABLE = "DIDVIT_FUZZED_MODEL"
"""Environment variable with the folder of the model that is changed."""

TARGETS: dict[str, Callable[[Rng, Path], Case]] = {
    "image": fuzz_image,
    "csv": fuzz_csv,
    "json lines": fuzz_json_lines,
    "coco": fuzz_coco,
    "voc": fuzz_voc,
    "shards": fuzz_shards,
    "model": fuzz_model,
}
