"""The adapter to timm: one more loss type, everything else handed on, no trace afterwards."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from energy_plugin import EnergyRegularizedLoss, register
from energy_plugin.errors import HostMissingError
from energy_plugin.testing import check_host, check_loss, check_plugin

timm = pytest.importorskip("timm", reason="the extra [timm] is not installed")
task: Any = importlib.import_module("timm.task")
losses: Any = importlib.import_module("timm.loss")


@pytest.fixture
def registered() -> Iterator[None]:
    with register("timm"):
        yield


def test_contracts(registered: None) -> None:
    assert [record.name for record in check_plugin("energy_plugin_timm")] == [
        "timm",
        "timm",
    ]  # backbones, host
    check_loss(lambda: losses.create_classification_loss("energy_regularized"), tasks=("classification",))


def test_no_trace_is_left() -> None:
    check_host("timm", modules=["timm"])
    assert "energy_regularized" not in losses.LOSS_TYPES
    with pytest.raises(ValueError, match="Unknown loss type 'energy_regularized'"):
        losses.create_classification_loss("energy_regularized")


def test_a_timm_without_losses_by_name_is_told_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "energy_plugin_timm.bridge", raising=False)
    monkeypatch.delattr(losses, "create_classification_loss")
    with pytest.raises(HostMissingError) as caught:
        register("timm")
    for part in ("from version 1.0.31 on", f"installed: timm {timm.__version__}", "'energy-plugin[timm]'"):
        assert part in str(caught.value)


def test_the_name_is_known_wherever_one_looks(registered: None) -> None:
    for place in (losses, task):
        assert place.LOSS_TYPES[-1] == "energy_regularized"
        assert isinstance(place.create_classification_loss("energy_regularized"), EnergyRegularizedLoss)


def test_a_task_trains_with_it_by_name(registered: None) -> None:
    settings = {"loss_type": "energy_regularized", "alpha": 0.1, "margin_in": -5.0, "margin_out": -3.0}
    model = torch.nn.Linear(7, 5)
    trained = task.ClassificationTask(model, criterion_kwargs=settings, verbose=False)
    inputs, targets = torch.randn(6, 7), torch.tensor([0, 1, 4, -1, -1, 2])
    result = trained(inputs, targets)
    wanted = EnergyRegularizedLoss(0.1, -5.0, -3.0)(model(inputs), targets)
    torch.testing.assert_close(result["loss"], wanted)
    result["loss"].backward()
    assert model.weight.grad is not None


def test_every_other_name_goes_to_timm_as_before(registered: None) -> None:
    assert isinstance(losses.create_classification_loss(), torch.nn.CrossEntropyLoss)
    assert isinstance(losses.create_classification_loss("bce", True), losses.BinaryCrossEntropy)
    smoothed = losses.create_classification_loss("ce", smoothing=0.1)
    assert isinstance(smoothed, losses.LabelSmoothingCrossEntropy)
    with pytest.raises(ValueError, match="Unknown loss type 'energy'"):
        losses.create_classification_loss("energy")


def test_timms_arguments_are_translated(registered: None) -> None:
    loss = losses.create_classification_loss(
        "energy_regularized", False, 0.1, class_weight=[1.0, 2.0], alpha=0.2, bce_sum=False, poly_epsilon=2.0
    )
    assert loss.label_smoothing == pytest.approx(0.1)
    assert loss.alpha == pytest.approx(0.2)
    logits, targets = torch.randn(4, 2), torch.tensor([0, 1, -1, 1])
    wanted = EnergyRegularizedLoss(0.2, label_smoothing=0.1, weight=torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(loss(logits, targets), wanted(logits, targets))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"multi_label": True}, "not several labels"),
        ({"soft_targets": True, "class_weight": [1.0]}, "no class weights for soft targets"),
        ({"poly_epsilon": 1.0, "bce_sum": True}, "no use for bce_sum, poly_epsilon"),
    ],
)
def test_what_has_no_meaning_here_is_refused(registered: None, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        losses.create_classification_loss("energy_regularized", **options)
    with pytest.raises(TypeError, match="margin_inn"):
        losses.create_classification_loss("energy_regularized", margin_inn=1.0)
