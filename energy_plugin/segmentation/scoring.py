"""One way to get an outlier map of a mask's size out of any detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from energy_plugin.batches import device_of, run
from energy_plugin.detector import EnergyDetector
from energy_plugin.energy import energy, widen
from energy_plugin.metrics import as_outlier_scores
from energy_plugin.outputs import evaluating, logits_of
from energy_plugin.segmentation.scores import OutputProbability, OverClasses, max_entropy, max_logit, msp

Detectors = Mapping[str, Any] | Iterable[Any]

BAND_BYTES = 1 << 20
"""Logits that are scored at once where a score looks at single pixels: they stay in a core's cache, which
halves the time."""

_POINTWISE = (energy, max_logit, msp, max_entropy)


@dataclass(frozen=True)
class Scorer:
    """A detector as a function to a map.

    Attributes:
        name: how outcomes call it.
        detector: the object that the user gave.
        network: its own network, None where it has none.
        takes: whether it scores `logits`, or the `images` themselves (it runs its own network then).
        call: from logits or images to B x H x W.
        pointwise: whether each pixel is scored by itself, so that a map may be computed in bands.
        higher_is: its direction.
    """

    name: str
    detector: Any
    network: Any
    takes: Literal["logits", "images"]
    call: Callable[[Any], Any]
    pointwise: bool = False
    higher_is: Literal["ood", "id"] = "ood"

    def from_logits(self, logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
        """Return the outlier map of logits B x C x h x w at `size`; the logits are enlarged, then scored."""
        if isinstance(self.detector, EnergyDetector) and logits.shape[-2:] != size:
            return self.detector.score(logits, size=size, align_corners=align_corners)
        if logits.shape[-2:] != size:
            logits = functional.interpolate(
                widen(logits), size=size, mode="bilinear", align_corners=align_corners
            )
        scores = self._banded(logits) if self.pointwise else self.call(logits)
        return self._checked(scores, (len(logits), *size), f"logits of shape {tuple(logits.shape)}")

    def from_images(self, images: Any, size: tuple[int, int], align_corners: bool = False) -> Tensor:
        """Return the outlier map of images at `size`; a map of another size is enlarged."""
        with evaluating(self.network):
            device = device_of(self.network)
            on_device = images.to(device) if isinstance(images, Tensor) and device else images
            scores = torch.as_tensor(self.call(on_device)).detach()
        if scores.ndim == 3 and scores.shape[1:] != size:
            wide = scores.float().unsqueeze(1)
            scores = functional.interpolate(wide, size=size, mode="bilinear", align_corners=align_corners)
            scores = scores.squeeze(1)
        return self._checked(scores, (len(images), *size), "the images")

    def _banded(self, logits: Tensor) -> Tensor:
        """Score a few rows at a time."""
        row = logits[:, :, :1].numel() * logits.element_size()
        rows = max(1, BAND_BYTES // max(row, 1))
        if logits.device.type != "cpu" or rows >= logits.shape[2]:
            return torch.as_tensor(self.call(logits))
        return torch.cat([self.call(band) for band in torch.split(logits, rows, dim=2)], dim=1)

    def _checked(self, scores: Any, wanted: tuple[int, ...], what: str) -> Tensor:
        if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted:
            came = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"detector {self.name!r} gave {came} for {what}; expected one score a pixel: {wanted}. A "
                "detector that gives one score an image cannot be used for segmentation."
            )
        return as_outlier_scores(scores.detach(), higher_is=self.higher_is)


def scorers(detectors: Detectors | Any) -> tuple[Scorer, ...]:
    """Return every detector as a `Scorer`, under names that tell them apart.

    A detector is, in this order: an object with `predict_logits(logits)` (pytorch-ood's LogitsDetector), with
    `score(logits)` (energy_plugin's protocol), with `predict(images)` (any other of pytorch-ood), or a plain
    function of logits.

    Args:
        detectors: by name; or several, or one, which are then called by their kind and settings.

    Raises:
        TypeError: something is no detector.
        ValueError: there is none.
    """
    if isinstance(detectors, Mapping):
        named = list(detectors.items())
    else:
        several = isinstance(detectors, Iterable) and not callable(detectors)
        found = list(detectors) if several else [detectors]
        named = list(zip(_names(found), found, strict=True))
    if not named:
        raise ValueError("no detector was given.")
    return tuple(_scorer(str(name), detector) for name, detector in named)


def _scorer(name: str, detector: Any) -> Scorer:
    network = getattr(detector, "model", None)
    higher_is: Any = getattr(detector, "higher_is", "ood")  # checked by as_outlier_scores
    pointwise = isinstance(detector, EnergyDetector) or bool(getattr(detector, "pointwise", False))
    if callable(getattr(detector, "predict_logits", None)):
        return Scorer(name, detector, network, "logits", detector.predict_logits, pointwise, higher_is)
    if callable(getattr(detector, "score", None)):
        return Scorer(name, detector, network, "logits", detector.score, pointwise, higher_is)
    if callable(getattr(detector, "predict", None)):
        return Scorer(name, detector, network, "images", detector.predict, False, higher_is)
    if callable(detector) and not isinstance(detector, type):
        return Scorer(name, detector, None, "logits", detector, _is_pointwise(detector), higher_is)
    raise TypeError(
        f"{name!r} is {detector!r}, no detector: expected an object with score(logits), "
        "predict_logits(logits) or predict(images), or a function of logits."
    )


def _is_pointwise(score: Any) -> bool:
    if isinstance(score, OverClasses):
        return _is_pointwise(score.function)
    return score in _POINTWISE or isinstance(score, OutputProbability)


def _names(detectors: list[Any]) -> list[str]:
    """Kinds; with their settings where a kind comes twice, and numbered where even these are equal."""
    names = [getattr(part, "__name__", type(part).__name__) for part in detectors]
    twice = {name for name, count in Counter(names).items() if count > 1}
    names = [
        f"{name}{_settings(part)}" if name in twice else name
        for name, part in zip(names, detectors, strict=True)
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name} #{seen[name]}"
    return names


def _settings(detector: Any) -> str:
    for name in ("temperature", "t"):
        if hasattr(detector, name):
            return f"({name}={getattr(detector, name):g})"
    return ""


def logits_for(network: Any, images: Any, key: str | int | None) -> Tensor:
    """Run a network in evaluation mode on images at its device and return its logits B x C x h x w."""
    with evaluating(network):
        logits = logits_of(run(network, images), key)
    if logits.ndim != 4:
        raise ValueError(
            f"the network gave logits of shape {tuple(logits.shape)}; expected B x C x H x W, a class "
            "score a pixel."
        )
    return logits
