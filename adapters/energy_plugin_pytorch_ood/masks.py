"""Masks of pytorch-ood's segmentation sets in our convention, and pasted outliers whose masks are right.

What comes out of release 0.4.0, and what is done here (each has a test on a small copy of the raw files):

| set | as it comes | repaired |
|---|---|---|
| FishyScapes, SegmentMeIfYouCan | int64, void 1, which a loss trains as class 1 | void -100 |
| LostAndFound | int32, which a loss refuses; void 1 | int64, void -100 |
| RoadAnomaly | float32, which a loss refuses | int64 |
| StreetHazards | raw 0 (unlabelled) and the anomaly are both -1 | read from the file again: void -100 |
| MVTechAD | the anomaly wraps to 1; good images W x H and float | -1; H x W, int64 |
| InsertCOCO | void 255 turns -1; of n objects only the last is marked | `Pasted` |
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import functional

from energy_plugin import labels

Joint = Callable[[Any, Tensor], tuple[Any, Tensor]]

_CONVENTIONS = {
    "FishyScapes": "pytorch_ood_anomaly",
    "LostAndFound": "pytorch_ood_anomaly",
    "SegmentMeIfYouCan": "pytorch_ood_anomaly",
    "RoadAnomaly": "pytorch_ood_road_anomaly",
}


class Repaired(Dataset[Any]):
    """A segmentation set of pytorch-ood with masks in our convention.

    Args:
        data: The set, without a transform of its own.
        transform: Called as transform(image, mask) with the PIL image and the int64 mask H x W.

    Raises:
        ValueError: The set has a transform of its own: it would see the masks before their repair.
        TypeError: It is no segmentation set of pytorch-ood.
    """

    def __init__(self, data: Any, transform: Joint | None = None) -> None:
        self.kind = next((kind.__name__ for kind in type(data).__mro__ if kind.__name__ in _READERS), "")
        if not self.kind:
            raise TypeError(f"{type(data).__name__} is none of {', '.join(_READERS)}.")
        for name in ("transform", "transforms", "target_transform"):
            if getattr(data, name, None) is not None:
                raise ValueError(f"give {name} to Repaired, not to {self.kind}: it comes after the repair.")
        self.data = data
        self.transform = transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        """Return image and mask, transformed."""
        image, mask = _READERS[self.kind](self.data, index)
        image = image.convert("RGB") if isinstance(image, Image.Image) else image
        if self.transform is not None:
            image, mask = self.transform(image, mask)
        return image, mask


def _translated(data: Any, index: int) -> tuple[Any, Tensor]:
    image, mask = data[index]
    name = next(kind.__name__ for kind in type(data).__mro__ if kind.__name__ in _CONVENTIONS)
    return image, labels.translate(mask, _CONVENTIONS[name])


def _street_hazards(data: Any, index: int) -> tuple[Any, Tensor]:
    """Read the raw codes again: in the host's mask void and anomaly are one."""
    path = Path(data.files[index])
    folder = Path(data.basedir)
    # only in the set's own part of the path: a root may well be called "images" too
    inside = Path(data.base_folder.replace("images", "annotations"))
    raw = np.array(Image.open(Path(data.root) / inside / path.relative_to(folder)))
    return Image.open(path), labels.translate(torch.from_numpy(raw), "street_hazards")


def _mvtec(data: Any, index: int) -> tuple[Any, Tensor]:
    """Read the raw masks: the host's have wrapped, and those of good images lie on their side."""
    image, file = Image.open(data.files[index]), data.labels[index]
    if file is None:
        return image, torch.zeros(image.height, image.width, dtype=torch.int64)
    return image, labels.translate(torch.from_numpy(np.array(Image.open(file))), "mvtec_ad")


_READERS: dict[str, Callable[[Any, int], tuple[Any, Tensor]]] = {
    **dict.fromkeys(_CONVENTIONS, _translated),
    "StreetHazards": _street_hazards,
    "MVTechAD": _mvtec,
}


class Pasted:
    """pytorch-ood's `InsertCOCO` (or anything that pastes and marks as it does) with masks that are right.

    Args:
        insert: Its `p` and `n` are used as they are.
    """

    def __init__(self, insert: Any) -> None:
        self.probability, self.count = insert.ood_rate, insert.ood_per_image
        self._single = copy.copy(insert)
        self._single.ood_rate, self._single.ood_per_image, self._single.ood_mask_value = 1.0, 1, labels.OOD

    def __call__(self, image: Image.Image, mask: Tensor) -> tuple[Image.Image, Tensor]:
        """Paste, with the host's probability, and mark as OOD what was pasted.

        Args:
            image: PIL image; it is left as it was.
            mask: H x W in our convention.

        Returns:
            The image and an int64 mask.
        """
        mask = mask.long().clone()
        if random.random() > self.probability:  # noqa: S311 - the generator that the host draws from
            return image, mask
        image = image.copy()  # the host pastes into what it is given
        for _ in range(self.count):
            # The host casts masks to 8 bits, where void turns into OOD: it gets an empty one.
            image, marks = self._single(image, torch.zeros_like(mask))
            mask[marks == labels.OOD] = labels.OOD
        return image, mask


class ToTensors:
    """A joint transform: image to float in [0, 1] (normalised if asked), both to one size, the mask nearest.

    Args:
        size: (H, W); None leaves sizes as they are.
        mean: Of each channel, taken off.
        std: Of each channel, divided by.
    """

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
    ) -> None:
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} channels and std {len(std)}.")
        self.size, self.mean, self.std = size, mean, std

    def __call__(self, image: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return C x H x W float32 and H x W int64."""
        if self.size is not None:
            image = functional.resize(image, list(self.size), antialias=True)
            nearest = functional.InterpolationMode.NEAREST_EXACT
            mask = functional.resize(mask.unsqueeze(0), list(self.size), interpolation=nearest).squeeze(0)
        tensor: Tensor = functional.to_tensor(image)
        if self.mean:
            tensor = functional.normalize(tensor, list(self.mean), list(self.std))
        return tensor, mask.long()
