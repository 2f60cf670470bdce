"""Local images with labels: folders, lists, npz archives. Labels below 0 are out-of-distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

Transform = Callable[[Image.Image], Any]
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class LocalImages(Dataset[Any]):
    """Image files with labels.

    Args:
        files: Paths of the images.
        labels: One for each.
        transform: Of the PIL image in RGB; None gives a tensor C x H x W in [0, 1].
        classes: Names of the labels 0, 1, ..., where there are any.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: Sequence[int],
        transform: Transform | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.files, self.labels, self.transform = tuple(files), tuple(labels), transform
        self.classes = tuple(classes)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return image and label."""
        with Image.open(self.files[index]) as image:
            rgb = image.convert("RGB")
        return (to_tensor(rgb) if self.transform is None else self.transform(rgb)), self.labels[index]


def image_folder(
    path: str | Path, *, label: int | None = None, transform: Transform | None = None
) -> LocalImages:
    """Return the images below a folder.

    Args:
        path: The folder.
        label: Of all images, such as -1 for outliers. None: each subfolder is a class, in alphabetical order
            (as in torchvision's ImageFolder).
        transform: Of the PIL image.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: Classes are asked for and images lie outside the subfolders.
    """
    folder = Path(path)
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{folder} has no images ({', '.join(SUFFIXES)}).")
    if label is not None:
        return LocalImages(files, [label] * len(files), transform)
    loose = [file.name for file in files if file.parent == folder]
    if loose:
        raise ValueError(f"{folder}: {loose[0]} lies in no subfolder, so it has no class: say label=...")
    parts = [file.relative_to(folder).parts[0] for file in files]
    classes = sorted(set(parts))
    return LocalImages(files, [classes.index(part) for part in parts], transform, classes)


def image_list(
    path: str | Path, *, root: str | Path | None = None, transform: Transform | None = None
) -> LocalImages:
    """Return the images of a text file with a path and a label a line (OpenOOD's form).

    Args:
        path: The list.
        root: What its paths are relative to; None: its folder.
        transform: Of the PIL image.

    Raises:
        ValueError: A line has another form.
        FileNotFoundError: An image is not there.
    """
    folder = Path(root) if root is not None else Path(path).parent
    files, labels = [], []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        name, _, label = line.strip().rpartition(" ")
        if not line.strip() or line.startswith("#"):
            continue
        if not name or not label.removeprefix("-").isdigit():
            raise ValueError(f"{path}: {line!r} is not a path and a label.")
        files.append(folder / name.strip())
        labels.append(int(label))
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} names {len(missing)} files that are not there, the first is {missing[0]}."
        )
    return LocalImages(files, labels, transform)


def openood_list(path: str | Path, folder: str) -> LocalImages:
    """Return the images of a list as OpenOOD's archives lie when they are unpacked side by side.

    Args:
        path: `benchmark_imglist/BENCHMARK/LIST.txt`.
        folder: Beside `benchmark_imglist`, with the images: `images_classic` or `images_largescale`.

    Raises:
        ValueError: A line has another form.
        FileNotFoundError: An image is not there.
    """
    return image_list(path, root=Path(path).parents[2] / folder)


class Arrays(Dataset[Any]):
    """Images and labels of an npz archive: `images` (N, H, W[, 3]) uint8 and `labels` (N,).

    Args:
        path: The archive.
        label: Of all images, in place of `labels`.

    Raises:
        ValueError: It has other arrays.
    """

    def __init__(self, path: str | Path, *, label: int | None = None) -> None:
        with np.load(path, allow_pickle=False) as content:
            if "images" not in content or (label is None and "labels" not in content):
                raise ValueError(f"{path} has {', '.join(content.files)}; expected images and labels.")
            self.images = content["images"]
            self.labels = np.full(len(self.images), label) if label is not None else content["labels"]
        if self.images.dtype != np.uint8 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"{path}: images are {self.images.dtype} {self.images.shape}, labels {self.labels.shape}; "
                "expected uint8 (N, H, W[, 3]) and (N,)."
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return image and label."""
        return to_tensor(self.images[index]), int(self.labels[index])


def to_tensor(image: Any) -> Tensor:
    """Return an 8-bit image as C x H x W, float32 in [0, 1]."""
    pixels = torch.from_numpy(np.array(image))
    pixels = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return pixels.float().div(255)
