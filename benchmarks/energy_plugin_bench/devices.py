"""Devices by name, refused at once where they are not there."""

from __future__ import annotations

import torch


def device_of(name: str | None) -> torch.device:
    """Return the device of that name.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, ...; None takes a GPU where there is one.

    Raises:
        ValueError: It is no device's name, or torch finds no such device here.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"the device is {name!r}; expected cpu, cuda, cuda:1, ...") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise ValueError(f"the device is {name!r} and torch finds no GPU; use --device cpu.")
        if (device.index or 0) >= count:
            raise ValueError(f"the device is {name!r} and torch finds {count} GPU(s), counted from 0.")
    elif device.type != "cpu":
        try:
            torch.zeros(1, device=device).item()  # `meta` has room and no numbers
        except (RuntimeError, AssertionError, ImportError) as error:  # builds without it raise any of these
            raise ValueError(f"torch cannot use the device {name!r} here; use --device cpu.") from error
    return device
