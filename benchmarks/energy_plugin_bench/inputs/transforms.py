"""What recipes do to images before a network sees them.

A step takes and returns a whole set: (N, H, W) or (N, H, W, 3), uint8 in [0, 255] or float32 in [0, 1]. Steps
with a size are named with it: ``resize 256``, ``crop 224``, ``square 480``; what resizes does it bilinearly,
or as it is told: ``resize 288 bicubic``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from energy_plugin.errors import near_misses
from energy_plugin_bench.inputs.imagesets import Array
from energy_plugin_bench.inputs.lazy import LazyImages

GREY = (0.2989, 0.5870, 0.1140)


def negative(images: Array) -> Array:
    """Turn black into white."""
    white: Array = (255 if images.dtype == np.uint8 else 1) - images
    return white


def ink(images: Array) -> Array:
    """Turn images whose ink is 0 and paper 1 into ink 1, paper 0."""
    inverted: Array = 1 - images
    return inverted


def resize28(images: Array) -> Array:
    """Resize each uint8 image to 28 x 28, bilinear as Pillow does it (with antialiasing)."""
    return np.stack(
        [np.asarray(Image.fromarray(im).resize((28, 28), Image.Resampling.BILINEAR)) for im in images]
    )


def grey(images: Array) -> Array:
    """Turn uint8 colour into grey in [0, 1], by the weights of ITU-R BT.601."""
    weighted: Array = images @ np.asarray(GREY) / 255
    return weighted.astype(np.float32)


def black_and_white(images: Array) -> Array:
    """Take uint8 images of zeros and ones as they are: one is white, not 1/255."""
    return images.astype(np.float32)


def colour(images: Array) -> Array:
    """Turn grey into colour: three equal channels."""
    return np.repeat(images[..., None], 3, axis=-1) if images.ndim == 3 else images


def resize(images: Array, size: int, kind: str = "bilinear") -> Array:
    """Resize uint8 images so that the shorter side is `size`, the longer one in proportion, rounded down."""
    height, width = images.shape[1:3]
    short = min(height, width)
    return _resized(images, size * height // short, size * width // short, kind)


def square(images: Array, size: int, kind: str = "bilinear") -> Array:
    """Resize uint8 images to `size` x `size`, whatever their proportions."""
    return _resized(images, size, size, kind)


def crop(images: Array, size: int, _: str = "") -> Array:
    """Cut `size` x `size` out of the middle.

    Raises:
        ValueError: The images are smaller.
    """
    height, width = images.shape[1:3]
    if min(height, width) < size:
        raise ValueError(f"images of {height} x {width} are too small for a crop of {size}: resize first")
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[:, top : top + size, left : left + size]


def _resized(images: Array, height: int, width: int, kind: str) -> Array:
    """As Pillow does it, with antialiasing; nothing where the size is right already."""
    if images.shape[1:3] == (height, width):
        return images
    whole = [Image.fromarray(im).resize((width, height), KINDS[kind]) for im in images]
    return np.stack([np.asarray(im) for im in whole])


KINDS: Mapping[str, Image.Resampling] = MappingProxyType(
    {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
)
"""How a size is changed."""

SIZED: Mapping[str, Callable[[Array, int, str], Array]] = MappingProxyType(
    {step.__name__: step for step in (resize, square, crop)}
)
"""Steps that are named with a size."""

STEPS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {step.__name__: step for step in (negative, ink, resize28, grey, colour, black_and_white)}
)


def step(name: str) -> Callable[[Array], Array]:
    """Return the step of this name, with its size where it has one.

    Raises:
        LookupError: There is no such step; with near misses.
    """
    word, _, rest = name.partition(" ")
    size, _, kind = rest.partition(" ")
    if word in SIZED and size.isdecimal() and int(size) > 0 and (not kind or kind in KINDS):
        return partial(_sized, word, int(size), kind or "bilinear")
    if name not in STEPS:
        known = (*STEPS, *(f"{sized} SIZE" for sized in SIZED), "resize SIZE bicubic")
        raise LookupError(f"there is no transform {name!r}. {near_misses(name, known)}")
    return STEPS[name]


def _sized(word: str, size: int, kind: str, images: Array) -> Array:
    return SIZED[word](images, size, kind)


def apply(images: Any, steps: Iterable[str]) -> Any:
    """Apply steps by name, in order; to lazy images when they are read.

    Raises:
        LookupError: There is no such step; with near misses.
    """
    found = [step(name) for name in steps]
    if isinstance(images, LazyImages):
        return images.then(*found)
    for one in found:
        images = one(images)
    return images


def as_batch(images: Array) -> Tensor:
    """Images as float32 in [0, 1], (N, C, H, W)."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
    return batch.unsqueeze(1) if batch.dim() == 3 else batch.permute(0, 3, 1, 2).contiguous()
