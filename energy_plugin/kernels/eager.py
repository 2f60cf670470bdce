"""The CPU core without a compiler: one exponential a logit, kept for the backward pass, in bands.

A CPU is bound by the exponential, not by bytes. The forward pass leaves exp(x - peak) (rows: the softmax) in
a buffer; the backward pass turns it into the gradient, in place, with two scalars a sample. All of it runs in
bands that stay in the cache; half precision is widened band by band and keeps no buffer.

The way is taken on trust: nothing looks for NaN, infinities or classes that are not there. Each of them shows
in the sums, or as an index that PyTorch refuses, and then the core declines (None) and the plain formula has
its turn. For that, samples are silenced by a factor 0 and never by a mask: 0 * NaN shows.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from energy_plugin import energy as maths
from energy_plugin.kernels import small
from energy_plugin.kernels.plan import Plan, Scales, scales

BAND = 1 << 20  # logits a band of a map; below, calls cost more than the cache gives (2^16 to 2^21 tried)
ROWS = 1 << 21  # logits a band of rows: softmax goes row by row, so this only bounds temporaries
FEW = 32  # classes in a row below which PyTorch's softmax is slower than its parts (6 times with 10 classes)
MANY = 512  # classes in a row from which softmax and two maxima are faster than torch.logsumexp

Index = tuple[Any, ...] | None  # None: all of it


class State:
    """What the backward pass needs of the forward pass; one value a sample, shaped as the view."""

    __slots__ = ("buffer", "excess", "finished", "kinds", "lse", "scale", "total")

    def __init__(self, like: Tensor, buffer: Tensor | None, plan: Plan, *, softmax: bool) -> None:
        self.lse = torch.empty_like(like)
        self.excess = torch.empty_like(like) if plan.hinged else None  # beyond the margin, < 0 for ID
        self.total = None if softmax else torch.empty_like(like)  # sum of exponentials; None where it is 1
        self.buffer = buffer  # exponentials, or the gradient where it is finished
        self.scale = Scales(1.0, 1.0, 1.0)
        self.finished = False
        self.kinds: Kinds | None = None  # where there is one band

    def take(self) -> Tensor | None:
        """Hand the buffer out once: a second backward pass must not find what the first made of it."""
        buffer, self.buffer = self.buffer, None
        return buffer


class Kinds(NamedTuple):
    """The samples of a band."""

    labels: Tensor  # the class to look up; 0 where there is none
    is_id: Tensor
    known: Tensor  # 1.0 for ID; with weights the weight of the class
    alive: Tensor | None  # 0.0 for void; None where nothing is void


def forward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    counts: Tensor | None,
    plan: Plan,
    *,
    with_gradient: bool,
) -> tuple[Tensor, State | small.State] | None:
    """Return the loss and what its gradient needs, or None where the plain formula must decide."""
    if small.fits(logits, weight, plan):
        return small.forward(logits, targets, counts, plan)
    view, labels = _viewed(logits), targets.reshape(-1)
    if view.ndim == 3:
        labels = labels.view(view.shape[0], view.shape[2])
    dtype = torch.float64 if view.dtype == torch.float64 else torch.float32
    early = with_gradient and plan.gradient_in_forward and _may_finish(plan)
    keep = with_gradient and (early or view.dtype == dtype)
    buffer = torch.empty_like(view) if keep else None
    softmax = view.ndim == 2 and view.shape[1] >= FEW
    state = State(torch.empty(labels.shape, dtype=dtype), buffer, plan, softmax=softmax)
    if early:
        state.finished = True
        if counts is None:
            counts = maths.group_counts(targets, ignore_index=plan.ignore_index, weight=weight)
    known_counts = None if counts is None else counts.tolist()
    if known_counts is not None:
        state.scale = scales(plan, known_counts)
    values = torch.empty(labels.shape, dtype=dtype) if plan.reduction == "none" else None
    found = _run(view, labels, weight, plan, state, values, counts_known=counts is not None)
    if found is None:
        return None
    sums, numbers = found
    if known_counts is None:
        state.scale = scales(plan, numbers)
    if values is not None:
        return values.view(targets.shape), state
    value = sum(scale * part for scale, part in zip(state.scale, sums, strict=True))
    return torch.tensor(value, dtype=dtype), state


def energy(logits: Tensor, temperature: float) -> Tensor | None:
    """Return -T * logsumexp(x / T) over dimension 1, None where a sample of it is not finite."""
    view = _viewed(logits)
    dtype = torch.float64 if view.dtype == torch.float64 else torch.float32
    out = torch.empty(view.shape[0] if view.ndim == 2 else (view.shape[0], view.shape[2]), dtype=dtype)
    for part, where in bands(view):
        wide = _at(view, part).to(dtype)
        if temperature != 1.0:
            wide = wide / temperature
        lse = _at(out, where)
        if view.ndim == 2 and view.shape[1] < MANY:
            torch.logsumexp(wide, 1, out=lse)
        elif view.ndim == 2:
            torch.sub(wide.amax(1), torch.softmax(wide, 1).amax(1).log_(), out=lse)
        else:
            peak = wide.amax(1)
            torch.add(torch.sub(wide, peak.unsqueeze(1)).exp_().sum(1).log_(), peak, out=lse)
    if not math.isfinite(out.sum().item()):
        return None
    return out.mul_(-temperature).view(logits.shape[0], *logits.shape[2:])


def _may_finish(plan: Plan) -> bool:
    """Say whether the gradient can be made in the forward pass: one upstream number, counts from labels."""
    return plan.reduction != "none" and plan.nonfinite != "skip"


def _run(
    view: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    plan: Plan,
    state: State,
    values: Tensor | None,
    *,
    counts_known: bool,
) -> tuple[list[float], list[float]] | None:
    """Go through the bands; return the three sums and the counts, None where one is not finite."""
    sums, numbers = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    counted = counts_known or plan.reduction in ("none", "sum")
    for part, where in bands(view):
        band = _at(view, part)
        exponentials = _exponentials(band, part, where, state)
        kinds = _kinds(_at(labels, where), weight, plan, state.lse.dtype)
        try:
            terms = _terms(band, where, kinds, plan, state)
        except (IndexError, RuntimeError):  # a class that is not there: the plain formula says so
            return None
        for place, term in enumerate(terms):
            sums[place] += 0.0 if term is None else term.sum().item()
        if not math.isfinite(sum(sums)):
            return None
        if not counted:
            _count(numbers, kinds, weighted=weight is not None)
        if values is not None:
            values[... if where is None else where] = _joined(terms, plan.alpha)
        if state.finished and state.buffer is not None:
            _finish(exponentials, where, kinds, plan, state, state.scale, _at(state.buffer, part))
        elif part is None:
            state.kinds = kinds
    return sums, numbers[: 2 if weight is None else 3]


def _exponentials(band: Tensor, part: Index, where: Index, state: State) -> Tensor:
    """Return a band's exponentials, in the buffer if there is one; the log-sum-exp goes into `state`."""
    lse = _at(state.lse, where)
    kept = None if state.buffer is None or state.buffer.dtype != lse.dtype else _at(state.buffer, part)
    wide = band.to(lse.dtype)
    peak = wide.amax(1)
    if state.total is None:  # PyTorch's softmax is one pass over a row
        exponentials = torch.softmax(wide, 1) if kept is None else torch.softmax(wide, 1, out=kept)
        torch.sub(peak, exponentials.amax(1).log_(), out=lse)
    else:
        exponentials = torch.sub(wide, peak.unsqueeze(1), out=kept).exp_()
        total = torch.sum(exponentials, 1, out=_at(state.total, where))
        torch.add(total.log(), peak, out=lse)
    return exponentials


