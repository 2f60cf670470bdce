"""Fused forms of the loss: same values, same gradients, less time and memory.

`energy.py` is the specification; a core that cannot keep to it in some case declines, and the plain formula
has its turn. Which core runs:

- `reference`: the plain formula, differentiated by autograd;
- `eager`: one exponential a logit, in bands; what `auto` takes on a CPU;
- `compile`: TorchInductor on the plain formula; only when asked for, since it compiles for seconds;
- `triton`: kernels for CUDA tensors; what `auto` takes there (not yet measured on a GPU).

The argument `kernel` of the loss decides, or the environment variable `ENERGY_PLUGIN_KERNEL` where the
argument is `auto`. Inside `torch.compile`, `torch.export`, `vmap` and the like the plain formula is what gets
traced; with the argument `kernel="triton"` a compiled graph holds the Triton kernels as one operator instead.
"""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType
from typing import Literal, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from energy_plugin import energy as maths
from energy_plugin.kernels.function import Core, Fused
from energy_plugin.kernels.plan import Plan

Kernel = Literal["auto", "reference", "eager", "compile", "triton"]

KERNELS: tuple[str, ...] = ("auto", "reference", "eager", "compile", "triton")
VARIABLE = "ENERGY_PLUGIN_KERNEL"

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_LEAST = 1 << 15  # logits below which the plain energy is faster
_said: set[str] = set()


def choice(kernel: str) -> str:
    """Return the kernel that is asked for: the argument, or the environment where that says `auto`.

    Raises:
        ValueError: there is no kernel of that name.
    """
    name = os.environ.get(VARIABLE, "auto") if kernel == "auto" else kernel
    if name not in KERNELS:
        source = f"the environment variable {VARIABLE}" if kernel == "auto" else "kernel"
        raise ValueError(f"{source} must be one of {', '.join(map(repr, KERNELS))}; got {name!r}.")
    return name


def loss(
    logits: Tensor,
    targets: Tensor,
    plan: Plan,
    *,
    weight: Tensor | None = None,
    counts: Tensor | None = None,
    kernel: str = "auto",
) -> Tensor | None:
    """Return the loss by a kernel, or None where the plain formula is to be taken.

    Args:
        logits: B x C x ..., floating point.
        targets: B x ..., any integer dtype.
        plan: the settings.
        weight: class weights.
        counts: what the means divide by; None: those of this batch.
        kernel: see the module.
    """
    if torch.compiler.is_compiling() and kernel == "triton" and _operator_fits(logits, plan):
        operators = torch.ops.energy_plugin
        return cast("Tensor", operators.loss(logits, targets, weight, counts, *plan[:7])[0])
    core = core_for(logits, targets, plan, kernel)
    if core is None or (weight is not None and weight.requires_grad):
        return None
    if torch.is_grad_enabled() and logits.requires_grad:
        return cast("Tensor | None", Fused.apply(logits, targets, weight, counts, plan, core))
    with torch.no_grad():
        found = core.forward(logits, targets, weight, counts, plan, with_gradient=False)
    return None if found is None else found[0]


def energy(logits: Tensor, *, temperature: float = 1.0, dim: int = 1) -> Tensor:
    """Return `energy.energy` of the same arguments, faster where no gradient is wanted on a CPU."""
    traced = torch.is_grad_enabled() and isinstance(logits, Tensor) and logits.requires_grad
    if not traced and choice("auto") in ("auto", "eager") and _fits_rows(logits, temperature, dim):
        found = cast("Tensor | None", _module("eager").energy(logits, temperature))
        if found is not None:
            return found
    return maths.energy(logits, temperature=temperature, dim=dim)


def _fits_rows(logits: Tensor, temperature: float, dim: int) -> bool:
    """Say whether the eager core takes these: plain CPU tensors with the classes in dimension 1."""
    if not isinstance(logits, Tensor) or logits.device.type != "cpu" or not 0.0 < temperature < float("inf"):
        return False
    if logits.ndim < 2 or dim % logits.ndim != 1 or logits.numel() < _LEAST:
        return False
    return _concrete(logits, logits)


