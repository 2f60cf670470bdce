"""Precision, range, and values that are not finite."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from energy_plugin.energy import REDUCTIONS
from energy_plugin.loss import EnergyRegularizedLoss

HALVES = [torch.float16, torch.bfloat16]
INF, NAN = float("inf"), float("nan")


def values_and_gradients(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = logits.detach().clone().requires_grad_()
    value = loss(inputs, targets)
    return value.detach(), torch.autograd.grad(value.sum(), inputs)[0]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(256, 10), (2, 7, 16, 16)])
def test_half_precision_loses_only_the_last_rounding(
    shape: tuple[int, ...], dtype: torch.dtype, reduction: Any
) -> None:
    logits, targets = (torch.randn(shape) * 4).to(dtype), torch.randint(-4, shape[1], (shape[0], *shape[2:]))
    loss = EnergyRegularizedLoss(0.1, -8, -3, reduction)
    value, gradient = values_and_gradients(loss, logits, targets)
    exact, exact_gradient = values_and_gradients(loss, logits.double(), targets)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-6)
    eps = torch.finfo(dtype).eps
    worst = (gradient.double() - exact_gradient).abs().max() / exact_gradient.abs().max()
    assert worst <= eps


@pytest.mark.parametrize("dtype", HALVES)
def test_a_hinge_far_from_its_margin_does_not_overflow(dtype: torch.dtype) -> None:
    logits = torch.tensor([[-600.0, -600.0], [600.0, 600.0]], dtype=dtype)
    loss = EnergyRegularizedLoss(1.0, -25, -7, "sum")
    value, gradient = values_and_gradients(loss, logits, torch.tensor([0, -1]))
    exact = EnergyRegularizedLoss(1.0, -25, -7, "sum")(logits.double(), torch.tensor([0, -1]))
    assert value.item() == pytest.approx(exact.item(), rel=1e-6)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", HALVES)
def test_under_autocast_the_loss_is_float32(dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(5, 4)
    inputs, targets = torch.randn(32, 5), torch.randint(-2, 4, (32,))
    loss = EnergyRegularizedLoss(0.1, -5, -3, "group_mean")
    with torch.autocast("cpu", dtype):
        logits = layer(inputs)
        value = loss(logits, targets)
    assert logits.dtype == dtype
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), targets))
    value.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()


def eager(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """What a user would write: PyTorch's cross-entropy and the hinge, in the dtype that comes."""
    known, score = targets >= 0, torch.logsumexp(logits, 1)
    entropy = functional.cross_entropy(logits[known], targets[known], reduction="sum")
    penalty = (25 - score[known]).relu().square().sum() + (score[~known] - 7).relu().square().sum()
    return (entropy + 0.1 * penalty) / len(targets)


@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0])
@pytest.mark.parametrize("shape", [(512, 100), (64, 1000)])
def test_float32_is_no_less_exact_than_the_plain_formula(shape: tuple[int, int], scale: float) -> None:
    logits, targets = torch.randn(shape) * scale, torch.randint(-50, 100, (shape[0],))
    exact = values_and_gradients(eager, logits.double(), targets)
    theirs = values_and_gradients(eager, logits, targets)
    ours = values_and_gradients(EnergyRegularizedLoss(0.1, -25, -7), logits, targets)
    for own, plain, true in zip(ours, theirs, exact, strict=True):
        rounding = 2e-7 * true.abs().max()  # the last digit of float32 may fall either way
        assert (own - true).abs().max() <= (plain - true).abs().max() + rounding


def test_logits_of_any_size() -> None:
    logits = torch.randn(16, 4) * 1e10
    targets = torch.randint(-2, 4, (16,))
    value = EnergyRegularizedLoss()(logits, targets)
    torch.testing.assert_close(
        value.double(), EnergyRegularizedLoss()(logits.double(), targets), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("target", [1, -1, 7])
def test_a_masked_class_gives_finite_gradients(target: int) -> None:
    logits = torch.tensor([[-INF, 2.0, 1.0]])
    value, gradient = values_and_gradients(
        EnergyRegularizedLoss(ignore_index=7), logits, torch.tensor([target])
    )
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient[0, 0] == 0


def test_a_masked_target_is_an_infinite_loss_with_a_finite_gradient() -> None:
    logits = torch.tensor([[-INF, 2.0]])
    value, gradient = values_and_gradients(EnergyRegularizedLoss(), logits, torch.tensor([0]))
    assert value == INF
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("target", "expected"), [(0, INF), (-1, 0.0), (7, 0.0)])
def test_a_row_of_masked_classes_gives_no_gradient(target: int, expected: float) -> None:
    """Its energy is +inf: right for an outlier, infinitely wrong for a known class."""
    logits = torch.full((1, 3), -INF)
    value, gradient = values_and_gradients(
        EnergyRegularizedLoss(ignore_index=7), logits, torch.tensor([target])
    )
    assert value == expected
    assert gradient.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("target", [1, -1])
