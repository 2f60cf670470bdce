"""Published settings of energy-regularised training; `presets.toml` holds the figures and their sources."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from energy_plugin.errors import UnknownNameError, near_misses


@dataclass(frozen=True, kw_only=True)
class MarginPreset:
    """A published setting; `EnergyRegularizedLoss(**preset(name).settings())` is its objective.

    Args:
        name: `study-dataset`.
        task: "classification" or "segmentation".
        margin_in: energy that ID samples are pushed below.
        margin_out: energy that OOD samples are pushed above.
        alpha: weight of the hinge, as our loss takes it.
        reduction: as our loss takes it.
        epochs: length of the fine-tuning.
        lr: learning rate at its start.
        batch_id: ID samples a step (images in segmentation).
        batch_ood: outliers a step; None: they are in the ID images.
        trained: the part of the network that is trained.
        source: repository, commit and file it was read in.
        note: what else belongs to it.
    """

    name: str
    task: str
    margin_in: float
    margin_out: float
    alpha: float
    reduction: str
    epochs: int
    lr: float
    batch_id: int
    batch_ood: int | None = None
    trained: str
    source: str
    note: str = ""

    def settings(self) -> dict[str, Any]:
        """The arguments of the loss: alpha, margin_in, margin_out, reduction."""
        return {
            "alpha": self.alpha,
            "margin_in": self.margin_in,
            "margin_out": self.margin_out,
            "reduction": self.reduction,
        }


def preset(name: str) -> MarginPreset:
    """The published setting of that name (`PRESETS` has them all).

    Raises:
        UnknownNameError: no preset has the name, or its margins are no margins of our loss (the message says
            what they are).
    """
    if name in PRESETS:
        return PRESETS[name]
    if name in NOT_APPLICABLE:
        raise UnknownNameError(f"{name!r} is no preset for this loss: {NOT_APPLICABLE[name]}.")
    hint = near_misses(name, PRESETS, most=len(PRESETS))
    raise UnknownNameError(f"no margin preset is called {name!r}. {hint}")


def _load() -> tuple[Mapping[str, MarginPreset], Mapping[str, str]]:
    text = files("energy_plugin.margins").joinpath("presets.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    reasons: dict[str, str] = tables.pop("not_applicable")
    presets = {name: MarginPreset(name=name, **table) for name, table in tables.items()}
    return MappingProxyType(presets), MappingProxyType(reasons)


PRESETS, NOT_APPLICABLE = _load()
"""Published settings by name; recipes whose margins are no margins of this loss, each with the reason."""
