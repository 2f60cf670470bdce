"""Images with masks, from folders, an archive, a list or arrays; masks in our convention.

A file is opened by its content (a JPEG may be called .png). Masks are matched to images by the name without
extension.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from energy_plugin.errors import near_misses
from energy_plugin.segmentation import translate_masks
from energy_plugin.segmentation.masks import Codes

Resizer = Literal["pillow", "16-bit"]
RESIZERS: tuple[Resizer, ...] = ("pillow", "16-bit")
Joint = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Size = tuple[int, int] | None
T = TypeVar("T", str, Path)


class Pairs(Dataset[Any]):
    """Images C x H x W, float32 in [0, 1], with masks H x W, int64 in our codes.

    Args:
        names: Of the images, in order.
        read: From a name to the encoded image and the encoded mask.
        files: The two files of each name, where they are files.
        codes: Label convention of the masks (`energy_plugin.labels`), by name or as a record; None: ours.
        size: (H, W) that both are brought to; the mask by the nearest pixel. None leaves them.
        resizer: Of the image, bilinear with antialiasing: `pillow`, or `16-bit` (torch's for uint8 tensors,
            whose weights have 16 bits: 1 to 3 % of the values differ by one grey level).
        transform: Joint transform of image and mask, last.

    Raises:
        ValueError: An unknown resizer.
    """

    def __init__(
        self,
        names: Iterable[str],
        read: Callable[[str], tuple[bytes, bytes]],
        *,
        files: Iterable[tuple[Path, Path]] = (),
        codes: Codes | None = None,
        size: Size = None,
        resizer: Resizer = "pillow",
        transform: Joint | None = None,
    ) -> None:
        if resizer not in RESIZERS:
            raise ValueError(f"unknown resizer {resizer!r}. {near_misses(resizer, RESIZERS)}")
        self.names: Sequence[str] = tuple(names)
        self.files: Sequence[tuple[Path, Path]] = tuple(files)
        self._read = read
        self.codes, self.resizer, self.transform = codes, resizer, transform
        self.size: Size = None if size is None else (int(size[0]), int(size[1]))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image and mask.

        Raises:
            ValueError: A file is no image, or a mask is not of the size of its image.
            LabelError: A mask has a code that the convention does not know.
        """
        name = self.names[index]
        encoded_image, encoded_mask = self._read(name)
        image = _decoded(encoded_image, f"image {name!r}").convert("RGB")
        mask = _decoded(encoded_mask, f"mask of {name!r}")
        if mask.mode not in ("L", "P", "1", "I", "I;16"):
            raise ValueError(f"the mask of {name!r} has the mode {mask.mode}; expected one channel of codes.")
        if mask.size != image.size:
            raise ValueError(
                f"{name!r}: the image has {image.size} pixels, its mask {mask.size} (width, height)."
            )
        if self.size is not None:
            mask = mask.resize(self.size[::-1], Image.Resampling.NEAREST)
        codes = torch.from_numpy(np.array(mask))
        pair = _tensor(image, self.size, self.resizer), translate_masks(codes, self.codes)
        return pair if self.transform is None else self.transform(*pair)


def folders(images: str | Path, masks: str | Path, *, mask_suffix: str = "", **options: Any) -> Pairs:
    """Return the images of one folder with the masks of another.

    Args:
        images: Folder of images; subfolders are part of a name.
        masks: Folder of masks with the same names, whatever the extension.
        mask_suffix: What a mask's name has beyond its image's, such as `_labels`.
        **options: Of `Pairs`: codes, size, resizer, transform.

    Raises:
        FileNotFoundError: A folder is missing or empty, or images have no mask; they are listed.
    """
    found = _files(Path(images)), _files(Path(masks))
    matched = _matched(*found, mask_suffix)
    return Pairs(matched, partial(_both, matched, Path.read_bytes), files=matched.values(), **options)


def archive(
    path: str | Path, *, images: str = "images", masks: str = "masks", mask_suffix: str = "", **options: Any
) -> Pairs:
    """Return the pairs of a zip archive with a folder of images and one of masks; see `folders`."""
    read = _Zip(path)
    found = [
        {str(PurePosixPath(name).relative_to(folder).with_suffix("")): name for name in read.under(folder)}
        for folder in (images, masks)
    ]
    if not found[0]:
        raise FileNotFoundError(f"{path} has no folder {images!r} with images.")
    matched = _matched(found[0], found[1], mask_suffix)
    return Pairs(matched, partial(_both, matched, read), **options)


