"""The Triton kernels as operators of PyTorch, so that `torch.compile` carries them whole.

`torch.ops.energy_plugin.loss` and `.loss_gradient` are opaque to the compiler. They are taken inside a graph
only where `kernel="triton"` says so: left alone, the compiler fuses the plain formula with what surrounds it,
and which of the two is faster on a GPU has not been measured. Importing this module registers them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from energy_plugin.kernels import triton_core
from energy_plugin.kernels.plan import Plan, plain


@torch.library.custom_op("energy_plugin::loss", mutates_args=())
def loss(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    counts: Tensor | None,
    alpha: float,
    margin_in: float,
    margin_out: float,
    reduction: str,
    ignore_index: int | None,
    nonfinite: str,
    classify: bool,  # operators have no keyword-only arguments for autograd
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, log-sum-exp and scales; see `triton_core.launch_forward`."""
    plan = _plan(alpha, margin_in, margin_out, reduction, ignore_index, nonfinite, classify)
    value, lse, scale, _none = triton_core.launch_forward(logits, targets, weight, counts, plan, early=False)
    return value, lse, scale


@torch.library.custom_op("energy_plugin::loss_gradient", mutates_args=())
def loss_gradient(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    lse: Tensor,
    scale: Tensor,
    upstream: Tensor,
    alpha: float,
    margin_in: float,
    margin_out: float,
    reduction: str,
    ignore_index: int | None,
    nonfinite: str,
    classify: bool,  # as above
) -> Tensor:
    """Return the gradient of the logits; see `triton_core.launch_backward`."""
    plan = _plan(alpha, margin_in, margin_out, reduction, ignore_index, nonfinite, classify)
    return triton_core.launch_backward(logits, targets, weight, lse, scale, upstream, plan)


def _plan(*given: Any) -> Plan:
    return Plan(*given)


@loss.register_fake
def _(logits: Tensor, targets: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    reduction = rest[5]
    value = logits.new_empty(targets.shape if reduction == "none" else (), dtype=torch.float32)
    lse = logits.new_empty(targets.shape, dtype=torch.float32)
    return value, lse, logits.new_empty(3, dtype=torch.float32)


@loss_gradient.register_fake
def _(logits: Tensor, *rest: Any) -> Tensor:
    del rest
    return torch.empty_like(logits)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, targets, weight, counts, *ctx.settings = inputs
    ctx.save_for_backward(logits, targets, weight, counts, output[1], output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _backward(ctx: Any, upstream: Tensor, *rest: Any) -> tuple[Any, ...]:
    """Return the gradient; where it is differentiated again, the plain formula's."""
    del rest
    logits, targets, weight, counts, lse, scale = ctx.saved_tensors
    if torch.is_grad_enabled():
        value = plain(logits, targets, weight, counts, _plan(*ctx.settings))[0]
        (gradient,) = torch.autograd.grad(value, logits, upstream, create_graph=True)
    else:
        gradient = loss_gradient(logits, targets, weight, lse, scale, upstream, *ctx.settings)
    return (gradient, *[None] * 10)


loss.register_autograd(_backward, setup_context=_keep)
