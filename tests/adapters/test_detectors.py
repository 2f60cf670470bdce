"""The adapter to detectors, run in an environment of its own: it breaks beside the timm that ours needs."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch
from suite_cases import mnist
from torch.utils.data import TensorDataset

from energy_plugin import EnergyRegularizedLoss, metrics, register
from energy_plugin.detector import EnergyDetector
from energy_plugin.energy import energy
from energy_plugin.errors import HostMissingError
from energy_plugin.testing import check_host, check_plugin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        detectors: Any = importlib.import_module("detectors")
    except Exception as error:  # noqa: BLE001 - with a newer timm it raises ValueError
        pytest.skip(f"detectors cannot be imported: {error}", allow_module_level=True)
    trainer: Any = importlib.import_module("detectors.trainer")
    pipelines: Any = importlib.import_module("detectors.pipelines.ood")
registry: Any = importlib.import_module("detectors.methods").detectors_registry
bridge: Any = importlib.import_module("energy_plugin_detectors.bridge")


def test_contracts_and_no_trace() -> None:
    assert [record.name for record in check_plugin("energy_plugin_detectors")] == ["detectors"]
    check_host("detectors", modules=["detectors"])
    before = dict(registry)
    with register("detectors") as handle, register("detectors") as again:
        assert again is handle
        assert registry == before | {"energy_plugin": bridge.energy_plugin}
    assert registry == before


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_scores_are_theirs_higher_being_more_id(temperature: float) -> None:
    network = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(7, 5)).train()
    inputs = 3 * torch.randn(12, 7)
    with register("detectors"):
        ours = detectors.create_detector("energy_plugin", model=network, temperature=temperature)(inputs)
    theirs = detectors.create_detector("energy", model=network, temperature=temperature)(inputs)
    torch.testing.assert_close(ours, theirs.detach())
    torch.testing.assert_close(ours, -energy(network.eval()(inputs), temperature=temperature).detach())
    assert not ours.requires_grad


def test_a_map_is_scored_over_its_classes() -> None:
    network, images = torch.nn.Conv2d(3, 5, 1), torch.randn(2, 3, 4, 6)
    assert detectors.create_detector("energy", model=network)(images).shape == (2, 5, 4)  # over the width
    assert bridge.energy_plugin(images, network).shape == (2, 4, 6)


def test_their_pipeline_on_a_real_network_and_real_images() -> None:
    case = mnist()

    class Pipeline(pipelines.OODBenchmarkPipeline):
        def _setup_datasets(self) -> None:
            self.in_dataset = TensorDataset(case.digits, case.labels)
            self.out_datasets = {"others": TensorDataset(case.others, torch.zeros(len(case.others)).long())}
            self.out_dataset = self.out_datasets["others"]

    options = {
        "transform": None,
        "batch_size": 250,
        "num_workers": 0,
        "prefetch_factor": None,
        "limit_fit": 0,
    }
    with register("detectors"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pinned memory without a GPU
        pipeline = Pipeline("digits", {"others": None}, **options)
        theirs = pipeline.run(detectors.create_detector("energy_plugin", model=case.network))["results"][
            "others"
        ]
    exact = metrics.evaluate(
        *(EnergyDetector().score(case.logits(name)) for name in ("digits", "others")), "detectors"
    )
    assert theirs["auroc"] == pytest.approx(exact.auroc, abs=1e-6)
    assert theirs["fpr_at_0.95_tpr"] == pytest.approx(exact.fpr95, abs=1e-6)


def test_their_trainer_learns_with_our_loss() -> None:
    accelerate: Any = importlib.import_module("accelerate")
    inputs = torch.cat([torch.randn(64, 2) + 4, torch.randn(64, 2) - 4, torch.randn(64, 2)])
    targets = torch.tensor([0, 1, -1]).repeat_interleave(64)
    network = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    with register("detectors"):
        loss = trainer.get_criterion_cls("EnergyPluginLoss")(0.1, -5.0, -1.0, "group_mean")
        assert trainer.get_criterion_cls("CrossEntropyLoss") is torch.nn.CrossEntropyLoss
    assert isinstance(loss, EnergyRegularizedLoss)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    history = [
        trainer.training_iteration(
            (inputs, targets), network, optimizer, loss, accelerate.Accelerator(cpu=True)
        )["loss"]
        for _ in range(40)
    ]
    assert history[-1] < 0.5 * history[0]
    with pytest.raises(AttributeError):
        trainer.get_criterion_cls("EnergyPluginLoss")


def test_the_error_beside_a_newer_timm_names_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from energy_plugin_detectors import ood_hosts

    (spec,) = ood_hosts()
    monkeypatch.setattr("importlib.import_module", _break)
    with pytest.raises(
        HostMissingError, match=r"breaks on import of 'detectors': ValueError.*detectors 0\.1"
    ):
        spec.load()


def _break(name: str, *_: Any) -> Any:
    raise ValueError("a model name has no source prefix")
