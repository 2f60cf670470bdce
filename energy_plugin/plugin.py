"""Our own loss and detector, offered by the same door as everybody's (entry point `energy_plugin`)."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import DetectorSpec, LossSpec


@hookimpl
def ood_losses() -> tuple[LossSpec, ...]:
    """Offer the energy-regularised cross-entropy."""
    return (
        LossSpec(
            name="energy_regularized",
            target="energy_plugin.loss:EnergyRegularizedLoss",
            summary="Cross-entropy with squared hinges on the energies of ID and OOD samples (NeurIPS 2020).",
        ),
    )


@hookimpl
def ood_detectors() -> tuple[DetectorSpec, ...]:
    """Offer the energy score."""
    return (
        DetectorSpec(
            name="energy",
            target="energy_plugin.detector:EnergyDetector",
            higher_is="ood",
            summary="Energy score -T logsumexp(logits / T) (NeurIPS 2020).",
        ),
    )
