"""Triton kernels of the loss: one pair for rows, maps and channels-last, told apart by strides alone.

A program holds a tile of samples x classes. Where the classes fit, a logit is read once a pass; where they do
not, the log-sum-exp runs online over blocks, and the second pass goes through them in reverse, since the last
ones are still in the cache. The class dimension may have any stride: in B x C x H x W the tile's samples lie
side by side, in B x C and channels-last its classes do. Offsets are 64-bit. No atomics: every program writes
its partial sums, so that the loss is the same at every run.

Scalars reach the kernels as compile-time constants, so no caller can turn them into float64.
"""

# Triton reads annotations as its own types, and writes compile-time constants in capitals.
# ruff: noqa: ANN001, ANN201, ANN202, N803
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

PARTIALS = 6
"""What a program sums: cross-entropy, hinge of ID, hinge of OOD, count of ID, count of OOD, weight of ID."""


@triton.jit
def _tile(base, start, stride_class, live, classes, CLASSES: tl.constexpr):
    """Load samples x classes in float32, -inf where there is nothing."""
    column = start + tl.arange(0, CLASSES)
    mask = live[:, None] & (column < classes)[None, :]
    pointers = base[:, None] + column.to(tl.int64)[None, :] * stride_class
    return tl.load(pointers, mask=mask, other=-float("inf")).to(tl.float32)


@triton.jit
def _safe(peak):
    """Return what to subtract before exp: an infinite peak would make NaN of the other classes."""
    return tl.where((peak == -float("inf")) | (peak == float("inf")), 0.0, peak)


@triton.jit
def _log_sum_exp(
    base, stride_class, live, classes, SAMPLES: tl.constexpr, CLASSES: tl.constexpr, ONE: tl.constexpr
):
    """Return the log-sum-exp of every sample and the last tile that was read."""
    if ONE:
        tile = _tile(base, 0, stride_class, live, classes, CLASSES)
        peak = _safe(tl.max(tile, 1))
        total = tl.sum(tl.exp(tile - peak[:, None]), 1)
    else:
        top = tl.full([SAMPLES], -float("inf"), tl.float32)
        total = tl.zeros([SAMPLES], tl.float32)
        for start in range(0, classes, CLASSES):
            tile = _tile(base, start, stride_class, live, classes, CLASSES)
            higher = tl.maximum(top, tl.max(tile, 1))
            total = total * tl.exp(_safe(top) - _safe(higher)) + tl.sum(
                tl.exp(tile - _safe(higher)[:, None]), 1
            )
            top = higher
        peak = _safe(top)
        tile = tl.zeros([SAMPLES, CLASSES], tl.float32)
    empty = total == 0.0
    lse = tl.where(empty, -float("inf"), peak + tl.log(tl.where(empty, 1.0, total)))
    return lse, tile


@triton.jit
def _groups(target, lse, live, IGNORE: tl.constexpr, HAS_IGNORE: tl.constexpr, SKIP: tl.constexpr):
    """Return which samples are ID and which OOD."""
    spoken = live
    if HAS_IGNORE:
        spoken = spoken & (target != IGNORE)
    if SKIP:
        spoken = spoken & (lse < float("inf"))
    return spoken & (target >= 0), spoken & (target < 0)


@triton.jit
def _excess(lse, is_id, is_ood, MARGIN_IN: tl.constexpr, MARGIN_OUT: tl.constexpr):
    """Return by how much the energy is beyond its margin, negative for ID."""
    below = tl.where(lse + MARGIN_IN < 0.0, lse + MARGIN_IN, 0.0)
    above = tl.where(lse + MARGIN_OUT > 0.0, lse + MARGIN_OUT, 0.0)
    spoilt = lse != lse  # comparisons drop NaN; the loss must not
    return tl.where(is_id, tl.where(spoilt, lse, below), tl.where(is_ood, tl.where(spoilt, lse, above), 0.0))


@triton.jit
def _mass(weight, target, is_id, classes, WEIGHTED: tl.constexpr):
    """Return the weight of each ID sample's class, 0 elsewhere."""
    if WEIGHTED:
        return tl.load(weight + target, mask=is_id & (target < classes), other=0.0).to(tl.float32)
    return tl.where(is_id, 1.0, 0.0)


