"""Settings of the loss, refused where the loss would not do what they say."""

from __future__ import annotations

import math

from torch import Tensor


def check_choice(name: str, value: object, known: tuple[object, ...]) -> None:
    """Refuse a value that is not among those known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")


def check_numbers(alpha: float | Tensor, margin_in: float, margin_out: float) -> None:
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


def checked_weight(weight: Tensor) -> Tensor:
    """Return class weights, or say what they should be."""
    if not isinstance(weight, Tensor) or weight.ndim != 1 or not weight.is_floating_point():
        came = (
            f"{weight.dtype} of shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else type(weight)
        )
        raise ValueError(f"weight must be a floating tensor of one value a class, got {came}.")
    return weight
