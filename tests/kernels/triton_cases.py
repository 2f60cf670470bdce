"""Run by `test_triton.py` in a process of its own: the interpreter is chosen when kernels are defined."""

import itertools
import sys
import warnings
from typing import Any

import torch
from torch.nn import functional

from energy_plugin.energy import energy
from energy_plugin.kernels import triton_core
from energy_plugin.kernels.triton_map import enlarged_energy
from energy_plugin.loss import EnergyRegularizedLoss

SETTINGS = {"alpha": 0.3, "margin_in": -8.0, "margin_out": -5.0}
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "early": {"gradient_in_forward": True},
    "void": {"ignore_index": 3, "nonfinite": "skip"},
    "weight": {"weight": True},
    "entropy": {"alpha": 0.0},
}
SHAPES: dict[str, tuple[int, ...]] = {
    "rows": (40, 10),
    "wide rows": (3, 4500),
    "map": (2, 19, 5, 9),
    "map of many classes": (2, 70, 5, 3),
    "channels last": (2, 19, 5, 9),
}


def compared(name: str, reduction: str, extra: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    logits = (torch.randn(SHAPES[name]) * 3).to(dtype)
    if name == "channels last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    logits.requires_grad_()
    targets = torch.randint(-2, 10, (logits.shape[0], *logits.shape[2:]))
    targets.view(-1)[0], targets.view(-1)[-1] = 0, -1
    chosen = SETTINGS | extra | {"reduction": reduction}
    if "weight" in extra:
        chosen["weight"] = torch.rand(logits.shape[1])
    value = EnergyRegularizedLoss(kernel="triton", **chosen)(logits, targets)
    assert "Fused" in value.grad_fn.name()
    upstream = torch.rand_like(value)
    gradient = torch.autograd.grad(value, logits, upstream)[0]
    wide = logits.detach().double().requires_grad_()
    expected = EnergyRegularizedLoss(kernel="reference", **chosen).double()(wide, targets)
    expected_gradient = torch.autograd.grad(expected, wide, upstream.double())[0]
    torch.testing.assert_close(value.double(), expected, rtol=2e-6, atol=2e-6)
    worst = (gradient.double() - expected_gradient).abs().max() / expected_gradient.abs().max()
    # the interpreter truncates what it stores as bfloat16
    assert worst < (2e-6 if dtype == torch.float32 else 2**-7), (name, reduction, extra, worst)


def loss(reductions: list[str]) -> None:
    names = sorted(SHAPES)
    if len(reductions) == 4:
        cases = itertools.product(names, reductions, EXTRAS)
    else:  # every shape and every extra, not all pairs of them
        cases = [
            (name, reductions[i % len(reductions)], extra)
            for name in names[:2]
            for i, extra in enumerate(EXTRAS)
        ]
        cases += [(name, reductions[i % len(reductions)], "early") for i, name in enumerate(names)]
        cases += [(name, reductions[(i + 1) % len(reductions)], "plain") for i, name in enumerate(names)]
    for name, reduction, extra in cases:
        compared(name, reduction, EXTRAS[extra])
    for name in ("rows", "map"):
        compared(name, "group_mean", {}, torch.bfloat16)


def edges() -> None:
    """Masked classes, rows without a class, infinities, NaN, any integer labels, classes not there."""
    inf = float("inf")
    logits = torch.tensor(
        [[1.0, 2.0, -inf], [-inf] * 3, [0.0, inf, 1.0], [0.0, 1.0, float("nan")], [3.0, 1.0, 2.0]]
    )
    for targets in ([0, 0, 7, 7, 1], [-1, -1, 7, 7, 1], [2, 7, 7, 7, -1], [0, 7, 1, 7, 0], [0, 7, -1, -1, 0]):
        for mode, alpha in (("propagate", 0.3), ("skip", 0.3), ("propagate", 0.0)):
            settings = SETTINGS | {"alpha": alpha, "reduction": "none", "ignore_index": 7, "nonfinite": mode}
            results = []
            for kernel in ("triton", "reference"):
                rows = logits.clone().requires_grad_()
                value = EnergyRegularizedLoss(kernel=kernel, **settings)(rows, torch.tensor(targets))
                sound = value.isfinite() | (logits == -inf).all(1)
                gradient = torch.autograd.grad(value, rows, sound.float())[0]
                results.append((value, gradient[sound]))
            torch.testing.assert_close(results[0][0], results[1][0], equal_nan=True)
            torch.testing.assert_close(results[0][1], results[1][1])
    rows = torch.randn(4, 3, requires_grad=True)
    for dtype in (torch.int8, torch.int16, torch.int32, torch.uint8):
        labels = torch.tensor([0, 2, 255 if dtype == torch.uint8 else -1, 1]).to(dtype)
        pair = [
            EnergyRegularizedLoss(kernel=k, **SETTINGS, ignore_index=255) for k in ("triton", "reference")
        ]
        torch.testing.assert_close(*(loss(rows, labels) for loss in pair))
    try:
        EnergyRegularizedLoss(kernel="triton")(rows, torch.tensor([0, 1, 2, 3]))
    except IndexError as error:
        assert "Target 3 is out of bounds" in str(error)  # noqa: PT017
    else:
        raise AssertionError("a class that is not there must be refused")


def operators() -> None:
    """`opcheck`, and a graph without a break that holds the kernels."""
    for shape, reduction in (((6, 5), "group_mean"), ((2, 5, 3, 4), "none")):
        loss = EnergyRegularizedLoss(kernel="triton", **SETTINGS, reduction=reduction, ignore_index=3)
        logits = torch.randn(shape, requires_grad=True)
        targets = torch.randint(-2, 5, (shape[0], *shape[2:]))
        given = (0.3, -8.0, -5.0, reduction, 3, "propagate", True)
        torch.library.opcheck(torch.ops.energy_plugin.loss, (logits, targets, None, None, *given))
        value, lse, scale = torch.ops.energy_plugin.loss(logits.detach(), targets, None, None, *given)
        arguments = (logits.detach(), targets, None, lse, scale, torch.rand_like(value), *given)
        torch.library.opcheck(torch.ops.energy_plugin.loss_gradient, arguments)
        seen = []

        def backend(graph: Any, inputs: Any, seen: list[Any] = seen) -> Any:
            seen.extend(str(node.target) for node in graph.graph.nodes)
            return graph.forward

        compiled = torch.compile(loss, fullgraph=True, backend=backend)(logits, targets)
        assert "energy_plugin.loss" in seen, seen
        plain = EnergyRegularizedLoss(kernel="reference", **SETTINGS, reduction=reduction, ignore_index=3)
        expected = plain(logits, targets)
        torch.testing.assert_close(compiled, expected)
        first = [torch.autograd.grad(v.sum(), logits, create_graph=True)[0] for v in (compiled, expected)]
        torch.testing.assert_close(*first)
        second = [torch.autograd.grad(g.square().sum(), logits)[0] for g in first]
        torch.testing.assert_close(*second)
        again = [torch.autograd.grad(f(logits, targets).sum(), logits)[0] for f in (loss, plain)]
        torch.testing.assert_close(*again)


def maps() -> None:
    cases = [((1, 5, 4, 6), (9, 13), True, 2.5), ((2, 3, 1, 4), (5, 9), False, 1.0)]
    cases += [((1, 4, 6, 6), (3, 4), False, 2.5), ((1, 2, 3, 3), (1, 7), True, 1.0)]
    for low, size, align, temperature in cases:
        logits = torch.randn(low) * 4
        enlarged = functional.interpolate(logits.double(), size=size, mode="bilinear", align_corners=align)
        found = enlarged_energy(logits, size, temperature=temperature, align_corners=align)
        expected = energy(enlarged, temperature=temperature)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the interpreter computes lanes that are masked
    torch.manual_seed(0)
    assert triton_core.interpreted()
    match sys.argv[1]:
        case "loss":
            loss(["mean", "group_mean", "none"])
        case "all":
            loss(["mean", "group_mean", "sum", "none"])
        case "edges":
            edges()
        case "operators":
            operators()
        case "maps":
            maps()
        case other:
            raise SystemExit(f"no case {other}")
