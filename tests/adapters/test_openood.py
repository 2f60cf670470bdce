"""The adapter to OpenOOD: in the real package where there is one, else in a stand-in for its lookups."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from suite_cases import host_module, mnist
from torch.utils.data import DataLoader, Dataset

from energy_plugin import metrics, register
from energy_plugin.detector import EnergyDetector
from energy_plugin.energy import energy
from energy_plugin.testing import check_host, check_plugin

STAND_IN = Path(__file__).parents[1] / "openood_standin"
WHICH = "stand-in" if find_spec("openood") is None else "real package"
PARTS = ("evaluation_api", "evaluation_api.postprocessor", "evaluation_api.evaluator", "postprocessors",
         "postprocessors.utils", "trainers", "trainers.utils", "pipelines", "utils.config")  # fmt: skip


class Suite(NamedTuple):
    bridge: Any
    modules: dict[str, Any]


@pytest.fixture(params=[WHICH])
def suite(monkeypatch: pytest.MonkeyPatch) -> Iterator[Suite]:
    """The host's modules and our bridge to it; a stand-in leaves nothing behind."""
    pytest.importorskip("sklearn", reason="the host's metrics are scikit-learn's (extra [dev])")
    if WHICH == "stand-in":
        monkeypatch.syspath_prepend(str(STAND_IN))
    modules = {part: host_module(f"openood.{part}", "OpenOOD breaks on import here") for part in PARTS}
    yield Suite(importlib.import_module("energy_plugin_openood.bridge"), modules)
    if WHICH == "stand-in":
        for name in [n for n in sys.modules if n.split(".")[0] in ("openood", "energy_plugin_openood")]:
            del sys.modules[name]


class Rows(Dataset[Any]):
    """Samples as OpenOOD has them: dictionaries."""

    def __init__(self, data: torch.Tensor, labels: torch.Tensor) -> None:
        self.data, self.labels = data, labels

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"data": self.data[index], "label": self.labels[index]}


def loader(data: torch.Tensor, labels: torch.Tensor | int = 0) -> Any:
    given = torch.as_tensor(labels)
    return DataLoader(Rows(data, given.expand(len(data)) if given.ndim == 0 else given), batch_size=100)


def config(suite: Suite, **settings: Any) -> Any:
    return suite.modules["utils.config"].Config(**settings)


def evaluator(suite: Suite, monkeypatch: pytest.MonkeyPatch, case: Any, **options: Any) -> Any:
    """Their evaluator on our images: the opening of data sets is replaced, and `.cuda()` does nothing."""
    loaders = {
        "id": {name: loader(case.digits, case.labels) for name in ("train", "val", "test")},
        "csid": {},
        "ood": {
            "val": loader(case.others),
            "near": {"others": loader(case.others)},
            "far": {"noise": loader(torch.rand_like(case.others), 7)},
        },
    }
    module = suite.modules["evaluation_api.evaluator"]
    monkeypatch.setattr(module, "data_setup", lambda *_: None)
    monkeypatch.setattr(module, "get_id_ood_dataloader", lambda *_, **__: loaders)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_: self)  # hard-coded in their accuracy
    return module.Evaluator(case.network, "cifar10", **options)


def test_contracts_and_no_trace(suite: Suite) -> None:
    assert [record.name for record in check_plugin("energy_plugin_openood")] == ["openood"]
    check_host("openood", modules=["openood"])
    known = suite.modules["evaluation_api.postprocessor"].postprocessors
    names = list(known)
    with register("openood") as handle, register("openood") as again:
        assert again is handle
        assert list(known) == [*names, "energy_plugin"]
    assert list(known) == names
    assert len([c for c in handle.changes if c.key == "get_postprocessor"]) >= 4  # also where it was imported
    assert len([c for c in handle.changes if c.key == "get_trainer"]) >= 2


