"""The method as slow, obvious loops: one number at a time, straight from the formulas.

Arrays are numpy, of float64 unless said otherwise; a box is ``(x0, y0, x1, y1)``, end-exclusive.
Nothing here imports the library under test.
"""

import math
from fractions import Fraction

import numpy as np

# Attention (eq. 4) and its rollout (eq. 5)


def mean_attention(query, key):
    """Mean over heads of softmax(QKᵀ/√d), from ``(M, T, d)`` queries and keys: ``(T, T)``."""
    heads, tokens, width = query.shape
    mean = np.zeros((tokens, tokens))
    for m in range(heads):
        for i in range(tokens):
            scores = [
                sum(query[m, i, e] * key[m, j, e] for e in range(width)) / math.sqrt(width)
                for j in range(tokens)
            ]
            exponentials = [math.exp(score - max(scores)) for score in scores]
            for j in range(tokens):
                mean[i, j] += exponentials[j] / sum(exponentials) / heads
    return mean


def rollout_factor(attention, normalization):
    """``G``: attention plus the identity, every column (or row) divided by its sum."""
    tokens = len(attention)
    factor = np.zeros((tokens, tokens))
    for i in range(tokens):
        for j in range(tokens):
            factor[i, j] = attention[i, j] + (1 if i == j else 0)
    sums = []
    for k in range(tokens):
        line = factor[:, k] if normalization == "column" else factor[k, :]
        sums.append(sum(line))
    for i in range(tokens):
        for j in range(tokens):
            factor[i, j] /= sums[j] if normalization == "column" else sums[i]
    return factor


def matrix_product(left, right):
    rows, inner, columns = len(left), len(right), len(right[0])
    product = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            product[i, j] = sum(left[i, k] * right[k, j] for k in range(inner))
    return product


def rollout(attentions, grid_size, num_prefix_tokens, has_class_token, normalization):
    """V' from the full ``V = G_L · … · G_1``: the class token's row, or the mean patch row."""
    product = rollout_factor(attentions[0], normalization)
    for attention in attentions[1:]:
        product = matrix_product(rollout_factor(attention, normalization), product)
    if has_class_token:
        row = product[0]
    else:
        patch_rows = product[num_prefix_tokens:]
        row = sum(patch_rows) / len(patch_rows)
    height, width = grid_size
    spatial_map = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            spatial_map[y, x] = row[num_prefix_tokens + y * width + x]
    return spatial_map


# Semantic maps (eq. 3), selection, re-constraint (eqs. 6-8)


def semantic_maps(tokens, weight, bias):
    """1x1 convolution with bias of ``(D, h, w)`` by ``(C, D)``, and the mean of every map."""
    depth, height, width = tokens.shape
    categories = len(weight)
    maps = np.zeros((categories, height, width))
    for c in range(categories):
        for y in range(height):
            for x in range(width):
                maps[c, y, x] = bias[c] + sum(tokens[d, y, x] * weight[c, d] for d in range(depth))
    logits = [sum(maps[c].flatten().tolist()) / (height * width) for c in range(categories)]
    return maps, np.array(logits)


def select(logits, top_n, selection):
    """The K highest (``descending``) or lowest (``ascending``); of equals, the first."""
    sign = {"descending": -1, "ascending": 1}[selection]
    return sorted(range(len(logits)), key=lambda c: (sign * logits[c], c))[:top_n]


def reconstrain(spatial_map, maps, reconstraint):
    categories, height, width = maps.shape
    result = np.zeros(maps.shape)
    for c in range(categories):
        low, high = maps[c].min(), maps[c].max()
        for y in range(height):
            for x in range(width):
                v, a = spatial_map[y, x], maps[c, y, x]
                result[c, y, x] = {
                    "hadamard": v * a,
                    "sum": v + a,
                    "none": a,
                    "shifted": v * (a - low),
                    "sigmoid": v / (1 + np.exp(-a)),
                    "scaled_sum": v / spatial_map.max() + ((a - low) / (high - low or 1)),
                }[reconstraint]
    return result


# Localization


