"""Image sets that do not fit into memory: read, transformed and stacked a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from energy_plugin_bench.inputs.imagesets import Array, ImageSet
from energy_plugin_bench.inputs.local import LocalImages

Step = Callable[[Array], Array]


class LazyImages:
    """Images of a map-style data set, as an array that is made when it is asked for.

    Slices are lazy again; `numpy.asarray` reads and transforms.

    Args:
        data: Gives (image, label) by index; the image is a PIL one, an array (H, W[, 3]), or a tensor (C, H,
            W) in [0, 1].
        chosen: Which of them, in order.
        steps: What is done to each image, as a set of one.
    """

    def __init__(self, data: Any, chosen: Sequence[int] | Array, steps: tuple[Step, ...] = ()) -> None:
        self.data = data
        self._chosen = chosen
        self._steps = steps

    def __len__(self) -> int:
        """Number of images."""
        return len(self._chosen)

    def __getitem__(self, part: slice) -> LazyImages:
        """Part of the images, still not read."""
        return LazyImages(self.data, self._chosen[part], self._steps)

    def then(self, *steps: Step) -> LazyImages:
        """The same images with further steps."""
        return LazyImages(self.data, self._chosen, (*self._steps, *steps))

    def told(self, position: int) -> str:
        """Say which image is meant: its number, and its file where it has one."""
        files = getattr(self.data, "files", None)
        named = f" ({files[int(self._chosen[position])]})" if files else ""
        return f"image {position} of {len(self)}{named}"

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Read, transform and stack all images: (N, H, W) or (N, H, W, 3)."""
        images = np.concatenate([self._read(int(index)) for index in self._chosen])
        return images if dtype is None else images.astype(dtype)

    def _read(self, index: int) -> Array:
        image = _as_array(self.data[index][0])[None]
        for step in self._steps:
            image = step(image)
        return image


def as_image_set(found: Any) -> ImageSet:
    """Return a data set as images and labels; one that is no `ImageSet` is read lazily.

    Args:
        found: An `ImageSet`, or a map-style data set of (image, label). Labels come from its `labels` or
            `targets`; without these every sample is read for its label.

    Raises:
        ValueError: It has no length, so nobody knows which images it holds.
    """
    if isinstance(found, ImageSet):
        return found
    if not hasattr(found, "__len__"):
        raise ValueError(
            f"a data set is {type(found).__name__}, which has no len(); expected one of (image, label) by "
            "index, such as a torch.utils.data.Dataset with __len__ and __getitem__."
        )
    if isinstance(found, LocalImages):
        found = LocalImages(found.files, found.labels, lambda image: image, found.classes)
    labels = getattr(found, "labels", None)
    if labels is None:
        labels = getattr(found, "targets", None)
    if labels is None:
        labels = [int(found[index][1]) for index in range(len(found))]
    images: Any = LazyImages(found, range(len(found)))
    return ImageSet(images, np.asarray(labels, dtype=np.int64))


def _as_array(image: Any) -> Array:
    if isinstance(image, Tensor):
        found = image.detach().to(torch.float32)
        return found.permute(1, 2, 0).numpy() if found.shape[0] != 1 else found[0].numpy()
    return np.asarray(image)
