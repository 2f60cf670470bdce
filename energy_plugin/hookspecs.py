"""The hooks of the plug-in contract `ood_benchmark`: signature and docstring, nothing else.

A plug-in is a module or object named by an entry point of the group `ood_benchmark`, with some of these
functions marked by `hookimpl` (or by `pluggy.HookimplMarker("ood_benchmark")`: nothing of ours is needed).
A hook is called once and must be cheap: records name their targets, they do not import them.
"""
# mypy: disable-error-code="empty-body"
# (a specification has no body)

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from energy_plugin.records import (
    BackboneSpec,
    CommandSpec,
    DatasetSpec,
    DetectorSpec,
    HostSpec,
    LossSpec,
    PublishedSpec,
)

PROJECT = "ood_benchmark"
"""Name of the pluggy project and of the entry-point group; neutral, for the consumers are the suites."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ood_losses() -> Iterable[LossSpec]:
    """Losses that learn from labelled and from out-of-distribution samples."""


@hookspec
def ood_detectors() -> Iterable[DetectorSpec]:
    """Detectors that turn logits into one score a sample."""


@hookspec
def ood_backbones() -> Iterable[BackboneSpec]:
    """Networks by name."""


@hookspec
def ood_datasets() -> Iterable[DatasetSpec]:
    """Data sets by name, with the meaning of their label codes."""


@hookspec
def ood_hosts() -> Iterable[HostSpec]:
    """Suites that can be given the loss and the detector by `energy_plugin.register(name)`."""


@hookspec
def ood_published() -> Iterable[PublishedSpec]:
    """Folders of published values."""


@hookspec
def ood_commands() -> Iterable[CommandSpec]:
    """Further commands of `energy-plugin`."""
