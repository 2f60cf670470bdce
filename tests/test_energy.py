"""The plain formulas against float64, limits and algebra."""

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from energy_plugin import energy as maths

SHAPES = [(6, 5), (3, 4, 7), (2, 4, 3, 5), (2, 3, 2, 2, 3)]


def test_energy_is_minus_temperature_times_log_sum_exp() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    expected = -2.5 * math.log(sum(math.exp(value / 2.5) for value in (1, 2, 3)))
    assert maths.energy(logits, temperature=2.5).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [1, -1])
def test_energy_reduces_the_class_dimension_only(shape: tuple[int, ...], dim: int) -> None:
    logits = torch.randn(shape, dtype=torch.float64)
    result = maths.energy(logits, dim=dim)
    rows = np.moveaxis(logits.numpy(), dim, -1)
    expected = np.apply_along_axis(lambda row: -reference.log_sum_exp(row), -1, rows)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-13)


@given(st.floats(-80, 80), st.floats(0.1, 20))
def test_a_shift_of_the_logits_shifts_the_energy_back(shift: float, temperature: float) -> None:
    logits = torch.linspace(-3, 4, 12, dtype=torch.float64).reshape(3, 4)
    moved = maths.energy(logits + shift, temperature=temperature)
    torch.testing.assert_close(moved, maths.energy(logits, temperature=temperature) - shift)


def test_energy_goes_to_minus_the_maximum_as_the_temperature_falls() -> None:
    logits = torch.randn(50, 7, dtype=torch.float64)
    torch.testing.assert_close(maths.energy(logits, temperature=1e-4), -logits.amax(1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_float32(dtype: torch.dtype) -> None:
    logits = (torch.randn(2000, 10) * 5).to(dtype)
    result = maths.energy(logits)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), maths.energy(logits.double()), rtol=1e-6, atol=1e-6)


def test_all_classes_masked_is_infinitely_ood_without_a_gradient() -> None:
    logits = torch.tensor([[-torch.inf, -torch.inf], [0.0, -torch.inf]], requires_grad=True)
    result = maths.energy(logits)
    assert result.tolist() == [torch.inf, 0.0]
    result.clamp(max=9).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 0], [-1, 0]]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be a positive, finite number"):
        maths.energy(torch.zeros(1, 2), temperature=temperature)


def test_inputs_that_are_no_logits_are_refused() -> None:
    with pytest.raises(TypeError, match=r"floating point, got torch\.int64"):
        maths.energy(torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"torch\.Tensor, got list"):
        maths.energy([[1.0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(3,\) have no class dimension 1"):
        maths.energy(torch.zeros(3))
    with pytest.raises(ValueError, match="no class in dimension 1"):
        maths.energy(torch.zeros(3, 0))


def test_group_counts_leave_void_out_and_add_up() -> None:
    first, second = torch.tensor([0, 3, -1, 255]), torch.tensor([[-1, -2], [255, 1]])
    counts = maths.group_counts(first, ignore_index=255) + maths.group_counts(second, ignore_index=255)
    assert counts.tolist() == [3, 3]


def test_the_weight_of_the_id_samples_is_summed_in_float64() -> None:
    """In float32 it would be off by 1e-8, in a loss that is right to 1e-15."""
    weight, targets = torch.tensor([0.1, 0.7, 1 / 3]), torch.arange(30_000) % 4 - 1
    counts = maths.group_counts(targets, weight=weight)
    exact = math.fsum(weight[label].item() for label in targets.tolist() if label >= 0)
    assert counts.dtype == torch.float64
    assert counts[2].item() == pytest.approx(exact, rel=1e-13)


def test_group_counts_carry_the_weight_of_the_id_samples() -> None:
    weight = torch.tensor([1.0, 0.5, 0.25])
    counts = maths.group_counts(torch.tensor([0, 2, 2, -1]), weight=weight)
    assert counts.tolist() == [3, 1, 1.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_group_counts_survive_half_precision_weights(dtype: torch.dtype) -> None:
    counts = maths.group_counts(torch.zeros(70_001, dtype=torch.uint8), weight=torch.ones(3, dtype=dtype))
    assert counts.tolist() == [70_001, 0, 70_001]
