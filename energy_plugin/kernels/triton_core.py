"""The core for CUDA tensors: launches the Triton kernels. Not yet measured on a GPU.

No value is read, and at most two launches touch the logits. A class that is not there makes
the loss NaN here, where PyTorch's own loss stops the process by an assertion.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.runtime.jit import JITFunction

from energy_plugin import energy as maths
from energy_plugin.kernels import triton_loss
from energy_plugin.kernels.plan import Plan, scales_on_device

LINE = 4096  # classes of a row that one program holds at once
MAP_CLASSES = 64  # classes of a map that one program holds at once
MAP_BLOCK = 32  # classes a step where there are more
TILE = 4096  # logits a tile


class State(NamedTuple):
    """What the backward pass needs of the forward pass."""

    lse: Tensor
    scale: Tensor
    gradient: Tensor | None  # for an upstream gradient of 1


class Layout(NamedTuple):
    """How logits lie in memory: images of samples, all strides in elements."""

    view: Tensor  # images x classes x samples
    channels_last: bool

    def arguments(self, out: Tensor, tile: tuple[int, int]) -> tuple[int, ...]:
        """Return what the kernels want to know of the logits and of the gradient."""
        images, classes, samples = self.view.shape
        del images
        order = (0, 2, 1)
        strides = [tensor.stride(dim) for tensor in (self.view, out) for dim in order]
        return (triton.cdiv(samples, tile[0]), samples, classes, *strides)


def interpreted() -> bool:
    """Say whether the kernels run in Triton's interpreter, on tensors of any device."""
    return not isinstance(triton_loss.forward_kernel, JITFunction)


def layout(logits: Tensor) -> Layout:
    """Return the logits as images x classes x samples; a copy only for strides that are neither way round."""
    if logits.ndim == 2:
        return Layout(logits.t().unsqueeze(0), channels_last=False)
    last = logits.movedim(1, -1)
    if last.is_contiguous():
        return Layout(last.reshape(1, -1, logits.shape[1]).transpose(1, 2), channels_last=True)
    return Layout(logits.contiguous().view(*logits.shape[:2], -1), channels_last=False)


