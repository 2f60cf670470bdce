"""Our detector and loss inside pytorch-ood's own machinery, for both tasks."""

from __future__ import annotations

import copy
import importlib
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("pytorch_ood")

import pytorch_ood.detector
import pytorch_ood.loss
from pytorch_ood.api import DetectorInfo, LogitsDetector, LossInfo, Task
from pytorch_ood.benchmark import Benchmark
from pytorch_ood.detector import EnergyBased
from pytorch_ood.metrics import OODSegmentationMetrics
from pytorch_ood.utils import GridSearch

import energy_plugin
from energy_plugin_pytorch_ood.bridge import EnergyPluginDetector, EnergyPluginLoss


class OneSet(Benchmark):
    """The host's benchmark, unmodified, on one set."""

    def __init__(self, data):
        self.data, self.ood_names = data, ["fake"]

    def train_set(self):
        return self.data

    def test_sets(self, known=True, unknown=True):
        return [self.data]


IMAGES = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = [(image, index % 4 if index % 3 else -1) for index, image in enumerate(IMAGES)]
MASKS = [(image, torch.where(image[0] > 1, -1, 0)) for image in IMAGES]


def classifier():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(256, 4))


def segmenter():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5))


def test_classification_rows_are_those_of_the_hosts_detector():
    model = classifier().eval()
    ours, theirs = OneSet(CLASSES).evaluate([EnergyPluginDetector(model), EnergyBased(model)])
    assert ours.pop("Detector") == "EnergyPluginDetector"
    assert theirs.pop("Detector") == "EnergyBased"
    assert "ACC" in ours
    assert ours == pytest.approx(theirs)


def test_segmentation_runs_in_the_unmodified_benchmark():
    model = segmenter().eval()
    with pytest.raises(ValueError, match="shape"):
        OneSet(MASKS).evaluate(EnergyBased(model))  # why ours does more than theirs
    (row,) = OneSet(MASKS).evaluate(EnergyPluginDetector(model), loader_kwargs={"batch_size": 5})
    metrics = OODSegmentationMetrics()
    with torch.no_grad():
        for image, mask in MASKS:
            metrics.update(EnergyBased(model).predict(image[None]), mask[None])
    wanted = metrics.compute()
    assert {name: row[name] for name in wanted} == pytest.approx(wanted)


def test_a_network_in_training_mode_is_scored_in_evaluation_mode_and_stays_in_training():
    for make, data in ((classifier, CLASSES), (segmenter, MASKS)):
        model = make().train()
        first = OneSet(data).evaluate(EnergyPluginDetector(model))
        assert model.training
        assert model[1].training
        assert first == OneSet(data).evaluate(EnergyPluginDetector(model.eval()))
        detector = EnergyPluginDetector(model.train())
        scores = detector(IMAGES)
        assert torch.equal(scores, detector(IMAGES))
        assert not scores.requires_grad


def test_temperatures_share_a_pass_and_are_told_apart():
    calls = []

    class Counting(nn.Linear):
        def forward(self, images):
            calls.append(len(images))
            return super().forward(images.flatten(1))

    model = Counting(192, 4)
    detectors = [
        EnergyPluginDetector(model),
        EnergyPluginDetector(model, 2),
        EnergyPluginDetector(model, name="x"),
    ]
    rows = OneSet(CLASSES).evaluate(detectors, loader_kwargs={"batch_size": 24})
    assert [row["Detector"] for row in rows] == ["EnergyPluginDetector", "EnergyPluginDetector(t=2)", "x"]
    assert calls == [24]


@pytest.mark.parametrize("make", [copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))])
def test_a_named_instance_is_copied_and_pickled(make):
    detector = make(EnergyPluginDetector(classifier(), t=3))
    assert isinstance(detector, EnergyPluginDetector)
    assert (type(detector).__name__, detector.t, repr(detector)) == (
        "EnergyPluginDetector(t=3)", 3.0, "EnergyPluginDetector(t=3)",
    )  # fmt: skip
    assert len(detector(IMAGES)) == 24


def test_grid_search_finds_a_temperature():
    model = classifier()
    detector = EnergyPluginDetector(model)
    search = GridSearch(detector, None, DataLoader(CLASSES, batch_size=8))
    best = search.run()
    assert len(search.results_) == len(detector.hyperparameter_space["t"]) >= 5
    assert len({round(found["score"], 6) for found in search.results_}) > 1
    assert best == {"t": detector.t}
    assert detector.get_hyperparameters() == best
    assert EnergyBased(model).hyperparameter_space == {}
    with pytest.raises(ValueError, match="positive"):
        detector.set_hyperparameters(t=0)


