"""Every data set of pytorch-ood by name, its labels in our convention: ID >= 0, OOD -1, void -100.

    load("Textures", root="data", download=True, transform=ToTensor(), ood=True)
    load("StreetHazards", root="data", subset="test", transform=Joint())

Masks come out as int64 whatever the set does to them; `masks.py` says what is repaired.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from torch.utils.data import Dataset

from energy_plugin.errors import UnknownNameError, near_misses
from energy_plugin_pytorch_ood.catalogue import CLASSIFICATION, SEGMENTATION
from energy_plugin_pytorch_ood.masks import Repaired

_MODULES = ("img", "txt", "audio")


def load(
    name: str,
    *,
    ood: bool = False,
    transform: Callable[..., Any] | None = None,
    **arguments: Any,
) -> Dataset[Any]:
    """Return a data set of pytorch-ood.

    Args:
        name: Class name in `pytorch_ood.dataset`.
        ood: Whether all its samples are outliers: their label is -1 then, whatever the set says. Of no use
            for segmentation, where masks say it.
        transform: Of the image; for segmentation a joint one of image and mask, whatever the host's keyword.
        **arguments: The set's own: root, download, subset, split, ...

    Raises:
        UnknownNameError: The installed version has no such set (a LookupError; near misses are named).
        TypeError: The set has no such argument, or lacks one.
        ValueError: `ood` for a segmentation set.
    """
    kind = _class(name)
    accepted = inspect.signature(kind).parameters
    unknown = sorted(set(arguments) - set(accepted))
    if unknown:
        raise TypeError(f"{name} has no argument {', '.join(unknown)}. {near_misses(unknown[0], accepted)}")
    if name in SEGMENTATION:
        if ood:
            raise ValueError(f"{name} is a segmentation set: its masks say which pixels are outliers.")
        return Repaired(kind(**arguments), transform)
    if transform is not None:
        arguments["transform" if "transform" in accepted else "transforms"] = transform
    if not ood:
        found: Dataset[Any] = kind(**arguments)
        return found
    return Outliers(kind(**arguments))


class Outliers(Dataset[Any]):
    """A data set with the label -1 throughout.

    Args:
        data: Samples of (input, label), or inputs alone.
    """

    def __init__(self, data: Any) -> None:
        self.data = data
        self.labels = [-1] * len(data)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return the input and -1."""
        item = self.data[index]
        return (item[0] if isinstance(item, tuple | list) else item), -1


def _class(name: str) -> Any:
    modules = [import_module(f"pytorch_ood.dataset.{part}") for part in _MODULES]
    found = next((vars(module)[name] for module in modules if name in vars(module)), None)
    if not inspect.isclass(found):
        raise UnknownNameError(
            f"pytorch-ood has no data set {name!r}. {near_misses(name, (*CLASSIFICATION, *SEGMENTATION))}"
        )
    return found


def __getattr__(name: str) -> Any:
    """Give `load` for one set under its name: what records name as their target."""
    if name in CLASSIFICATION or name in SEGMENTATION:
        return partial(load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
