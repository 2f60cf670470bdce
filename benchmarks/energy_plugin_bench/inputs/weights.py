"""Weights into networks: safetensors, or a PyTorch file of tensors; nothing else in it is unpickled."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from energy_plugin_bench.inputs.assets import CorruptAssetError

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep the tensors."""
SUFFIX = ".safetensors"


def load_weights(model: nn.Module, file: Path, rename: Mapping[str, str] | None = None) -> None:
    """Load a file strictly: every tensor of the network, and no other.

    Args:
        model: Changed in place.
        file: A safetensors file, or one of `torch.save` that holds tensors alone.
        rename: Patterns in the file's names and what stands for them in the network's.

    Raises:
        CorruptAssetError: It is no such file, or its tensors are not the network's.
    """
    try:
        model.load_state_dict(_renamed(read_tensors(file), rename or {}), strict=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise CorruptAssetError(f"{file} does not fit {type(model).__name__}: {error}") from error


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name, out of the dictionary that a training script put around them.

    Raises:
        CorruptAssetError: It holds something else.
    """
    if file.suffix == SUFFIX:
        return load_file(file)
    found: Any = torch.load(file, map_location="cpu", weights_only=True)
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CorruptAssetError(f"{file} holds {type(found).__name__}; expected tensors by name")
    return dict(found)


def _renamed(tensors: Mapping[str, Tensor], rename: Mapping[str, str]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, other in rename.items():
            new = re.sub(pattern, other, new)
        if new in found:
            raise ValueError(f"two tensors would be called {new!r}")
        found[new] = tensor
    return found
