"""Images to train on or to score: a folder, an npz archive, or a data set of a plug-in, behind one face."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from energy_plugin.manager import PluginManager

Array = npt.NDArray[Any]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""Files with these endings are meant as images; one that cannot be read is reported, never passed over."""

UNLABELLED = -1
_EIGHT_BIT = frozenset(
    {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "La", "RGBa"}
)


class UnreadableImageError(ValueError):
    """A file is no image that can be read; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images of one source, each read when it is asked for.

    Attributes:
        source: What the user named.
        names: A name for each image: path under the folder, or position.
        labels: (N,) int64 class of each, `UNLABELLED` where there is none.
        classes: Names of the classes, where they have any.
        open: Gives the image at a position.
        passed_over: Files of a folder that do not have the ending of an image.
        unreadable: What could not be read so far, with the reason; filled by `read`.
    """

    source: str
    names: Sequence[str]
    labels: Array
    classes: tuple[str, ...]
    open: Callable[[int], Image.Image]
    passed_over: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of images, readable or not."""
        return len(self.names)

    def only(self, positions: Array) -> Images:
        """Return a part; it reports what is unreadable together with the whole."""
        chosen = positions.tolist()
        return replace(
            self,
            names=[self.names[i] for i in chosen],
            labels=self.labels[positions],
            open=lambda position: self.open(chosen[position]),
        )

    def read(
        self,
        positions: Sequence[int],
        prepare: Callable[[Image.Image, int], Array],
        pool: ThreadPoolExecutor | None = None,
    ) -> tuple[list[int], list[Array]]:
        """Read and prepare images; what cannot be read is left out and noted in `unreadable`.

        Args:
            positions: Which images.
            prepare: Makes an array of an image, given its position among `positions` too.
            pool: Threads to do it in.

        Returns:
            The places in `positions` that could be read, and their arrays.
        """

        def one(place: int) -> Array | None:
            try:
                return prepare(self.open(positions[place]), place)
            except UnreadableImageError as error:
                self.unreadable[self.names[positions[place]]] = str(error)
                return None

        places = range(len(positions))
        arrays = list(pool.map(one, places) if pool else map(one, places))
        kept = [place for place, array in enumerate(arrays) if array is not None]
        return kept, [array for array in arrays if array is not None]


def find(source: str, *, manager: PluginManager, data_root: Path | None = None) -> Images:
    """Open a source by what the user wrote.

    Args:
        source: A folder, an `.npz` file (both also relative to `data_root`), or the name of a plug-in's data
            set, with its options as JSON behind a `?` where there are any.
        manager: Who knows data sets.
        data_root: Where relative paths are looked for after the working folder.

    Raises:
        FileNotFoundError: Neither a file nor a folder, nor the name of a data set; with near misses.
        ValueError: Nothing in it can be used.
    """
    for path in (Path(source), *([data_root / source] if data_root else [])):
        if path.is_dir():
            return of_folder(path)
        if path.is_file():
            return of_archive(path)
    name, _, options = source.partition("?")
    try:
        spec = manager.get("dataset", name)
    except LookupError as error:
        where = f"here or under {data_root}" if data_root else "here (there is no --data-root)"
        raise FileNotFoundError(f"{source!r} is no folder and no .npz file {where}. {error}") from error
    return of_pairs(source, spec.load()(**(json.loads(options) if options else {})))


def of_folder(folder: Path) -> Images:
    """Open a folder of image files, at any depth; its subfolders are the classes, where there are any.

    Raises:
        ValueError: There is no image file in it.
    """
    files = sorted(
        path
        for parent, folders, names in os.walk(folder)
        for path in (Path(parent, name) for name in names)
        if folders.sort() is None and not path.name.startswith(".")
    )
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        raise ValueError(
            f"{folder} holds {len(files)} files, none of them an image ({', '.join(sorted(SUFFIXES))})."
        )
    inside = [path.relative_to(folder) for path in images]
    classes = sorted({path.parts[0] for path in inside if len(path.parts) > 1})
    index = {name: number for number, name in enumerate(classes)}
    return Images(
        source=str(folder),
        names=[path.as_posix() for path in inside],
        labels=np.asarray([index[p.parts[0]] if len(p.parts) > 1 else UNLABELLED for p in inside], np.int64),
        classes=tuple(classes),
        open=lambda position: open_file(images[position]),
        passed_over=tuple(
            p.relative_to(folder).as_posix() for p in files if p.suffix.lower() not in SUFFIXES
        ),
    )


def of_archive(path: Path) -> Images:
    """Open an npz archive: `images`, N x H x W[ x 3] uint8, and maybe `labels` and `class_names`.

    Raises:
        ValueError: It is none, or its arrays do not fit.
    """
    if path.suffix.lower() in SUFFIXES:
        raise ValueError(f"{path} is a single image; give its folder: {path.parent}")
    if not zipfile.is_zipfile(path):  # NumPy would take it for a pickle and advise to open that
        raise ValueError(f"{path} is no npz archive (a zip of arrays, with 'images' among them).")
    try:
        with np.load(path, allow_pickle=False) as archive:
            images = archive["images"]
            labels = archive.get("labels")
            classes = tuple(map(str, archive["class_names"])) if "class_names" in archive else ()
    except Exception as error:  # numpy raises whatever its parser meets
        pickled = "allow_pickle" in str(error)
        why = "an array holds Python objects, which are not opened" if pickled else error
        raise ValueError(f"{path} cannot be read as an npz archive with the array 'images': {why}") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or len(images) == 0:
        raise ValueError(
            f"{path}: 'images' is {images.dtype} of shape {images.shape}; expected uint8, N x H x W[ x 3]."
        )
    labels = np.full(len(images), UNLABELLED) if labels is None else labels
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{path}: 'labels' is {labels.dtype} of shape {labels.shape} for {len(images)} images."
        )
    return Images(
        source=str(path),
        names=[f"{path.name}[{position}]" for position in range(len(images))],
        labels=labels.astype(np.int64),
        classes=classes,
        open=lambda position: Image.fromarray(images[position]),
    )


def of_pairs(source: str, data: Any) -> Images:
    """Open a map-style data set of (image, label); an image is a Pillow image or an array.

    Raises:
        TypeError: It is no such data set.
    """
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or not len(data):
        raise TypeError(
            f"data set {source!r} is {type(data).__name__}; expected a map-style one that is not empty."
        )
    labels = getattr(data, "labels", None)
    if labels is None:
        labels = getattr(data, "targets", None)
    if labels is None:
        labels = [data[position][1] for position in range(len(data))]
    return Images(
        source=source,
        names=[f"{source}[{position}]" for position in range(len(data))],
        labels=np.asarray(labels, np.int64),
        classes=tuple(map(str, getattr(data, "classes", ()))),
        open=lambda position: as_image(data[position][0]),
    )


def open_file(path: Path) -> Image.Image:
    """Decode an image file whole.

    Raises:
        UnreadableImageError: It is empty, cut off, no image, or too large to be one.
    """
    if not path.stat().st_size:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
    if image.mode not in _EIGHT_BIT:
        raise UnreadableImageError(
            f"its pixels are of Pillow's mode {image.mode!r}; expected 8 bits a channel"
        )
    return image


def as_image(value: Any) -> Image.Image:
    """Return a Pillow image of one, or of an array: uint8 or floats in [0, 1], channels first or last.

    Raises:
        UnreadableImageError: It is neither.
    """
    if isinstance(value, Image.Image):
        return value
    array = np.asarray(value)
    if np.issubdtype(array.dtype, np.floating):
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[-1] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise UnreadableImageError(f"{array.dtype} of shape {array.shape} is no image")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)
