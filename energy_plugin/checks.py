"""Settings, refused where the loss or the detector would not do what they say."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


def check_choice(name: str, value: object, known: tuple[object, ...]) -> None:
    """Refuse a value that is not among those known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")


def number(value: Any, name: str) -> float:
    """Return a figure of the user's as a float: any real number, or a tensor with one."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    return float(value)


def checked_alpha(alpha: Any) -> float | Tensor:
    """Return the weight of the hinge: a float, or the tensor that came.

    The value of a tensor is looked at only where that is free: on a CPU, and not in a fake or traced one.
    """
    if not isinstance(alpha, Tensor):
        figure = number(alpha, "alpha")
        if not 0.0 <= figure < math.inf:
            raise ValueError(f"alpha must be a finite number >= 0, got {alpha!r}.")
        return figure
    if alpha.dtype == torch.bool or alpha.is_complex():
        raise TypeError(f"alpha must be a number or a tensor of real numbers, got {alpha.dtype}.")
    if tuple(alpha.shape) not in ((), (1,)):
        raise ValueError(f"alpha must be one number, got a tensor of shape {tuple(alpha.shape)}.")
    if type(alpha) in (Tensor, Parameter) and alpha.device.type == "cpu":
        figure = alpha.item()
        if not 0.0 <= figure < math.inf:
            raise ValueError(f"alpha must be finite and >= 0, got a tensor of {figure!r}.")
    return alpha


def checked_margins(margin_in: Any, margin_out: Any) -> tuple[float, float]:
    """Return the margins as floats, the lower one first."""
    low, high = number(margin_in, "margin_in"), number(margin_out, "margin_out")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"margins must be finite, got {low!r} and {high!r}.")
    if low > high:
        raise ValueError(
            f"margin_in={low!r} is above margin_out={high!r}. ID energies are pushed below "
            "margin_in, OOD energies above margin_out: margin_in is the lower one (for CIFAR-10 -23 and -5)."
        )
    return low, high


def checked_state(state: Any) -> tuple[float | None, float, float]:
    """Return alpha (None where the state does not say it) and the margins of a `state_dict`, checked."""
    figures = torch.as_tensor(state).tolist()
    if not isinstance(figures, list) or len(figures) != 3:
        raise ValueError(f"the state of the loss must be alpha and two margins, got {state!r}.")
    alpha, margin_in, margin_out = figures
    known = None if math.isnan(alpha) else float(checked_alpha(alpha))
    return known, *checked_margins(margin_in, margin_out)


def checked_code(code: Any) -> int | None:
    """Return the void code, one integer or None."""
    if code is None:
        return None
    if isinstance(code, bool) or not hasattr(code, "__index__"):
        raise TypeError(
            f"ignore_index must be one integer or None, got {code!r}. Several void codes are made one by "
            "`energy_plugin.labels.translate`, or by torch.where."
        )
    return operator.index(code)


def check_criterion(criterion: Any, weight: Tensor | None, label_smoothing: float) -> None:
    """Refuse a criterion that cannot be called, or that comes with settings of the cross-entropy."""
    if criterion is not None and not callable(criterion):
        raise TypeError(
            f"criterion must be called as criterion(logits, targets), got {criterion!r}: hand over a "
            "function or module, with reduction='none'."
        )
    if criterion is not None and (weight is not None or label_smoothing):
        raise ValueError(
            "weight and label_smoothing belong to the cross-entropy: give them to the criterion."
        )


def checked_smoothing(label_smoothing: Any) -> float:
    """Return the label smoothing, a share."""
    figure = number(label_smoothing, "label_smoothing")
    if not 0.0 <= figure <= 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing!r}.")
    return figure


def checked_weight(weight: Tensor) -> Tensor:
    """Return class weights, or say what they should be."""
    if not isinstance(weight, Tensor) or weight.ndim != 1 or not weight.is_floating_point():
        came = (
            f"{weight.dtype} of shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else type(weight)
        )
        raise ValueError(f"weight must be a floating tensor of one value a class, got {came}.")
    return weight


def checked_counts(counts: Tensor, wanted: int) -> Tensor:
    """Return the caller's counts, or say what they should be; their values are not looked at."""
    came = type(counts).__name__
    if isinstance(counts, Tensor):
        came = f"shape {tuple(counts.shape)} of {counts.dtype}"
        real = counts.dtype != torch.bool and not counts.is_complex()
        if real and tuple(counts.shape) == (wanted,):
            return counts
    raise ValueError(
        f"counts must be a tensor of {wanted} values, got {came}: use the sum of "
        "`loss.group_counts(targets)` over the micro-batches."
    )
