"""Energy maps at image resolution from logits of a lower one, in column bands of bounded memory.

The energy of interpolated logits is wanted, never the interpolated energy: log-sum-exp and interpolation do
not commute (on random logits the two differ by whole units). Done in one go, the enlarged logits and the
temporaries of their log-sum-exp cost a multiple of C x H x W; in bands only a few columns exist at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from energy_plugin import kernels
from energy_plugin.energy import energy, widen

Mode = Literal["bilinear", "nearest", "nearest-exact"]
_OPTIONS = ("size", "align_corners", "mode")

BAND_BYTES = 8 << 20
"""Enlarged logits that exist at once, unless 64 columns of one image are more."""

# PyTorch's CPU kernels treat the last few columns of a tensor apart: interpolation in vectors, sums over the
# classes in groups of four vectors (64 floats with AVX-512). A band that starts at a multiple of 64 sees the
# grouping of the whole, so every value comes from the same instructions. The least sizes keep it with the
# kernel of the whole: PyTorch has another one for up to three classes, and for outputs whose height and width
# add up to 128 or less.
_COLUMNS = 64
_LEAST_CLASSES = 4
_LEAST_HEIGHT = 65
_LEAST_WIDTH = 128


def energy_map(
    logits: Tensor,
    size: tuple[int, int],
    *,
    temperature: float = 1.0,
    mode: Mode = "bilinear",
    align_corners: bool = False,
    band_bytes: int = BAND_BYTES,
) -> Tensor:
    """Return the energy of logits enlarged to `size`: `energy(interpolate(logits.float(), size))`.

    On a CPU the bands give that value bit for bit. Where this cannot be relied on, an image is computed
    whole: with up to three classes, on maps below 65 x 128, with infinite logits, with gradients, and inside
    `torch.compile` and `torch.export`. On CUDA a Triton kernel computes it without the enlarged
    logits, to the last digits; elsewhere it is computed whole. Logits in the channels-last layout are
    made contiguous first.

    Args:
        logits: B x C x h x w, floating point; half precision is widened to float32 before it is enlarged.
        size: (H, W) of the map.
        temperature: T > 0, in the unit of the logits.
        mode: `bilinear`, `nearest` or `nearest-exact`, as in `torch.nn.functional.interpolate`.
        align_corners: as there; for `bilinear` only.
        band_bytes: enlarged logits that may exist at once.

    Returns:
        B x H x W, float32 or float64; higher = more OOD.

    Raises:
        TypeError: the logits are not floating point.
        ValueError: rank, size or mode do not fit.
    """
    wide = widen(logits).contiguous()
    _check_mode(mode, align_corners)
    height, width = _checked(wide, size)
    if mode != "bilinear":  # picks pixels, so here (and only here) the energy may come first
        low = energy(wide, temperature=temperature).unsqueeze(1)
        return functional.interpolate(low, size=(height, width), mode=mode).squeeze(1)
    fused = kernels.enlarged_energy(
        logits, (height, width), temperature=temperature, align_corners=align_corners
    )
    if fused is not None:
        return fused
    image_bytes = wide.shape[1] * height * width * wide.element_size()
    whole = image_bytes * wide.shape[0] <= band_bytes or torch.compiler.is_compiling()
    if whole or (torch.is_grad_enabled() and wide.requires_grad):
        return energy(_enlarged(wide, height, width, align_corners), temperature=temperature)
    result = wide.new_empty(wide.shape[0], height, width)
    columns = max(1, band_bytes * width // image_bytes // _COLUMNS) * _COLUMNS
    banded = columns < width and _same_bits(wide, height, width)
    for index in range(len(wide)):
        image, row = wide[index : index + 1], result[index : index + 1]
        if not banded:
            row[:] = energy(_enlarged(image, height, width, align_corners), temperature=temperature)
            continue
        # Enlarging is separable: first the width, at the low height; then the height, band by band.
        low = _enlarged(image, image.shape[2], width, align_corners)
        for band in _bands(width, columns):
            enlarged = _enlarged(low[..., band], height, band.stop - band.start, align_corners)
            row[..., band] = energy(enlarged, temperature=temperature)
    return result


def _enlarged(logits: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    """Return the logits at another size, bilinearly."""
    if logits.shape[2:] == (height, width):
        return logits
    return functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=align_corners)


def _bands(width: int, columns: int) -> Iterator[slice]:
    """Cut the columns into bands; the last one also takes the rest, so that it ends like the whole."""
    count = width // columns
    for index in range(count):
        yield slice(index * columns, width if index == count - 1 else (index + 1) * columns)


def _same_bits(logits: Tensor, height: int, width: int) -> bool:
    """Say whether bands give the bits of the whole image."""
    return (
        logits.device.type == "cpu"
        and logits.shape[1] >= _LEAST_CLASSES
        and logits.shape[2:] != (1, 1)  # passes for channels-last, which has another kernel too
        and height >= _LEAST_HEIGHT
        and width >= _LEAST_WIDTH
        and bool(logits.isfinite().all())  # 0 * inf is NaN, and bands multiply by other zeros
    )


def check_resize(options: Mapping[str, Any]) -> None:
    """Refuse options of a score map that nobody knows, or that would do nothing.

    Raises:
        TypeError: an option is none of size, align_corners and mode.
        ValueError: the mode is unknown, or `align_corners` stands beside one that has no use for it.
    """
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise TypeError(
            f"unknown option {', '.join(map(repr, unknown))} of a score map; known: {', '.join(_OPTIONS)}. "
            "Temperature, class dimension and key are arguments of the detector itself."
        )
    _check_mode(options.get("mode", "bilinear"), options.get("align_corners", False))


def _check_mode(mode: str, align_corners: bool) -> None:
    if mode not in get_args(Mode):
        raise ValueError(
            f"mode is {mode!r}; expected 'bilinear', 'nearest' or 'nearest-exact'. For another one enlarge "
            "the logits yourself (not the scores: that is another quantity) and score them."
        )
    if align_corners and mode != "bilinear":
        raise ValueError(f"align_corners=True means something with mode='bilinear' only; mode is {mode!r}.")


def _checked(logits: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    if logits.ndim != 4:
        raise ValueError(
            f"a map of another size needs logits of shape B x C x h x w, got {tuple(logits.shape)}: leave "
            "`size` away, or enlarge the logits yourself and score them."
        )
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(f"size is {size!r}; expected (H, W), the height and the width of the map.")
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size is {size}; expected the height and the width of the map, both at least 1.")
    return height, width
