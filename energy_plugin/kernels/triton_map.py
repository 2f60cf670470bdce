"""The energy of bilinearly enlarged logits in one kernel: the enlarged logits never exist.

A program makes a stretch of one output row: for each class four low-resolution logits, their mixture, and the
log-sum-exp online. Not yet measured on a GPU.
"""

# Triton reads annotations as its own types, and writes compile-time constants in capitals.
# ruff: noqa: ANN001, ANN201, ANN202, N803
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, untyped-decorator"

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # output pixels a program


@triton.jit
def _source(position, low, high, ALIGN: tl.constexpr):
    """Return the two neighbours of an output position and the share of the second, as PyTorch places them."""
    if ALIGN:
        scale = (low - 1).to(tl.float32) / tl.maximum(high - 1, 1).to(tl.float32)
        where = position.to(tl.float32) * scale
    else:
        scale = low.to(tl.float32) / high.to(tl.float32)
        where = tl.maximum((position.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
    first = tl.minimum(where.to(tl.int32), low - 1)
    second = tl.minimum(first + 1, low - 1)
    return first, second, where - first.to(tl.float32)


@triton.jit
def map_kernel(
    logits, out, classes, low_height, low_width, height, width, inverse,
    ALIGN: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Energies of a stretch of one output row; `inverse` points to 1 / T."""
    line = tl.program_id(0)
    image = (line // height).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    live = column < width
    top, bottom, down = _source(line % height, low_height, height, ALIGN)
    left, right, along = _source(column, low_width, width, ALIGN)
    factor = tl.load(inverse)
    plane = (low_height * low_width).to(tl.int64)
    base = logits + image * classes * plane
    peak = tl.full([COLUMNS], -float("inf"), tl.float32)
    total = tl.zeros([COLUMNS], tl.float32)
    for _number in range(classes):
        upper, lower = base + top * low_width, base + bottom * low_width
        a = tl.load(upper + left, mask=live, other=0.0).to(tl.float32)
        b = tl.load(upper + right, mask=live, other=0.0).to(tl.float32)
        c = tl.load(lower + left, mask=live, other=0.0).to(tl.float32)
        d = tl.load(lower + right, mask=live, other=0.0).to(tl.float32)
        above = a * (1.0 - along) + b * along
        below = c * (1.0 - along) + d * along
        value = (above * (1.0 - down) + below * down) * factor
        higher = tl.maximum(peak, value)
        safe = tl.where((higher == -float("inf")) | (higher == float("inf")), 0.0, higher)
        kept = tl.where(total > 0.0, total * tl.exp(peak - safe), total)
        total = kept + tl.exp(value - safe)
        peak = higher
        base += plane
    empty = total == 0.0
    safe = tl.where((peak == -float("inf")) | (peak == float("inf")), 0.0, peak)
    lse = tl.where(empty, -float("inf"), safe + tl.log(tl.where(empty, 1.0, total)))
    tl.store(out + line.to(tl.int64) * width + column, -lse / factor, mask=live)


def enlarged_energy(
    logits: Tensor, size: tuple[int, int], *, temperature: float = 1.0, align_corners: bool = False
) -> Tensor:
    """Return `energy(interpolate(logits.float(), size, mode="bilinear"))` without the enlarged logits.

    Args:
        logits: B x C x h x w, float32 or half precision; no gradient flows.
        size: (H, W).
        temperature: T > 0.
        align_corners: as in `torch.nn.functional.interpolate`.

    Returns:
        B x H x W, float32.
    """
    low = logits.detach().contiguous()
    images, classes, low_height, low_width = low.shape
    height, width = size
    out = torch.empty((images, height, width), dtype=torch.float32, device=low.device)
    inverse = torch.full((1,), 1.0 / temperature, dtype=torch.float32, device=low.device)
    grid = (images * height, triton.cdiv(width, COLUMNS))
    with torch.cuda.device(low.device) if low.is_cuda else nullcontext():
        map_kernel[grid](
            low, out, classes, low_height, low_width, height, width, inverse,
            ALIGN=align_corners, COLUMNS=COLUMNS,
        )  # fmt: skip
    return out