def test_the_hosts_cache_never_gives_scores_of_earlier_weights(tmp_path):
    model = classifier()
    detector, benchmark = EnergyPluginDetector(model), OneSet(CLASSES)
    for options in ({"cache": True}, {"cache_dir": str(tmp_path), "cache_key": "k"}):
        with pytest.warns(UserWarning, match="cache_key") if "cache_key" in options else _nothing():
            before = benchmark.evaluate(detector, **options)
        with torch.no_grad():
            model[3].weight.neg_()
        assert benchmark.evaluate(detector, **options) == OneSet(CLASSES).evaluate(detector) != before
        if "cache_key" in options:
            with pytest.warns(UserWarning, match="cache_key"):
                again = OneSet(CLASSES).evaluate(detector, **options)
            assert again == OneSet(CLASSES).evaluate(detector)
    assert len(list(tmp_path.iterdir())) == 2


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_networks_with_structured_output_and_plain_callables():
    plain = segmenter().eval()

    class Structured(nn.Module):
        def forward(self, images):
            return {"out": plain(images), "aux": images}

    for model in (Structured(), lambda images: plain(images)):
        (row,) = OneSet(MASKS).evaluate(EnergyPluginDetector(model))
        assert row == OneSet(MASKS).evaluate(EnergyPluginDetector(plain))[0]


def test_model_is_the_network_to_whoever_asks_it():
    model = classifier()
    detector = EnergyPluginDetector(model)
    assert len(list(detector.model.parameters())) == 4
    assert detector.device == torch.device("cpu")
    other = EnergyPluginDetector(detector.model)
    assert torch.equal(other(IMAGES), detector(IMAGES))
    assert EnergyPluginDetector(None).model is None
    with pytest.raises(ValueError, match="model must not be None"):
        EnergyPluginDetector(None)(IMAGES)
    with pytest.raises(TypeError, match="another callable"):
        EnergyPluginDetector(3)


def test_metadata_is_theirs():
    assert isinstance(EnergyPluginDetector.info, DetectorInfo)
    assert isinstance(EnergyPluginLoss.info, LossInfo)
    for info in (EnergyPluginDetector.info, EnergyPluginLoss.info):
        assert info.tasks == {Task.CLASSIFICATION, Task.SEGMENTATION}
        assert info.paper.year == 2020
    assert issubclass(EnergyPluginDetector, LogitsDetector)


@pytest.mark.parametrize("shape", [(16, 5), (4, 5, 6, 7)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_is_a_drop_in_for_the_installed_version(shape, reduction):
    logits = torch.randn(shape) * 3
    targets = torch.randint(-1, 5, (shape[0], *shape[2:]))
    ours, theirs = (
        EnergyPluginLoss(reduction=reduction),
        pytorch_ood.loss.EnergyRegularizedLoss(reduction=reduction),
    )
    assert torch.allclose(ours(logits, targets), theirs(logits, targets), rtol=1e-4, atol=1e-4)
    ours = EnergyPluginLoss(0.3, -4.0, -2.0, reduction)
    theirs = pytorch_ood.loss.EnergyRegularizedLoss(0.3, -4.0, -2.0, reduction)
    assert torch.allclose(ours(logits, targets), theirs(logits, targets), rtol=1e-4, atol=1e-4)


def test_dotted_paths_of_a_configuration_file_make_them():
    config = {
        "loss": {"_target_": "energy_plugin_pytorch_ood.bridge.EnergyPluginLoss", "alpha": 0.5},
        "detector": {
            "_target_": "energy_plugin_pytorch_ood.bridge.EnergyPluginDetector",
            "model": None,
            "t": 2.0,
        },
    }
    made = {}
    for name, options in config.items():
        module, _, attribute = options.pop("_target_").rpartition(".")
        made[name] = getattr(importlib.import_module(module), attribute)(**options)
    assert made["loss"].alpha == 0.5
    assert made["detector"].t == 2.0


def test_registering_adds_new_names_and_takes_them_away():
    theirs = pytorch_ood.loss.EnergyRegularizedLoss, pytorch_ood.detector.EnergyBased
    with energy_plugin.register("pytorch_ood") as registration:
        assert pytorch_ood.detector.EnergyPluginDetector is EnergyPluginDetector
        assert pytorch_ood.loss.EnergyPluginLoss is EnergyPluginLoss
        assert "EnergyPluginLoss added" in repr(registration)
        assert energy_plugin.register("pytorch_ood") is registration
        registration.__exit__()
    assert not hasattr(pytorch_ood.loss, "EnergyPluginLoss")
    assert not hasattr(pytorch_ood.detector, "EnergyPluginDetector")
    assert theirs == (pytorch_ood.loss.EnergyRegularizedLoss, pytorch_ood.detector.EnergyBased)


def test_another_version_of_the_host_is_named(monkeypatch):
    from energy_plugin_pytorch_ood import loss

    class Renamed(nn.Module):
        def __init__(self, weight=1.0):
            super().__init__()

    monkeypatch.setattr(loss, "THEIRS", Renamed)
    with pytest.raises(ImportError, match=r"pytorch-ood 0\.\d.*weight.*alpha"):
        EnergyPluginLoss()
    monkeypatch.undo()
    monkeypatch.setattr(loss, "version", lambda _: "0.3.3")
    assert EnergyPluginLoss().reduction == "mean"
