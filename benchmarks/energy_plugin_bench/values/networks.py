"""What a recipe measures with, as data: networks, what goes through them, and which images of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from energy_plugin_bench.values.checking import Number, Strict, Text


def _to_be_run(network: Network) -> Iterator[str]:
    if not (network.backbone or network.missing or network.mean_of):
        yield "a network needs a backbone, or says in 'missing' why it cannot be run"


def _channels(network: Network) -> Iterator[str]:
    if len(network.mean) != len(network.std):
        yield f"mean has {len(network.mean)} channels and std {len(network.std)}"


class Network(Strict):
    """A network with its weights.

    Attributes:
        backbone: Name of a `BackboneSpec`, looked up by the plug-in manager.
        options: Handed to its factory.
        weights: Path of an asset; loaded strictly. Empty: the factory brings its own.
        rename: Patterns in the names of published tensors, and what stands for them in the backbone's.
        mean_of: Networks, by name, whose figures are averaged: this is none itself.
        transform: Steps that this network wants after those of its inputs.
        mean: A channel's mean, taken off after the images are in [0, 1].
        std: A channel's spread, divided by.
        rounding: How far another device moves a logit, relative to it: the spread of the largest logit when
            convolutions round their operands to TF32 (10-bit mantissas, PyTorch's default on GPUs), as
            measured.
        classes: How many of its outputs are classes, for segmentation networks with further ones (void); 0:
            all.
        slow: It takes minutes on two cores, so its logits are carried.
        missing: Why the network cannot be run.
    """

    backbone: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str = ""
    rename: dict[str, str] = Field(default_factory=dict)
    mean_of: tuple[Text, ...] = ()
    transform: tuple[Text, ...] = ()
    mean: tuple[Number, ...] = ()
    std: tuple[Annotated[Number, Field(gt=0)], ...] = ()
    rounding: Annotated[Number, Field(ge=0)] = 0.0
    classes: Annotated[int, Field(strict=True, ge=0)] = 0
    slow: bool = False
    missing: str = ""

    rules = (_to_be_run, _channels)


def _to_be_had(chosen: Input) -> Iterator[str]:
    if not (chosen.dataset or chosen.missing):
        yield "an input needs a dataset, or says in 'missing' why it cannot be had"


class Input(Strict):
    """What goes through a network once: every image of a data set, transformed.

    Attributes:
        dataset: Name of a `DatasetSpec`, looked up by the plug-in manager.
        asset: Path of an asset, handed to the data set's factory as `path`. Empty: it needs no file.
        options: Handed to the factory.
        transform: Steps, names of `energy_plugin_bench.inputs.transforms.STEPS`, in order.
        missing: Why the images cannot be had.
    """

    dataset: str = ""
    asset: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    transform: tuple[Text, ...] = ()
    missing: str = ""

    rules = (_to_be_had,)


class Set(Strict):
    """Which images of an input, and what is known of them beside the source's.

    Attributes:
        input: Name of an input.
        classes: Labels to take; empty takes every image.
        fresh: The images are another sample of the population that the source sampled (generated anew, or
            drawn from the same fonts), not the same images.
        published_size: How many the source had, where `fresh`; 0 if unknown, then ours counts.
        mean_of: Sets, by name, whose figures are averaged: this is none itself.
        missing: Why the set cannot be had.
        note: What a reader must know, shown with every verdict.
    """

    input: str = ""
    mean_of: tuple[Text, ...] = ()
    classes: tuple[int, ...] = ()
    fresh: bool = False
    published_size: Annotated[int, Field(strict=True, ge=0)] = 0
    missing: str = ""
    note: str = ""
