"""The energy-regularised loss as modules: checked settings, means that are right over batches and processes.

The maths is in `energy_plugin.energy`. The group counts are the one mechanism for means over more than one
batch:

    loss = EnergyRegularizedLoss(alpha=0.1, margin_in=-25.0, margin_out=-7.0, reduction="group_mean")
    counts = sum(loss.group_counts(targets) for _, targets in micro_batches)
    for inputs, targets in micro_batches:
        loss(model(inputs), targets, counts=counts).backward()
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn

from energy_plugin import energy as maths
from energy_plugin import margins
from energy_plugin.alignment import Upsample, aligned
from energy_plugin.energy import Nonfinite, Reduction
from energy_plugin.outputs import logits_of

Criterion = Callable[[Tensor, Tensor], Tensor]


class EnergyRegularizer(nn.Module):
    """The squared hinge of the energy alone, to add to any criterion.

    alpha * relu(E - margin_in)^2 for ID samples, alpha * relu(margin_out - E)^2 for OOD samples, E =
    -logsumexp. Liu et al., NeurIPS 2020, section 3.3. Only the sign of a target counts here (>= 0 ID, < 0
    OOD), so it goes with focal or dice losses, soft targets and mixup: keep the hard labels of the batch for
    it.

    Args:
        alpha: weight of the term, >= 0; a tensor (a Parameter, say) may be learnt.
        margin_in: energy that ID samples are pushed below. Choose it near the mean energy of the pretrained
            network on ID data; `energy_plugin.margins.suggest` measures it.
        margin_out: energy that OOD samples are pushed above; at least `margin_in`.
        reduction: `none` (or None) gives the map; `sum`; `mean` is over all samples that are not void;
            `group_mean` adds the mean over ID and the mean over OOD samples (the paper's objective; what
            pytorch-ood 0.4 calls `mean`).
        ignore_index: the void code: no loss, no gradient, in no mean, whatever its sign. None: nothing is
            void. There is no default code, since -100 is an ordinary OOD label in some suites.
        nonfinite: what a NaN or +inf logit does: `propagate` it into the loss, `raise` (waits for a GPU), or
            `skip` its sample as if it were void. A -inf logit is a masked class and always fine.
        upsample: how logits of a lower resolution than the mask are enlarged (align_corners=False):
            `bilinear` (linear, trilinear), `nearest`, or None to refuse.
        synchronize: take the means over all processes of the default process group, and multiply by their
            number, since DistributedDataParallel averages gradients: the gradient is that of the whole batch.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        margin_in: float = -1.0,
        margin_out: float = -1.0,
        reduction: Reduction | None = "mean",
        *,
        ignore_index: int | None = None,
        nonfinite: Nonfinite = "propagate",
        upsample: Upsample | None = "bilinear",
        synchronize: bool = False,
    ) -> None:
        super().__init__()
        reduction = "none" if reduction is None else reduction
        _check_choice("reduction", reduction, maths.REDUCTIONS)
        _check_choice("nonfinite", nonfinite, maths.NONFINITE)
        _check_choice("upsample", upsample, (*get_args(Upsample), None))
        _check_numbers(alpha, margin_in, margin_out)
        self.alpha = alpha
        self.margin_in = float(margin_in)
        self.margin_out = float(margin_out)
        self.reduction: Reduction = reduction
        self.ignore_index = ignore_index
        self.nonfinite = nonfinite
        self.upsample = upsample
        self.synchronize = synchronize

    @classmethod
    def from_energies(cls, id_energies: Tensor, ood_energies: Tensor, **settings: Any) -> Self:
        """Return a loss whose margins come from energies measured before the fine-tuning.

        Args:
            id_energies: of ID samples under the pretrained network, any shape.
            ood_energies: of the auxiliary outliers under the same network.
            **settings: the other arguments of the class.

        Raises:
            ValueError: the outliers do not have the higher mean energy, so no margins separate them.
        """
        found = margins.suggest_from_energies(id_energies, ood_energies)
        return cls(margin_in=found.margin_in, margin_out=found.margin_out, **settings)

    def forward(self, logits: Any, targets: Tensor, *, counts: Tensor | None = None) -> Tensor:
        """Return the loss.

        Args:
            logits: B x C x ..., floating point; or a network's output that plainly holds them
                (`energy_plugin.outputs.logits_of`).
            targets: B x ... or B x 1 x ..., any integer dtype: >= 0 ID class, < 0 OOD, `ignore_index` void.
            counts: `group_counts` summed over all micro-batches of a step, for the means.

        Returns:
            A scalar, or B x ... with the reduction `none`; float32 or float64, whatever half precision came
            in.

        Raises:
            TypeError: logits or targets are of another kind than said.
            ValueError: shapes, devices or counts do not fit together.
            IndexError: a class is not among the C of the logits (on a GPU PyTorch's device assertion).
        """
        logits, targets = aligned(logits_of(logits), targets, self.upsample)
        rows = maths.samples(
            logits,
            targets,
            ignore_index=self.ignore_index,
            nonfinite=self.nonfinite,
            read_ood=maths.is_on(self.alpha),
        )
        classification = self._classification(rows)
        penalty = self._penalty(rows) if classification is None or maths.is_on(self.alpha) else None
        if self.reduction in ("none", "sum"):
            return maths.reduce(classification, penalty, rows, rows.lse, self.reduction)
        counts = self._counts(rows) if counts is None else self._checked(counts)
        counts, processes = self._gathered(counts)
        return maths.reduce(classification, penalty, rows, counts, self.reduction) * processes

    def group_counts(self, targets: Tensor) -> Tensor:
        """Return the counts that the means divide by: ID, OOD, and the ID weight where there are weights.

        Args:
            targets: as for the call, at the resolution of the mask.
        """
        return maths.group_counts(targets, ignore_index=self.ignore_index, weight=self._weight())

    def _weight(self) -> Tensor | None:
        """Return the class weights; a bare hinge has none."""
        return None

    def _classification(self, rows: maths.Samples) -> Tensor | None:
        """Return the per-sample criterion; a bare hinge has none."""
        del rows
        return None

    def _penalty(self, rows: maths.Samples) -> Tensor:
        """Return alpha times the hinge of every sample."""
        return self.alpha * maths.hinge(rows, margin_in=self.margin_in, margin_out=self.margin_out)

    def _counts(self, rows: maths.Samples) -> Tensor:
        return maths.counts_of(rows, self._weight())

    def _checked(self, counts: Tensor) -> Tensor:
        """Return the caller's counts, or say what they should be."""
        wanted = 2 if self._weight() is None else 3
        if not isinstance(counts, Tensor) or tuple(counts.shape) != (wanted,):
            came = f"shape {tuple(counts.shape)}" if isinstance(counts, Tensor) else type(counts).__name__
            raise ValueError(
                f"counts must be a tensor of {wanted} values, got {came}: use the sum of "
                "`loss.group_counts(targets)` over the micro-batches."
            )
        return counts

    def _gathered(self, counts: Tensor) -> tuple[Tensor, int]:
        """Return the counts of all processes and the number of these."""
        distributed = torch.distributed
        if not (self.synchronize and distributed.is_available() and distributed.is_initialized()):
            return counts, 1
        total = counts.detach().clone()
        distributed.all_reduce(total)
        return total, distributed.get_world_size()

    def get_extra_state(self) -> Tensor:
        """Return alpha (NaN where it is a tensor of its own) and the margins, as three float64 values."""
        alpha = math.nan if isinstance(self.alpha, Tensor) else float(self.alpha)
        return torch.tensor([alpha, self.margin_in, self.margin_out], dtype=torch.float64)

    def set_extra_state(self, state: Any) -> None:
        """Take alpha and the margins from a `state_dict`."""
        alpha, margin_in, margin_out = torch.as_tensor(state).tolist()
        if not isinstance(self.alpha, Tensor):
            self.alpha = alpha
        self.margin_in, self.margin_out = margin_in, margin_out

    def extra_repr(self) -> str:
        """Return the settings: the first four always, the others where they are not the default."""
        alpha = "learnt" if isinstance(self.alpha, Tensor) else self.alpha
        parts = [f"alpha={alpha}", f"margin_in={self.margin_in}", f"margin_out={self.margin_out}"]
        parts.append(f"reduction={self.reduction!r}")
        parts += [f"{name}={value!r}" for name, value, default in self._further() if value != default]
        return ", ".join(parts)

    def _further(self) -> list[tuple[str, Any, Any]]:
        """Return the settings that are shown where they differ from their default."""
        return [
            ("ignore_index", self.ignore_index, None),
            ("nonfinite", self.nonfinite, "propagate"),
            ("upsample", self.upsample, "bilinear"),
            ("synchronize", self.synchronize, False),
        ]


