"""What recipes do to images before a network sees them.

A step takes and returns a whole set: (N, H, W) or (N, H, W, 3), uint8 in [0, 255] or float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from energy_plugin.errors import near_misses
from energy_plugin_bench.imagesets import Array

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


STEPS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {step.__name__: step for step in (negative, ink, resize28, grey, black_and_white)}
)


def apply(images: Array, steps: Iterable[str]) -> Array:
    """Apply steps by name, in order.

    Raises:
        LookupError: There is no such step; with near misses.
    """
    for name in steps:
        if name not in STEPS:
            raise LookupError(f"there is no transform {name!r}. {near_misses(name, STEPS)}")
        images = STEPS[name](images)
    return images


def as_batch(images: Array) -> Tensor:
    """Images as float32 in [0, 1], (N, C, H, W)."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
    return batch.unsqueeze(1) if batch.dim() == 3 else batch.permute(0, 3, 1, 2).contiguous()
