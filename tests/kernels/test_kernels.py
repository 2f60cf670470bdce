"""Every kernel gives the values and gradients of the formula in float64; and who is asked when."""

import copy
import os
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from energy_plugin import kernels
from energy_plugin.energy import REDUCTIONS
from energy_plugin.energy import energy as plain_energy
from energy_plugin.kernels import compiled, eager, plan
from energy_plugin.loss import EnergyRegularizedLoss, EnergyRegularizer

SETTINGS = {"alpha": 0.3, "margin_in": -8.0, "margin_out": -5.0}
SHAPES = [(40, 10), (24, 50), (3, 7, 5, 6), (2, 5, 9), (6, 4, 1, 1)]
CASES: list[dict[str, Any]] = [
    {},
    {"gradient_in_forward": True},
    {"ignore_index": 3},
    {"ignore_index": 255, "nonfinite": "skip"},
    {"weight": "given", "ignore_index": 1},
    {"alpha": 0.0},
]


def settled(extra: dict[str, Any], classes: int) -> dict[str, Any]:
    chosen = SETTINGS | extra
    if "weight" in extra:
        chosen["weight"] = torch.linspace(0.5, 1.5, classes)
    return chosen


def batch(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    logits = (torch.randn(shape) * 3).to(dtype).requires_grad_()
    targets = torch.randint(-2, shape[1], (shape[0], *shape[2:]))
    targets.view(-1)[0], targets.view(-1)[-1] = 0, -1
    return logits, targets


def exact(logits: torch.Tensor, targets: torch.Tensor, upstream: torch.Tensor, chosen: dict[str, Any]) -> Any:
    wide = logits.detach().double().requires_grad_()
    loss = EnergyRegularizedLoss(kernel="reference", **chosen).double()
    value = loss(wide, targets)
    return value, torch.autograd.grad(value, wide, upstream.double())[0]


def check(kernel: str, shape: tuple[int, ...], chosen: dict[str, Any], layout: Any = None) -> None:
    logits, targets = batch(shape)
    if layout is not None:
        logits = logits.detach().contiguous(memory_format=layout).requires_grad_()
    before = logits.detach().clone()
    loss = EnergyRegularizedLoss(kernel=kernel, **chosen)
    value = loss(logits, targets)
    assert "Fused" in value.grad_fn.name()  # else the formula would be compared with itself
    upstream = torch.rand_like(value)
    gradient = torch.autograd.grad(value, logits, upstream, retain_graph=True)[0]
    again = torch.autograd.grad(value, logits, upstream)[0]
    expected, expected_gradient = exact(logits, targets, upstream, chosen)
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
    worst = (gradient.double() - expected_gradient).abs().max() / expected_gradient.abs().max()
    assert worst < 2e-6  # float32 keeps 6e-8; a hinge cancels a digit
    assert torch.equal(gradient, again)
    assert torch.equal(logits, before)
    assert gradient.stride() == logits.stride()


@pytest.mark.parametrize("extra", CASES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_eager_kernel_is_exact(shape: tuple[int, ...], reduction: str, extra: dict[str, Any]) -> None:
    check("eager", shape, settled(extra, shape[1]) | {"reduction": reduction})


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_channels_last_keeps_its_layout(reduction: str) -> None:
    check("eager", (3, 7, 5, 6), SETTINGS | {"reduction": reduction}, torch.channels_last)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("shape", [(40, 10), (24, 50), (3, 7, 50, 6), (20, 3, 2, 2)], ids=str)
def test_bands_join_without_a_seam(
    shape: tuple[int, ...], early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager, "BAND", 128)
    monkeypatch.setattr(eager, "ROWS", 128)
    assert len(eager.bands(eager._viewed(torch.empty(shape)))) > 1
    for reduction in REDUCTIONS:
        check("eager", shape, SETTINGS | {"reduction": reduction, "gradient_in_forward": early})


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(40, 10), (24, 50), (3, 7, 5, 6)], ids=str)
def test_half_precision_rounds_once(shape: tuple[int, ...], dtype: torch.dtype, early: bool) -> None:
    logits, targets = batch(shape, dtype)
    loss = EnergyRegularizedLoss(kernel="eager", gradient_in_forward=early, **SETTINGS)
    value = loss(logits, targets)
    gradient = torch.autograd.grad(value, logits)[0]
    expected, expected_gradient = exact(logits, targets, torch.ones(()), SETTINGS)
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
    assert gradient.dtype == dtype
    worst = (gradient.double() - expected_gradient).abs().max() / expected_gradient.abs().max()
    assert worst <= torch.finfo(dtype).eps / 2


