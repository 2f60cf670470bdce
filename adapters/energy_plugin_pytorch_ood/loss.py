"""Our loss in the shape that pytorch-ood expects, with what the installed version means by its arguments."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import pytorch_ood.loss

from energy_plugin.energy import Reduction
from energy_plugin.loss import EnergyRegularizedLoss

THEIRS = pytorch_ood.loss.EnergyRegularizedLoss


def their_defaults() -> dict[str, Any]:
    """Return the defaults of the installed version's loss: 1, -1, -1 in 0.3; 0.1, -25, -7 in 0.4.

    Raises:
        ImportError: the installed version's loss has other arguments.
    """
    parameters = inspect.signature(THEIRS.__init__).parameters
    try:
        return {name: parameters[name].default for name in ("alpha", "margin_in", "margin_out")}
    except KeyError as error:
        raise ImportError(
            f"pytorch-ood {version('pytorch-ood')}: its EnergyRegularizedLoss takes "
            f"({', '.join(parameters)}) and no {error}; this adapter knows 0.3 and 0.4."
        ) from error


def their_mean() -> Reduction:
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

    info = getattr(THEIRS, "info", None)  # a LossInfo since 0.4: tasks, inputs, paper

    def __init__(
        self,
        alpha: float | None = None,
        margin_in: float | None = None,
        margin_out: float | None = None,
        reduction: str | None = "mean",
        **options: Any,
    ) -> None:
        given = {"alpha": alpha, "margin_in": margin_in, "margin_out": margin_out}
        settings = their_defaults() | {name: value for name, value in given.items() if value is not None}
        meant: Any = their_mean() if reduction == "mean" else reduction  # checked by the parent
        super().__init__(**settings, reduction=meant, **options)
