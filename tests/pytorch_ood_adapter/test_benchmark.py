"""The segmentation benchmark: the host's interface, streamed, void and conventions named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip("pytorch_ood")

from pytorch_ood.detector import MCD, EnergyBased, MaxSoftmax
from pytorch_ood.metrics import OODPerImageSegmentationMetrics, OODSegmentationMetrics

from energy_plugin_pytorch_ood.bridge import EnergyPluginDetector, SegmentationBenchmark

IMAGES = torch.randn(5, 3, 10, 12, generator=torch.Generator().manual_seed(0))


def pairs():
    """Masks as pytorch-ood's SegmentMeIfYouCan gives them: void is 1."""
    found = []
    for image in IMAGES:
        mask = torch.where(image[0] > 1, -1, 0)
        mask[:2] = 1
        found.append((image, mask))
    return found


def network(stride=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, stride=stride), nn.Dropout(0.4)).eval()


def wanted(model, metrics):
    with torch.no_grad():
        for image, mask in pairs():
            metrics.update(EnergyBased(model).predict(image[None]), mask[None])
    return metrics.compute()


@pytest.mark.parametrize(
    ("convention", "metrics"),
    [
        ("ptood", OODSegmentationMetrics(void_label=1)),
        ("hendrycks-per-image", OODPerImageSegmentationMetrics(void_label=1)),
    ],
)
def test_figures_are_those_of_the_hosts_metrics(convention, metrics):
    model = network()
    benchmark = SegmentationBenchmark({"a": pairs()}, codes="pytorch_ood_anomaly", conventions=convention)
    (row,) = benchmark.evaluate(EnergyPluginDetector(model))
    found = wanted(model, metrics)
    assert row["AUROC"] == pytest.approx(found["AUROC"])
    if convention == "ptood":
        assert {name: row[name] for name in ("AUPR-IN", "AUPR-OUT", "FPR95TPR")} == pytest.approx(
            {name: found[name] for name in ("AUPR-IN", "AUPR-OUT", "FPR95TPR")}
        )


def test_void_matters():
    model, detector = network(), EnergyPluginDetector
    named = SegmentationBenchmark({"a": pairs()}, codes="pytorch_ood_anomaly").evaluate(detector(model))
    unnamed = SegmentationBenchmark({"a": pairs()}, codes="pytorch_ood").evaluate(detector(model))
    assert named[0]["AUROC"] != unnamed[0]["AUROC"]


def test_any_detector_of_the_host_and_several_at_once():
    model = network()
    benchmark = SegmentationBenchmark({"a": pairs(), "b": pairs()[:2]}, codes="pytorch_ood_anomaly")
    detectors = [
        EnergyPluginDetector(model),
        EnergyPluginDetector(model, 2.0),
        EnergyBased(model),
        MaxSoftmax(model),
    ]
    rows = benchmark.evaluate([*detectors, MCD(model)], cache=True)
    assert [row["Dataset"] for row in rows] == ["a"] * 5 + ["b"] * 5
    assert len({row["Detector"] for row in rows}) == 5
    assert rows[0]["AUROC"] == pytest.approx(rows[2]["AUROC"])
    assert benchmark.outcomes["b"]["MCD"].figures["ptood"].n_images == 2


def test_low_resolution_logits_and_loaders():
    model = network(stride=2)
    benchmark = SegmentationBenchmark({"a": pairs()}, codes={"a": "pytorch_ood_anomaly"})
    single = benchmark.evaluate(EnergyPluginDetector(model))
    batched = benchmark.evaluate(EnergyPluginDetector(model), loader_kwargs={"batch_size": 2})
    assert batched[0]["AUROC"] == pytest.approx(single[0]["AUROC"], abs=1e-5)


def test_the_hosts_interface_is_kept():
    benchmark = SegmentationBenchmark({"a": pairs()}, train=pairs())
    assert benchmark.ood_names == ["a"]
    assert len(benchmark.test_sets()[0]) == len(benchmark.train_set()) == 5
    with pytest.raises(ValueError, match="share images"):
        benchmark.test_sets(known=False)
    with pytest.raises(TypeError, match="no argument batch"):
        benchmark.evaluate(EnergyPluginDetector(network()), batch=3)
    with pytest.raises(ValueError, match="needs a set"):
        SegmentationBenchmark({})
    with pytest.raises(LookupError, match="ptood"):
        SegmentationBenchmark({"a": pairs()}, conventions="ptoood")
    with pytest.raises(ValueError, match="no training set"):
        SegmentationBenchmark({"a": pairs()}).train_set()
