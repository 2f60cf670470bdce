"""Every timm model by name, with its data configuration; logits and features from one forward pass."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_deprecated_models, get_pretrained_cfg, list_pretrained, split_model_name_tag
from torch import Tensor, nn

from energy_plugin.errors import UnknownNameError, near_misses
from energy_plugin.outputs import logits_of

LOCAL, HUB = "local-dir:", "hf-hub:"


def create(member: str, *, pretrained: bool = False, test_size: bool = False, **options: Any) -> nn.Module:
    """Return the timm model of that name; the factory behind the backbone family `timm:`.

    Args:
        member: architecture, with or without a tag (`resnet50`, `resnet50.a1_in1k`); `hf-hub:OWNER/NAME`;
            `local-dir:FOLDER`, or just the path of a folder.
        pretrained: whether to load the weights of the tag (from timm's cache or the network); random ones
            otherwise. A tag alone chooses the data configuration.
        test_size: whether `data_config` holds the (mostly larger) size that timm reports accuracies at.
        **options: of `timm.create_model`, such as `num_classes`, `checkpoint_path`, `drop_path_rate`.

    Returns:
        timm's own module. Its attribute `data_config` says what images it takes.

    Raises:
        UnknownNameError: timm has no such architecture, or no such tag of it; with near misses.
    """
    name = _source(member)
    if not name.startswith((LOCAL, HUB)):
        name = resolve(name)
    model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    vars(model)["data_config"] = _data_config(model, options, test_size=test_size)  # a plain attribute
    return model


def resolve(name: str) -> str:
    """Return timm's present name for a model, old names translated; nothing is built.

    Raises:
        UnknownNameError: timm has no such architecture, or no such tag of it; with near misses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of the old names that are translated here
        architecture, tag = split_model_name_tag(name)
        if not timm.is_model(architecture):
            raise UnknownNameError(
                f"timm {timm.__version__} has no architecture {architecture!r}. "
                f"{near_misses(architecture, timm.list_models())}"
            )
        renamed = _renamed(architecture, tag)
        if renamed:
            return renamed
        if tag:
            _check_tag(architecture, tag)
    return name


def logits_and_features(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and the penultimate features of one forward pass.

    The features are what the classifier is given, flat: B x D; of models with a classifier for each scale
    (CrossViT) those of all scales side by side.

    Args:
        model: a timm model; of one with two classifiers (distilled) those of the first count.
        images: B x C x H x W, brought to the dtype of the model's parameters.

    Returns:
        Logits B x classes, features B x D, in the model's dtype.

    Raises:
        ValueError: the model has no classifier (`num_classes=0`), or its logits are no B x classes.
    """
    caught: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
        for layer in _classifiers(model)
    ]
    try:
        output = model(images.to(next(model.parameters()).dtype))
    finally:
        for handle in handles:
            handle.remove()
    logits = mean_of(output)
    if logits.ndim != 2:
        raise ValueError(
            f"{type(model).__name__} gives logits of shape {tuple(logits.shape)}; expected B x classes. Was "
            "it made with global_pool=''? `class_dim` finds the class dimension of such maps."
        )
    return logits, torch.cat([features.flatten(1) for features in caught], 1)


def mean_of(output: Any) -> Tensor:
    """Return the logits of a model; of the two classifiers that distilled models train, the mean.

    It is what these models return themselves in evaluation mode.
    """
    if isinstance(output, tuple) and len(output) == 2 and output[0].shape == output[1].shape:
        first, second = output
        return (first + second) / 2  # type: ignore[no-any-return]
    return logits_of(output)


def class_dim(model: nn.Module, logits: Tensor) -> int:
    """Return which dimension of a timm model's logits is that of the classes.

    Pooled logits are B x classes. Without pooling (`global_pool=""`) they keep the model's layout: NCHW,
    NHWC, or tokens B x N x classes.

    Raises:
        ValueError: none of the dimensions that it can be has the size `model.num_classes`.
    """
    classes = int(vars(model)["num_classes"])
    channels_last = logits.ndim == 3 or str(getattr(model, "output_fmt", "NCHW")) == "NHWC"
    dim = logits.ndim - 1 if channels_last or logits.ndim == 2 else 1
    if classes and logits.shape[dim] == classes:
        return dim
    raise ValueError(
        f"{type(model).__name__} has {classes} classes, but dimension {dim} of its output "
        f"{tuple(logits.shape)} has another size: are these logits?"
    )


def _source(member: str) -> str:
    """Say plainly that a folder is meant, as timm wants it."""
    if not member.startswith((LOCAL, HUB)) and ("/" in member or "\\" in member) and Path(member).is_dir():
        return LOCAL + member
    return member


def _renamed(architecture: str, tag: str) -> str:
    """Return what an old name stands for now; nothing for a present one."""
    current = get_deprecated_models().get(architecture)
    if not current:
        return ""
    return f"{current}.{tag}" if tag and "." not in current else str(current)


def _check_tag(architecture: str, tag: str) -> None:
    try:
        get_pretrained_cfg(f"{architecture}.{tag}", allow_unregistered=False)
    except RuntimeError as error:
        tags = [split_model_name_tag(known)[1] for known in list_pretrained(f"{architecture}.*")]
        raise UnknownNameError(
            f"timm's {architecture!r} has no tag {tag!r}. {near_misses(tag, tags)}"
        ) from error


def _classifiers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that make the logits: one, or one for each scale that the model has features of."""
    ask: Any = model.get_classifier
    found = ask()
    first = found[0] if isinstance(found, tuple | list) else found  # distilled: both see the same features
    layers: list[Any] = list(first) if isinstance(first, nn.ModuleList) else [getattr(first, "fc", first)]
    if not layers or any(
        not isinstance(layer, nn.Module) or isinstance(layer, nn.Identity) for layer in layers
    ):
        raise ValueError(
            f"{type(model).__name__} has no classifier (num_classes={model.num_classes}): it gives features, "
            "and the energy of features says nothing. Make it with num_classes=<number of classes>."
        )
    return layers


def _data_config(model: nn.Module, options: dict[str, Any], *, test_size: bool) -> dict[str, Any]:
    """Return what images the model takes; other channels and sizes than the weights' own are honoured."""
    config = dict(resolve_model_data_config(model, use_test_size=test_size))
    channels, height, width = config["input_size"]
    size = options.get("img_size", (height, width))
    height, width = (size, size) if isinstance(size, int) else size
    channels = options.get("in_chans", channels)
    config["input_size"] = (channels, height, width)
    if channels != len(config["mean"]):
        for name in ("mean", "std"):
            config[name] = (sum(config[name]) / len(config[name]),) * channels
    return config