def half_pixel_weights(source, target):
    """For every target pixel the ``(index, weight)`` pairs of bilinear interpolation."""
    weights = []
    for i in range(target):
        position = max((i + 0.5) * source / target - 0.5, 0.0)
        first = min(int(position), source - 1)
        second = min(first + 1, source - 1)
        weights.append([(first, 1 - (position - first)), (second, position - first)])
    return weights


def corner_weights(source, target):
    """The same with the centers of the corner pixels kept in the corners."""
    weights = []
    for i in range(target):
        position = i * (source - 1) / (target - 1) if target > 1 else 0.0
        first = min(int(position), source - 1)
        second = min(first + 1, source - 1)
        weights.append([(first, 1 - (position - first)), (second, position - first)])
    return weights


def antialiased_weights(source, target):
    """Half-pixel weights where it enlarges; where it shrinks, a triangle as wide as the step."""
    if target >= source:
        return half_pixel_weights(source, target)
    step, weights = source / target, []
    for i in range(target):
        center = (i + 0.5) * step
        triangle = [(j, max(0.0, 1 - abs(j + 0.5 - center) / step)) for j in range(source)]
        total = sum(weight for _, weight in triangle)
        weights.append([(j, weight / total) for j, weight in triangle if weight > 0])
    return weights


def interpolate(plane, row_weights, column_weights):
    half = np.zeros((plane.shape[0], len(column_weights)))
    for y in range(plane.shape[0]):
        for x, pairs in enumerate(column_weights):
            half[y, x] = sum(plane[y, j] * weight for j, weight in pairs)
    result = np.zeros((len(row_weights), len(column_weights)))
    for y, pairs in enumerate(row_weights):
        for x in range(len(column_weights)):
            result[y, x] = sum(half[j, x] * weight for j, weight in pairs)
    return result


def upsample(plane, size):
    return interpolate(
        plane,
        half_pixel_weights(plane.shape[0], size[0]),
        half_pixel_weights(plane.shape[1], size[1]),
    )


def min_max(values):
    """Scale to [0, 1] by the own minimum and maximum; None where these are equal."""
    low, high = values.min(), values.max()
    return None if low == high else (values - low) / (high - low)


def components(mask):
    """8-connected components as lists of ``(y, x)``, in the order of their first pixels."""
    height, width = mask.shape
    seen, found = set(), []
    for y in range(height):
        for x in range(width):
            if not mask[y, x] or (y, x) in seen:
                continue
            seen.add((y, x))
            pixels, pending = [], [(y, x)]
            while pending:
                py, px = pending.pop()
                pixels.append((py, px))
                for ny in range(max(py - 1, 0), min(py + 2, height)):
                    for nx in range(max(px - 1, 0), min(px + 2, width)):
                        if mask[ny, nx] and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            pending.append((ny, nx))
            found.append(pixels)
    return found


def tight_box(pixels):
    ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def grow(start, end, least, side):
    """Widen around the center to ``least`` pixels, then shift to stay inside."""
    if end - start >= least:
        return start, end
    start = math.floor(Fraction(start + end, 2) - Fraction(least, 2))
    while start < 0:
        start += 1
    while start + least > side:
        start -= 1
    return start, start + least


def grow_box(box, image_size, patch_size):
    x0, x1 = grow(box[0], box[2], patch_size[1], image_size[1])
    y0, y1 = grow(box[1], box[3], patch_size[0], image_size[0])
    return x0, y0, x1, y1


def component_box(instance_map, image_size, threshold, patch_size):
    """The tight box of the largest component above the threshold, of at least one patch."""
    scaled = None if min_max(instance_map) is None else min_max(upsample(instance_map, image_size))
    if scaled is None:
        return 0, 0, image_size[1], image_size[0]
    largest = []
    for pixels in components(scaled > threshold):
        if len(pixels) > len(largest):
            largest = pixels
    return grow_box(tight_box(largest), image_size, patch_size)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def mcar_profiles(instance_map, image_size):
    """The maxima of the sigmoid map at every x, and at every y."""
    full = upsample(sigmoid(instance_map), image_size)
    height, width = image_size
    over_rows = np.array([max(full[y, x] for y in range(height)) for x in range(width)])
    over_columns = np.array([max(full[y, x] for x in range(width)) for y in range(height)])
    return over_rows, over_columns


