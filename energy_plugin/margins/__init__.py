"""Margins of the energy-regularised loss: measured on the network at hand, or published.

    found = margins.suggest(model, id_loader, outlier_loader)
    print(found)                                   # mean energies, margins, shares that violate them
    loss = EnergyRegularizedLoss(alpha=0.1, reduction="group_mean", **found.settings())

Margins do not carry over between networks: C equal logits v have the energy -(v + ln C), so the number of
classes and the scale of the logits move every energy. The authors advise margins near the mean energies of
the pretrained network (weitliu/energy_ood, issues 13 and 21); `docs/margins.md` shows on MNIST what margins
do.
"""

from energy_plugin.margins.measured import (
    FAR_OFF,
    IDLE,
    Energies,
    MarginSuggestion,
    check,
    suggest_from_energies,
)
from energy_plugin.margins.passes import suggest
from energy_plugin.margins.presets import NOT_APPLICABLE, PRESETS, MarginPreset, preset

__all__ = [
    "FAR_OFF",
    "IDLE",
    "NOT_APPLICABLE",
    "PRESETS",
    "Energies",
    "MarginPreset",
    "MarginSuggestion",
    "check",
    "preset",
    "suggest",
    "suggest_from_energies",
]