@pytest.mark.parametrize("extra", CASES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_functions_that_are_compiled_are_exact(
    reduction: str, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncompiled: the compiler is PyTorch's to test, and costs seconds a case."""
    monkeypatch.setattr(compiled, "compiled", compiled.uncompiled)
    for shape in ((24, 10), (3, 7, 5, 6)):
        check("compile", shape, settled(extra, shape[1]) | {"reduction": reduction})


@pytest.mark.long
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_compiled_kernel_is_exact(reduction: str) -> None:
    for shape in ((24, 10), (3, 7, 5, 6)):
        check("compile", shape, SETTINGS | {"reduction": reduction, "ignore_index": 2})


@pytest.mark.parametrize("kernel", ["eager", "compile"])
@pytest.mark.parametrize("extra", CASES, ids=str)
def test_second_derivatives_are_right(
    kernel: str, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "compiled", compiled.uncompiled)
    loss = EnergyRegularizedLoss(kernel=kernel, **settled(extra, 5)).double()
    logits, targets = batch((6, 5), torch.float64)
    assert torch.autograd.gradcheck(lambda values: loss(values, targets), logits)
    assert torch.autograd.gradgradcheck(lambda values: loss(values, targets), logits)


@pytest.mark.parametrize("kernel", ["eager", "compile"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_float64_stays_float64(kernel: Any, reduction: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "compiled", compiled.uncompiled)
    for shape in ((24, 10), (24, 50), (3, 7, 5, 6)):
        logits, targets = batch(shape, torch.float64)
        pair = [
            EnergyRegularizedLoss(**SETTINGS, reduction=reduction, kernel=k) for k in (kernel, "reference")
        ]
        values = [loss(logits, targets) for loss in pair]
        torch.testing.assert_close(*values, rtol=1e-13, atol=1e-13)
        gradients = [torch.autograd.grad(value.sum(), logits)[0] for value in values]
        torch.testing.assert_close(*gradients, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "group_mean"])
def test_the_hinge_alone_goes_the_same_way(reduction: Any) -> None:
    logits, targets = batch((24, 50))
    ours, plain = (
        EnergyRegularizer(**SETTINGS, reduction=reduction, kernel=k) for k in ("eager", "reference")
    )
    value = ours(logits, targets)
    assert "Fused" in value.grad_fn.name()
    torch.testing.assert_close(value, plain(logits, targets))
    torch.testing.assert_close(
        *(torch.autograd.grad(loss(logits, targets), logits)[0] for loss in (ours, plain))
    )


def test_counts_of_more_than_one_batch() -> None:
    logits, targets = batch((24, 50))
    for extra in ({}, {"weight": "given"}):
        for reduction in ("mean", "group_mean"):
            chosen = settled(extra, 50) | {"reduction": reduction}
            ours, plain = (EnergyRegularizedLoss(kernel=k, **chosen) for k in ("eager", "reference"))
            counts = 3 * ours.group_counts(targets)
            torch.testing.assert_close(
                ours(logits, targets, counts=counts), plain(logits, targets, counts=counts)
            )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", [(24, 50), (2, 7, 5, 6)], ids=str)
@pytest.mark.parametrize("kernel", ["eager", "compile"])
def test_what_is_not_finite_counts_as_in_the_formula(
    kernel: str, shape: tuple[int, ...], bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "compiled", compiled.uncompiled)
    for target in (0, -1, 255):
        logits, targets = batch(shape)
        with torch.no_grad():
            logits.view(-1)[0] = bad
            if bad < 0:
                logits[0].fill_(bad)
        targets[0] = target
        for mode in ("propagate", "skip"):
            pair = [
                EnergyRegularizedLoss(kernel=name, **SETTINGS, ignore_index=255, nonfinite=mode)
                for name in (kernel, "reference")
            ]
            values = [loss(logits, targets) for loss in pair]
            torch.testing.assert_close(*values, equal_nan=True)
            if values[1].isfinite() or bad == -float("inf"):  # else no gradient means anything
                gradients = [torch.autograd.grad(value, logits)[0] for value in values]
                torch.testing.assert_close(*gradients)


def test_a_gradient_that_nobody_wants_is_not_kept() -> None:
    logits, targets = batch((24, 50))
    with torch.no_grad():
        value = EnergyRegularizedLoss(kernel="eager", **SETTINGS)(logits, targets)
    assert value.grad_fn is None
    torch.testing.assert_close(value, EnergyRegularizedLoss(kernel="reference", **SETTINGS)(logits, targets))


def test_it_trains() -> None:
    torch.manual_seed(1)
    inputs, targets = torch.randn(30, 6), torch.randint(-1, 4, (30,))
    ends = []
    for kernel in ("eager", "reference"):
        torch.manual_seed(2)
        model = nn.Linear(6, 4)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = EnergyRegularizedLoss(kernel=kernel, **SETTINGS)
        for _ in range(5):
            optimiser.zero_grad()
            loss(model(inputs), targets).backward()
            optimiser.step()
        ends.append(copy.deepcopy(model.weight.detach()))
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(700, 60), (60, 700), (2, 19, 40, 30)], ids=str)
def test_the_energy_in_bands(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager, "BAND", 2000)
    logits = (torch.randn(shape) * 3).to(dtype)
    asked = []
    own = eager.energy
    monkeypatch.setattr(eager, "energy", lambda *given: asked.append(given) or own(*given))
    for temperature in (1.0, 2.5):
        found = kernels.energy(logits, temperature=temperature)
        expected = plain_energy(logits, temperature=temperature)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert len(asked) == 2
    logits.view(-1)[0] = float("nan")
    torch.testing.assert_close(kernels.energy(logits), plain_energy(logits), equal_nan=True)


def test_the_environment_decides_where_the_argument_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "reference")
    assert kernels.choice("auto") == "reference"
    assert kernels.choice("eager") == "eager"
    monkeypatch.setenv(kernels.VARIABLE, "quick")
    with pytest.raises(ValueError, match="environment variable ENERGY_PLUGIN_KERNEL must be one of"):
        EnergyRegularizedLoss()(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="kernel must be one of"):
        EnergyRegularizedLoss(kernel="quick")  # type: ignore[arg-type]


