"""Train the weights of the default model on one GPU, as its card says.

    python scripts/train_default.py --data coco40k --output runs/default
    didvit pack runs/default --output default

On an H200 it took five minutes. On a CPU, a few steps show that everything runs:

    python scripts/train_default.py --data coco40k --output runs/try --device cpu --images 64 \
        --batch-size 8 --steps-per-phase 2

``coco40k`` holds train.csv; ``--weights`` are the ImageNet weights of the backbone. The
recipe of the same name makes a weaker model on two CPU cores. What differs from ``didvit train``:
pixels lie in the GPU's memory, crops are matrix products, and boxes are found in the semantic maps,
in batches. The training has three phases, under one cosine and one moving average of the weights:
crops at 224 pixels, crops at 256, and then views too, as the preset ``didvit`` has them. In the
third phase, the model of the first two is a teacher: it sees the same crops at 320 pixels.
"""

import argparse
import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath
from torch import Tensor, nn

from didvit.config import DIDVIT, ModelConfig
from didvit.data.datasets import read_dataset
from didvit.data.images import read_image
from didvit.data.table import Table
from didvit.method.boxes import tile_boxes
from didvit.method.model import DiD
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import save_checkpoint

SIDE = 320
"""Longest side of the photographs."""


class Phase(NamedTuple):
    """A part of the training: ``end`` is where the learning rate's cosine has come to."""

    steps: int
    end: float
    size: int
    views: bool


PHASES = (
    Phase(2158, 0.45, 224, views=False),
    Phase(620, 0.65, 256, views=False),
    Phase(369, 1.0, 256, views=True),
)
LEARNING_RATE, LAYER_DECAY, HEAD_SCALE, WEIGHT_DECAY = 7e-4, 0.8, 10.0, 0.05
EMA, DROP_PATH, WARMUP = 0.998, 0.05, 0.03
TEACHER_SIZE, TEACHER_WEIGHT = 320, 0.5


class Images(NamedTuple):
    """Photographs in the corner of squares, their heights and widths, and their targets."""

    pixels: Tensor
    sizes: Tensor
    targets: Tensor

    def part(self, index: Tensor) -> "Images":
        return Images(self.pixels[index], self.sizes[index], self.targets[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", default="pretrained", help="of timm's hub, or a file")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, help="the first ones; all by default")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps-per-phase", type=int, help="instead of PHASES' own")
    parser.add_argument("--image-size", type=int, default=288, help="of the model that is written")
    options = parser.parse_args()
    torch.manual_seed(0)
    device, cuda = torch.device(options.device), options.device == "cuda"

    table = read_dataset(str(options.data / "train.csv"))
    train = load(table, options.images, device)
    config = ModelConfig(weights=options.weights, image_size=(224, 224), method=DIDVIT)
    model = build_model(config, len(table.labels))
    prepare(model, train.targets)
    model.to(device)
    average, teacher = copy.deepcopy(model), None
    phases = PHASES
    if steps := options.steps_per_phase:
        phases = tuple(phase._replace(steps=steps) for phase in PHASES)
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=LEARNING_RATE, fused=cuda)
    if cuda:
        for block in model.backbone.vit.blocks:
            block.compile()
    batches = endless(len(train.sizes), options.batch_size, device)
    for step, (phase, done) in enumerate(schedule(phases)):
        if phase.views and teacher is None:
            teacher = copy.deepcopy(average).eval().requires_grad_(False)
        rate = LEARNING_RATE * min(1.0, (step + 1) / 100)
        rate *= done / WARMUP if done < WARMUP else cosine((done - WARMUP) / (1 - WARMUP))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        model.train()
        value = loss(model, teacher, train.part(next(batches)), phase)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        update(average, model, min(EMA, (2 + step) / (11 + step)))
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}: loss {value.item():.3f}", flush=True)
    average.backbone.vit.set_input_size(img_size=(options.image_size, options.image_size))
    config = replace(config, image_size=(options.image_size, options.image_size))
    save_checkpoint(options.output, average, table.labels, config)


# Data


def load(table: Table, count: int | None, device: torch.device) -> Images:
    """Decode the images of a table into the device's memory; 9 GB for 30,000."""
    paths = table.images[:count]
    pixels = torch.zeros(len(paths), 3, SIDE, SIDE, dtype=torch.uint8)

    def decode(place: int) -> tuple[int, int]:
        image = torch.from_numpy(read_image(paths[place])).permute(2, 0, 1)
        pixels[place, :, : image.shape[1], : image.shape[2]] = image
        return image.shape[1], image.shape[2]

    with ThreadPoolExecutor() as pool:
        sizes = torch.tensor(list(pool.map(decode, range(len(paths)))), dtype=torch.float32)
    targets = torch.from_numpy(np.asarray(table.targets[:count])).float()
    return Images(pixels.to(device), sizes.to(device), targets.to(device))