class EnergyRegularizedLoss(EnergyRegularizer):
    """Cross-entropy plus a squared hinge on the energy, E(x) = -logsumexp(logits).

    CE(x, y) [0 for OOD] + alpha * (relu(E - margin_in)^2 for ID, relu(margin_out - E)^2 for OOD), for every
    sample; in segmentation every pixel is a sample. Liu et al., NeurIPS 2020, section 3.3.

    The defaults are those of `pytorch_ood.loss.EnergyRegularizedLoss` up to 0.3; the paper's CIFAR settings
    and others are in `energy_plugin.margins.PRESETS`.

    Args:
        alpha: see `EnergyRegularizer`, as are `margin_in`, `margin_out`, `reduction`, `ignore_index`,
            `nonfinite`, `upsample` and `synchronize`. With `mean` and `group_mean` the criterion's mean over
            ID samples is meant; `mean` weighs it by their share of the batch.
        margin_in: see above.
        margin_out: see above.
        reduction: see above.
        criterion: called as criterion(logits, targets) in place of the cross-entropy; returns one value a
            sample (reduction `none`). OOD and void samples reach it as class 0, and their values are thrown
            away.
        weight: C class weights of the cross-entropy, as in `torch.nn.CrossEntropyLoss`.
        label_smoothing: of the cross-entropy, in [0, 1], as in `torch.nn.CrossEntropyLoss`.
        ignore_index: see above.
        nonfinite: see above.
        upsample: see above.
        synchronize: see above.

    With alpha = 0 it equals `torch.nn.CrossEntropyLoss` on batches without outliers.

    Raises:
        ValueError: a setting is out of its range, or `criterion` comes with `weight` or `label_smoothing`.

    Example:
        >>> loss = EnergyRegularizedLoss(alpha=0.1, margin_in=-25.0, margin_out=-7.0, reduction="group_mean")
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0], [1.0, 1.0]])
        >>> round(loss(logits, torch.tensor([0, 1, -1])).item(), 3)
        25.6
    """

    weight: Tensor | None

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        margin_in: float = -1.0,
        margin_out: float = -1.0,
        reduction: Reduction | None = "mean",
        *,
        criterion: Criterion | None = None,
        weight: Tensor | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        nonfinite: Nonfinite = "propagate",
        upsample: Upsample | None = "bilinear",
        synchronize: bool = False,
    ) -> None:
        super().__init__(
            alpha,
            margin_in,
            margin_out,
            reduction,
            ignore_index=ignore_index,
            nonfinite=nonfinite,
            upsample=upsample,
            synchronize=synchronize,
        )
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing!r}.")
        if criterion is not None and (weight is not None or label_smoothing):
            raise ValueError(
                "weight and label_smoothing belong to the cross-entropy: give them to the criterion."
            )
        self.criterion = criterion
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", None if weight is None else _checked_weight(weight))

    def _weight(self) -> Tensor | None:
        return self.weight

    def _classification(self, rows: maths.Samples) -> Tensor:
        if self.criterion is None:
            if self.weight is not None and len(self.weight) != rows.logits.shape[1]:
                classes = rows.logits.shape[1]
                raise ValueError(f"weight has {len(self.weight)} values for logits of {classes} classes.")
            return maths.cross_entropy(rows, weight=self.weight, label_smoothing=self.label_smoothing)
        values = self.criterion(rows.logits, torch.where(rows.is_id, rows.targets, 0))
        if values.shape != rows.targets.shape:
            raise ValueError(
                f"the criterion returned shape {tuple(values.shape)} for targets of shape "
                f"{tuple(rows.targets.shape)}: it must return one value a sample (reduction='none')."
            )
        return torch.where(rows.is_id, values, 0.0)

    def _further(self) -> list[tuple[str, Any, Any]]:
        weight = None if self.weight is None else f"{len(self.weight)} classes"
        criterion = (
            None if self.criterion is None or isinstance(self.criterion, nn.Module) else self.criterion
        )
        own = [("criterion", criterion, None), ("weight", weight, None)]
        return [*own, ("label_smoothing", self.label_smoothing, 0.0), *super()._further()]


def _check_choice(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")


def _check_numbers(alpha: float | Tensor, margin_in: float, margin_out: float) -> None:
    """Refuse settings with which the loss would not do what it says."""
    if not isinstance(alpha, Tensor) and not 0.0 <= alpha < math.inf:
        raise ValueError(f"alpha must be a finite number >= 0, got {alpha!r}.")
    if not (math.isfinite(margin_in) and math.isfinite(margin_out)):
        raise ValueError(f"margins must be finite, got {margin_in!r} and {margin_out!r}.")
    if margin_in > margin_out:
        raise ValueError(
            f"margin_in={margin_in!r} is above margin_out={margin_out!r}. ID energies are pushed below "
            "margin_in, OOD energies above margin_out: margin_in is the lower one (for CIFAR-10 -23 and -5)."
        )


def _checked_weight(weight: Tensor) -> Tensor:
    """Return class weights, or say what they should be."""
    if not isinstance(weight, Tensor) or weight.ndim != 1 or not weight.is_floating_point():
        came = (
            f"{weight.dtype} of shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else type(weight)
        )
        raise ValueError(f"weight must be a floating tensor of one value a class, got {came}.")
    return weight
