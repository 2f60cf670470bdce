"""Networks of pytorch-ood and torchvision by name: the factories of `pytorch_ood:NAME`, `torchvision:NAME`.

create("wrn-40-2/cifar10/crossentropy")            # an entry of the host's registry, without its weights
create("WideResNet", num_classes=10, depth=16, widen_factor=4)
torchvision("resnet50", weights="IMAGENET1K_V1")
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytorch_ood.model as host
from torch import nn

from energy_plugin.errors import UnknownNameError, near_misses


def create(member: str, *, pretrained: bool = False, **options: Any) -> nn.Module:
    """Return a network of pytorch-ood.

    Args:
        member: A key of the host's registry (`architecture/data set/loss[/seed]`), or a class of its `model`
            package.
        pretrained: Whether the host loads (and if need be downloads) the weights of that key.
        **options: Of the class; for a key they go before the registry's.

    Raises:
        UnknownNameError: The host has neither (a LookupError; with near misses).
        ValueError: `pretrained` or a class for which there are no weights.
    """
    known = _classes()
    if member in known:
        if pretrained:
            raise ValueError(
                f"{member} is a class: weights belong to a key such as {host.list_models()[0]!r}"
            )
        model: nn.Module = known[member](**options)
        return model
    try:
        entry = host.get_model_info(member)
    except ValueError as error:
        names = (*known, *host.list_models())
        raise UnknownNameError(
            f"pytorch-ood has no network {member!r}. {near_misses(member, names)}"
        ) from error
    if pretrained:
        model = host.load_model(member)
    else:
        model = _class(entry.arch_class)(**{**entry.arch_kwargs, **options})
    if entry.preprocessing is not None:
        vars(model)["data_config"] = _data_config(entry.preprocessing)
    return model


def torchvision(member: str, **options: Any) -> nn.Module:
    """Return a classifier of torchvision, with random weights unless `weights` names some.

    Raises:
        UnknownNameError: torchvision has no such model (a LookupError; with near misses).
    """
    models = import_module("torchvision.models")
    if member not in models.list_models(module=models):
        known = models.list_models(module=models)
        raise UnknownNameError(f"torchvision has no model {member!r}. {near_misses(member, known)}")
    model: nn.Module = models.get_model(member, **options)
    return model


def _classes() -> dict[str, Any]:
    return {
        name: kind
        for name, kind in vars(host).items()
        if inspect.isclass(kind) and issubclass(kind, nn.Module)
    }


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _data_config(preprocessing: Any) -> dict[str, Any]:
    size = preprocessing.crop_size or preprocessing.size
    return {"input_size": (3, *size), "mean": preprocessing.mean, "std": preprocessing.std}