def test_the_name_is_found_without_a_file_and_others_as_before(suite: Suite, tmp_path: Path) -> None:
    lookup = suite.modules["evaluation_api.postprocessor"]
    with register("openood"):
        found = lookup.get_postprocessor(str(tmp_path), "energy_plugin", "cifar10")
        assert isinstance(found, suite.bridge.EnergyPluginPostprocessor)
        assert (found.temperature, found.APS_mode, found.hyperparam_search_done) == (1.0, False, False)
        assert not list(tmp_path.iterdir())
        with pytest.raises(OSError, match=r"ebo|urlopen"):
            lookup.get_postprocessor(str(tmp_path), "ebo", "cifar10")


def test_a_file_of_the_user_is_honoured(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "postprocessors").mkdir()
    (tmp_path / "postprocessors" / "energy_plugin.yml").write_text(
        '{"postprocessor": {"name": "energy_plugin", "APS_mode": true, "postprocessor_args": '
        '{"temperature": 2.0}, "postprocessor_sweep": {"temperature": [1.0, 4.0]}}}'
    )
    with register("openood"):
        lookup = suite.modules["evaluation_api.postprocessor"].get_postprocessor
        found = lookup(str(tmp_path), "energy_plugin", "cifar10")
    assert (found.temperature, found.APS_mode) == (2.0, True)
    assert found.args_dict == {"temperature": [1.0, 4.0]}


def test_pipelines_find_it_by_their_configuration(suite: Suite) -> None:
    settings = config(
        suite, postprocessor={"name": "energy_plugin", "postprocessor_args": {"temperature": 3}}
    )
    pipeline = suite.modules["pipelines"].TestOODPipeline(settings)
    with register("openood"):
        assert pipeline.run().temperature == 3.0
        other = suite.modules["pipelines"].TestOODPipeline(config(suite, postprocessor={"name": "msp"})).run()
        assert type(other) is suite.modules["postprocessors"].BasePostprocessor
    with pytest.raises(KeyError):
        pipeline.run()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_confidence_is_theirs_higher_being_more_id(suite: Suite, temperature: float) -> None:
    network = torch.nn.Linear(7, 5)
    inputs = 3 * torch.randn(12, 7)
    arguments = {"postprocessor_args": {"temperature": temperature}, "postprocessor_sweep": {}}
    theirs = suite.modules["postprocessors"].EBOPostprocessor(config(suite, postprocessor=arguments))
    ours = suite.bridge.EnergyPluginPostprocessor(temperature=temperature)
    for got, wanted in zip(
        ours.postprocess(network, inputs), theirs.postprocess(network, inputs), strict=True
    ):
        torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(
        ours.postprocess(network, inputs)[1], -energy(network(inputs).detach(), temperature=temperature)
    )


