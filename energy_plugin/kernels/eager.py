"""The CPU core without a compiler: one exponential a logit, kept for the backward pass, in bands.

A CPU is bound by the exponential, not by bytes. The forward pass leaves exp(x - peak) (rows: the softmax) in
a buffer; the backward pass turns it into the gradient, in place, with two scalars a sample. All runs in
bands that stay in the cache; half precision is widened band by band and keeps no buffer.

The way is taken on trust: nothing looks for NaN, infinities or classes that are not there. Each of them shows
in the sums, or as a refused index, and then the core declines (None) and the plain formula has its turn.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from energy_plugin import energy as maths
from energy_plugin.kernels.plan import Plan, Scales, scales

BAND = 1 << 18  # logits a band; the best of 2^16, 2^18 and 2^20 on an L2 cache of 1 MiB

Index = tuple[Any, ...]


class State:
    """What the backward pass needs of the forward pass."""

    __slots__ = ("buffer", "finished", "lse", "scale", "total")

    def __init__(self, lse: Tensor, total: Tensor | None, buffer: Tensor | None) -> None:
        self.lse = lse  # of every sample, shaped as the view
        self.total = total  # what the exponentials of a sample add up to; None where that is 1
        self.buffer = buffer  # exponentials, or the gradient where it is finished
        self.scale = Scales(1.0, 1.0, 1.0)
        self.finished = False

    def take(self) -> Tensor | None:
        """Hand the buffer out once: a second backward pass must not find what the first made of it."""
        buffer, self.buffer = self.buffer, None
        return buffer


class Kinds(NamedTuple):
    """The samples of a band: which class to look up, 1.0 for ID, and where nothing is said."""

    labels: Tensor  # 0 where there is no class
    is_id: Tensor
    known: Tensor  # 1.0 for ID; with weights the weight of the class
    void: Tensor | None


def forward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    counts: Tensor | None,
    plan: Plan,
    *,
    with_gradient: bool,
) -> tuple[Tensor, State] | None:
    """Return the loss and what its gradient needs, or None where the plain formula must decide."""
    view, labels = _viewed(logits), targets.reshape(-1)
    if view.ndim == 3:
        labels = labels.view(view.shape[0], view.shape[2])
    dtype = torch.float64 if view.dtype == torch.float64 else torch.float32
    early = with_gradient and plan.gradient_in_forward and _may_finish(plan)
    keep = with_gradient and (early or view.dtype == dtype)
    state = State(
        lse=torch.empty(labels.shape, dtype=dtype),
        total=None if view.ndim == 2 or early or not keep else torch.empty(labels.shape, dtype=dtype),
        buffer=torch.empty_like(view) if keep else None,
    )
    if early:
        state.finished = True
        if counts is None:
            counts = maths.group_counts(targets, ignore_index=plan.ignore_index, weight=weight)
        state.scale = scales(plan, counts.tolist())
    values = torch.empty(labels.shape, dtype=dtype) if plan.reduction == "none" else None
    found = _run(view, labels, weight, plan, state, values)
    if found is None:
        return None
    sums, numbers = found
    state.scale = scales(plan, numbers if counts is None else counts.tolist())
    if values is not None:
        return values.view(targets.shape), state
    value = sum(scale * part for scale, part in zip(state.scale, sums, strict=True))
    return torch.tensor(value, dtype=dtype), state


def _may_finish(plan: Plan) -> bool:
    """Say whether the gradient can be made in the forward pass: one upstream number, counts from labels."""
    return plan.reduction != "none" and plan.nonfinite != "skip"


def _run(
    view: Tensor, labels: Tensor, weight: Tensor | None, plan: Plan, state: State, values: Tensor | None
) -> tuple[list[float], list[float]] | None:
    """Go through the bands; return the three sums and the counts."""
    sums, numbers = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for part, where in bands(view):
        lse, exponentials, total = _exponentials(view[part], part, where, state)
        kinds = _kinds(labels[where], weight, plan, lse.dtype, view.shape[1])
        if kinds is None:
            return None
        terms = _terms(view[part], lse, kinds, plan)
        band = [term.sum().item() for term in terms]
        if not math.isfinite(sum(band) + lse.sum().item()):
            return None
        sums = [mine + more for mine, more in zip(sums, band, strict=True)]
        _count(numbers, kinds, weighted=weight is not None)
        if values is not None:
            values[where] = torch.add(terms[0], terms[1] + terms[2], alpha=plan.alpha)
        if state.finished and state.buffer is not None:
            _finish(exponentials, total, lse, kinds, plan, state.scale, state.buffer[part])
    return sums, numbers[: 2 if weight is None else 3]


def _exponentials(
    band: Tensor, part: Index, where: Index, state: State
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Fill the band's log-sum-exp and exponentials; return both and what the latter add up to."""
    kept = None if state.buffer is None or state.buffer.dtype != state.lse.dtype else state.buffer[part]
    wide = band.to(state.lse.dtype)
    peak = wide.amax(1)
    total = None
    if band.ndim == 2:  # PyTorch's softmax is one pass over a row
        exponentials = torch.softmax(wide, 1) if kept is None else torch.softmax(wide, 1, out=kept)
        lse = peak - exponentials.amax(1).log_()
    else:
        exponentials = torch.sub(wide, peak.unsqueeze(1), out=kept).exp_()
        total = exponentials.sum(1)
        lse = total.log().add_(peak)
        if state.total is not None:
            state.total[where] = total
    state.lse[where] = lse
    return lse, exponentials, total


