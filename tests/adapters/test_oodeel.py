"""The adapter to oodeel: its own runner runs our detector, its training our loss, no trace afterwards."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from page_code import code
from suite_cases import host_module, mnist
from torch.utils.data import DataLoader, TensorDataset

from energy_plugin import EnergyRegularizedLoss, labels, metrics, register
from energy_plugin.detector import EnergyDetector
from energy_plugin.energy import energy
from energy_plugin.testing import check_host, check_plugin

for part in ("oodeel.methods", "oodeel.eval.metrics", "datasets"):
    host_module(part, "the extra [oodeel] is not installed")
methods: Any = importlib.import_module("oodeel.methods")
training: Any = importlib.import_module("oodeel.utils.torch_training_tools")
bench_metrics: Any = importlib.import_module("oodeel.eval.metrics").bench_metrics
bridge: Any = importlib.import_module("energy_plugin_oodeel.bridge")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:oodeel", "ignore::FutureWarning:oodeel")


@pytest.fixture
def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(7, 6), torch.nn.ReLU(), torch.nn.Linear(6, 5))


def fitted(network: torch.nn.Module, **options: Any) -> Any:
    detector = bridge.EnergyPluginDetector(**options)
    detector.fit(network)
    return detector


def test_contracts_and_no_trace() -> None:
    assert [record.name for record in check_plugin("energy_plugin_oodeel")] == ["oodeel"]
    check_host("oodeel", modules=["oodeel"])
    before = dict(vars(methods)), dict(vars(training)), dict(vars(torch.nn))
    with register("oodeel") as handle, register("oodeel") as again:
        assert again is handle
        assert vars(methods) == before[0] | {"EnergyPluginDetector": bridge.EnergyPluginDetector}
        assert {key for key in vars(training) if vars(training)[key] is not before[1][key]} == {"nn"}
        assert vars(torch.nn) == before[2]  # theirs, not the host's
    assert (vars(methods), vars(training), vars(torch.nn)) == before


@pytest.mark.parametrize("t", [0.5, 1.0, 4.0])
def test_scores_are_the_energy_higher_being_more_ood(network: torch.nn.Module, t: float) -> None:
    inputs = 3 * torch.randn(12, 7)
    scores, info = fitted(network, t=t).score(inputs)
    torch.testing.assert_close(torch.tensor(scores), energy(network(inputs).detach(), temperature=t))
    torch.testing.assert_close(torch.tensor(info["logits"]), network(inputs).detach())
    if t == 1.0:
        theirs = methods.Energy()
        theirs.fit(network)
        torch.testing.assert_close(torch.tensor(scores), torch.tensor(theirs.score(inputs)[0]))


def test_a_second_detector_on_the_network_does_no_harm(network: torch.nn.Module) -> None:
    inputs = torch.randn(4, 7)
    ours, theirs = fitted(network), methods.Energy()
    reacting = bridge.EnergyPluginDetector(use_react=True, react_quantile=0.6)
    loader = DataLoader(TensorDataset(torch.randn(32, 7), torch.zeros(32)), batch_size=8)
    reacting.fit(network, fit_dataset=loader)
    clipped, _ = reacting.score(inputs)
    reacting.score(torch.randn(4, 7))  # what the host keeps of the last batch is another one's
    theirs.fit(network)
    torch.testing.assert_close(torch.tensor(ours.score(inputs)[0]), torch.tensor(theirs.score(inputs)[0]))
    torch.testing.assert_close(torch.tensor(reacting.score(inputs)[0]), torch.tensor(clipped))
    assert not torch.allclose(torch.tensor(clipped), torch.tensor(ours_plain(network, inputs)))


def ours_plain(network: torch.nn.Module, inputs: torch.Tensor) -> Any:
    return fitted(network).score(inputs)[0]


def test_no_hook_of_ours_stays_on_the_network(network: torch.nn.Module) -> None:
    detector = fitted(network)
    before = [dict(layer._forward_hooks) for layer in network]
    detector.score(torch.randn(4, 7))
    with pytest.raises(RuntimeError, match="shapes"):
        detector.score(torch.randn(4, 8))
    assert [dict(layer._forward_hooks) for layer in network] == before


def test_half_precision_keeps_the_scores_apart() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(7, 6), torch.nn.Linear(6, 5)).bfloat16()
    scores, _ = fitted(network).score(torch.randn(2000, 7).bfloat16())
    assert scores.dtype == "float32"
    assert len(set(scores)) > 1500


def test_maps_stay_maps_for_a_tensor() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 5, 1))
    images = torch.randn(2, 3, 4, 6)
    scores, _ = fitted(network).score(images)
    torch.testing.assert_close(torch.tensor(scores), energy(network(images).detach()))


@pytest.mark.parametrize("named", [True, False])
def test_their_training_learns_with_our_loss(named: bool) -> None:
    inputs = torch.cat([torch.randn(64, 2) + 4, torch.randn(64, 2) - 4, torch.randn(64, 2)])
    targets = torch.tensor([0, 1, -1]).repeat_interleave(64)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=48, shuffle=True)
    model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    loss = EnergyRegularizedLoss(0.1, -5.0, -1.0, "group_mean")
    with torch.no_grad():
        first = loss(model(inputs), targets)
    with register("oodeel") if named else bridge.loss_named(loss):
        trained = training.train_torch_model(
            loader, model, num_classes=2, epochs=12, loss="EnergyPluginLoss", learning_rate=0.02
        )
    with torch.no_grad():
        assert loss(trained(inputs), targets) < 0.7 * first
    with pytest.raises(AttributeError, match="EnergyPluginLoss"):
        training.train_torch_model(loader, model, num_classes=2, epochs=1, loss="EnergyPluginLoss")


def test_other_losses_stay_as_they_were() -> None:
    loader = DataLoader(TensorDataset(torch.randn(8, 2), torch.randint(2, (8,))), batch_size=4)
    with register("oodeel"):
        training.train_torch_model(loader, "toy_mlp", num_classes=2, epochs=1)


def real_scores(case: Any) -> tuple[Any, Any]:
    detector = fitted(case.network)
    return detector.score(case.loader("digits"))[0], detector.score(case.loader("others"))[0]


def test_their_runner_on_a_real_network_and_real_images() -> None:
    """Their scores of our detector, and on the same scores: their figures beside ours."""
    case = mnist()
    known, other = real_scores(case)
    torch.testing.assert_close(torch.tensor(known), EnergyDetector().score(case.logits("digits")).double())
    theirs = bench_metrics((known, other), step=1)
    pair = torch.tensor(known), torch.tensor(other)
    exact = metrics.evaluate(*pair)
    assert theirs["auroc"] == pytest.approx(exact.auroc, abs=1e-6)
    assert theirs["fpr95tpr"] == pytest.approx(exact.fpr95, abs=1e-12)


def test_the_default_grid_of_every_fourth_threshold_is_why_figures_differ() -> None:
    known, other = real_scores(mnist())
    pair = torch.tensor(known), torch.tensor(other)
    default = bench_metrics((known, other))
    exact, theirs = metrics.evaluate(*pair), metrics.evaluate(*pair, "oodeel")
    assert default["auroc"] == pytest.approx(theirs.auroc, abs=1e-12)
    assert default["fpr95tpr"] == pytest.approx(theirs.fpr95, abs=1e-12)
    assert 1e-7 < abs(default["auroc"] - exact.auroc) < 1e-3


def test_labels_reach_their_metrics_as_zero_and_one() -> None:
    scores = torch.cat([torch.randn(80), torch.randn(40) + 2])
    ours = torch.tensor([3, -1]).repeat_interleave(torch.tensor([80, 40]))
    wanted = metrics.auroc(scores[:80], scores[80:])
    right = bench_metrics(scores.numpy(), labels.to_host(ours, "oodeel").numpy(), step=1)
    wrong = bench_metrics(scores.numpy(), ours.clamp(max=0).numpy(), step=1)
    assert right["auroc"] == pytest.approx(wanted, abs=1e-9)
    assert abs(wrong["auroc"] - wanted) > 0.1


def test_constant_scores_have_no_false_positive_rate_of_zero() -> None:
    """What the host says of scores that tell nothing; ours says 1."""
    same = torch.zeros(50)
    assert bench_metrics((same.numpy(), same.numpy()))["fpr95tpr"] == 0.0
    assert metrics.evaluate(same, same).fpr95 == 1.0


def test_the_code_of_the_page_runs() -> None:
    names = code("suites.md", "oodeel")
    assert names["scores"].shape == (32,)
    assert names["detector"].t == 2.0
