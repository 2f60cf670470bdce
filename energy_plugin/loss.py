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

from energy_plugin import checks, kernels, margins
from energy_plugin import energy as maths
from energy_plugin.alignment import Upsample, aligned, checked_targets
from energy_plugin.energy import Nonfinite, Reduction
from energy_plugin.kernels import Kernel
from energy_plugin.kernels.plan import Plan
from energy_plugin.outputs import logits_of

Criterion = Callable[[Tensor, Tensor], Tensor]


class EnergyRegularizer(nn.Module):
    """The squared hinge of the energy alone, to add to any criterion.

    alpha * relu(E - margin_in)^2 for ID samples, alpha * relu(margin_out - E)^2 for OOD samples, E =
    -logsumexp. Liu et al., NeurIPS 2020, section 3.3. Only the sign of a target counts here (>= 0 ID, < 0
    OOD), so it goes with focal or dice losses, soft targets and mixup: keep the hard labels of the batch for
    it.

    Args:
        alpha: weight of the term, >= 0; a Parameter is learnt, another tensor moves with the module.
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
            `sum` is multiplied too; `none` is left as it is.
        kernel: how it is computed: `auto`, `reference`, `eager`, `compile` or `triton`; see
            `energy_plugin.kernels`. Values and gradients are the same.
        gradient_in_forward: let the kernel finish the gradient in the forward pass. Reads the logits once
            less; pays only where the loss itself is what `backward` is called on (no loss scaler).

    Raises:
        TypeError: a setting is of another kind than said.
        ValueError: a setting is out of its range.
    """

    alpha: float | Tensor
    _classifies = False  # whether there is a cross-entropy

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
        kernel: Kernel = "auto",
        gradient_in_forward: bool = False,
    ) -> None:
        super().__init__()
        reduction = "none" if reduction is None else reduction
        checks.check_choice("reduction", reduction, maths.REDUCTIONS)
        checks.check_choice("nonfinite", nonfinite, maths.NONFINITE)
        checks.check_choice("upsample", upsample, (*get_args(Upsample), None))
        checks.check_choice("kernel", kernel, kernels.KERNELS)
        self._take_alpha(checks.checked_alpha(alpha))
        self.margin_in, self.margin_out = checks.checked_margins(margin_in, margin_out)
        self.reduction: Reduction = reduction
        self.ignore_index = checks.checked_code(ignore_index)
        self.nonfinite = nonfinite
        self.upsample = upsample
        self.synchronize = synchronize
        self.kernel: Kernel = kernel
        kernels.prepare(kernel)
        self.gradient_in_forward = gradient_in_forward

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
            targets: B x ... or B x 1 x ..., any integer dtype but uint64: >= 0 ID class, < 0 OOD,
                `ignore_index` void.
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
        if counts is not None:
            counts = checks.checked_counts(counts, 2 if self._weight() is None else 3)
        means, together, processes = self.reduction not in ("none", "sum"), self._together(), 1
        if not means:
            counts = None
            processes = torch.distributed.get_world_size() if together and self.reduction == "sum" else 1
        elif together and (counts is not None or self.nonfinite != "skip"):
            counts, processes = self._gathered(self.group_counts(targets) if counts is None else counts)
        plan = self._plan()
        if plan is not None and not (means and together and counts is None):
            weight = self._fitting_weight(logits.shape[1])
            found = kernels.loss(logits, targets, plan, weight=weight, counts=counts, kernel=self.kernel)
            if found is not None:
                return found * processes if processes > 1 else found
        return self._plain(logits, targets, counts) * processes

    def _plain(self, logits: Tensor, targets: Tensor, counts: Tensor | None) -> Tensor:
        """Return the loss by the plain formula."""
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
        processes = 1
        if counts is None:
            counts = self._counts(rows)
            if self._together():  # which samples are skipped is known only now
                counts, processes = self._gathered(counts)
        return maths.reduce(classification, penalty, rows, counts, self.reduction) * processes

    def group_counts(self, targets: Tensor) -> Tensor:
        """Return the counts that the means divide by: ID, OOD, and the ID weight where there are weights.

        Args:
            targets: as for the call, at the resolution of the mask.

        Raises:
            TypeError: the targets are no tensor of integers.
        """
        targets = checked_targets(targets)
        return maths.group_counts(targets, ignore_index=self.ignore_index, weight=self._weight())

    def _weight(self) -> Tensor | None:
        """Return the class weights; a bare hinge has none."""
        return None

    def _fitting_weight(self, classes: int) -> Tensor | None:
        """Return the class weights, or say that they are for another number of classes."""
        weight = self._weight()
        if weight is not None and len(weight) != classes:
            raise ValueError(f"weight has {len(weight)} values for logits of {classes} classes.")
        return weight

    def _plan(self) -> Plan | None:
        """Return what a kernel is asked for; None where no kernel does it."""
        if self._unfused():
            return None
        return Plan(
            float(self.alpha),
            self.margin_in,
            self.margin_out,
            self.reduction,
            self.ignore_index,
            self.nonfinite,
            classify=self._classifies,
            gradient_in_forward=self.gradient_in_forward,
        )

    def _unfused(self) -> str:
        """Return why the plain formula is always taken; empty where it is not."""
        return "alpha is a tensor" if isinstance(self.alpha, Tensor) else ""

    def _classification(self, rows: maths.Samples) -> Tensor | None:
        """Return the per-sample criterion; a bare hinge has none."""
        del rows
        return None

    def _penalty(self, rows: maths.Samples) -> Tensor:
        """Return alpha times the hinge of every sample."""
        return self.alpha * maths.hinge(rows, margin_in=self.margin_in, margin_out=self.margin_out)

    def _counts(self, rows: maths.Samples) -> Tensor:
        return maths.counts_of(rows, self._weight())

    def _together(self) -> bool:
        """Say whether the means are taken over processes."""
        distributed = torch.distributed
        return self.synchronize and distributed.is_available() and distributed.is_initialized()

    def _gathered(self, counts: Tensor) -> tuple[Tensor, int]:
        """Return the counts of all processes and the number of these."""
        distributed = torch.distributed
        total = counts.detach().clone()
        distributed.all_reduce(total)
        return total, distributed.get_world_size()

    def _take_alpha(self, alpha: float | Tensor) -> None:
        """Keep alpha: a Parameter as one, another tensor as a buffer, so that it moves with the module."""
        if isinstance(alpha, Tensor) and not isinstance(alpha, nn.Parameter):
            # Not persistent: the extra state carries its value, so a state dict has the same keys as ever.
            self.register_buffer("alpha", alpha, persistent=False)
        else:
            self.alpha = alpha

    def get_extra_state(self) -> Tensor:
        """Return alpha (NaN for a Parameter, which has a key of its own) and the margins, in float64."""
        own = isinstance(self.alpha, nn.Parameter) or (isinstance(self.alpha, Tensor) and self.alpha.is_meta)
        alpha = math.nan if own else checks.number(self.alpha, "alpha")
        return torch.tensor([alpha, self.margin_in, self.margin_out], dtype=torch.float64)

    def set_extra_state(self, state: Any) -> None:
        """Take alpha and the margins from a `state_dict`; what the constructor refuses is refused here."""
        alpha, margin_in, margin_out = checks.checked_state(state)
        if alpha is not None and not isinstance(self.alpha, nn.Parameter):
            if isinstance(self.alpha, Tensor):
                self.alpha.data.fill_(alpha)
            else:
                self.alpha = alpha
        self.margin_in, self.margin_out = margin_in, margin_out

    def extra_repr(self) -> str:
        """Return the settings: the first four always, the others where they are not the default."""
        alpha: float | str | Tensor = self.alpha
        if isinstance(alpha, Tensor):  # its value may lie on a GPU
            alpha = "learnt" if alpha.requires_grad else "a tensor"
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
            ("kernel", self._kernel(), "auto"),
            ("gradient_in_forward", self.gradient_in_forward, False),
        ]

    def _kernel(self) -> str:
        """Return the kernel as it is shown: with the reason where it is always the plain formula."""
        why = self._unfused()
        return f"reference: {why}" if why else self.kernel