def _kinds(labels: Tensor, weight: Tensor | None, plan: Plan, dtype: torch.dtype) -> Kinds:
    """Sort a band's samples."""
    labels = labels.long()
    is_id, alive = labels >= 0, None
    if plan.ignore_index is not None:
        spoken = labels != plan.ignore_index
        is_id, alive = is_id.logical_and_(spoken), spoken.to(dtype)
        labels = torch.where(is_id, labels, 0)
    else:
        labels = labels.clamp(min=0)
    known = is_id.to(dtype)
    if weight is not None:
        known.mul_(weight.to(dtype)[labels.clamp(max=len(weight) - 1)])  # the look-up of logits refuses it
    return Kinds(labels, is_id, known, alive)


def _terms(
    band: Tensor, where: Index, kinds: Kinds, plan: Plan, state: State
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return cross-entropy, squared hinge of ID and of OOD (both in one, unless their means differ)."""
    lse, entropy, inside, outside = _at(state.lse, where), None, None, None
    if plan.classify:
        chosen = band.gather(1, kinds.labels.unsqueeze(1)).squeeze(1)
        entropy = torch.sub(lse, chosen).mul_(kinds.known)
    if state.excess is not None:
        below = lse.add(plan.margin_in).clamp_(max=0.0)
        above = lse.add(plan.margin_out).clamp_(min=0.0)
        excess = torch.where(kinds.is_id, below, above, out=_at(state.excess, where))
        if kinds.alive is not None:
            excess.mul_(kinds.alive)
        outside = excess.square()
        if plan.reduction == "group_mean":
            inside = outside * kinds.is_id
            outside.sub_(inside)
    return entropy, inside, outside


def _joined(terms: tuple[Tensor | None, Tensor | None, Tensor | None], alpha: float) -> Tensor | float:
    """Return the loss of every sample."""
    entropy, _inside, hinge = terms
    if entropy is None or hinge is None:
        return alpha * hinge if hinge is not None else (0.0 if entropy is None else entropy)
    return torch.add(entropy, hinge, alpha=alpha)


def _count(numbers: list[float], kinds: Kinds, *, weighted: bool) -> None:
    """Add a band's counts: ID, OOD, weight of ID."""
    mass = kinds.known.sum().item()  # of ones: exact in float32 for as many as a band holds
    known = kinds.is_id.sum().item() if weighted else mass
    alive = kinds.is_id.numel() if kinds.alive is None else kinds.alive.sum().item()
    numbers[0] += known
    numbers[1] += alive - known
    numbers[2] += mass


def _finish(
    exponentials: Tensor,
    where: Index,
    kinds: Kinds,
    plan: Plan,
    state: State,
    scale: Scales,
    out: Tensor,
    upstream: Tensor | None = None,
) -> None:
    """Turn exponentials into the gradient softmax * a - onehot * b, in place, and leave it in `out`."""
    hit = kinds.known.mul_(scale.entropy if plan.classify else 0.0)
    factor = hit
    if state.excess is not None:
        excess = _at(state.excess, where)
        if scale.inside == scale.outside:
            factor = torch.add(hit, excess, alpha=2.0 * scale.inside)
        else:
            slopes = excess.new_tensor(2.0 * scale.inside), excess.new_tensor(2.0 * scale.outside)
            factor = torch.addcmul(hit, excess, torch.where(kinds.is_id, *slopes))
    if upstream is not None:
        hit, factor = hit * upstream, factor * upstream
    if state.total is not None:
        factor = factor / _at(state.total, where)
    exponentials.mul_(factor.unsqueeze(1))
    if plan.classify:
        exponentials.scatter_add_(1, kinds.labels.unsqueeze(1), hit.neg_().unsqueeze(1))
    if exponentials.data_ptr() != out.data_ptr():
        out.copy_(exponentials)


def backward(
    state: State | small.State,
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    upstream: Tensor,
    plan: Plan,
) -> Tensor:
    """Return the gradient, in the layout of the logits."""
    if isinstance(state, small.State):
        return small.backward(state, upstream)
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
    kept: Tensor | None,
) -> Tensor:
    """Return the gradient in the layout of the view, from the kept exponentials or from the logits again.

    A second backward pass repeats the steps of the forward pass, so that it gives the same bits as the first.
    """
    out = torch.empty_like(view) if kept is None else kept
    for part, where in bands(view):
        kinds, state.kinds = state.kinds, None
        if kinds is None:
            kinds = _kinds(_at(labels, where), weight, plan, state.lse.dtype)
        target = _at(out, part)
        exponentials = target if kept is not None else _exponentials(_at(view, part), part, where, state)
        above = None if upstream is None else _at(upstream, where)
        _finish(exponentials, where, kinds, plan, state, scale, target, above)
    return out


def _viewed(logits: Tensor) -> Tensor:
    """Return the logits as R x C (classes contiguous) or as B x C x N; a copy only where they are neither."""
    if logits.ndim == 2:
        return logits.contiguous()
    if logits[0, 0].numel() == 1:
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
    inner, most = (1, ROWS) if view.ndim == 2 else (view.shape[2], BAND)
    if view.numel() <= most:
        return [(None, None)]
    if classes * inner <= most or view.ndim == 2:
        step = max(1, most // (classes * inner))
        return [((slice(start, start + step),),) * 2 for start in range(0, count, step)]
    width = max(16, most // classes // 16 * 16)  # whole cache lines
    columns = [slice(start, start + width) for start in range(0, inner, width)]
    images = [slice(image, image + 1) for image in range(count)]
    return [((image, slice(None), part), (image, part)) for image in images for part in columns]


def _at(tensor: Tensor, index: Index) -> Tensor:
    """Return a part of a tensor; the tensor itself costs nothing."""
    return tensor if index is None else tensor[index]
