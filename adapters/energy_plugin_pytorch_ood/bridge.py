"""The loss and the detector in the shape that pytorch-ood expects, and the one line that puts them there.

Both come under new names, so that nothing of pytorch-ood is replaced and nobody's results change:
`pytorch_ood.loss.EnergyPluginLoss` and `pytorch_ood.detector.EnergyPluginDetector`. Without registering,
import them from here: `Benchmark.evaluate` takes any instance of a detector.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import pytorch_ood.detector
import pytorch_ood.loss
from pytorch_ood.api import LogitsDetector
from torch import Tensor, nn

from energy_plugin.energy import Reduction, energy
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.registration import Registration, attribute

_THEIR_LOSS = pytorch_ood.loss.EnergyRegularizedLoss
_THEIR_DETECTOR = pytorch_ood.detector.EnergyBased


def _their_defaults() -> dict[str, Any]:
    """Return the defaults of the installed version's loss: 1, -1, -1 in 0.3; 0.1, -25, -7 in 0.4."""
    parameters = inspect.signature(_THEIR_LOSS.__init__).parameters
    return {name: parameters[name].default for name in ("alpha", "margin_in", "margin_out")}


def _their_mean() -> Reduction:
    """Return what the installed version means by `mean`: over the batch in 0.3, over each group since 0.4."""
    major, minor = (int(part) for part in version("pytorch-ood").split(".")[:2])
    return "group_mean" if (major, minor) >= (0, 4) else "mean"


class EnergyPluginLoss(EnergyRegularizedLoss):
    """Our loss with the defaults and the meaning of `mean` of the installed pytorch-ood.

    Targets >= 0 are ID, < 0 OOD, as in pytorch-ood. Beyond its own loss: logits of any rank, `ignore_index`,
    half precision, no wait for the GPU, means that are right over micro-batches and processes.

    Args:
        alpha: Weight of the energy term; the installed version's default.
        margin_in: Energy that ID samples are pushed below; the installed version's default.
        margin_out: Energy that OOD samples are pushed above; the installed version's default.
        reduction: `mean` as the installed version means it, `sum`, `none`, or `group_mean`.
        **options: Further keyword arguments of `energy_plugin.EnergyRegularizedLoss`.
    """

    info = getattr(_THEIR_LOSS, "info", None)

    def __init__(
        self,
        alpha: float | None = None,
        margin_in: float | None = None,
        margin_out: float | None = None,
        reduction: str | None = "mean",
        **options: Any,
    ) -> None:
        given = {"alpha": alpha, "margin_in": margin_in, "margin_out": margin_out}
        settings = _their_defaults() | {name: value for name, value in given.items() if value is not None}
        meant: Any = _their_mean() if reduction == "mean" else reduction  # checked by the parent
        super().__init__(**settings, reduction=meant, **options)


class EnergyPluginDetector(LogitsDetector):  # type: ignore[misc]  # the host has no type information
    """The energy score as a detector of pytorch-ood; higher = more OOD.

    Beyond its own: scores in float32 or better whatever the logits' precision, and logits of any rank.

    Args:
        model: Network; None when only `predict_logits` is used.
        t: Temperature T.
    """

    info = getattr(_THEIR_DETECTOR, "info", None)

    def __init__(self, model: nn.Module | None, t: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.t = t

    def predict_logits(self, logits: Tensor) -> Tensor:
        """Return the energies: B x C gives B, B x C x spatial gives B x spatial."""
        return energy(logits, temperature=self.t)


def register() -> Registration:
    """Add our loss and detector to pytorch-ood under their names."""
    return Registration(
        "pytorch_ood",
        [
            attribute(pytorch_ood.loss, "EnergyPluginLoss", EnergyPluginLoss),
            attribute(pytorch_ood.detector, "EnergyPluginDetector", EnergyPluginDetector),
        ],
    )
