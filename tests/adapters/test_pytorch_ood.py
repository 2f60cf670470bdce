"""The adapter to pytorch-ood: new names, the host's own numbers, no trace afterwards."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
import torch

from energy_plugin import register
from energy_plugin.testing import check_detector, check_host, check_loss, check_plugin

pytorch_ood = pytest.importorskip("pytorch_ood", reason="the extra [pytorch-ood] is not installed")
bridge: Any = importlib.import_module("energy_plugin_pytorch_ood.bridge")
host_loss: Any = importlib.import_module("pytorch_ood.loss")
host_detector: Any = importlib.import_module("pytorch_ood.detector")

SHAPES = {"classification": (16, 5), "segmentation": (4, 5, 6, 7)}
SHARES = {"both": 0.4, "no OOD": -1.0, "all OOD": 1.1}


def batch(shape: tuple[int, ...], share: float) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 4 * torch.randn(shape)
    targets = torch.randint(5, (shape[0], *shape[2:]))
    return logits, targets.where(torch.rand(targets.shape) > share, -1)


def test_contracts() -> None:
    hosts = [r.name for r in check_plugin("energy_plugin_pytorch_ood") if r.kind == "host"]
    assert hosts == ["pytorch_ood"]
    check_host("pytorch_ood", modules=["pytorch_ood"])
    check_loss(bridge.EnergyPluginLoss)
    check_detector(lambda: DetectorFace(bridge.EnergyPluginDetector(None)))


class DetectorFace:
    """Our contract's name for what the host calls `predict_logits`."""

    def __init__(self, detector: Any) -> None:
        self.score = detector.predict_logits


def test_the_host_gains_two_names_and_loses_nothing() -> None:
    losses, detectors = dict(vars(host_loss)), dict(vars(host_detector))
    with register("pytorch_ood"):
        assert vars(host_loss) == losses | {"EnergyPluginLoss": bridge.EnergyPluginLoss}
        assert vars(host_detector) == detectors | {"EnergyPluginDetector": bridge.EnergyPluginDetector}
    assert vars(host_loss) == losses
    assert vars(host_detector) == detectors


@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_is_a_drop_in(shape: tuple[int, ...], reduction: str, share: float) -> None:
    logits, targets = batch(shape, share)
    for options in ({}, {"alpha": 0.5, "margin_in": -6.0, "margin_out": -3.0}):
        mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        got = bridge.EnergyPluginLoss(reduction=reduction, **options)(mine, targets)
        wanted = host_loss.EnergyRegularizedLoss(reduction=reduction, **options)(theirs, targets)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
        got.sum().backward()
        wanted.sum().backward()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_defaults_are_those_of_the_installed_version() -> None:
    theirs = inspect.signature(host_loss.EnergyRegularizedLoss.__init__).parameters
    ours = bridge.EnergyPluginLoss()
    assert ours.alpha == theirs["alpha"].default
    assert ours.margin_in == theirs["margin_in"].default
    assert ours.margin_out == theirs["margin_out"].default


@pytest.mark.parametrize(
    ("version", "meant"), [("0.3.3", "mean"), ("0.4.0", "group_mean"), ("0.10.1", "group_mean")]
)
def test_mean_means_what_it_means_in_that_version(
    monkeypatch: pytest.MonkeyPatch, version: str, meant: str
) -> None:
    monkeypatch.setattr("energy_plugin_pytorch_ood.loss.version", lambda _: version)
    assert bridge.EnergyPluginLoss().reduction == meant
    assert bridge.EnergyPluginLoss(reduction="sum").reduction == "sum"
    assert bridge.EnergyPluginLoss(reduction="group_mean").reduction == "group_mean"


def test_a_wrong_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction"):
        bridge.EnergyPluginLoss(reduction="median")


def test_further_options_reach_our_loss() -> None:
    logits, targets = batch((16, 5), 0.4)
    targets[0] = 255
    loss = bridge.EnergyPluginLoss(ignore_index=255)
    torch.testing.assert_close(loss(logits, targets), bridge.EnergyPluginLoss()(logits[1:], targets[1:]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_detector_scores_as_the_hosts_does(shape: tuple[int, ...], temperature: float) -> None:
    logits = 4 * torch.randn(shape)
    ours = bridge.EnergyPluginDetector(None, t=temperature)
    theirs = host_detector.EnergyBased(None, t=temperature)
    torch.testing.assert_close(ours.predict_logits(logits), theirs.predict_logits(logits))


def test_the_hosts_own_machinery_takes_the_detector() -> None:
    metrics = importlib.import_module(
        "pytorch_ood.utils" if not hasattr(pytorch_ood, "metrics") else "pytorch_ood.metrics"
    )
    model = torch.nn.Linear(7, 5)
    images = torch.randn(32, 7)
    labels = torch.tensor([0, -1]).repeat(16)
    figures = []
    for kind in (bridge.EnergyPluginDetector, host_detector.EnergyBased):
        collected = metrics.OODMetrics()
        collected.update(kind(model)(images).detach(), labels)
        figures.append(collected.compute())
    assert figures[0] == figures[1]
    assert bridge.EnergyPluginDetector.info == host_detector.EnergyBased.info
