"""What the loss accepts, what it refuses, and what it says then."""

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from energy_plugin.alignment import aligned
from energy_plugin.loss import EnergyRegularizedLoss, EnergyRegularizer

INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64]
UNSIGNED = [torch.uint8, torch.uint16, torch.uint32]


def loss(**settings: Any) -> EnergyRegularizedLoss:
    return EnergyRegularizedLoss(0.1, -5, -3, **settings)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_any_integer_dtype_of_labels(dtype: torch.dtype) -> None:
    logits, targets = torch.randn(8, 4), torch.tensor([0, 1, 2, 3, -1, -1, -2, 0])
    assert loss()(logits, targets.to(dtype)) == loss()(logits, targets)


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_unsigned_labels_with_a_void_code(dtype: torch.dtype) -> None:
    logits, targets = torch.randn(4, 3), torch.tensor([0, 2, 255, 1])
    void = loss(ignore_index=255)
    assert void(logits, targets.to(dtype)) == void(logits, targets)
    assert void.group_counts(targets.to(dtype)).tolist() == [3, 0]
    kept = targets.clamp(max=2).to(dtype)
    assert loss()(logits, kept) == loss()(logits, kept.long())


def test_a_void_code_is_not_wrapped_into_a_narrow_dtype() -> None:
    """In PyTorch `int8(-1) == 255` and `uint8(255) == -1` are true; an outlier must not become void by it."""
    logits = torch.tensor([[5.0, 1.0, 0.0]])
    outlier = torch.tensor([-1], dtype=torch.int8)
    assert loss(ignore_index=255, reduction="sum")(logits, outlier) > 0
    assert loss(ignore_index=255).group_counts(outlier).tolist() == [0, 1]
    with pytest.raises(IndexError, match="Target 255 is out of bounds"):
        loss(ignore_index=-1)(logits, torch.tensor([255], dtype=torch.uint8))


def test_uint8_minus_one_is_refused_as_pytorch_refuses_a_class_that_is_not_there() -> None:
    targets = torch.from_numpy(np.array([-1], dtype=np.int8).astype(np.uint8))
    with pytest.raises(IndexError, match="Target 255 is out of bounds"):
        loss()(torch.randn(1, 3), targets)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 7), (2, 3, 4, 5)])
def test_a_class_that_is_not_there_gives_pytorchs_error_and_a_hint(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape)
    targets = torch.full((shape[0], *shape[2:]), 255)
    with pytest.raises(IndexError) as theirs:
        functional.cross_entropy(logits, targets)
    with pytest.raises(IndexError) as ours:
        loss()(logits, targets)
    assert str(ours.value).startswith(str(theirs.value))
    assert "have 3 classes" in str(ours.value)
    assert "ignore_index=255" in str(ours.value)
    assert "labels.translate" in str(ours.value)


def test_minus_100_is_an_outlier_unless_it_is_named_as_void() -> None:
    logits, targets = torch.randn(2, 3), torch.tensor([0, -100])
    assert loss().group_counts(targets).tolist() == [1, 1]
    assert loss(ignore_index=-100).group_counts(targets).tolist() == [1, 0]
    torch.testing.assert_close(loss(ignore_index=-100)(logits, targets), loss()(logits[:1], targets[:1]))


@pytest.mark.parametrize("void", [255, 1, -1, -100])
def test_void_has_no_loss_no_gradient_and_is_in_no_mean(void: int) -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    targets = torch.randint(0, 3, (2, 4, 5))
    targets[0, :, :2] = -7
    targets[:, 2] = void
    is_void = targets == void
    result = loss(ignore_index=void, reduction="none")(logits, targets)
    assert not result[is_void].any()
    gradient = torch.autograd.grad(loss(ignore_index=void)(logits, targets), logits)[0]
    assert not gradient.movedim(1, -1)[is_void].any()
    kept = logits.movedim(1, -1)[~is_void], targets[~is_void]
    torch.testing.assert_close(loss(ignore_index=void)(logits, targets), loss()(*kept))


@pytest.mark.parametrize(
    ("shape", "extra"), [((4, 3), (4, 1)), ((2, 3, 4, 5), (2, 1, 4, 5)), ((2, 3, 6), (2, 1, 6))]
)
def test_targets_may_keep_a_channel_of_one(shape: tuple[int, ...], extra: tuple[int, ...]) -> None:
    logits, targets = torch.randn(shape), torch.randint(-1, 3, extra)
    assert loss()(logits, targets) == loss()(logits, targets.squeeze(1))