def endless(count: int, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Batches of places, in a new order each time that all have been seen."""
    queue = torch.empty(0, dtype=torch.int64)
    while True:
        while len(queue) < batch_size:
            queue = torch.cat([queue, torch.randperm(count)])
        yield queue[:batch_size].to(device)
        queue = queue[batch_size:]


def resample(pixels: Tensor, boxes: Tensor, size: int, flip: Tensor) -> Tensor:
    """Antialiased bilinear resize of one box ``[x0, y0, x1, y1)`` of each image, in [0, 1]."""
    kind = torch.float16 if pixels.is_cuda else torch.float32
    grid = torch.arange(SIDE, device=pixels.device) + 0.5
    places = torch.arange(size, device=pixels.device) + 0.5

    def weights(low: Tensor, high: Tensor, flip: Tensor | None = None) -> Tensor:
        scale = ((high - low) / size)[:, None, None]
        centers = low[:, None, None] + places[None, :, None] * scale
        values = (1 - (grid - centers).abs() / scale.clamp(min=1)).clamp(min=0)
        values = values * ((grid > low[:, None, None]) & (grid < high[:, None, None]))
        values = values / values.sum(-1, keepdim=True).clamp(min=1e-6)
        if flip is not None:
            values = torch.where(flip[:, None, None], values.flip(1), values)
        return values.to(kind)

    along_x, along_y = weights(boxes[:, 0], boxes[:, 2], flip), weights(boxes[:, 1], boxes[:, 3])
    rows = torch.matmul(pixels.to(kind) / 255, along_x.mT[:, None])
    return torch.matmul(along_y[:, None], rows).float().clamp(0, 1)


def random_boxes(sizes: Tensor, least_area: float) -> Tensor:
    """A crop of each image: its area uniform, its shape the image's, a square, or near them."""
    draws = torch.rand(len(sizes), 5, device=sizes.device)
    height, width = sizes.unbind(1)
    area = (least_area + (1 - least_area) * draws[:, 0]) * height * width
    ratio = torch.exp((draws[:, 1] * 2 - 1) * math.log(4 / 3))
    ratio = ratio * torch.where(draws[:, 2] < 0.5, width / height, torch.ones_like(width))
    crop_width = torch.minimum((area * ratio).sqrt(), width).round().clamp(min=16)
    crop_height = torch.minimum((area / ratio).sqrt(), height).round().clamp(min=16)
    x0 = ((width - crop_width) * draws[:, 3]).floor()
    y0 = ((height - crop_height) * draws[:, 4]).floor()
    return torch.stack([x0, y0, x0 + crop_width, y0 + crop_height], dim=1)


def change_colors(images: Tensor) -> Tensor:
    """Up to 30 % of brightness, contrast and saturation; some images gray, some with a hole."""
    count, device = len(images), images.device
    factors = 1 + 0.3 * (2 * torch.rand(3, count, 1, 1, 1, device=device) - 1)
    images = images * factors[0]
    middle = images.mean((1, 2, 3), keepdim=True)
    images = (images - middle) * factors[1] + middle
    weights = torch.tensor([0.299, 0.587, 0.114], device=device).view(1, 3, 1, 1)
    gray = (images * weights).sum(1, keepdim=True)
    becomes_gray = torch.rand(count, 1, 1, 1, device=device) < 0.05
    saturation = torch.where(becomes_gray, torch.zeros_like(factors[2]), factors[2])
    images = ((images - gray) * saturation + gray).clamp(0, 1)

    size = images.shape[-1]
    grid = (torch.arange(size, device=device) + 0.5) / size
    center, half = torch.rand(2, count, 1, device=device), torch.rand(2, count, 1, device=device)
    inside = (grid - center).abs() < 0.1 + 0.2 * half
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    hole &= (torch.rand(count, device=device) < 0.4)[:, None, None]
    return torch.where(hole[:, None], torch.full_like(images, 0.5), images)


# Model


def prepare(model: DiD, targets: Tensor) -> None:
    """Begin with the labels' frequencies, small weights in the head, and stochastic depth."""
    projection = model.head.projection
    frequency = (targets.sum(0).cpu() + 0.5) / (len(targets) + 1)
    with torch.no_grad():
        projection.bias.copy_(torch.logit(frequency))  # pyright: ignore
        projection.weight.mul_(0.1)  # pyright: ignore
    for block in model.backbone.vit.blocks:
        block.drop_path1, block.drop_path2 = DropPath(DROP_PATH), DropPath(DROP_PATH)


def parameter_groups(model: DiD) -> list[dict]:
    """One group for each tensor, with the scale of its learning rate."""
    groups = []
    depth = len(model.backbone.vit.blocks)
    for name, tensor in model.named_parameters():
        scale = LAYER_DECAY**depth
        if name.startswith("head."):
            scale = HEAD_SCALE
        elif ".blocks." in name:
            scale = LAYER_DECAY ** (depth - 1 - int(name.split(".")[3]))
        elif ".norm." in name:
            scale = 1.0
        decays = tensor.ndim > 1 and not name.endswith(("pos_embed", "cls_token"))
        decay = WEIGHT_DECAY if decays else 0.0
        groups.append({"params": [tensor], "scale": scale, "weight_decay": decay})
    return groups


@torch.no_grad()
def update(average: DiD, model: DiD, decay: float) -> None:
    own = list(average.parameters())
    torch._foreach_lerp_(own, list(model.parameters()), 1 - decay)


def schedule(phases: tuple[Phase, ...]) -> Iterator[tuple[Phase, float]]:
    """Each step's phase, and how far the cosine has come."""
    start = 0.0
    for phase in phases:
        for step in range(phase.steps):
            yield phase, start + (phase.end - start) * step / phase.steps
        start = phase.end


def cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def maps_and_logits(model: DiD, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
        tokens = model.backbone(images)
    maps, logits = model.head(tokens.float())
    return maps, logits


def loss(model: DiD, teacher: DiD | None, batch: Images, phase: Phase) -> Tensor:
    """The soft margin loss, of both branches where the phase has views, and of the teacher's."""
    flip = torch.rand(len(batch.sizes), device=batch.sizes.device) < 0.5
    crops = random_boxes(batch.sizes, 0.4 if phase.views else 0.2)
    images = change_colors(resample(batch.pixels, crops, phase.size, flip))
    maps, logits = maps_and_logits(model, images)
    value = cross_entropy(logits, batch.targets)
    if not phase.views:
        return value
    value = (
        value + cross_entropy(view_logits(model, maps, logits, batch, crops, flip), batch.targets)
    ) / 2
    assert teacher is not None
    with torch.no_grad():
        larger = resample(batch.pixels, crops, TEACHER_SIZE, flip)
        soft = maps_and_logits(teacher, larger)[1].sigmoid()
    return (1 - TEACHER_WEIGHT) * value + TEACHER_WEIGHT * cross_entropy(logits, soft)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum over labels, the mean over images."""
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return losses.sum(1).mean()


def view_logits(
    model: DiD, maps: Tensor, logits: Tensor, batch: Images, crops: Tensor, flip: Tensor
) -> Tensor:
    """The highest logits of boxes and tiles of each crop, cut from the photographs."""
    top = logits.topk(min(DIDVIT.top_n, logits.shape[1]), dim=1).indices
    chosen = maps.detach().gather(1, top[:, :, None, None].expand(-1, -1, *maps.shape[-2:]))
    tiles = torch.from_numpy(tile_boxes(DIDVIT.tiles, (1024, 1024))).to(maps.device) / 1024
    boxes = torch.cat([peak_boxes(chosen), tiles.expand(len(maps), -1, -1)], dim=1)
    x0, y0, x1, y1 = boxes.unbind(-1)
    x0, x1 = torch.where(flip[:, None], 1 - x1, x0), torch.where(flip[:, None], 1 - x0, x1)
    left, top_edge, right, bottom = (side[:, None] for side in crops.unbind(1))
    width, height = right - left, bottom - top_edge
    starts = [(left + x0 * width).floor(), (top_edge + y0 * height).floor()]
    ends = [(left + x1 * width).ceil(), (top_edge + y1 * height).ceil()]
    ends = [torch.maximum(end, start + 4) for start, end in zip(starts, ends, strict=True)]
    boxes = torch.stack([*starts, *ends], dim=-1)
    patch, views = model.backbone.patch_size[0], boxes.shape[1]
    size = round(maps.shape[-1] * DIDVIT.view_scale) * patch
    pixels = batch.pixels.repeat_interleave(views, 0)
    flips = flip.repeat_interleave(views)
    images = resample(pixels, boxes.flatten(0, 1), size, flips)
    return maps_and_logits(model, images)[1].unflatten(0, (-1, views)).amax(1)


@torch.no_grad()
def peak_boxes(maps: Tensor) -> Tensor:
    """Boxes in [0, 1] of the region around each map's peak that is above λ of the map's range."""
    width = maps.shape[-1]
    large = F.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    foreground = (large - low) / (high - low + 1e-6) > DIDVIT.box_threshold
    region = (large == high) & foreground
    for _ in range(width):  # it grows by a patch each time
        region = (F.max_pool2d(region.float(), 9, 1, 4) > 0) & foreground
    sides = []
    for line in (region.any(2), region.any(3)):
        length = line.shape[-1]
        places = torch.arange(length, device=line.device)
        start = torch.where(line, places, length).amin(-1) / length
        end = torch.where(line, places + 1, 0).amax(-1) / length
        half = ((end - start) / 2).clamp(min=0.5 / width)
        center = ((start + end) / 2).clamp(0.5 / width, 1 - 0.5 / width)
        sides.append((center - half, center + half))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], dim=-1).clamp(0, 1)


if __name__ == "__main__":
    main()
