"""The core that TorchInductor makes of the plain formula: opt-in, since the first compilation takes 20 s.

Two graphs, one each way, with the log-sum-exp between them. Left to itself, the compiler would keep two.
On other devices than the CPU the same two functions run uncompiled where Triton is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from energy_plugin.kernels.plan import Plan, gradient, plain, scales_on_device


class State(NamedTuple):
    """What the backward pass needs of the forward pass."""

    lse: Tensor
    scale: Tensor


def _loss(
    logits: Tensor, targets: Tensor, weight: Tensor | None, counts: Tensor | None, plan: Plan
) -> tuple[Tensor, Tensor, Tensor]:
    value, lse, counts = plain(logits, targets, weight, counts, plan)
    return value, lse, scales_on_device(plan, counts, lse.dtype)


def _gradient(
    logits: Tensor,
    targets: Tensor,
    lse: Tensor,
    scale: Tensor,
    upstream: Tensor,
    weight: Tensor | None,
    plan: Plan,
) -> Tensor:
    spread = scale.view(3, *[1] * upstream.ndim)
    return gradient(logits, targets, lse, spread * upstream, weight, plan)


class FormulaCore:
    """The plain formula with a saved log-sum-exp, as it is or compiled."""

    def __init__(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._loss = wrap(_loss)
        self._gradient = wrap(_gradient)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        weight: Tensor | None,
        counts: Tensor | None,
        plan: Plan,
        *,
        with_gradient: bool,
    ) -> tuple[Tensor, State]:
        """Return the loss and what its gradient needs."""
        del with_gradient
        with torch.no_grad():
            value, lse, scale = self._loss(logits.detach(), targets, weight, counts, plan)
        return value, State(lse, scale)

    def backward(
        self,
        state: State,
        logits: Tensor,
        targets: Tensor,
        weight: Tensor | None,
        upstream: Tensor,
        plan: Plan,
    ) -> Tensor:
        """Return the gradient of the logits."""
        with torch.no_grad():
            found: Tensor = self._gradient(
                logits.detach(), targets, state.lse, state.scale, upstream, weight, plan
            )
        return found


@functools.cache
def compiled() -> FormulaCore:
    """Return the compiled core; it compiles at its first use, and again for shapes of another rank."""
    return FormulaCore(torch.compile)


@functools.cache
def uncompiled() -> FormulaCore:
    """Return the core as plain PyTorch calls."""
    return FormulaCore(lambda function: function)