def test_one_class() -> None:
    assert loss(reduction="none")(
        torch.tensor([[2.0], [2.0]]), torch.tensor([0, -1])
    ).tolist() == pytest.approx([0.1 * 9, 0.0])


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "expanded"])
def test_memory_layout_does_not_matter(layout: str) -> None:
    plain, targets = torch.randn(2, 6, 4, 5), torch.randint(-1, 6, (2, 4, 5))
    logits = {
        "channels_last": lambda: plain.contiguous(memory_format=torch.channels_last),
        "sliced": lambda: torch.cat([plain, plain], 3)[..., :5],
        "expanded": lambda: plain[:1].expand(2, -1, -1, -1),
    }[layout]()
    torch.testing.assert_close(loss()(logits, targets), loss()(logits.contiguous(), targets))


def test_outputs_of_networks_that_plainly_hold_the_logits() -> None:
    logits, targets = torch.randn(2, 3, 4, 5), torch.randint(-1, 3, (2, 4, 5))
    expected = loss()(logits, targets)
    assert loss()(OrderedDict(out=logits, aux=logits + 1), targets) == expected
    assert loss()({"logits": logits}, targets) == expected


@pytest.mark.parametrize("size", [(16, 20), (15, 19), (8, 10)])
def test_low_resolution_logits_are_enlarged_to_the_mask(size: tuple[int, int]) -> None:
    logits, targets = torch.randn(2, 3, 4, 5), torch.randint(-1, 3, (2, *size))
    enlarged = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    assert loss()(logits, targets) == loss()(enlarged, targets)
    nearest = functional.interpolate(logits, size=size, mode="nearest")
    assert loss(upsample="nearest")(logits, targets) == loss()(nearest, targets)
    with pytest.raises(ValueError, match="do not fit logits"):
        loss(upsample=None)(logits, targets)


def test_low_resolution_logits_in_one_and_three_dimensions() -> None:
    assert loss()(torch.randn(2, 3, 4), torch.randint(-1, 3, (2, 8))).isfinite()
    assert loss()(torch.randn(2, 3, 2, 3, 4), torch.randint(-1, 3, (2, 4, 6, 8))).isfinite()


@pytest.mark.parametrize(
    "shape", [(2, 2, 3), (2, 8, 5), (2, 8, 20), (3, 16, 20), (2, 4), (16, 20), (2, 2, 4, 5)], ids=str
)
def test_masks_that_fit_in_no_plain_way_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"targets of shape .* do not fit logits of shape \(2, 3, 4, 5\)"):
        loss()(torch.randn(2, 3, 4, 5), torch.zeros(shape, dtype=torch.long))