def tiling(view: Tensor) -> tuple[int, int]:
    """Return samples and classes a tile; powers of two."""
    classes = view.shape[1]
    if view.stride(1) == 1:
        width = min(LINE, triton.next_power_of_2(classes))
        return max(1, min(128, TILE // 2 // width)), width
    width = triton.next_power_of_2(classes) if classes <= MAP_CLASSES else MAP_BLOCK
    return max(16, min(128, TILE // width)), width


def forward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    counts: Tensor | None,
    plan: Plan,
    *,
    with_gradient: bool,
) -> tuple[Tensor, State] | None:
    """Return the loss and what its gradient needs; None for float64, which the plain formula keeps."""
    if logits.dtype == torch.float64 or not _classes_there(logits, targets, plan):
        return None
    early = with_gradient and plan.gradient_in_forward and plan.reduction != "none"
    if early and counts is None:
        if plan.nonfinite == "skip":
            early = False  # which samples count is known only after the logits are read
        else:
            counts = maths.group_counts(targets, ignore_index=plan.ignore_index, weight=weight)
    value, lse, scale, gradient = launch_forward(logits, targets, weight, counts, plan, early=early)
    return value, State(lse, scale, gradient)


def _classes_there(logits: Tensor, targets: Tensor, plan: Plan) -> bool:
    """Check the targets in the interpreter, where a look costs nothing."""
    if targets.device.type != "cpu" or not plan.classify:
        return True
    labels = targets.long()
    if plan.ignore_index is not None:
        labels = labels.masked_fill(labels == plan.ignore_index, -1)
    return int(labels.max()) < logits.shape[1]


def launch_forward(
    logits: Tensor, targets: Tensor, weight: Tensor | None, counts: Tensor | None, plan: Plan, *, early: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Run the forward kernels; return loss, log-sum-exp, scales and, if `early`, the gradient."""
    place = layout(logits)
    tile = tiling(place.view)
    labels = targets.contiguous()
    lse = _floats(logits, *targets.shape)
    gradient = torch.empty_like(place.view) if early else None
    given = None if counts is None else counts.double()
    scale = _floats(logits, 3) if given is None else scales_on_device(plan, given, torch.float32)
    out = place.view if gradient is None else gradient
    arguments = place.arguments(out, tile)
    programs = arguments[0] * place.view.shape[0]
    mapped = plan.reduction == "none"
    partials = _floats(logits, 1 if mapped else programs, triton_loss.PARTIALS)
    values = _floats(logits, *(targets.shape if mapped else ()))
    with _on(logits):
        triton_loss.forward_kernel[(programs,)](
            place.view, labels, logits if weight is None else weight, scale, lse, values, partials, out,
            *arguments, ALPHA=plan.alpha, **_constants(plan, weight, tile, place.view.shape[1]), MAP=mapped,
            WRITE=early, num_warps=_warps(tile),
        )  # fmt: skip
        if mapped:
            scale = scales_on_device(plan, _floats(logits, 2).fill_(1.0), torch.float32)
        else:
            sums = partials.sum(0, dtype=torch.float64)
            triton_loss.finish_kernel[(1,)](
                sums, sums[3:] if given is None else given, values, scale,
                ALPHA=plan.alpha, GROUPS=plan.reduction == "group_mean", MEAN=plan.reduction == "mean",
                WEIGHTED=weight is not None,
            )  # fmt: skip
    return values, lse, scale, None if gradient is None else restored(gradient, logits, place)


def backward(
    state: State, logits: Tensor, targets: Tensor, weight: Tensor | None, upstream: Tensor, plan: Plan
) -> Tensor:
    """Return the gradient of the logits."""
    if state.gradient is not None:  # never in place: a second backward pass may come
        return state.gradient * upstream.to(state.gradient.dtype)
    return launch_backward(logits, targets, weight, state.lse, state.scale, upstream, plan)


def launch_backward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    lse: Tensor,
    scale: Tensor,
    upstream: Tensor,
    plan: Plan,
) -> Tensor:
    """Run the backward kernel."""
    place = layout(logits.detach())
    tile = tiling(place.view)
    gradient = torch.empty_like(place.view)
    arguments = place.arguments(gradient, tile)
    with _on(logits):
        triton_loss.backward_kernel[(arguments[0] * place.view.shape[0],)](
            place.view, targets.contiguous(), logits if weight is None else weight, scale, lse,
            upstream.contiguous(), gradient, *arguments,
            **_constants(plan, weight, tile, place.view.shape[1]), MAP=plan.reduction == "none",
            num_warps=_warps(tile),
        )  # fmt: skip
    return restored(gradient, logits, place)


def restored(gradient: Tensor, logits: Tensor, place: Layout) -> Tensor:
    """Return a gradient of the layout's view in the shape of the logits."""
    if logits.ndim == 2:
        return gradient[0].t()
    if place.channels_last:
        rows = gradient.transpose(1, 2).reshape(logits.shape[0], *logits.shape[2:], logits.shape[1])
        return rows.movedim(-1, 1)
    return gradient.view(logits.shape)


def _constants(plan: Plan, weight: Tensor | None, tile: tuple[int, int], classes: int) -> dict[str, Any]:
    """Return what the kernels are compiled for."""
    return {
        "MARGIN_IN": plan.margin_in,
        "MARGIN_OUT": plan.margin_out,
        "IGNORE": 0 if plan.ignore_index is None else plan.ignore_index,
        "HAS_IGNORE": plan.ignore_index is not None,
        "SKIP": plan.nonfinite == "skip",
        "HINGED": plan.hinged,
        "CLASSIFY": plan.classify,
        "WEIGHTED": weight is not None,
        "SAMPLES": tile[0],
        "CLASSES": tile[1],
        "ONE": classes <= tile[1],
    }


def _floats(like: Tensor, *shape: int) -> Tensor:
    """Return room for float32 values where the logits are."""
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def _warps(tile: tuple[int, int]) -> int:
    return 8 if tile[0] * tile[1] >= TILE else 4


def _on(logits: Tensor) -> AbstractContextManager[Any]:
    """Launch on the device of the logits, whichever is current."""
    return torch.cuda.device(logits.device) if logits.is_cuda else nullcontext()
