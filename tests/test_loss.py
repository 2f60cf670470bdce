"""The loss's values: against the equation in float64, against PyTorch, against pytorch-ood 0.3.3 and 0.4."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from torch.nn import functional

from energy_plugin.energy import REDUCTIONS
from energy_plugin.loss import EnergyRegularizedLoss, EnergyRegularizer

GOLDEN = json.loads((Path(__file__).parent / "golden" / "pytorch_ood_0_3_3.json").read_text())
SETTINGS = [(1.0, -1.0, -1.0), (0.1, -5.0, -3.0), (0.1, -25.0, -7.0)]
SHAPES = [(40, 6), (3, 5, 9), (2, 5, 4, 6), (2, 4, 3, 2, 3)]


def batch(
    shape: tuple[int, ...], *, void: int | None = None, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in float64 with about a third of OOD samples, and some void ones."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    targets = torch.randint(-shape[1] // 2, shape[1], (shape[0], *shape[2:]), generator=generator)
    if void is not None:
        targets[torch.rand(targets.shape, generator=generator) < 0.2] = void
    return logits, targets


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("void", [None, 255, -2, 1])
def test_the_loss_is_the_equation(
    shape: tuple[int, ...], settings: tuple[float, float, float], reduction: Any, void: int | None
) -> None:
    alpha, margin_in, margin_out = settings
    logits, targets = batch(shape, void=void)
    result = EnergyRegularizedLoss(alpha, margin_in, margin_out, reduction, ignore_index=void)(
        logits, targets
    )
    expected = reference.loss(
        logits.numpy(),
        targets.numpy(),
        alpha=alpha,
        margin_in=margin_in,
        margin_out=margin_out,
        reduction=reduction,
        void=void,
    )
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_and_smoothing_follow_the_equation_beside_outliers(
    shape: tuple[int, ...], reduction: Any
) -> None:
    logits, targets = batch(shape, void=255)
    weight = torch.rand(shape[1], dtype=torch.float64) + 0.1
    loss = EnergyRegularizedLoss(0.1, -5, -3, reduction, weight=weight, label_smoothing=0.2, ignore_index=255)
    expected = reference.loss(
        logits.numpy(),
        targets.numpy(),
        alpha=0.1,
        margin_in=-5,
        margin_out=-3,
        reduction=reduction,
        void=255,
        smoothing=0.2,
        weight=weight.numpy(),
    )
    np.testing.assert_allclose(loss(logits, targets).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_the_hinge_it_is_pytorchs_cross_entropy(
    shape: tuple[int, ...], weighted: bool, smoothing: float, reduction: Any
) -> None:
    logits, targets = batch(shape)
    targets = targets.clamp(min=0)
    targets.view(-1)[::5] = 255
    weight = torch.rand(shape[1], dtype=torch.float64) if weighted else None
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = EnergyRegularizedLoss(
        0.0, reduction=reduction, weight=weight, label_smoothing=smoothing, ignore_index=255
    )(ours, targets)
    expected = functional.cross_entropy(
        theirs, targets, weight, reduction=reduction, label_smoothing=smoothing, ignore_index=255
    )
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        *[torch.autograd.grad(x.sum(), y)[0] for x, y in ((loss, ours), (expected, theirs))]
    )


@pytest.mark.parametrize("case", GOLDEN["classification"], ids=lambda case: str(case["settings"]))
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_classification_equals_pytorch_ood_0_3_3(case: dict[str, Any], reduction: Any) -> None:
    logits = torch.tensor(case["logits"], requires_grad=True)
    loss = EnergyRegularizedLoss(*case["settings"], reduction=reduction)(
        logits, torch.tensor(case["targets"])
    )
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(case[reduction]["value"]), rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(logits.grad, torch.tensor(case[reduction]["gradient"]), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", GOLDEN["segmentation"], ids=lambda case: str(case["settings"]))
def test_how_the_segmentation_branch_of_pytorch_ood_0_3_3_is_wrong(case: dict[str, Any]) -> None:
    """It puts the margin into the log-sum-exp, and spreads two batch scalars over every pixel."""
    alpha, margin_in, margin_out = case["settings"]
    logits, targets = torch.tensor(case["logits"]).double(), torch.tensor(case["targets"])
    theirs = torch.tensor(case["none"]["value"]).double()
    known = targets >= 0
    score = torch.logsumexp(logits, 1)
    inside = (-score - margin_in).relu().square()[known].mean()
    outside = (-torch.logsumexp(margin_out - logits, 1)).relu().square()[~known].mean()
    entropy = functional.cross_entropy(
        logits, targets.where(known, -100), reduction="none", ignore_index=-100
    )
    torch.testing.assert_close(theirs, entropy + alpha * (inside + outside), rtol=1e-5, atol=1e-5)

    ours = EnergyRegularizedLoss(alpha, margin_in, margin_out, "none")(logits, targets)
    outliers = (margin_out + score).relu().square()[~known] * alpha
    torch.testing.assert_close(ours[~known], outliers)
    assert (ours - theirs).abs().max() > 0.1


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("shape", [(40, 6), (2, 5, 4, 6)])
@pytest.mark.parametrize(("ours", "theirs"), [("group_mean", "mean"), ("sum", "sum"), ("none", "none")])
def test_equals_pytorch_ood_0_4(
    shape: tuple[int, ...], settings: tuple[float, float, float], ours: Any, theirs: str
) -> None:
    pytorch_ood_loss = pytest.importorskip("pytorch_ood.loss")
    logits, targets = batch(shape)
    mine, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = EnergyRegularizedLoss(*settings, reduction=ours)(mine, targets)
    expected = pytorch_ood_loss.EnergyRegularizedLoss(*settings, reduction=theirs)(other, targets)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-12, atol=1e-12)


def test_the_signature_and_its_defaults_are_the_seeds() -> None:
    loss = EnergyRegularizedLoss()
    assert (loss.alpha, loss.margin_in, loss.margin_out, loss.reduction) == (1.0, -1.0, -1.0, "mean")
    assert EnergyRegularizedLoss(0.5, -4.0, -2.0, "sum").margin_out == -2.0
    assert EnergyRegularizedLoss(reduction=None).reduction == "none"


def test_the_hinge_can_be_added_to_any_criterion() -> None:
    logits, targets = batch((40, 6))
    alone = EnergyRegularizer(0.1, -5, -3, "group_mean")(logits, targets)
    soft = functional.one_hot(targets.clamp(min=0), 6).double() * 0.9 + 0.1 / 6
    known = targets >= 0
    whole = functional.cross_entropy(logits[known], soft[known]) + alone
    same = EnergyRegularizedLoss(0.1, -5, -3, "group_mean", label_smoothing=0.1)(logits, targets)
    torch.testing.assert_close(whole, same)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_another_criterion_takes_the_place_of_the_cross_entropy(
    shape: tuple[int, ...], reduction: Any
) -> None:
    """One that knows nothing of OOD or void: an index below 0 would be an error in `gather`."""

    def criterion(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return -rows.log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)

    logits, targets = batch(shape, void=255)
    replaced = EnergyRegularizedLoss(0.1, -5, -3, reduction, criterion=criterion, ignore_index=255)
    built_in = EnergyRegularizedLoss(0.1, -5, -3, reduction, ignore_index=255)
    torch.testing.assert_close(replaced(logits, targets), built_in(logits, targets))


def test_alpha_can_be_learnt() -> None:
    logits, targets = batch((40, 6))
    alpha = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    loss = EnergyRegularizedLoss(alpha, -5, -3)
    assert list(loss.parameters()) == [alpha]
    loss(logits, targets).backward()
    torch.testing.assert_close(alpha.grad, EnergyRegularizer(1.0, -5, -3)(logits, targets))


@pytest.mark.parametrize("reduction", ["mean", "group_mean", "sum"])
@pytest.mark.parametrize(
    "targets", [[0, 1, 2], [-1, -1, -1], [9, 9, 9], []], ids=["id", "ood", "void", "empty"]
)
def test_a_group_without_a_sample_adds_nothing(targets: list[int], reduction: Any) -> None:
    logits = torch.randn(len(targets), 4, requires_grad=True)
    loss = EnergyRegularizedLoss(1.0, -9, 3, reduction, ignore_index=9)(
        logits, torch.tensor(targets, dtype=torch.long)
    )
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert bool(logits.grad.any()) == (targets in ([0, 1, 2], [-1, -1, -1]))


def test_a_map_without_pixels_is_a_loss_of_zero() -> None:
    loss = EnergyRegularizedLoss()(torch.zeros(2, 3, 0, 5), torch.zeros(2, 0, 5, dtype=torch.long))
    assert loss.item() == 0


def test_weights_that_are_zero_for_every_present_class_give_zero() -> None:
    loss = EnergyRegularizedLoss(0.0, weight=torch.tensor([0.0, 1.0]))
    assert loss(torch.randn(3, 2), torch.zeros(3, dtype=torch.long)).item() == 0
