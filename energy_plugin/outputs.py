"""Logits out of whatever a network returns, and the evaluation mode to get them in.

The rule of `logits_of`, in this order; names, types and shapes are looked at, never values:

1. a tensor is the logits;
2. a mapping or an object that names its parts: `logits` (Hugging Face, torchvision's Inception), else `out`
   (torchvision's segmentation networks);
3. a tuple or list: its only floating-point tensor of two or more dimensions (a loss has none).

Everything else is ambiguous, and an error says what came. `key` names the part where the rule does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

LOGIT_NAMES = ("logits", "out")
"""Names that plainly mean logits, in the order they are looked for."""


def logits_of(output: Any, key: str | int | None = None) -> Tensor:
    """Return the logits in a network's output.

    Args:
        output: tensor, mapping, object with attributes, tuple or list.
        key: the key or attribute (str) or the position (int) of the logits, where the rule does not tell; a
            tensor is the logits whatever the key.

    Returns:
        The tensor as it is, of any shape and dtype.

    Raises:
        TypeError: no part, or more than one, can be meant; the message lists what came.
        LookupError: `output` has nothing under `key`.
    """
    if isinstance(output, Tensor):
        return output
    if key is not None:
        return _chosen(output, key)
    for name in LOGIT_NAMES:
        part = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(part, Tensor):
            return part
    if isinstance(output, tuple | list):
        fitting = [part for part in output if isinstance(part, Tensor) and _may_be_logits(part)]
        if len(fitting) == 1:
            return fitting[0]
    raise TypeError(
        f"cannot tell the logits in {describe(output)}. Expected a torch.Tensor, something with `logits` or "
        "`out`, or a tuple with one floating-point tensor of two or more dimensions: name the part with "
        "`key` (a name or a position), or hand over the tensor of logits."
    )


def describe(output: Any) -> str:
    """Say what an output is made of: types, and shapes and dtypes of its tensors."""
    if isinstance(output, Tensor):
        return f"Tensor{tuple(output.shape)} {str(output.dtype).removeprefix('torch.')}"
    if isinstance(output, Mapping):
        parts = [f"{key!r}: {_brief(part)}" for key, part in output.items()]
    elif isinstance(output, tuple | list):
        parts = [_brief(part) for part in output]
    else:
        fields = getattr(output, "__dict__", {})
        parts = [f"{key}: {_brief(part)}" for key, part in fields.items() if isinstance(part, Tensor)]
    name = type(output).__name__
    return f"{name}({', '.join(parts)})" if parts else name


def normalised(logits: Tensor, dim: int = 1) -> str | None:
    """Say whether logits look like what a softmax made: their energy is nearly constant and detects nothing.

    This reads values, so a GPU is waited for: a check before scoring, not a part of it.

    Args:
        logits: any shape, floating point.
        dim: the class dimension.

    Returns:
        None for logits, else what they look like, with the figures that say so.
    """
    if logits.numel() == 0 or logits.shape[dim] < 2:
        return None
    logits = logits.detach()
    low, high = float(logits.min()), float(logits.max())
    tolerance = max(1e-3, 4 * torch.finfo(logits.dtype).eps * logits.shape[dim] ** 0.5)
    if low >= 0.0 and high <= 1.0:
        kind, sums, after = "probabilities", logits.sum(dim, dtype=torch.float32), ""
    elif high <= tolerance:
        kind, sums, after = "log-probabilities", logits.exp().sum(dim, dtype=torch.float32), " after exp"
    else:
        return None
    if not float((sums - 1.0).abs().max()) <= tolerance:
        return None
    return (
        f"{kind}: all {logits.numel():,} values lie in [{low:.3g}, {high:.3g}], and each of the "
        f"{sums.numel():,} samples sums to 1{after} within {tolerance:.1g}"
    )


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a network into evaluation mode for a while; each submodule's own mode comes back, after errors too.

    `eval()` and `train()` of the network are called, since some do more in them than set the flag; then each
    flag is put back as it was (a batch norm that was frozen stays frozen). Where everything is in evaluation
    mode already, and for anything but an `nn.Module`, nothing is touched.
    """
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, nn.Module) else []
    if not any(training for _, training in modes):
        yield
        return
    try:
        model.eval()
        yield
    finally:
        model.train(modes[0][1])
        for part, training in modes:
            part.training = training


def _chosen(output: Any, key: str | int) -> Tensor:
    """Return the part of an output that the caller named."""
    by_attribute = isinstance(key, str) and not isinstance(output, Mapping)
    try:
        part = getattr(output, str(key)) if by_attribute else output[key]
    except (LookupError, AttributeError) as error:
        raise LookupError(
            f"the network's output has no {key!r}; it is {describe(output)}: `key` must name a part of it."
        ) from error
    if not isinstance(part, Tensor):
        raise TypeError(f"{key!r} in {describe(output)} is no tensor, so it cannot be the logits.")
    return part


def _may_be_logits(part: Tensor) -> bool:
    return part.is_floating_point() and part.ndim >= 2


def _brief(part: Any) -> str:
    return describe(part) if isinstance(part, Tensor) else type(part).__name__