class EnergyRegularizedLoss(EnergyRegularizer):
    """Cross-entropy plus a squared hinge on the energy, E(x) = -logsumexp(logits).

    CE(x, y) [0 for OOD] + alpha * (relu(E - margin_in)^2 for ID, relu(margin_out - E)^2 for OOD), for every
    sample; in segmentation every pixel is a sample. Liu et al., NeurIPS 2020, section 3.3.

    The defaults are those of `pytorch_ood.loss.EnergyRegularizedLoss` up to 0.3; the paper's CIFAR settings
    and others are in `energy_plugin.margins.PRESETS`.

    Args:
        alpha: see `EnergyRegularizer`, as are `margin_in`, `margin_out`, `reduction`, `ignore_index`,
            `nonfinite`, `upsample`, `synchronize`, `kernel` and `gradient_in_forward`. With `mean` and
            `group_mean` the criterion's mean over ID samples is meant; `mean` weighs it by their share of the
            batch.
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
        kernel: see above.
        gradient_in_forward: see above.

    With alpha = 0 it equals `torch.nn.CrossEntropyLoss` on batches without outliers.

    Raises:
        TypeError: a setting is of another kind than said.
        ValueError: a setting is out of its range, or `criterion` comes with `weight` or `label_smoothing`.

    Example:
        >>> loss = EnergyRegularizedLoss(alpha=0.1, margin_in=-25.0, margin_out=-7.0, reduction="group_mean")
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0], [1.0, 1.0]])
        >>> round(loss(logits, torch.tensor([0, 1, -1])).item(), 3)
        25.6
    """

    weight: Tensor | None
    _classifies = True

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
        kernel: Kernel = "auto",
        gradient_in_forward: bool = False,
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
            kernel=kernel,
            gradient_in_forward=gradient_in_forward,
        )
        self.label_smoothing = checks.checked_smoothing(label_smoothing)
        checks.check_criterion(criterion, weight, self.label_smoothing)
        self.criterion = criterion
        self.register_buffer("weight", None if weight is None else checks.checked_weight(weight))

    def _weight(self) -> Tensor | None:
        return self.weight

    def _unfused(self) -> str:
        if self.criterion is not None:
            return "a criterion of its own"
        return "label smoothing" if self.label_smoothing else super()._unfused()

    def _classification(self, rows: maths.Samples) -> Tensor:
        if self.criterion is None:
            weight = self._fitting_weight(rows.logits.shape[1])
            return maths.cross_entropy(rows, weight=weight, label_smoothing=self.label_smoothing)
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