def test_the_repr_says_why_no_kernel_runs() -> None:
    assert "kernel='reference: label smoothing'" in repr(EnergyRegularizedLoss(label_smoothing=0.1))
    assert "kernel='reference: alpha is a tensor'" in repr(EnergyRegularizedLoss(torch.ones(())))
    shown = repr(EnergyRegularizedLoss(criterion=nn.CrossEntropyLoss(reduction="none")))
    assert "kernel='reference: a criterion of its own'" in shown
    assert "kernel='eager'" in repr(EnergyRegularizedLoss(kernel="eager"))


def test_a_broken_triton_is_said_once_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError("no libtriton")

    own = kernels._module
    monkeypatch.setattr(kernels, "_module", lambda name: broken(name) if "triton" in name else own(name))
    monkeypatch.setattr(kernels, "_said", set())
    logits, targets = batch((24, 50))
    loss = EnergyRegularizedLoss(kernel="triton", **SETTINGS)
    with pytest.warns(
        RuntimeWarning, match="ImportError: no libtriton. The eager kernel runs in their place"
    ):
        value = loss(logits, targets)
    assert "Fused" in value.grad_fn.name()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(logits, targets)


def test_scales_on_the_host_and_on_the_device_agree() -> None:
    for reduction in REDUCTIONS:
        settings = plan.Plan(0.3, -8.0, -5.0, reduction)
        for counts in ([3.0, 2.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0], [3.0, 2.0, 1.7], [3.0, 2.0, 0.0]):
            there = plan.scales_on_device(settings, torch.tensor(counts, dtype=torch.float64), torch.float64)
            assert there.tolist() == pytest.approx(list(plan.scales(settings, counts)), rel=1e-12)


def test_importing_the_loss_loads_no_kernel(tmp_path: Any) -> None:
    import subprocess
    import sys

    script = (
        "import sys, energy_plugin.loss\n"
        "print([n for n in sys.modules if n == 'triton' or n.startswith('energy_plugin.kernels.tri')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
