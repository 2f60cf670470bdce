"""The lines of docs/cases.md on `Benchmark.evaluate`: each runs with pytorch-ood's detector and with ours."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from loss_cases import Case, attempt
from torch import Tensor, nn


@dataclass(frozen=True)
class Side:
    """One implementation.

    Attributes:
        detector: makes its detector, `detector(network, temperature)`.
        benchmark: makes pytorch-ood's unmodified benchmark of sets by name.
        maps: makes the benchmark for images with masks in which 255 is void.
    """

    detector: Callable[..., Any]
    benchmark: Callable[[dict[str, Any]], Any]
    maps: Callable[[dict[str, Any]], Any]


IMAGES = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = [(image, index % 4 if index % 3 else -1) for index, image in enumerate(IMAGES)]
MASKS = [(image, torch.where(image[0] > 1, -1, 0)) for image in IMAGES]
VOID = 255
FIGURES = ("AUROC", "AUPR-IN", "AUPR-OUT", "FPR95TPR")


def classifier(*further: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), *further, nn.Linear(192, 4))


def segmenter(stride: int = 1) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 1, stride=stride))


def figures(rows: list[dict[str, Any]]) -> list[float]:
    return [row[name] for row in rows for name in FIGURES]


def mode(side: Side) -> str:
    network = classifier(nn.Dropout()).train()
    detector = side.detector(network)
    first, again = (figures(side.benchmark({"a": CLASSES}).evaluate(detector)) for _ in range(2))
    if first != again:
        return "training mode: other figures at every call"
    return f"evaluation mode; afterwards {'training' if network.training else 'evaluation'} mode"


def statistics(side: Side) -> str:
    norm = nn.BatchNorm1d(192)
    detector = side.detector(classifier(norm).train())
    side.benchmark({"a": CLASSES}).evaluate(detector, loader_kwargs={"batch_size": 8})
    return "moved" if norm.running_mean is not None and norm.running_mean.abs().sum() > 0 else "kept"


def definition(network: nn.Module, data: list[tuple[Tensor, Tensor]]) -> list[float]:
    """The figures of the energy at mask resolution by pytorch-ood's own metrics, void left out."""
    from pytorch_ood.metrics import OODSegmentationMetrics

    metrics = OODSegmentationMetrics(void_label=VOID)
    with torch.no_grad():
        for image, mask in data:
            logits = nn.functional.interpolate(network(image[None]), size=mask.shape, mode="bilinear")
            metrics.update(-logits.logsumexp(1), mask[None])
    found = metrics.compute()
    return [found[name] for name in FIGURES]


def maps(data: list[tuple[Tensor, Tensor]], stride: int = 1) -> Callable[[Side], str]:
    """A segmentation set, against the definition."""

    def run(side: Side) -> str:
        network = segmenter(stride).eval()
        found = figures(side.maps({"a": data}).evaluate(side.detector(network)))
        right = torch.allclose(torch.tensor(found), torch.tensor(definition(network, data)), atol=1e-6)
        return "right" if right else "other figures, silently"

    return lambda side: attempt(lambda: run(side))


def with_void(data: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    masks = [mask.clone() for _, mask in data]
    for mask in masks:
        mask[:2] = VOID
    return [(image, mask) for (image, _), mask in zip(data, masks, strict=True)]


def names(side: Side) -> str:
    network = classifier().eval()
    detectors = [side.detector(network), side.detector(network, 2.0)]
    rows = side.benchmark({"a": CLASSES}).evaluate(detectors)
    return ", ".join(row["Detector"] for row in rows)


def passes(side: Side) -> str:
    seen: list[int] = []
    network = classifier().eval()
    network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    detectors = [side.detector(network), side.detector(network, 2.0)]
    side.benchmark({"a": CLASSES}).evaluate(detectors)
    return f"{sum(seen) // len(CLASSES)} for two detectors"


def stale(**options: Any) -> Callable[[Side], str]:
    """A second evaluation of a network whose weights changed, with one of the host's caches."""

    def run(side: Side) -> str:
        network = classifier().eval()
        detector, benchmark = side.detector(network), side.benchmark({"a": CLASSES})
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the host's words on its cache_key
            chosen = options | ({"cache_dir": folder} if "cache_key" in options else {})
            before = figures(benchmark.evaluate(detector, **chosen))
            with torch.no_grad():
                network[1].weight.neg_()
            after = figures(benchmark.evaluate(detector, **chosen))
        fresh = figures(side.benchmark({"a": CLASSES}).evaluate(detector))
        return "those of the earlier weights" if after == before else "right" if after == fresh else "others"

    return run


def one_kind(side: Side) -> str:
    data = [(image, max(label, 0)) for image, label in CLASSES]
    return attempt(lambda: str(side.benchmark({"a": data}).evaluate(side.detector(classifier().eval()))))


def not_a_number(side: Side) -> str:
    network = classifier().eval()
    with torch.no_grad():
        network[1].bias[0] = torch.nan
    return attempt(lambda: str(side.benchmark({"a": CLASSES}).evaluate(side.detector(network))))


def shuffled(side: Side) -> str:
    detector, options = side.detector(classifier().eval()), {"batch_size": 5, "shuffle": True}
    plain = figures(side.benchmark({"a": CLASSES}).evaluate(detector))
    mixed = figures(side.benchmark({"a": CLASSES}).evaluate(detector, loader_kwargs=options))
    return "the same" if torch.allclose(torch.tensor(plain), torch.tensor(mixed)) else "others"


def function(side: Side) -> str:
    return attempt(lambda: str(side.benchmark({"a": CLASSES}).evaluate(lambda x: x.sum(1))))


def held(side: Side) -> str:
    """How many images' logits the detector is handed at once."""
    largest = 0
    network = segmenter().eval()
    detector = side.detector(network)
    scored = detector.predict_logits

    def counting(logits: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, len(logits))
        scores: Tensor = scored(logits)
        return scores

    detector.predict_logits = counting
    attempt(lambda: str(side.maps({"a": MASKS}).evaluate(detector)))
    return "those of all images" if largest == len(MASKS) else f"those of {largest} image"


CASES = [
    Case("network in training mode", mode, "training mode: other figures at every call",
         "evaluation mode; afterwards training mode"),
    Case("statistics of batch norm, network in training mode", statistics, "moved", "kept"),
    Case("segmentation set", maps(MASKS), "ValueError", "right"),
    Case("segmentation set with void", maps(with_void(MASKS)), "ValueError", "right"),
    Case("segmentation set, logits of half the resolution", maps(MASKS, 2), "ValueError", "right"),
    Case("logits held at once, 24 images with masks", held, "those of all images", "those of 1 image"),
    Case("names of two temperatures in the results", names, "EnergyBased, EnergyBased",
         "EnergyPluginDetector, EnergyPluginDetector(t=2)"),
    Case("passes over a data set", passes, "1 for two detectors", "1 for two detectors"),
    Case("`cache=True`, figures after the weights changed", stale(cache=True), "those of the earlier weights",
         "right"),
    Case("`cache_dir`, figures after the weights changed", stale(cache_key="k"),
         "those of the earlier weights", "right"),
    Case("one kind only", one_kind, "ValueError", "ValueError"),
    Case("NaN logits", not_a_number, "ValueError", "ValueError"),
    Case("figures with a shuffling loader", shuffled, "the same", "the same"),
    Case("a plain function as detector", function, "TypeError", "TypeError"),
]  # fmt: skip
