"""The energy score as an OOD criterion of torch-uncertainty, in the range that its metrics leave alone.

torchmetrics takes a sigmoid, in float32, of scores of which one lies outside [0, 1]. Energies below about -90
all become 0 then, and AUROC is 0.5. So energies are squashed here: strictly monotone, in float64, undone by
`unsquash`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch_uncertainty.ood_criteria import OODCriterionInputType, TUOODCriterion

from energy_plugin.detector import EnergyDetector
from energy_plugin.outputs import logits_of


def squash(scores: Tensor) -> Tensor:
    """Return scores in [0, 1], of the same order: s / (1 + |s|), moved there; float64.

    Distinct float32 scores stay distinct from 1e-8 to 1e8 in size, negative ones to any. NaN stays NaN.
    """
    wide = scores.double()
    rest = 0.5 / (1.0 + wide.abs())  # towards 0 a float64 has digits to spare, towards 1 it has not
    return torch.where(wide < 0, rest, 1.0 - rest)


def unsquash(squashed: Tensor) -> Tensor:
    """Return the scores that `squash` was given; float64."""
    return torch.where(squashed < 0.5, 1.0 - 0.5 / squashed, 0.5 / (1.0 - squashed) - 1.0)


class EnergyPluginCriterion(TUOODCriterion):  # type: ignore[misc]  # the host has no type information
    """The energy of the mean logits of the estimators; higher = more OOD, as there.

        ClassificationRoutine(network, num_classes=10, eval_ood=True, ood_criterion=EnergyPluginCriterion())

    Beyond their own: a temperature, ensembles, figures that are right at any energy, and segmentation, by
    `EnergyPluginSegmentationRoutine` or after `energy_plugin.register("torch_uncertainty")`.

    Args:
        temperature: T > 0.
        squashed: Whether scores are brought into [0, 1] by `squash`; False: energies, for other uses.
    """

    single_only = False
    ensemble_only = False
    higher_is = "ood"

    def __init__(self, temperature: float = 1.0, *, squashed: bool = True) -> None:
        super().__init__()
        # In a tuple it is no submodule: checkpoints of a routine with another criterion load as before.
        self._energy = (EnergyDetector(temperature=temperature),)
        self.squashed = squashed
        self._watching = False
        self._seen: Tensor | None = None

    @property
    def input_type(self) -> OODCriterionInputType:
        """Logits; while a segmentation routine is watched, what that routine has to offer."""
        kinds = OODCriterionInputType
        return kinds.ESTIMATOR_PROB if self._watching else kinds.LOGIT

    def forward(self, inputs: Tensor) -> Tensor:
        """Return one score a sample.

        Args:
            inputs: Logits B x estimators x C. While watching: probabilities of the pixels, (B H W) x
                estimators x C, which say how many estimators there are; the energy is of the logits seen.

        Raises:
            ValueError: The inputs have another shape.
        """
        if inputs.ndim != 3:
            raise ValueError(
                f"expected logits B x estimators x C, got shape {tuple(inputs.shape)}; "
                "EnergyDetector takes B x C, and maps."
            )
        logits = self._maps(inputs) if self._watching else inputs.mean(1)
        scores = self._energy[0].score(logits).flatten()
        return squash(scores) if self.squashed else scores

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Take logits from the network's own output: the softmax that the routine hands on has lost them."""

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._seen = logits_of(output).detach()

        handle = model.register_forward_hook(keep)
        self._watching = True
        try:
            yield
        finally:
            handle.remove()
            self._watching, self._seen = False, None

    def _maps(self, pixels: Tensor) -> Tensor:
        """Return the mean logits B x C x H x W of the last pass."""
        samples, estimators, classes = pixels.shape
        seen = self._seen
        if seen is None or seen.ndim != 4 or seen.numel() != samples * estimators * classes:
            came = "no output" if seen is None else f"logits of shape {tuple(seen.shape)}"
            raise ValueError(
                f"the routine has {samples} pixels of {estimators} x {classes} probabilities, the network "
                f"gave {came}; expected (estimators B) x C x H x W."
            )
        return seen.reshape(estimators, -1, *seen.shape[1:]).mean(0)
