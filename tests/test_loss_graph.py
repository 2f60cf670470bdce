"""The loss as a graph: no value is read, so it compiles whole, exports, batches, and differentiates twice."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from energy_plugin.energy import REDUCTIONS
from energy_plugin.loss import EnergyRegularizedLoss

CASES: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1, "ignore_index": 255},
    {"weight": torch.linspace(0.5, 1.5, 5), "nonfinite": "skip"},
    {"alpha": 0.0},
]
SETTINGS = {"alpha": 0.1, "margin_in": -5.0, "margin_out": -3.0}
SHAPES = [(12, 5), (2, 5, 4, 6)]


def make(reduction: Any, extra: dict[str, Any]) -> EnergyRegularizedLoss:
    return EnergyRegularizedLoss(**(SETTINGS | {"reduction": reduction} | extra))


def batch(shape: tuple[int, ...], **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(shape, requires_grad=True, **options)
    return logits, torch.randint(-2, shape[1], (shape[0], *shape[2:]), device=options.get("device"))


@pytest.mark.parametrize("extra", CASES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_read_back_from_a_gpu(
    shape: tuple[int, ...], reduction: Any, extra: dict[str, Any]
) -> None:
    """A fake tensor holds no values, so whatever would read one raises.

    Forward on a fake GPU; backward on a fake CPU, since autograd wants a real device behind a fake GPU.
    """
    for device in ("cuda", "cpu"):
        with FakeTensorMode():
            logits, targets = batch(shape, device=device)
            weight = extra.get("weight")
            settings = extra if weight is None else extra | {"weight": torch.empty(5, device=device)}
            loss = make(reduction, settings)(logits, targets)
            assert loss.device.type == device
            if device == "cpu":
                loss.sum().backward()
                assert logits.grad is not None
                assert logits.grad.shape == logits.shape


def test_the_proof_would_notice_a_value_that_is_read() -> None:
    for device in ("cuda", "cpu"):
        with FakeTensorMode(), pytest.raises(DynamicOutputShapeException):
            make("mean", {"nonfinite": "raise"})(*batch((12, 5), device=device))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_wait_for_the_device(shape: tuple[int, ...], reduction: Any) -> None:
    logits, targets = batch(shape, device="cuda")
    loss = make(reduction, {"ignore_index": 255})
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(logits, targets).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_traces_into_one_graph(shape: tuple[int, ...], reduction: Any, dynamic: bool) -> None:
    torch._dynamo.reset()
    loss = make(reduction, {"label_smoothing": 0.1, "ignore_index": 255})
    backend = "aot_eager" if reduction == "group_mean" else "eager"  # tracing the backward too takes seconds
    traced = torch.compile(loss, fullgraph=True, dynamic=dynamic, backend=backend)
    for rows in (shape[0], shape[0] + 3):
        logits, targets = batch((rows, *shape[1:]))
        expected, found = loss(logits, targets), traced(logits, targets)
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(value.sum(), logits)[0] for value in (found, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.long
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_it_compiles_with_inductor(reduction: Any) -> None:
    torch._dynamo.reset()
    loss = make(reduction, {"label_smoothing": 0.1, "ignore_index": 255})
    compiled = torch.compile(loss, fullgraph=True)
    logits, targets = batch((2, 5, 4, 6))
    expected, found = loss(logits, targets), compiled(logits, targets)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*[torch.autograd.grad(value.sum(), logits)[0] for value in (found, expected)])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_it_exports(reduction: Any) -> None:
    loss = make(reduction, {"ignore_index": 255})
    logits, targets = torch.randn(12, 5), torch.randint(-2, 5, (12,))
    exported = torch.export.export(loss, (logits, targets)).module()
    torch.testing.assert_close(exported(logits, targets), loss(logits, targets))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_vmap_and_functional_gradients(reduction: Any) -> None:
    loss = make(reduction, {"label_smoothing": 0.1})
    logits, targets = torch.randn(7, 3, 5), torch.randint(-2, 5, (7, 3))

    def total(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return loss(rows, labels).sum()

    mapped = torch.func.vmap(torch.func.grad(total))(logits, targets)
    looped = torch.stack([torch.func.grad(total)(*pair) for pair in zip(logits, targets, strict=True)])
    torch.testing.assert_close(mapped, looped)


@pytest.mark.parametrize("extra", CASES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(6, 5), (1, 5, 2, 2)])
def test_first_and_second_derivatives(shape: tuple[int, ...], reduction: Any, extra: dict[str, Any]) -> None:
    loss = make(reduction, extra).double()
    logits, targets = batch(shape, dtype=torch.float64)

    def function(values: torch.Tensor) -> torch.Tensor:
        return loss(values, targets)

    assert torch.autograd.gradcheck(function, logits)
    assert torch.autograd.gradgradcheck(function, logits)


def test_it_runs_on_the_meta_device() -> None:
    logits, targets = batch((12, 5), device="meta")
    assert make("none", {})(logits, targets).shape == (12,)