def test_kinds_that_are_no_labels_are_refused() -> None:
    logits = torch.randn(2, 3)
    with pytest.raises(TypeError, match="bool, which cannot say OOD"):
        loss()(logits, torch.tensor([True, False]))
    with pytest.raises(
        TypeError, match=r"must be integers, got torch\.float32 of shape \(2, 3\).*EnergyRegularizer"
    ):
        loss()(logits, torch.rand(2, 3))
    with pytest.raises(TypeError, match=r"torch\.Tensor, got list"):
        loss()(logits, [0, 1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"uint64.*targets\.long\(\)"):
        loss()(logits, torch.tensor([0, 1], dtype=torch.uint64))


@pytest.mark.parametrize("kind", [EnergyRegularizedLoss, EnergyRegularizer])
def test_group_counts_take_what_the_call_takes(kind: type[EnergyRegularizer]) -> None:
    counted = kind().group_counts
    for targets, message in (
        (torch.tensor([0.9, -0.4]), r"must be integers, got torch\.float32"),
        (torch.tensor([True, False]), "bool, which cannot say OOD"),
        ([0, 1], r"torch\.Tensor, got list"),
        (torch.tensor([0, 1], dtype=torch.uint64), "uint64"),
    ):
        with pytest.raises(TypeError, match=message):
            counted(targets)  # type: ignore[arg-type]


def test_inputs_that_are_no_logits_are_refused() -> None:
    targets = torch.tensor([0, 1])
    with pytest.raises(TypeError, match=r"floating point, got torch\.int64"):
        loss()(torch.zeros(2, 3, dtype=torch.long), targets)
    with pytest.raises(ValueError, match=r"got shape \(3,\): add a batch dimension"):
        loss()(torch.zeros(3), targets)
    with pytest.raises(ValueError, match="no class in dimension 1"):
        loss()(torch.zeros(2, 0), targets)
    with pytest.raises(ValueError, match="logits are on meta, targets on cpu"):
        aligned(torch.zeros(2, 3, device="meta"), targets, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"reduction": "average"},
            "reduction must be one of 'none', 'mean', 'group_mean', 'sum'; got 'average'",
        ),
        ({"nonfinite": "ignore"}, "nonfinite must be one of"),
        ({"upsample": "cubic"}, "upsample must be one of"),
        ({"alpha": -1.0}, "alpha must be a finite number >= 0, got -1.0"),
        ({"alpha": float("nan")}, "alpha must be"),
        ({"margin_in": -5.0, "margin_out": -23.0}, "margin_in=-5.0 is above margin_out=-23.0"),
        ({"margin_in": float("nan")}, "margins must be finite"),
        ({"label_smoothing": 1.5}, "label_smoothing must be in"),
        ({"alpha": torch.tensor(-1.0)}, r"alpha must be finite and >= 0, got a tensor of -1.0"),
        ({"alpha": torch.tensor(float("nan"))}, "alpha must be finite"),
        ({"alpha": torch.nn.Parameter(torch.tensor(-1.0))}, "alpha must be finite"),
        ({"alpha": torch.ones(2)}, r"alpha must be one number, got a tensor of shape \(2,\)"),
        ({"weight": torch.ones(2, 2)}, r"one value a class, got torch.float32 of shape \(2, 2\)"),
        ({"weight": torch.ones(2), "criterion": torch.nn.CrossEntropyLoss()}, "give them to the criterion"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnergyRegularizedLoss(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": "0.1"}, "alpha must be a number, got '0.1'"),
        ({"alpha": None}, "alpha must be a number, got None"),
        ({"alpha": torch.tensor(True)}, r"alpha must be .* got torch\.bool"),
        ({"margin_in": "-25"}, "margin_in must be a number, got '-25'"),
        ({"margin_out": None}, "margin_out must be a number, got None"),
        ({"label_smoothing": None}, "label_smoothing must be a number, got None"),
        ({"label_smoothing": "a"}, "label_smoothing must be a number"),
        ({"ignore_index": [255, 254]}, r"ignore_index must be one integer or None, got \[255, 254\]"),
        ({"ignore_index": "255"}, "ignore_index must be one integer"),
        ({"ignore_index": 255.0}, "ignore_index must be one integer"),
        ({"ignore_index": True}, "ignore_index must be one integer"),
        ({"criterion": "ce"}, "criterion must be called as .* got 'ce'"),
    ],
)
def test_settings_of_another_kind_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        EnergyRegularizedLoss(**settings)


def test_numbers_of_other_libraries_are_numbers() -> None:
    made = EnergyRegularizedLoss(
        np.float32(0.5),
        torch.tensor(-25.0),
        np.float64(-7),
        ignore_index=np.int64(255),  # type: ignore[arg-type]
    )
    assert (made.alpha, made.margin_in, made.margin_out, made.ignore_index) == (0.5, -25.0, -7.0, 255)
    assert "alpha=0.5, margin_in=-25.0" in repr(made)


def test_a_weight_for_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="weight has 2 values for logits of 3 classes"):
        loss(weight=torch.ones(2))(torch.randn(1, 3), torch.tensor([0]))


def test_a_criterion_that_takes_a_mean_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(\) for targets of shape \(2,\)"):
        loss(criterion=torch.nn.CrossEntropyLoss())(torch.randn(2, 3), torch.tensor([0, 1]))


