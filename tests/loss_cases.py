"""The loss's lines of docs/cases.md: each runs on pytorch-ood's class and on ours, and says what came out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import reference
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile

ALPHA, MARGIN_IN, MARGIN_OUT = 0.1, -5.0, -3.0
Make = Callable[..., nn.Module]
"""Makes a loss of one implementation; reduction and settings are named as in energy_plugin."""


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: what is tried.
        run: does it with one implementation and returns what came out, in words.
        theirs: what comes out of pytorch-ood 0.4.
        ours: what comes out of energy_plugin.
    """

    name: str
    run: Callable[[Make], str]
    theirs: str
    ours: str


def batch(shape: tuple[int, ...] = (16, 5), *, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits and targets of which a quarter or so are outliers."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(shape, generator=generator) * scale
    targets = torch.randint(-1, shape[1], (shape[0], *shape[2:]), generator=generator)
    targets.view(-1)[:4] = -1
    return logits, targets


def equation(logits: Tensor, targets: Tensor, **extra: Any) -> float:
    values = reference.loss(
        logits.double().numpy(),
        targets.long().numpy(),
        **(
            {"alpha": ALPHA, "margin_in": MARGIN_IN, "margin_out": MARGIN_OUT, "reduction": "group_mean"}
            | extra
        ),
    )
    return float(values)


def words(value: Tensor, expected: float, tolerance: float = 1e-5) -> str:
    """Say whether a value is the equation's."""
    found = value.double().item()
    if found != found:
        return "NaN"
    if abs(found) == float("inf"):
        return "inf"
    return (
        "right" if abs(found - expected) <= tolerance * max(1.0, abs(expected)) else "another value, silently"
    )


def attempt(action: Callable[[], str]) -> str:
    """Return what the action says, or the kind of its error."""
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - whatever the other implementation raises is the answer
        return _kind(error)


def _kind(error: BaseException) -> str:
    return next(
        (name for name in _KINDS if any(name == kind.__name__ for kind in type(error).__mro__)), "error"
    )


_KINDS = ("TypeError", "IndexError", "ValueError", "NotImplementedError", "RuntimeError", "AttributeError")


def value(
    logits: Tensor, targets: Any, expected: float | None = None, **settings: Any
) -> Callable[[Make], str]:
    """The loss of a batch, against the equation."""

    def run(make: Make) -> str:
        wanted = equation(logits, targets) if expected is None else expected
        return attempt(lambda: words(make(**settings)(logits, targets), wanted))

    return run


def dtype_of_logits(dtype: torch.dtype, scale: float) -> Callable[[Make], str]:
    logits, targets = batch(scale=scale)
    return value(logits.to(dtype), targets, equation(logits.to(dtype), targets))


def dtype_of_labels(dtype: torch.dtype) -> Callable[[Make], str]:
    logits, targets = batch()
    return value(logits, targets.to(dtype), equation(logits, targets))


def with_void(code: int, shape: tuple[int, ...] = (16, 5), **settings: Any) -> Callable[[Make], str]:
    logits, targets = batch(shape)
    targets.view(-1)[::5] = code
    return value(logits, targets, equation(logits, targets, void=code), **settings)


def gradient_of_closed_row(target: int) -> Callable[[Make], str]:
    def run(make: Make) -> str:
        logits, targets = batch()
        logits[6], targets[6] = -torch.inf, target
        logits.requires_grad_()
        gradient = torch.autograd.grad(make(reduction="none")(logits, targets).sum(), logits)[0]
        return "finite gradient" if gradient.isfinite().all() else "NaN gradient"

    return run


def autocast(make: Make) -> str:
    logits, targets = batch(scale=150.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = make()(logits.bfloat16(), targets)
    return words(found, equation(logits.bfloat16(), targets))


def low_resolution(make: Make) -> str:
    logits, targets = batch((2, 5, 4, 4))
    mask = targets.repeat_interleave(2, 1).repeat_interleave(2, 2)
    large = torch.nn.functional.interpolate(logits, scale_factor=2.0, mode="bilinear")
    return attempt(lambda: words(make()(logits, mask), equation(large, mask)))


def extra_dimension(shape: tuple[int, ...]) -> Callable[[Make], str]:
    logits, targets = batch(shape)
    return value(logits, targets.unsqueeze(1), equation(logits, targets))


def criterion(make: Make) -> str:
    logits, targets = batch()
    return attempt(
        lambda: words(
            make(criterion=nn.CrossEntropyLoss(reduction="none"))(logits, targets), equation(logits, targets)
        )
    )


def soft_targets(make: Make) -> str:
    logits, _ = batch()
    return attempt(lambda: words(make()(logits, logits.softmax(1)), 0.0))


def output_in_a_dictionary(make: Make) -> str:
    logits, targets = batch()
    return attempt(lambda: words(make()({"logits": logits}, targets), equation(logits, targets)))


def class_that_is_not_there(make: Make) -> str:
    logits, targets = batch()
    targets[7] = 5
    return attempt(lambda: words(make()(logits, targets), 0.0))


def setting(**settings: Any) -> Callable[[Make], str]:
    """Whether a setting that makes no sense is accepted."""
    return lambda make: attempt(lambda: "accepted" if make(**settings) else "")


def micro_batches(make: Make) -> str:
    logits, targets = batch((32, 5))
    loss = make()
    order = targets.argsort()  # the outliers bunched, as streams of two loaders have them
    parts = list(zip(logits[order].chunk(4), targets[order].chunk(4), strict=True))
    if hasattr(loss, "group_counts"):
        counts = sum(loss.group_counts(labels) for _, labels in parts)
        total = sum(loss(rows, labels, counts=counts) for rows, labels in parts)
    else:
        total = sum(loss(rows, labels) for rows, labels in parts) / len(parts)
    return words(total, equation(logits, targets))


def whole_graph(make: Make) -> str:
    torch._dynamo.reset()
    logits, targets = batch()
    traced = torch.compile(make(), fullgraph=True, backend="eager")
    return attempt(lambda: words(traced(logits, targets), equation(logits, targets)))


def fake_gpu(make: Make) -> str:
    with FakeTensorMode():
        logits = torch.randn(16, 5, device="cuda")
        targets = torch.zeros(16, dtype=torch.long, device="cuda")
        try:
            make()(logits, targets)
        except Exception:  # noqa: BLE001 - of several kinds that PyTorch does not export
            return "reads values"
    return "reads none"


def vmapped(make: Make) -> str:
    logits, targets = batch((16, 5))
    loss = make()
    try:
        found = torch.func.vmap(loss)(logits.reshape(2, 8, 5), targets.reshape(2, 8))
    except RuntimeError:
        return "RuntimeError"
    return words(found[0], equation(logits[:8], targets[:8]))


def host_reads(make: Make) -> str:
    """As a GPU would run it: the kernel for CPUs reads values, where nobody has to wait for them."""
    logits, targets = batch()
    logits.requires_grad_()
    loss = make()
    with (
        mock.patch.dict(os.environ, ENERGY_PLUGIN_KERNEL="reference"),
        profile(activities=[ProfilerActivity.CPU]) as record,
    ):
        loss(logits, targets).backward()
    waits = sum(
        event.count for event in record.key_averages() if event.key in ("aten::item", "aten::nonzero")
    )
    return f"{waits} a step"


def shown(make: Make) -> str:
    return "with its settings" if "margin_in=-5.0" in repr(make()) else "without its settings"


_LOGITS, _TARGETS = batch()
_EMPTY = torch.zeros(0, 5), torch.zeros(0, dtype=torch.long)
_SILENT = "another value, silently"

CASES = [
    Case("B x C", value(_LOGITS, _TARGETS), "right", "right"),
    Case("B x C x H x W", value(*batch((2, 5, 4, 6))), "right", "right"),
    Case("B x C x L", value(*batch((2, 5, 8))), "ValueError", "right"),
    Case("B x C x D x H x W", value(*batch((2, 5, 2, 4, 3))), "ValueError", "right"),
    Case("targets B x 1", extra_dimension((16, 5)), "RuntimeError", "right"),
    Case("targets B x 1 x H x W", extra_dimension((2, 5, 4, 6)), "RuntimeError", "right"),
    Case("a mask of twice the resolution", low_resolution, "RuntimeError", "right"),
    Case("a network's dictionary with the logits", output_in_a_dictionary, "AttributeError", "right"),
    Case("an empty batch", value(*_EMPTY, 0.0), "right", "right"),
    Case("only ID samples", value(_LOGITS, _TARGETS.clamp(min=0)), "right", "right"),
    Case("only OOD samples", value(_LOGITS, torch.full_like(_TARGETS, -1)), "right", "right"),
    Case("int32 labels", dtype_of_labels(torch.int32), "RuntimeError", "right"),
    Case("int8 labels", dtype_of_labels(torch.int8), "RuntimeError", "right"),
    Case("float32 labels", dtype_of_labels(torch.float32), "RuntimeError", "TypeError"),
    Case("bool labels", value(_LOGITS, _TARGETS >= 0, float("nan")), _SILENT, "TypeError"),
    Case("soft targets", soft_targets, "RuntimeError", "TypeError"),
    Case("a class that is not there", class_that_is_not_there, "IndexError", "IndexError"),
    Case("void code 255, named", with_void(255, ignore_index=255), "TypeError", "right"),
    Case(
        "void code 255 in a mask, named", with_void(255, (2, 5, 4, 6), ignore_index=255), "TypeError", "right"
    ),
    Case("void code -100, named", with_void(-100, ignore_index=-100), "TypeError", "right"),
    Case("-100 meant as void, not named", with_void(-100), _SILENT, _SILENT),
    Case("void code 255, not named", with_void(255), "IndexError", "IndexError"),
    Case("class weights", value(_LOGITS, _TARGETS, weight=torch.ones(5)), "TypeError", "right"),
    Case(
        "label smoothing",
        value(_LOGITS, _TARGETS, equation(_LOGITS, _TARGETS, smoothing=0.1), label_smoothing=0.1),
        "TypeError",
        "right",
    ),
    Case("another criterion", criterion, "TypeError", "right"),
    Case("integer logits", value(_LOGITS.long(), _TARGETS), "NotImplementedError", "TypeError"),
    Case("float64", value(_LOGITS.double(), _TARGETS), "right", "right"),
    Case("float16", dtype_of_logits(torch.float16, 3.0), _SILENT, "right"),
    Case("bfloat16", dtype_of_logits(torch.bfloat16, 3.0), _SILENT, "right"),
    Case("float16, logits near 300", dtype_of_logits(torch.float16, 300.0), "inf", "right"),
    Case("bfloat16 under autocast, large logits", autocast, _SILENT, "right"),
    Case("an OOD row of -inf", gradient_of_closed_row(-1), "NaN gradient", "finite gradient"),
    Case("an ID row of -inf", gradient_of_closed_row(1), "NaN gradient", "finite gradient"),
    Case("alpha below 0", setting(alpha=-1.0), "accepted", "ValueError"),
    Case("margin_in above margin_out", setting(margin_in=-5.0, margin_out=-23.0), "accepted", "ValueError"),
    Case("an unknown reduction, when it is made", setting(reduction="average"), "accepted", "ValueError"),
    Case("gradient accumulation over four micro-batches", micro_batches, _SILENT, "right"),
    Case("torch.compile(fullgraph=True)", whole_graph, "RuntimeError", "right"),
    Case("on a fake GPU", fake_gpu, "reads values", "reads none"),
    Case("torch.func.vmap", vmapped, "RuntimeError", "right"),
    Case("values read back, forward and backward", host_reads, "9 a step", "0 a step"),
    Case("the repr", shown, "without its settings", "with its settings"),
]
