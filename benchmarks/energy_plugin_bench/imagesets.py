"""Image sets as arrays: read from archives, or generated."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from energy_plugin_bench import assets

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels; a map-style data set of pairs.

    Attributes:
        images: (N, H, W) grey or (N, H, W, 3) colour; uint8, or float32 in [0, 1].
        labels: (N,) int64; -1 where an image has no class.
    """

    images: Array
    labels: Array

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Array, int]:
        """Image and label."""
        return self.images[index], int(self.labels[index])


def read_archive(path: Path) -> ImageSet:
    """Read `images` and `labels` of an npz archive; nothing in it is unpickled.

    Raises:
        ValueError: It is no such archive, cut off, or its arrays do not fit each other.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"].astype(np.int64)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read as an npz archive with images and labels: {error}. Copy it again."
        ) from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path} holds images {images.dtype} {images.shape} and labels {labels.shape}; "
            "expected uint8 (N, H, W[, 3]) and (N,)"
        )
    return ImageSet(images, labels)


def _archived(name: str, path: Path | None = None) -> ImageSet:
    return read_archive(path if path is not None else assets.own().find(name))


mnist_test = partial(_archived, "mnist/images/mnist_test.npz")
fashion_mnist_test = partial(_archived, "mnist/images/fashion_mnist_test.npz")
omniglot_safe5 = partial(_archived, "mnist/images/omniglot_safe5_105.npz")
notmnist_small_10k = partial(_archived, "mnist/images/notmnist_small_10k.npz")
icons50_grey28 = partial(_archived, "mnist/images/icons50_grey28.npz")
cifar10_test = partial(_archived, "cifar/images/cifar10_test.npz")


def gaussian_noise(count: int = 20_000, size: int = 28, seed: int = 0) -> ImageSet:
    """Grey images of normal noise, mean 0.5, standard deviation 0.5, clipped to [0, 1]."""
    noise = np.random.default_rng(seed).normal(0.5, 0.5, (count, size, size))
    return ImageSet(np.clip(noise, 0, 1).astype(np.float32), np.full(count, -1))


def bernoulli_noise(count: int = 20_000, size: int = 28, seed: int = 0) -> ImageSet:
    """Grey images whose pixels are 0 or 1 with equal chance."""
    noise = np.random.default_rng(seed).integers(0, 2, (count, size, size))
    return ImageSet(noise.astype(np.float32), np.full(count, -1))