def test_their_evaluator_on_a_real_network_and_real_images(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = mnist()
    theirs = evaluator(suite, monkeypatch, case, postprocessor=suite.bridge.EnergyPluginPostprocessor())
    table = theirs.eval_ood(progress=False)
    row = table["others"] if isinstance(table, dict) else table.loc["others"]
    scores = [EnergyDetector().score(case.logits(name)) for name in ("digits", "others")]
    exact = metrics.evaluate(*scores, "openood_v15")
    wanted = {
        "FPR@95": exact.fpr95,
        "AUROC": exact.auroc,
        "AUPR_IN": exact.aupr_in,
        "AUPR_OUT": exact.aupr_out,
    }
    for name, figure in wanted.items():
        assert row[name] == pytest.approx(100 * figure, abs=1e-4), name
    assert row["ACC"] > 98


def test_a_search_of_several_temperatures_is_run_and_of_one_is_not(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, passes = mnist(), []
    for sweep in ([1.0], [1.0, 100.0]):
        settings = config(
            suite,
            postprocessor={
                "APS_mode": True,
                "postprocessor_args": {"temperature": 1.0},
                "postprocessor_sweep": {"temperature_list": sweep},  # as theirs calls it
            },
        )
        ours = suite.bridge.EnergyPluginPostprocessor(settings)
        count = []
        inner = ours.inference
        ours.inference = lambda *a, inner=inner, count=count, **k: (count.append(1), inner(*a, **k))[1]
        evaluator(suite, monkeypatch, case, postprocessor=ours)
        passes.append(len(count))
        assert ours.temperature in sweep
    assert passes == [0, 4]


def test_inference_needs_no_gpu(suite: Suite) -> None:
    network = torch.nn.Linear(7, 5)
    data, labels = torch.randn(12, 7), torch.arange(12) % 5
    predictions, confidences, got = suite.bridge.EnergyPluginPostprocessor().inference(
        network, loader(data, labels)
    )
    assert (predictions.shape, confidences.dtype.kind, got.tolist()) == ((12,), "f", labels.tolist())
    if WHICH == "stand-in" and not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            suite.modules["postprocessors"].BasePostprocessor(None).inference(network, loader(data, labels))


def test_maps_are_refused_where_images_are_labelled(suite: Suite) -> None:
    ours = suite.bridge.EnergyPluginPostprocessor()
    network, images = torch.nn.Conv2d(3, 5, 1), torch.randn(2, 3, 4, 6)
    assert ours.postprocess(network, images)[1].shape == (2, 4, 6)
    with pytest.raises(ValueError, match=r"maps of shape .4, 6.*labels whole images"):
        ours.inference(network, loader(images))
    with pytest.raises(ValueError, match="no batch"):
        ours.inference(network, [])


def settings_for_training(suite: Suite, name: str = "energy_plugin", **trainer: Any) -> Any:
    optimizer = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.0, "num_epochs": 10}
    return config(suite, trainer={"name": name, **trainer}, optimizer=optimizer)


def test_their_outlier_exposure_pipeline_trains_with_our_loss(suite: Suite) -> None:
    known = torch.cat([torch.randn(64, 2) + 4, torch.randn(64, 2) - 4])
    labels = torch.tensor([0, 1]).repeat_interleave(64)
    loaders = {"train": loader(known, labels), "oe": loader(torch.randn(48, 2), 5)}  # their label is not read
    network = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    settings = settings_for_training(suite, margin_in=-5.0, margin_out=-1.0)
    with register("openood"):
        training = suite.modules["trainers"].get_trainer
        trainer = training(network, [loaders["train"], loaders["oe"]], None, settings)
        assert (trainer.criterion.margin_in, trainer.criterion.alpha) == (-5.0, 0.1)
        seen: list[torch.Tensor] = []
        trainer.criterion.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
        history = [trainer.train_epoch(epoch)[1]["loss"] for epoch in range(1, 11)]
        if WHICH == "stand-in":
            assert len(suite.modules["pipelines"].TrainOEPipeline(settings, network, loaders).run()) == 10
    assert history[-1] < 0.5 * max(history)
    assert sorted(seen[0].unique().tolist()) == [-1, 0, 1]
    assert int((seen[0] < 0).sum()) == 48
    with torch.no_grad():
        gap = energy(network(torch.randn(48, 2))).mean() - energy(network(known)).mean()
    assert gap > 1.0


def test_training_without_outliers_is_refused_and_other_trainers_stay(suite: Suite) -> None:
    network, known = torch.nn.Linear(2, 2), loader(torch.randn(8, 2))
    with register("openood"):
        get_trainer = suite.modules["trainers"].get_trainer
        with pytest.raises(ValueError, match="train_oe"):
            get_trainer(network, known, None, settings_for_training(suite))
        empty = get_trainer(network, [known, []], None, config=settings_for_training(suite))
        with pytest.raises(ValueError, match="no batch"):
            empty.train_epoch(1)
        if WHICH == "stand-in":
            other = get_trainer(network, [known, known], None, settings_for_training(suite, "oe"))
            assert type(other).__name__ == "OETrainer"