def test_counts_that_are_no_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="tensor of 2 values, got tuple"):
        loss()(torch.randn(2, 3), torch.tensor([0, 1]), counts=(2, 0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"tensor of 3 values, got shape \(2,\)"):
        loss(weight=torch.ones(3))(torch.randn(2, 3), torch.tensor([0, 1]), counts=torch.tensor([2, 0]))
    for counts in ("foo", torch.tensor([True, False]), torch.zeros(2, dtype=torch.complex64), torch.ones(3)):
        for reduction in ("sum", "none", "mean"):
            with pytest.raises(ValueError, match="counts must be a tensor of 2 values"):
                loss(reduction=reduction)(torch.randn(2, 3), torch.tensor([0, 1]), counts=counts)


def test_the_state_holds_alpha_and_the_margins() -> None:
    source, target = loss(), EnergyRegularizedLoss()
    target.load_state_dict(source.state_dict())
    assert (target.alpha, target.margin_in, target.margin_out) == (0.1, -5.0, -3.0)
    assert source.half().margin_in == -5.0


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_tensor_alpha_is_in_the_state_and_moves_with_the_module(shape: tuple[int, ...]) -> None:
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, -1, -1, 0])
    source = EnergyRegularizedLoss(torch.full(shape, 0.3, dtype=torch.float64), -5, -3)
    wanted = EnergyRegularizedLoss(0.3, -5, -3)(logits, targets)
    assert source(logits, targets).item() == pytest.approx(wanted.item())
    assert not list(source.parameters())
    assert source.to("meta").alpha.is_meta  # type: ignore[union-attr]
    source = EnergyRegularizedLoss(torch.full(shape, 0.3, dtype=torch.float64), -5, -3)
    for other in (EnergyRegularizedLoss(), EnergyRegularizedLoss(torch.ones(shape, dtype=torch.float64))):
        other.load_state_dict(source.state_dict())
        assert float(other.alpha) == 0.3
        assert other(logits, targets).item() == pytest.approx(wanted.item())
    source.load_state_dict(loss().state_dict())
    assert float(source.alpha) == 0.1
    assert isinstance(source.alpha, torch.Tensor)
    assert "alpha=a tensor" in repr(source)


def test_a_state_that_does_not_say_alpha_leaves_it_as_it_is() -> None:
    """Of a learnt alpha, and of what earlier versions wrote for any tensor."""
    state = {"_extra_state": torch.tensor([float("nan"), -6.0, -2.0], dtype=torch.float64)}
    for made in (loss(), EnergyRegularizedLoss(torch.tensor(0.1, dtype=torch.float64), -5, -3)):
        made.load_state_dict(state)
        assert (float(made.alpha), made.margin_in, made.margin_out) == (0.1, -6.0, -2.0)
    learnt = EnergyRegularizedLoss(torch.nn.Parameter(torch.tensor(0.25)), -5, -3)
    other = EnergyRegularizedLoss(torch.nn.Parameter(torch.tensor(1.0)))
    other.load_state_dict(learnt.state_dict())
    assert (other.alpha, other.margin_in) == (0.25, -5.0)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([1.0, -1.0, -5.0], "margin_in=-1.0 is above"),
        ([1.0, float("nan"), -5.0], "margins must be finite"),
        ([-1.0, -5.0, -1.0], "alpha must be"),
        ([float("inf"), -5.0, -1.0], "alpha must be"),
        ([1.0, -5.0], "alpha and two margins"),
    ],
)
def test_a_state_is_checked_as_the_settings_are(figures: list[float], message: str) -> None:
    made = loss()
    with pytest.raises(ValueError, match=message):
        made.load_state_dict({"_extra_state": torch.tensor(figures)})
    assert (made.alpha, made.margin_in, made.margin_out) == (0.1, -5.0, -3.0)


def test_the_repr_shows_the_settings() -> None:
    assert (
        repr(loss()) == "EnergyRegularizedLoss(alpha=0.1, margin_in=-5.0, margin_out=-3.0, reduction='mean')"
    )
    shown = repr(loss(ignore_index=255, label_smoothing=0.1, weight=torch.ones(19), synchronize=True))
    assert "weight='19 classes', label_smoothing=0.1, ignore_index=255, synchronize=True" in shown


@pytest.mark.parametrize("kind", [EnergyRegularizedLoss, EnergyRegularizer])
def test_copies_behave_alike(kind: type[EnergyRegularizer]) -> None:
    original = kind(0.1, -5, -3, "group_mean", ignore_index=255)
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, -1, 255, 0])
    for twin in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert twin(logits, targets) == original(logits, targets)


def test_margins_from_measured_energies() -> None:
    made = EnergyRegularizedLoss.from_energies(
        torch.tensor([-16.0, -18.0]), torch.tensor([-8.0, -6.0]), alpha=0.1
    )
    assert -18 <= made.margin_in <= -16
    assert -8 <= made.margin_out <= -6
    assert made.alpha == 0.1
