"""Image sets as arrays: read from archives, or generated."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from energy_plugin_bench.inputs import assets

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


def cifar_binary(path: Path) -> ImageSet:
    """Read the test images of CIFAR-10 or -100 in the order of the file; labels are the fine ones.

    Args:
        path: The archive of the binary version, `cifar-10-binary.tar.gz` or `cifar-100-binary.tar.gz`.

    Raises:
        ValueError: It is no such archive, or cut off.
    """
    wanted = {"test_batch.bin": 1, "test.bin": 2}  # bytes of labels before each image
    try:
        with tarfile.open(path) as archive:
            member = next(m for m in archive.getmembers() if Path(m.name).name in wanted)
            stream = archive.extractfile(member)
            content = np.frombuffer(stream.read() if stream else b"", dtype=np.uint8)
        before = wanted[Path(member.name).name]
        records = content.reshape(-1, before + 3 * 32 * 32)
    except (OSError, EOFError, StopIteration, ValueError, tarfile.TarError) as error:
        raise ValueError(
            f"{path} holds no CIFAR test images in the binary form: {error!r}. Copy it again."
        ) from error
    images = records[:, before:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ImageSet(np.ascontiguousarray(images), records[:, before - 1].astype(np.int64))


def svhn(path: Path, per_digit: int = 0) -> ImageSet:
    """Read images of SVHN (cropped digits) in the order of the file; labels are the digits.

    Args:
        path: `test_32x32.mat`.
        per_digit: Take only the first so many of each digit; 0 takes all.

    Raises:
        ValueError: It is no such file.
    """
    from scipy.io import loadmat  # needed by nobody else, hence not of the extra [bench]
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=("X", "y"))
        images, digits = content["X"].transpose(3, 0, 1, 2), content["y"].ravel() % 10
    except (MatReadError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no SVHN images: {error!r}. Copy it again.") from error
    if per_digit:
        kept = np.concatenate([np.flatnonzero(digits == digit)[:per_digit] for digit in range(10)])
        images, digits = images[kept], digits[kept]
    return ImageSet(np.ascontiguousarray(images), digits.astype(np.int64))


def gaussian_noise(
    count: int = 20_000,
    size: int = 28,
    seed: int = 0,
    *,
    channels: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> ImageSet:
    """Images of normal noise, mean 0.5, standard deviation 0.5, clipped to [0, 1].

    Args:
        count: How many.
        size: Of their sides.
        seed: Of the generator.
        channels: 0 for grey.
        mean: Where a network's normalisation is given, the noise is what the network gets after it: mean 0,
            standard deviation 0.5, clipped to [-1, 1].
        std: Of the same normalisation.
    """
    noise = np.random.default_rng(seed).normal(0 if mean else 0.5, 0.5, _shape(count, size, channels))
    return ImageSet(_before(np.clip(noise, -1 if mean else 0, 1), mean, std), np.full(count, -1))


def bernoulli_noise(
    count: int = 20_000,
    size: int = 28,
    seed: int = 0,
    *,
    channels: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> ImageSet:
    """Images whose values are 0 or 1 with equal chance; arguments as for `gaussian_noise`: there -1 or 1."""
    noise = np.random.default_rng(seed).integers(0, 2, _shape(count, size, channels))
    return ImageSet(_before(noise * 2 - 1 if mean else noise, mean, std), np.full(count, -1))


def blobs(
    count: int = 20_000,
    size: int = 32,
    seed: int = 0,
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> ImageSet:
    """Colour images of random ones (70 %), blurred in all three axes (sigma 1.5), zero below 0.75.

    With a normalisation the network gets twice that, less one.
    """
    from scipy.ndimage import gaussian_filter

    noise = (np.random.default_rng(seed).random((count, size, size, 3)) < 0.7).astype(np.float32)
    for image in noise:
        image[:] = gaussian_filter(image, sigma=1.5, mode="nearest")
    noise[noise < 0.75] = 0
    return ImageSet(_before(noise * 2 - 1 if mean else noise, mean, std), np.full(count, -1))


def _shape(count: int, size: int, channels: int) -> tuple[int, ...]:
    return (count, size, size, channels) if channels else (count, size, size)


def _before(noise: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Images that a normalisation turns into this noise."""
    images: Array = noise * np.asarray(std) + np.asarray(mean) if mean else noise
    return images.astype(np.float32)
