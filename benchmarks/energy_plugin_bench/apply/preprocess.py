"""What a network wants of images: size, crop, interpolation, mean and spread; and how a file becomes that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from energy_plugin.errors import near_misses
from energy_plugin_bench.apply.images import Array

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Augment = Literal["none", "flip", "flip-crop"]
_PAD = 4


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What images a network takes; the words are timm's.

    Attributes:
        input_size: Channels (1 grey, 3 colour), height, width.
        mean: Of a channel, taken off after the pixels are in [0, 1].
        std: Of a channel, divided by.
        interpolation: A name of `RESAMPLING`.
        crop_pct: The short side is resized to the size divided by this, then the centre is cut out.
        crop_mode: `center`; or `squash`, which resizes both sides alike whatever the shape.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    interpolation: str = "bilinear"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        for name in ("input_size", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.input_size) != 3 or self.input_size[0] not in (1, 3) or min(self.input_size) < 1:
            raise ValueError(f"input_size is {self.input_size}; expected channels (1 or 3), height, width.")
        if self.interpolation not in RESAMPLING:
            raise ValueError(
                f"interpolation {self.interpolation!r}. {near_misses(self.interpolation, RESAMPLING)}"
            )
        if self.crop_mode not in ("center", "squash"):
            raise ValueError(f"crop_mode is {self.crop_mode!r}; expected 'center' or 'squash'.")
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct is {self.crop_pct}; expected a share in (0, 1].")
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.input_size[0]):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} values for {self.input_size[0]} channels."
                )
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}; expected positive numbers.")

    @classmethod
    def of(cls, known: Mapping[str, Any], **wished: Any) -> Self:
        """Make one of a mapping that may hold more, and of what the user wished for (None: no wish)."""
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in known.items() if name in names}
        return cls(**values | {name: value for name, value in wished.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON has them."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def prepare(self, image: Image.Image) -> Array:
        """Return the pixels of an image as H x W x C, uint8: converted, resized, cropped."""
        channels, height, width = self.input_size
        if image.mode in ("P", "PA") and "transparency" in image.info:
            image = image.convert("RGBA")  # Pillow warns of the direct way
        image = image.convert("L" if channels == 1 else "RGB")
        image = self._resized(image)
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        if (image.width, image.height) != (width, height):
            image = image.crop((left, top, left + width, top + height))
        return np.asarray(image).reshape(height, width, channels)

    def _resized(self, image: Image.Image) -> Image.Image:
        _, height, width = self.input_size
        goal_height, goal_width = math.floor(height / self.crop_pct), math.floor(width / self.crop_pct)
        if self.crop_mode == "center":
            if goal_height != goal_width:  # as torchvision and timm do, one scale that covers both sides
                scale = max(goal_height / image.height, goal_width / image.width)
                goal_height, goal_width = round(image.height * scale), round(image.width * scale)
            elif image.width <= image.height:
                goal_height = int(goal_width * image.height / image.width)
            else:
                goal_width = int(goal_height * image.width / image.height)
        if (image.width, image.height) == (goal_width, goal_height):
            return image
        return image.resize((goal_width, goal_height), RESAMPLING[self.interpolation])

    def batch(self, arrays: list[Array], device: torch.device) -> Tensor:
        """Return prepared images as the network's input: B x C x H x W, float32, on the device."""
        pixels = torch.from_numpy(np.stack(arrays)).to(device).permute(0, 3, 1, 2).contiguous()
        mean = torch.tensor(self.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=device).view(1, -1, 1, 1)
        return (pixels.float() / 255 - mean) / std


def augmented(pixels: Array, how: Augment, random: np.random.Generator) -> Array:
    """Return a training image moved at random: mirrored, for `flip-crop` also shifted by up to 4 pixels.

    `flip-crop` is the augmentation of the published CIFAR trainings.
    """
    if how == "none":
        return pixels
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    if how == "flip-crop":
        height, width, _ = pixels.shape
        top, left = random.integers(0, 2 * _PAD + 1, 2)
        pixels = np.pad(pixels, ((_PAD, _PAD), (_PAD, _PAD), (0, 0)))[top : top + height, left : left + width]
    return pixels


AUGMENTS: tuple[str, ...] = get_args(Augment)
