"""One autograd.Function over interchangeable cores, with a guarded double backward."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from energy_plugin.kernels.plan import Plan, plain


class Core(Protocol):
    """A way to compute the loss and its gradient: a module with these two functions."""

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        weight: Tensor | None,
        counts: Tensor | None,
        plan: Plan,
        *,
        with_gradient: bool,
    ) -> tuple[Tensor, Any] | None:
        """Return the loss and what `backward` needs; None where the plain formula must decide."""

    def backward(
        self,
        state: Any,
        logits: Tensor,
        targets: Tensor,
        weight: Tensor | None,
        upstream: Tensor,
        plan: Plan,
    ) -> Tensor:
        """Return the gradient of the logits; called any number of times."""


class Fused(torch.autograd.Function):
    """The loss of logits by a core. Never changes the logits.

    `forward` has the context as its first argument: the form with `setup_context` looks up its own signature
    at every call (about 50 us, as much as the cross-entropy of a small batch) and is wanted by torch.func
    only, whose transforms trace the plain formula.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        weight: Tensor | None,
        counts: Tensor | None,
        plan: Plan,
        core: Core,
    ) -> Tensor | None:
        """Return the loss, None where the core declines; the state holds no history, so no cycle."""
        found = core.forward(logits, targets, weight, counts, plan, with_gradient=True)
        if found is None:
            return None
        ctx.plan, ctx.core, ctx.state = plan, core, found[1]
        ctx.save_for_backward(logits, targets, weight, counts)
        ctx.set_materialize_grads(False)
        return found[0]

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradient of the logits.

        Where it is to be differentiated again, the plain formula is: the core's gradient has no history, and
        second derivatives through it would be silently wrong.
        """
        if upstream is None:
            return (None,) * 6
        logits, targets, weight, counts = ctx.saved_tensors
        if torch.is_grad_enabled():
            value, _lse, _counts = plain(logits, targets, weight, counts, ctx.plan)
            (gradient,) = torch.autograd.grad(value, logits, upstream, create_graph=True)
        else:
            gradient = ctx.core.backward(ctx.state, logits, targets, weight, upstream, ctx.plan)
        return gradient, None, None, None, None, None