def peak_interval(profile, threshold):
    """Walk from the peak both ways, for as long as the scaled profile is above the threshold."""
    scaled = min_max(profile)
    if scaled is None:
        return 0, len(profile)
    start = end = int(np.argmax(scaled))
    while start > 0 and scaled[start - 1] > threshold:
        start -= 1
    while end + 1 < len(scaled) and scaled[end + 1] > threshold:
        end += 1
    return start, end + 1


def mcar_box(instance_map, image_size, threshold, patch_size):
    height, width = image_size
    over_rows, over_columns = mcar_profiles(instance_map, image_size)
    x0, x1 = grow(*peak_interval(over_rows, threshold), math.ceil(width / 8), width)
    y0, y1 = grow(*peak_interval(over_columns, threshold), math.ceil(height / 8), height)
    return grow_box((x0, y0, x1, y1), image_size, patch_size)


# Views


def scale_box(box, from_size, to_size):
    """Starts rounded down and ends rounded up, in exact arithmetic."""
    x, y = Fraction(to_size[1], from_size[1]), Fraction(to_size[0], from_size[0])
    return (
        math.floor(box[0] * x),
        math.floor(box[1] * y),
        math.ceil(box[2] * x),
        math.ceil(box[3] * y),
    )


def crop_and_resize(image, box, size, align_corners=False):
    """Cut ``(3, height, width)`` at the box and resize it; uint8 becomes [0, 1]."""
    x0, y0, x1, y1 = box
    weights = corner_weights if align_corners else antialiased_weights
    planes = []
    for plane in image:
        crop = plane[y0:y1, x0:x1].astype(np.float64)
        if image.dtype == np.uint8:
            crop = crop / 255
        planes.append(interpolate(crop, weights(y1 - y0, size[0]), weights(x1 - x0, size[1])))
    return np.stack(planes)


# Fusion and loss


def local_logits(view_logits):
    """The maximum over the K views of ``(K, C)`` logits."""
    return np.array([max(view[c] for view in view_logits) for c in range(view_logits.shape[1])])


def fuse(global_logits, local, fusion):
    return np.array(
        [
            {"mean": (g + v) / 2, "max": max(g, v), "global": g, "local": v}[fusion]
            for g, v in zip(global_logits, local, strict=True)
        ]
    )


def soft_margin_loss(logits, targets):
    """Binary cross-entropy with logits, the mean over categories, then over images."""
    total = 0.0
    for image in range(len(logits)):
        terms = [
            -(y * math.log(sigmoid(z)) + (1 - y) * math.log(1 - sigmoid(z)))
            for z, y in zip(logits[image], targets[image], strict=True)
        ]
        total += sum(terms) / len(terms)
    return total / len(logits)


def multi_view_loss(global_logits, local, targets):
    return soft_margin_loss(global_logits, targets) + soft_margin_loss(local, targets)


def stable_sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def log_sigmoid(z):
    """Of any number: neither exp overflows nor the logarithm meets 0."""
    return -math.log1p(math.exp(-z)) if z >= 0 else z - math.log1p(math.exp(z))


def soft_margin(z, y):
    return -(y * log_sigmoid(z) + (1 - y) * log_sigmoid(-z))


def focal(z, y, gamma=2.0):
    p = stable_sigmoid(z) if y == 1 else stable_sigmoid(-z)
    log_p = log_sigmoid(z) if y == 1 else log_sigmoid(-z)
    return -((1 - p) ** gamma) * log_p


def asymmetric(z, y, gamma=4.0, margin=0.05):
    if y == 1:
        return -log_sigmoid(z)
    p = max(stable_sigmoid(z) - margin, 0)
    return -(p**gamma) * math.log(1 - p)


LOSSES = {"soft_margin": soft_margin, "focal": focal, "asymmetric": asymmetric}
"""From one logit and its target, 0 or 1, to the loss."""


def masked_mean(loss, logits, targets, weights=None):
    """Mean over all entries; those of unknown targets (-1) add nothing."""
    total = 0.0
    for image in range(len(logits)):
        for category in range(len(logits[0])):
            y = int(targets[image][category])
            if y != -1:
                weight = weights[category] if weights is not None and y == 1 else 1.0
                total += weight * loss(float(logits[image][category]), y)
    return total / (len(logits) * len(logits[0]))
