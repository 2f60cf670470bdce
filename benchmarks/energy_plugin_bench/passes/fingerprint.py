"""What logits depend on beside the recipe: the code that makes them, and images without a listed file.

The code of this package counts by the sources that numbers pass through (a hash of the whole package would
throw away hours of passes whenever a line of a report changes), the code of other packages by all their
sources and by their versions: an editable checkout changes without its version, a compiled library with it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import nn

import energy_plugin_bench
from energy_plugin.records import Record
from energy_plugin_bench.inputs.assets import CorruptAssetError

OWN = energy_plugin_bench.__name__
NUMBERS = (
    "energy_plugin.outputs",
    *(
        f"{OWN}.{name}"
        for name in (
            "inputs.imagesets",
            "inputs.lazy",
            "inputs.reading",
            "inputs.transforms",
            "inputs.weights",
            "passes.computing",
            "passes.passes",
            "passes.threads",
        )
    ),
)
"""Modules that every pass goes through."""
LIBRARIES = ("torch", "numpy", "pillow")


def code_version(*records: Record, modules: Iterable[str] = ()) -> dict[str, Any]:
    """What code makes logits, or what is made of them, as plain data.

    Args:
        *records: Of the network and of the data set.
        modules: Further ones.
    """
    named = dict.fromkeys((*(record.target.partition(":")[0] for record in records), *modules))
    own = [module for module in named if module.partition(".")[0] == OWN]
    others = {module.partition(".")[0] for module in named} - {OWN}
    packages = sorted(others | {name.partition(".")[0] for record in records for name in record.requires})
    return {
        "sources": {
            OWN: _sources_of((*NUMBERS, *own)),
            **{name: _package(name) for name in sorted(others)},
        },
        "versions": _versions(tuple(packages)),
        "machine": platform.machine(),
    }


def of_images(data: Any, positions: range) -> dict[str, Any] | None:
    """Identify images that no file list vouches for, as plain data; None if nothing can be said of them.

    Arrays count by their content. Files count by name, size and time of change: to hash the 6 GB of a
    validation set takes as long as to use it.

    Args:
        data: Images with labels, or with masks, as arrays or from files.
        positions: Which images.

    Raises:
        CorruptAssetError: A file is not there any more.
    """
    chosen = np.asarray(positions)
    images, labels = getattr(data, "images", None), getattr(data, "labels", None)
    if isinstance(images, np.ndarray):
        truth = data.masks if labels is None else labels
        return {"arrays": _hash(_bytes(array[chosen]) for array in (images, truth))}
    files = getattr(data if images is None else images.data, "files", None)
    if not files:
        return None
    stats = [_stats(files[position], position, len(files)) for position in positions]
    known = [] if labels is None else labels[chosen].tolist()
    return {"files": _hash([json.dumps([stats, known]).encode()])}


def _stats(files: Path | Iterable[Path], position: int, total: int) -> list[tuple[str, int, int]]:
    """What identifies an image that is one file, or one with its mask."""
    together = [files] if isinstance(files, str | Path) else files
    return [_stat(Path(file), position, total) for file in together]


def _stat(file: Path, position: int, total: int) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise CorruptAssetError(
            f"image {position} of {total} cannot be read: {error}. Put the file back; images that were done "
            "before are kept."
        ) from error
    return str(file), found.st_size, found.st_mtime_ns


def of_weights(model: nn.Module) -> str:
    """Hash the weights of a network that brought its own."""
    return _hash(
        part
        for name, tensor in sorted(model.state_dict().items())
        for part in (f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), _raw(tensor))
    )


def _raw(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _bytes(array: Any) -> bytes:
    return f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()


@cache
def _sources_of(modules: tuple[str, ...]) -> str:
    return _hash(_source(module) for module in modules)


@cache
def _source(module: str) -> bytes:
    """The source of a module; of one without a file something that no other run has."""
    found = _spec(module)
    named = found.origin if found else getattr(sys.modules.get(module), "__file__", None)
    path = Path(named) if named else None
    return path.read_bytes() if path and path.is_file() else f"{module} {uuid4()}".encode()


@cache
def _package(name: str) -> str:
    """Hash the sources of a package, or of a single module."""
    found = _spec(name)
    folders = [Path(place) for place in found.submodule_search_locations or ()] if found else []
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    return _hash(file.read_bytes() for file in files) if files else _hash([_source(name)])


def _spec(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module)
    except ValueError:  # `__main__`, or made by hand: it is there and nobody says whence
        return None


@cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return dict(sorted({name: version(name) for name in (*LIBRARIES, *_owners(packages))}.items()))


def _owners(packages: tuple[str, ...]) -> Iterator[str]:
    """Distributions that the packages come from; this one's is left out, its sources say more."""
    known = packages_distributions()
    for package in packages:
        for name in known.get(package, ()):
            try:
                version(name)
            except PackageNotFoundError:  # half-removed
                continue
            if package not in (OWN, "energy_plugin"):
                yield name


def _hash(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()