def _kinds(
    labels: Tensor, weight: Tensor | None, plan: Plan, dtype: torch.dtype, classes: int
) -> Kinds | None:
    """Sort a band's samples; None where a class is not there."""
    labels = labels.long()
    is_id, void = labels >= 0, None
    if plan.ignore_index is not None:
        void = labels == plan.ignore_index
        is_id = is_id.logical_and_(void.logical_not())
        labels = labels.masked_fill(void, 0)
    index = labels.clamp(min=0)
    if plan.classify and int(index.max()) >= classes:
        return None
    known = is_id.to(dtype)
    if weight is not None:
        known = known.mul_(weight.to(dtype)[index])
    return Kinds(index, is_id, known, void)


def _excess(lse: Tensor, kinds: Kinds, plan: Plan) -> Tensor:
    """Return by how much each energy is on the wrong side of its margin."""
    excess = torch.where(kinds.is_id, -plan.margin_in - lse, plan.margin_out + lse).relu_()
    return excess if kinds.void is None else excess.masked_fill_(kinds.void, 0.0)


def _terms(band: Tensor, lse: Tensor, kinds: Kinds, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return cross-entropy, squared hinge of ID and squared hinge of OOD of a band's samples."""
    entropy = inside = outside = lse.new_zeros(())
    if plan.classify:
        chosen = band.gather(1, kinds.labels.unsqueeze(1)).squeeze(1)
        entropy = torch.sub(lse, chosen).mul_(kinds.known)
    if plan.hinged:
        square = _excess(lse, kinds, plan).square_()
        inside = square * kinds.is_id
        outside = square.sub_(inside)
    return entropy, inside, outside


def _count(numbers: list[float], kinds: Kinds, *, weighted: bool) -> None:
    """Add a band's counts: ID, OOD, weight of ID."""
    known = int(kinds.is_id.sum())
    void = 0 if kinds.void is None else int(kinds.void.sum())
    numbers[0] += known
    numbers[1] += kinds.is_id.numel() - known - void
    if weighted:
        numbers[2] += kinds.known.sum().item()


def _finish(
    exponentials: Tensor,
    total: Tensor | None,
    lse: Tensor,
    kinds: Kinds,
    plan: Plan,
    scale: Scales,
    out: Tensor,
    upstream: Tensor | None = None,
) -> None:
    """Turn exponentials into the gradient softmax * a - onehot * b, in place, and leave it in `out`."""
    hit = kinds.known * scale.entropy if plan.classify else torch.zeros_like(lse)
    factor = hit
    if plan.hinged:
        sides = lse.new_tensor(-2.0 * scale.inside), lse.new_tensor(2.0 * scale.outside)
        factor = torch.addcmul(hit, _excess(lse, kinds, plan), torch.where(kinds.is_id, *sides))
    if upstream is not None:
        hit, factor = hit * upstream, factor * upstream
    if total is not None:
        factor = factor / total
    exponentials.mul_(factor.unsqueeze(1))
    if plan.classify:
        exponentials.scatter_add_(1, kinds.labels.unsqueeze(1), -hit.unsqueeze(1))
    if exponentials.data_ptr() != out.data_ptr():
        out.copy_(exponentials)


def backward(
    state: State, logits: Tensor, targets: Tensor, weight: Tensor | None, upstream: Tensor, plan: Plan
) -> Tensor:
    """Return the gradient, in the layout of the logits."""
    view, labels, buffer = _viewed(logits), targets.reshape(state.lse.shape), state.take()
    mapped = upstream.reshape(state.lse.shape) if plan.reduction == "none" else None
    factor = 1.0 if mapped is not None else upstream.item()
    if buffer is None or not state.finished:
        scale = state.scale if state.finished else state.scale.times(factor)
        buffer = _gradient(view, labels, weight, plan, state, scale, mapped, buffer)
    if state.finished and factor != 1.0:
        buffer.mul_(factor)
    return _restored(buffer, logits)


def _gradient(
    view: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    plan: Plan,
    state: State,
    scale: Scales,
    upstream: Tensor | None,
    buffer: Tensor | None,
) -> Tensor:
    """Return the gradient in the layout of the view, from the kept exponentials or without them.

    A second backward pass repeats the steps of the forward pass, so that it gives the same bits as the first.
    """
    out = torch.empty_like(view) if buffer is None else buffer
    again = None
    if buffer is None and (state.finished or out.dtype == state.lse.dtype):
        again = State(state.lse, None, out)
    for part, where in bands(view):
        lse, total = state.lse[where], None
        kinds = _kinds(labels[where], weight, plan, lse.dtype, view.shape[1])
        if kinds is None:
            raise ValueError("the targets were changed between the forward and the backward pass.")
        if again is not None:
            lse, exponentials, total = _exponentials(view[part], part, where, again)
        elif buffer is None:
            exponentials = torch.sub(view[part], lse.unsqueeze(1)).exp_()  # widens half precision
        else:
            exponentials, total = out[part], None if state.total is None else state.total[where]
        above = None if upstream is None else upstream[where]
        _finish(exponentials, total, lse, kinds, plan, scale, out[part], above)
    return out


def _viewed(logits: Tensor) -> Tensor:
    """Return the logits as R x C (classes contiguous) or as B x C x N; a copy only where they are neither."""
    if logits.ndim == 2 or logits[0, 0].numel() == 1:
        return logits.reshape(logits.shape[:2]).contiguous()
    last = logits.movedim(1, -1)
    if last.is_contiguous():
        return last.view(-1, logits.shape[1])
    return logits.contiguous().view(*logits.shape[:2], -1)


def _restored(gradient: Tensor, logits: Tensor) -> Tensor:
    """Return the gradient in the shape of the logits."""
    if gradient.ndim == 3 or logits.ndim == 2 or gradient.shape[0] == logits.shape[0]:
        return gradient.view(logits.shape)
    return gradient.view(logits.shape[0], *logits.shape[2:], logits.shape[1]).movedim(-1, 1)


def bands(view: Tensor) -> list[tuple[Index, Index]]:
    """Cut a view into bands: indices into it, and into what has one value a sample."""
    count, classes = view.shape[:2]
    inner = view[0, 0].numel()
    step = max(1, BAND // (classes * inner))
    if classes * inner <= BAND or view.ndim == 2:
        return [((slice(start, start + step),),) * 2 for start in range(0, count, step)]
    width = max(16, BAND // classes // 16 * 16)  # whole cache lines
    return [
        (
            (slice(image, image + 1), slice(None), slice(start, start + width)),
            (slice(image, image + 1), slice(start, start + width)),
        )
        for image in range(count)
        for start in range(0, inner, width)
    ]
