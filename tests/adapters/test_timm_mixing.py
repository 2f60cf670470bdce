"""Mixup and CutMix for ID rows alone, soft targets, accuracy without outliers, both routes of a task."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch

from energy_plugin import EnergyRegularizedLoss, register

timm = pytest.importorskip("timm", reason="the extra [timm] is not installed")
from energy_plugin_timm.mixing import OUTLIER, IdMixup, SoftTargetEnergyLoss, id_accuracy  # noqa: E402

task: Any = importlib.import_module("timm.task")
SETTINGS = {"alpha": 0.1, "margin_in": -5.0, "margin_out": -2.0}


@pytest.fixture
def batch():
    """Six ID rows and three outliers, in between."""
    targets = torch.tensor([0, -1, 1, 2, -1, 3, 0, -5, 2])
    return torch.rand(9, 3, 8, 8), targets


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0)])
def test_id_rows_are_mixed_among_themselves_and_outliers_stay(batch, mode, alphas):
    np.random.seed(3)  # noqa: NPY002 - timm draws from numpy's global generator
    images, targets = batch
    before, known = images.clone(), targets >= 0
    mixer = IdMixup(*alphas, mode=mode, num_classes=4, label_smoothing=0.0)
    mixed, soft = mixer(images, targets)
    assert torch.equal(mixed[~known], before[~known])
    assert (soft[~known] == OUTLIER).all()
    assert not torch.equal(mixed[known], before[known])
    torch.testing.assert_close(soft[known].sum(1), torch.ones(6))
    np.random.seed(3)  # noqa: NPY002
    theirs = timm.data.Mixup(*alphas, mode=mode, num_classes=4, label_smoothing=0.0)
    wanted, wanted_soft = theirs(before[known].clone(), targets[known])
    assert torch.equal(mixed[known], wanted)
    torch.testing.assert_close(soft[known], wanted_soft.to(soft.dtype))


def test_of_an_odd_number_the_last_row_is_left(batch):
    images, targets = batch
    targets[8] = -1
    before = images.clone()
    mixed, soft = IdMixup(1.0, num_classes=4, label_smoothing=0.1)(images, targets)
    assert torch.equal(mixed[6], before[6])
    assert soft[6].tolist() == pytest.approx([0.925, 0.025, 0.025, 0.025])
    mixed, soft = IdMixup(1.0, num_classes=4)(images[:1], torch.tensor([-1]))
    assert (soft == OUTLIER).all()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "group_mean"])
def test_one_hot_targets_give_the_loss_of_classes(batch, reduction):
    _, targets = batch
    logits = (4 * torch.randn(9, 4)).requires_grad_()
    soft = torch.full((9, 4), OUTLIER)
    soft[targets >= 0] = torch.nn.functional.one_hot(targets[targets >= 0], 4).float()
    wanted = EnergyRegularizedLoss(**SETTINGS, reduction=reduction)(logits, targets)
    (expected,) = torch.autograd.grad(wanted.sum(), logits)
    for given in (soft, targets):
        found = SoftTargetEnergyLoss(**SETTINGS, reduction=reduction)(logits, given)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(torch.autograd.grad(found.sum(), logits)[0], expected)
    with pytest.raises(ValueError, match="soft targets of shape"):
        SoftTargetEnergyLoss()(logits, soft[:, :3])


def test_mixed_targets_give_the_mixed_cross_entropy(batch):
    _, targets = batch
    logits, known = torch.randn(9, 4), targets >= 0
    soft = torch.full((9, 4), OUTLIER)
    soft[known] = torch.rand(6, 4).softmax(1)
    found = SoftTargetEnergyLoss(0.0, reduction="group_mean")(logits, soft)
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits[known], soft[known]))


def test_the_factory_gives_it_where_targets_are_soft():
    with register("timm"):
        factory = importlib.import_module("timm.loss").create_classification_loss
        loss = factory("energy_regularized", soft_targets=True, smoothing=0.1, **SETTINGS)
    assert isinstance(loss, SoftTargetEnergyLoss)
    assert loss.regularizer.margin_in == -5.0


def test_accuracy_is_that_of_the_id_rows(batch):
    _, targets = batch
    logits = 10.0 * torch.nn.functional.one_hot(targets.clamp_min(0), 4) - torch.arange(4)
    logits[0] = torch.tensor([1.0, 2.0, 0.0, 0.0])  # its class comes second
    assert id_accuracy(logits, targets, (1, 2)) == pytest.approx([500 / 6, 100.0])
    assert math.isnan(id_accuracy(logits[:1], torch.tensor([-1]))[0])


def test_both_routes_of_a_task_give_the_same_gradient_on_real_images():
    from energy_plugin_bench.inputs import assets, imagesets

    try:
        known, outliers = imagesets.mnist_test(), imagesets.fashion_mnist_test()
    except assets.MissingAssetError as error:
        pytest.skip(str(error))
    images = np.concatenate([known.images[:12], outliers.images[:8]])
    inputs = torch.from_numpy(images).unsqueeze(1).float() / 255
    inputs = torch.nn.functional.interpolate(inputs, size=64)
    targets = torch.cat([torch.from_numpy(known.labels[:12]), torch.full((8,), -1)])
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    gradients = []
    with register("timm"):
        by_name = {
            "criterion_kwargs": {"loss_type": "energy_regularized", **SETTINGS, "reduction": "group_mean"}
        }
        by_hand = {"criterion": EnergyRegularizedLoss(**SETTINGS, reduction="group_mean")}
        for route in (by_name, by_hand):
            model.zero_grad()
            task.ClassificationTask(model, **route, verbose=False)(inputs, targets)["loss"].backward()
            gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert any(gradient.abs().max() > 0 for gradient in gradients[0])
