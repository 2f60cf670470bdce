"""Files of tensors with a JSON document beside them: safetensors, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

KEY = "energy_plugin"
FORM = 1


def write(path: Path, content: bytes) -> None:
    """Put a file in place at once: whoever opens it sees the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with half.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def save_file(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> None:
    """Write tensors and a document.

    Args:
        path: Where; replaced at once if it is there.
        tensors: By name, on any device; those that share memory are written each for itself.
        told: The document.
    """
    apart = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    write(path, save(apart, {KEY: json.dumps({**told, "form": FORM}, sort_keys=True)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and the document.

    Raises:
        ValueError: The file was not written by `save_file`, or was cut off.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or was cut off: {error}.") from error
    if text is None:
        raise ValueError(f"{path} is a safetensors file, but not one written here.")
    told: dict[str, Any] = json.loads(text)
    if told["form"] != FORM:
        raise ValueError(f"{path} has form {told['form']}; this version reads form {FORM}.")
    return tensors, told


def state_of(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what training goes on from: weights, buffers, and what the optimiser keeps of each weight."""
    state = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        kept = optimiser.state.get(parameter, {})
        state |= {f"optimiser/{key}/{name}": v for key, v in kept.items() if isinstance(v, Tensor)}
    return state


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Bring network and optimiser to a saved state.

    Raises:
        RuntimeError: The state is another network's.
    """
    inside = {name.partition("/")[2]: t for name, t in state.items() if name.startswith("network/")}
    network.load_state_dict(inside, strict=True)
    parameters = dict(network.named_parameters())
    for path, tensor in state.items():
        kind, _, rest = path.partition("/")
        if kind == "optimiser":
            key, _, name = rest.partition("/")
            parameter = parameters[name]
            optimiser.state[parameter][key] = tensor.to(parameter.device)
