"""Networks to fine-tune or to score with: by the name of a plug-in, or a file that `finetune` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from energy_plugin.manager import PluginManager
from energy_plugin.records import BackboneSpec
from energy_plugin_bench.apply import checkpoint

_INNER = ("state_dict", "model", "net", "model_state_dict")
"""Where training scripts put the weights in what they save."""

_BRING = ("pretrained", "weights", "checkpoint_path")
"""Options by which libraries of networks are told to bring weights."""

_FILES = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".bin"})


BRINGING = "--weights, --pretrained, or a file that finetune wrote as --backbone"
"""Options of `finetune` and `score` that bring weights."""


class RandomWeightsError(ValueError):
    """Nobody said where the weights come from."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A network and what is known of it.

    Attributes:
        network: Gives logits B x C.
        backbone: Name by which a plug-in makes it.
        options: What the plug-in was given.
        trained: Whether weights were loaded, or it holds random ones.
        data: What images it takes, as far as it or its file says.
        classes: Names of its classes, where its file says.
    """

    network: nn.Module
    backbone: str
    options: Mapping[str, Any]
    trained: bool
    data: Mapping[str, Any]
    classes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """What a file has to say to be opened again."""
        return {"backbone": self.backbone, "options": dict(self.options), "classes": list(self.classes)}


def find(
    name: str,
    *,
    manager: PluginManager,
    options: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    pretrained: bool = False,
) -> Opened:
    """Open a network.

    Args:
        name: Of a plug-in's backbone (`timm:resnet18`), or the path of a file that `finetune` wrote.
        manager: Who knows backbones.
        options: For the plug-in's factory.
        weights: A file of weights, loaded strictly: safetensors, or what `torch.save` wrote (never unpickled
            beyond tensors).
        pretrained: Whether the plug-in shall bring the weights.

    Raises:
        LookupError: No plug-in offers it; with near misses.
        ValueError: The weights are not this network's, or both kinds are asked for.
    """
    if weights and pretrained:
        raise ValueError("--weights and --pretrained both say where the weights come from; give one.")
    if Path(name).is_file():
        return _of_file(Path(name), manager)
    wished = dict(options or {})
    network = _spec(name, manager).load()(**wished | ({"pretrained": True} if pretrained else {}))
    if getattr(network, "num_classes", None) == 0:
        raise ValueError(f"{name!r} was made without a classifier (num_classes=0): it gives no logits.")
    if weights:
        load_weights(network, weights)
    return Opened(
        network=network,
        backbone=name,
        options=wished,
        trained=bool(weights) or pretrained or brings_weights(wished),
        data=dict(getattr(network, "data_config", {})),
    )


def brings_weights(options: Mapping[str, Any]) -> bool:
    """Whether a network made with these options comes with weights."""
    return any(options.get(name) for name in _BRING)


def random_weights(name: str, why: str, how: str) -> RandomWeightsError:
    """What to raise where a network would be taken untrained.

    Args:
        name: The network's.
        why: What is wrong with that.
        how: The options that bring weights.
    """
    return RandomWeightsError(
        f"{name!r} would have random weights, {why}: give {how} (--random-weights goes on without)."
    )


def _spec(name: str, manager: PluginManager) -> BackboneSpec:
    try:
        return manager.get("backbone", name)
    except LookupError as error:
        path = Path(name)
        if path.is_dir():
            raise FileNotFoundError(f"{name} is a folder; give the file in it, model.safetensors.") from error
        if path.suffix in _FILES or ("/" in name and ":" not in name):
            raise FileNotFoundError(f"no such file: {name}") from error
        raise


def _of_file(path: Path, manager: PluginManager) -> Opened:
    try:
        tensors, told = checkpoint.load(path)
    except ValueError as error:
        raise ValueError(
            f"{error} A file given as backbone is one that `energy-plugin finetune` wrote; for other weights "
            "name the backbone and give the file with --weights."
        ) from error
    if "backbone" not in told:
        raise ValueError(
            f"{path} is a checkpoint, which is for --resume; take model.safetensors, which stands beside it "
            "once the training is done."
        )
    network = manager.get("backbone", told["backbone"]).load()(**told["options"])
    _load(network, tensors, path)
    return Opened(
        network=network,
        backbone=told["backbone"],
        options=told["options"],
        trained=True,
        data=told["data"],
        classes=tuple(told["classes"]),
    )


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a file of weights strictly.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no weights, or not this network's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {path}.")
    if path.suffix == ".safetensors":
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file, or was cut off: {error}.") from error
    else:
        tensors = _of_torch_file(path)
    _load(network, tensors, path)


def _of_torch_file(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises many kinds
        raise ValueError(
            f"{path} holds no plain tensors (weights_only): {type(error).__name__}: {error}"
        ) from error
    while isinstance(found, Mapping) and (inner := next((key for key in _INNER if key in found), None)):
        found = found[inner]
    tensors = {str(k).removeprefix("module."): v for k, v in dict(found).items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no tensors by name.")
    return tensors


def _load(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {path} are not those of {type(network).__name__}: {error}"
        ) from error


def option(text: str) -> tuple[str, Any]:
    """Read `KEY=VALUE`; the value is JSON where it can be, else text.

    Raises:
        ValueError: There is no `=`.
    """
    key, equals, value = text.partition("=")
    if not (equals and key):
        raise ValueError(f"an option is KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