@triton.jit
def _store_gradient(
    out, tile, start, stride_class, live, classes, target, lse, factor, hit, mute, CLASSES: tl.constexpr
):
    """Store softmax * factor - onehot * hit for a tile."""
    column = start + tl.arange(0, CLASSES)
    mask = live[:, None] & (column < classes)[None, :]
    shifted = tl.where(mask, tile, 0.0) - lse[:, None]
    softmax = tl.exp(tl.where(mute[:, None], 0.0, shifted))
    chosen = column[None, :] == target[:, None]
    gradient = softmax * factor[:, None] - tl.where(chosen, hit[:, None], 0.0)
    gradient = tl.where(mute[:, None], 0.0, gradient)
    pointers = out[:, None] + column.to(tl.int64)[None, :] * stride_class
    tl.store(pointers, gradient.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _write(
    base, out, tile, stride_class, out_class, live, classes, target, lse, is_id, is_ood, mass,
    entropy, inside, outside,
    MARGIN_IN: tl.constexpr, MARGIN_OUT: tl.constexpr, HINGED: tl.constexpr, CLASSIFY: tl.constexpr,
    CLASSES: tl.constexpr, ONE: tl.constexpr, HAVE: tl.constexpr,
):  # fmt: skip
    """Write the gradient of a tile's samples for three scales (scalars, or one a sample)."""
    hit = mass * 0.0
    if CLASSIFY:
        hit = tl.where(is_id, mass * entropy, 0.0)
    factor = hit
    mute = (lse == -float("inf")) | ~(is_id | is_ood)
    if HINGED:
        excess = _excess(lse, is_id, is_ood, MARGIN_IN, MARGIN_OUT)
        factor = factor + 2.0 * tl.where(is_id, inside, outside) * tl.where(mute, 0.0, excess)
    else:
        mute = mute | ~is_id
    if ONE:
        if not HAVE:
            tile = _tile(base, 0, stride_class, live, classes, CLASSES)
        _store_gradient(out, tile, 0, out_class, live, classes, target, lse, factor, hit, mute, CLASSES)
    else:
        blocks = tl.cdiv(classes, CLASSES)
        for step in range(blocks):
            start = (blocks - 1 - step) * CLASSES
            tile = _tile(base, start, stride_class, live, classes, CLASSES)
            _store_gradient(
                out, tile, start, out_class, live, classes, target, lse, factor, hit, mute, CLASSES
            )


@triton.jit
def _place(tiles, samples, SAMPLES: tl.constexpr):
    """Return this program's image, its samples, which of them exist, and where their targets stand."""
    program = tl.program_id(0)
    image = (program // tiles).to(tl.int64)
    sample = (program % tiles).to(tl.int64) * SAMPLES + tl.arange(0, SAMPLES)
    return image, sample, sample < samples, image * samples + sample


@triton.jit
def forward_kernel(
    logits, targets, weight, scale, lse_out, values, partials, gradient,
    tiles, samples, classes, stride_image, stride_sample, stride_class, out_image, out_sample, out_class,
    ALPHA: tl.constexpr, MARGIN_IN: tl.constexpr, MARGIN_OUT: tl.constexpr, IGNORE: tl.constexpr,
    HAS_IGNORE: tl.constexpr, SKIP: tl.constexpr, HINGED: tl.constexpr, CLASSIFY: tl.constexpr,
    WEIGHTED: tl.constexpr, MAP: tl.constexpr, WRITE: tl.constexpr,
    SAMPLES: tl.constexpr, CLASSES: tl.constexpr, ONE: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp and terms of every sample, partial sums of every program; with WRITE the gradient too."""
    image, sample, live, place = _place(tiles, samples, SAMPLES)
    base = logits + image * stride_image + sample * stride_sample
    target = tl.load(targets + place, mask=live, other=-1).to(tl.int64)
    lse, tile = _log_sum_exp(base, stride_class, live, classes, SAMPLES, CLASSES, ONE)
    tl.store(lse_out + place, lse, mask=live)
    is_id, is_ood = _groups(target, lse, live, IGNORE, HAS_IGNORE, SKIP)
    mass = _mass(weight, target, is_id, classes, WEIGHTED)
    closed = lse == -float("inf")
    entropy = mass * 0.0
    if CLASSIFY:
        there = is_id & (target < classes)
        chosen = tl.load(base + target * stride_class, mask=there, other=float("nan")).to(tl.float32)
        entropy = tl.where(is_id, mass * (tl.where(closed, 0.0, lse) - tl.where(closed, 0.0, chosen)), 0.0)
        entropy = tl.where(is_id & closed, float("inf"), entropy)
    excess = mass * 0.0
    if HINGED:
        excess = _excess(lse, is_id, is_ood, MARGIN_IN, MARGIN_OUT)
    square = excess * excess
    if MAP:
        tl.store(values + place, entropy + ALPHA * square, mask=live)
    else:
        out = partials + tl.program_id(0).to(tl.int64) * 6
        tl.store(out, tl.sum(entropy, 0))
        tl.store(out + 1, tl.sum(tl.where(is_id, square, 0.0), 0))
        tl.store(out + 2, tl.sum(tl.where(is_ood, square, 0.0), 0))
        tl.store(out + 3, tl.sum(tl.where(is_id, 1.0, 0.0), 0))
        tl.store(out + 4, tl.sum(tl.where(is_ood, 1.0, 0.0), 0))
        tl.store(out + 5, tl.sum(mass, 0))
    if WRITE:
        _write(
            base, gradient + image * out_image + sample * out_sample, tile, stride_class, out_class,
            live, classes, target, lse, is_id, is_ood, mass,
            tl.load(scale), tl.load(scale + 1), tl.load(scale + 2),
            MARGIN_IN, MARGIN_OUT, HINGED, CLASSIFY, CLASSES, ONE, True,
        )  # fmt: skip


@triton.jit
def _positive(count):
    return tl.where(count > 0, count, 1.0)


@triton.jit
def finish_kernel(
    sums, counts, value, scale,
    ALPHA: tl.constexpr, GROUPS: tl.constexpr, MEAN: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """Make the loss and the three scales of six sums, where they lie: `energy.reduce`."""
    known, outliers = tl.load(counts), tl.load(counts + 1)
    one = known * 0.0 + 1.0
    entropy, inside, outside = one, one * ALPHA, one * ALPHA
    if GROUPS or MEAN:
        mass = tl.load(counts + 2) if WEIGHTED else known
        entropy = 1.0 / _positive(mass)
        if GROUPS:
            inside = ALPHA / _positive(known)
            outside = ALPHA / _positive(outliers)
        else:
            every = _positive(known + outliers)
            entropy = entropy * known / every
            inside = ALPHA / every
            outside = inside
    total = entropy * tl.load(sums)
    if ALPHA != 0.0:
        total = total + inside * tl.load(sums + 1) + outside * tl.load(sums + 2)
    tl.store(value, total.to(tl.float32))
    tl.store(scale, entropy.to(tl.float32))
    tl.store(scale + 1, inside.to(tl.float32))
    tl.store(scale + 2, outside.to(tl.float32))


@triton.jit
def backward_kernel(
    logits, targets, weight, scale, lse_in, upstream, gradient,
    tiles, samples, classes, stride_image, stride_sample, stride_class, out_image, out_sample, out_class,
    MARGIN_IN: tl.constexpr, MARGIN_OUT: tl.constexpr, IGNORE: tl.constexpr,
    HAS_IGNORE: tl.constexpr, SKIP: tl.constexpr, HINGED: tl.constexpr, CLASSIFY: tl.constexpr,
    WEIGHTED: tl.constexpr, MAP: tl.constexpr,
    SAMPLES: tl.constexpr, CLASSES: tl.constexpr, ONE: tl.constexpr,
):  # fmt: skip
    """The gradient from the saved log-sum-exp."""
    image, sample, live, place = _place(tiles, samples, SAMPLES)
    base = logits + image * stride_image + sample * stride_sample
    target = tl.load(targets + place, mask=live, other=-1).to(tl.int64)
    lse = tl.load(lse_in + place, mask=live, other=0.0)
    is_id, is_ood = _groups(target, lse, live, IGNORE, HAS_IGNORE, SKIP)
    mass = _mass(weight, target, is_id, classes, WEIGHTED)
    if MAP:
        above = tl.load(upstream + place, mask=live, other=0.0).to(tl.float32)
    else:
        above = tl.load(upstream).to(tl.float32)
    entropy = above * tl.load(scale)
    inside = above * tl.load(scale + 1)
    outside = above * tl.load(scale + 2)
    tile = tl.zeros([SAMPLES, CLASSES], tl.float32)
    _write(
        base, gradient + image * out_image + sample * out_sample, tile, stride_class, out_class,
        live, classes, target, lse, is_id, is_ood, mass, entropy, inside, outside,
        MARGIN_IN, MARGIN_OUT, HINGED, CLASSIFY, CLASSES, ONE, False,
    )  # fmt: skip