def enlarged_energy(
    logits: Tensor, size: tuple[int, int], *, temperature: float = 1.0, align_corners: bool = False
) -> Tensor | None:
    """Return the energy of bilinearly enlarged logits by a kernel that never makes these.

    None where there is no such kernel: on other devices than CUDA, for float64, with gradients, in a graph.

    Args:
        logits: B x C x h x w, floating point.
        size: (H, W).
        temperature: T > 0.
        align_corners: as in `torch.nn.functional.interpolate`.
    """
    wanted = choice("auto") in ("auto", "triton") and logits.dtype != torch.float64
    traced = torch.is_grad_enabled() and logits.requires_grad
    if not wanted or traced or logits.device.type != "cuda" or not _concrete(logits, logits):
        return None
    if _triton_core("cuda") is None:
        return None
    kernel = _module("triton_map").enlarged_energy
    return cast("Tensor", kernel(logits, size, temperature=temperature, align_corners=align_corners))


def prepare(kernel: str) -> None:
    """Register the operators where a graph may want them: nothing can be imported while one is traced."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if kernel == "triton" and _triton_core(device, aloud=False) is not None:
        _module("operators")


def _operator_fits(logits: Tensor, plan: Plan) -> bool:
    """Say whether a graph gets the operator: registered by `prepare`, and a case that the kernels take."""
    fits = logits.dtype != torch.float64 and plan.nonfinite != "raise" and (plan.hinged or plan.classify)
    return fits and hasattr(torch.ops.energy_plugin, "loss")


def core_for(logits: Tensor, targets: Tensor, plan: Plan, kernel: str = "auto") -> Core | None:
    """Return the core for a call, None for the plain formula."""
    name = choice(kernel)
    if name == "reference" or not _concrete(logits, targets) or not (plan.hinged or plan.classify):
        return None
    device = logits.device.type
    if device not in ("cpu", "cuda"):
        return None
    if name == "auto":
        name = "eager" if device == "cpu" else "triton"
    if plan.nonfinite == "raise" and (name, device) != ("eager", "cpu"):
        return None  # only the eager core looks at values anyway
    if name == "triton":
        found = _triton_core(device)
        if found is not None:
            return found
    if name == "compile":
        return cast("Core", _module("compiled").compiled())
    return cast("Core", _module("eager") if device == "cpu" else _module("compiled").uncompiled())


def _concrete(logits: Tensor, targets: Tensor) -> bool:
    """Say whether these are plain tensors with values, and nobody is watching what is done to them."""
    if type(logits) not in (Tensor, Parameter) or type(targets) not in (Tensor, Parameter):
        return False
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() or _transformed():
        return False
    if logits.dtype not in _DTYPES or not logits.numel():
        return False
    tangent = forward_ad.unpack_dual(logits).tangent  # type: ignore[no-untyped-call]  # torch's
    return tangent is None


def _transformed() -> bool:
    """Say whether vmap, grad or another transform of torch.func is at work; torch has no public question."""
    return bool(torch._C._are_functorch_transforms_active())


def _module(name: str) -> ModuleType:
    """Import a core when it is first used: the loss must not cost more to import than the formula."""
    return importlib.import_module(f"{__name__}.{name}")


def _triton_core(device: str, *, aloud: bool = True) -> Core | None:
    """Return the Triton core, or None with one message where it cannot run."""
    try:
        core = _module("triton_core")
        if device == "cuda" or core.interpreted():
            return cast("Core", core)
        why = "it needs CUDA tensors (or TRITON_INTERPRET=1 before the first import)"
    except Exception as error:  # noqa: BLE001  # a broken Triton fails in many ways, and none may stop a training
        why = f"{type(error).__name__}: {error}"
    if aloud:
        say_once(f"the Triton kernels cannot run here: {why}. The eager kernel runs in their place.")
    return None


def say_once(message: str) -> None:
    """Warn with a message that has not been given yet in this process."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=4)