def listed(file: str | Path, root: str | Path | None = None, **options: Any) -> Pairs:
    """Return the pairs of a text file with an image and its mask a line, separated by white space.

    Args:
        file: The list; empty lines and those that begin with # are left out.
        root: What relative paths are relative to; None: the list's folder.
        **options: Of `Pairs`.

    Raises:
        ValueError: A line does not have two paths.
        FileNotFoundError: Files are missing; they are listed.
    """
    folder = Path(root) if root is not None else Path(file).parent
    lines = [line.split() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    pairs = [line for line in lines if line and not line[0].startswith("#")]
    for line in pairs:
        if len(line) != 2:
            raise ValueError(f"{file}: {' '.join(line)!r} is not an image and a mask.")
    found = {image: (folder / image, folder / mask) for image, mask in pairs}
    missing = [str(path) for both in found.values() for path in both if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{file} names files that are not there: {_some(missing)}")
    return Pairs(found, partial(_both, found, Path.read_bytes), files=found.values(), **options)


def _both(members: dict[str, tuple[T, T]], read: Callable[[T], bytes], name: str) -> tuple[bytes, bytes]:
    """Encoded image and mask of a name; no closure, so that workers of a loader may be given it."""
    image, mask = members[name]
    return read(image), read(mask)


class Arrays(Dataset[Any]):
    """Images and masks of an npz archive: `images` (N, H, W, 3) uint8 and `masks` (N, H, W).

    Args:
        path: The archive.
        codes: Label convention of the masks; None: ours.

    Raises:
        ValueError: It has other arrays.
    """

    def __init__(self, path: str | Path, *, codes: Codes | None = None) -> None:
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in ("images", "masks") if name not in content]
            if missing:
                raise ValueError(f"{path} has no {' and no '.join(missing)}: {', '.join(content.files)}.")
            self.images, self.masks = content["images"], content["masks"]
        wrong = self.images.dtype != np.uint8 or self.images.ndim != 4
        if wrong or self.masks.shape != self.images.shape[:3]:
            raise ValueError(
                f"{path}: images are {self.images.dtype} {self.images.shape}, masks {self.masks.shape}; "
                "expected uint8 (N, H, W, 3) and (N, H, W)."
            )
        self.codes = codes

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image, float32 in [0, 1], and mask, int64 in our codes."""
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).float().div(255)
        return image, translate_masks(torch.from_numpy(np.array(self.masks[index])), self.codes)


class _Zip:
    """Reads members of an archive, through a handle of its own in every process."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._open: tuple[int, zipfile.ZipFile] | None = None

    def under(self, folder: str) -> list[str]:
        """Names of the files below a folder, sorted."""
        names = self._handle().namelist()
        return sorted(name for name in names if name.startswith(f"{folder}/") and not name.endswith("/"))

    def __call__(self, name: str) -> bytes:
        return self._handle().read(name)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_open": None}

    def _handle(self) -> zipfile.ZipFile:
        if self._open is None or self._open[0] != os.getpid():
            self._open = os.getpid(), zipfile.ZipFile(self.path)
        return self._open[1]


def _matched(images: dict[str, T], masks: dict[str, T], suffix: str) -> dict[str, tuple[T, T]]:
    """Pair images with masks by name, in the order of their numbers or names."""
    missing = [name for name in images if f"{name}{suffix}" not in masks]
    if missing:
        hint = near_misses(f"{missing[0]}{suffix}", masks)
        raise FileNotFoundError(
            f"{len(missing)} of {len(images)} images have no mask: {_some(missing)} {hint}"
        )
    return {name: (images[name], masks[f"{name}{suffix}"]) for name in sorted(images, key=_naturally)}


def _files(folder: Path) -> dict[str, Path]:
    """Files below a folder by their name without extension; hidden ones are left out."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder.")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    found: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{found[name]} and {path} have one name, {name!r}: which one is meant?")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder} is empty.")
    return found


def _naturally(name: str) -> tuple[Any, ...]:
    """Sort 2 before 10."""
    digits = "".join(character for character in name if character.isdigit())
    return (0, int(digits), name) if name.isdigit() else (1, 0, name)


def _decoded(encoded: bytes, what: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{what} is no image that can be read: {error}") from error
    return image


def _tensor(image: Image.Image, size: Size, resizer: Resizer) -> Tensor:
    """Return an image as C x H x W in [0, 1]."""
    if size is not None and resizer == "pillow":
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if size is not None and resizer == "16-bit":
        batch = pixels.contiguous().unsqueeze(0)
        pixels = functional.interpolate(batch, size=size, mode="bilinear", antialias=True).squeeze(0)
    return pixels.float().div(255)


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}{' ...' if len(names) > most else ''}"