def test_nonfinite_logits_propagate_by_default(target: int, bad: float) -> None:
    value = EnergyRegularizedLoss(ignore_index=7)(torch.tensor([[bad, 0.0, 1.0]]), torch.tensor([target]))
    assert not value.isfinite()


@pytest.mark.parametrize("bad", [NAN, INF])
def test_nonfinite_logits_of_a_void_sample_do_no_harm(bad: float) -> None:
    logits = torch.tensor([[bad, 0.0, 1.0], [0.0, 1.0, 2.0]])
    loss = EnergyRegularizedLoss(ignore_index=7, nonfinite="raise")
    value, gradient = values_and_gradients(loss, logits, torch.tensor([7, 1]))
    assert value == loss(logits[1:], torch.tensor([1]))
    assert gradient[0].tolist() == [0, 0, 0]
    propagating = values_and_gradients(EnergyRegularizedLoss(ignore_index=7), logits, torch.tensor([7, 1]))
    torch.testing.assert_close(propagating, (value, gradient))


@pytest.mark.parametrize("bad", [NAN, INF])
def test_raise_says_how_many_and_where(bad: float) -> None:
    logits = torch.zeros(2, 3, 2, 2)
    logits[1, 2, 0, 1] = bad
    with pytest.raises(
        ValueError, match=r"1 of 8 samples have a NaN or \+inf logit, the first at index \(1, 0, 1\)"
    ):
        EnergyRegularizedLoss(nonfinite="raise")(logits, torch.zeros(2, 2, 2, dtype=torch.long))


def test_raise_takes_masked_classes_for_granted() -> None:
    assert EnergyRegularizedLoss(nonfinite="raise")(torch.tensor([[-INF, 0.0]]), torch.tensor([1])).isfinite()


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("target", [1, -1])
@pytest.mark.parametrize("reduction", ["mean", "group_mean", "sum"])
def test_skip_leaves_the_sample_out_of_loss_gradient_and_mean(
    reduction: Any, target: int, bad: float
) -> None:
    logits, targets = torch.randn(4, 3), torch.tensor([0, 1, -1, target])
    logits[3, 1] = bad
    loss = EnergyRegularizedLoss(0.1, -5, -3, reduction, nonfinite="skip")
    value, gradient = values_and_gradients(loss, logits, targets)
    torch.testing.assert_close(value, loss(logits[:3], targets[:3]))
    assert gradient.isfinite().all()
    assert not gradient[3].any()


anything = st.one_of(
    st.floats(width=32),
    st.sampled_from([INF, -INF, NAN, 0.0, -0.0, 3e38, -3e38, 1e19, -1e19, 1e-40, 88.8, -25.0]),
)


def check_finite_loss_means_finite_gradient(data: st.DataObject) -> None:
    rows, classes = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    flat = data.draw(st.lists(anything, min_size=rows * classes, max_size=rows * classes))
    targets = data.draw(st.lists(st.integers(-2, classes), min_size=rows, max_size=rows))
    loss = EnergyRegularizedLoss(
        data.draw(st.sampled_from([0.0, 0.1, 1.0])),
        -25,
        -7,
        data.draw(st.sampled_from(REDUCTIONS)),
        label_smoothing=data.draw(st.sampled_from([0.0, 0.1])),
        ignore_index=classes,
        nonfinite=data.draw(st.sampled_from(["propagate", "skip"])),
    )
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, *HALVES]))
    logits = torch.tensor(flat, dtype=torch.float64).reshape(rows, classes).to(dtype)
    value, gradient = values_and_gradients(loss, logits, torch.tensor(targets))
    if value.isfinite().all():
        assert gradient.isfinite().all(), (logits, targets, loss, value, gradient)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_finite_loss_never_comes_with_a_gradient_that_is_not(data: st.DataObject) -> None:
    check_finite_loss_means_finite_gradient(data)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_finite_loss_never_comes_with_a_gradient_that_is_not_at_length(data: st.DataObject) -> None:
    check_finite_loss_means_finite_gradient(data)
