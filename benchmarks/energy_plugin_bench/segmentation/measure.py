"""Figures of pixels: a set once through a network, for everything that is asked of the two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from energy_plugin.manager import PluginManager
from energy_plugin.metrics import as_outlier_scores
from energy_plugin.outputs import logits_of
from energy_plugin.segmentation import OverClasses, evaluate
from energy_plugin_bench.computing import Computing
from energy_plugin_bench.measure import Figure
from energy_plugin_bench.passes import Passes
from energy_plugin_bench.recipe import Network, Recipe
from energy_plugin_bench.verdict import Question

EXACT_UP_TO = 1 << 28
"""Pixels that are kept, 4 bytes each and method: figures with four digits need the scores themselves."""


def pixel_figures(passes: Passes, recipe: Recipe, asked: Iterable[Question]) -> dict[str, Figure]:
    """Measure all questions of one network and one set in one pass.

    Args:
        passes: Where networks and sets come from, and whom progress is told.
        recipe: Names them.
        asked: Questions that differ in method, metric and convention only.

    Returns:
        Figures by "method convention metric", fractions.

    Raises:
        MissingAssetError: A file is not there.
        CorruptAssetError: A file is not the one that is named.
        LookupError: No plug-in knows the network, the set or a detector.
    """
    questions = list(asked)
    first = questions[0]
    network = recipe.networks[first.network]
    data = Watched(
        passes.images(recipe, recipe.input_of(first.id_set)), passes, f"{first.network} on {first.id_set}"
    )
    methods = dict.fromkeys(question.method for question in questions)
    conventions = dict.fromkeys(str(question.convention) for question in questions)
    outcomes = evaluate(
        data,
        {name: method(passes.manager, name, network.classes) for name in methods},
        network=_mixed(_normalising(passes.model(network), network), passes.computing),
        conventions=tuple(conventions),
        exact_up_to=EXACT_UP_TO,
    )
    return {
        f"{name} {convention} {metric}": Figure(getattr(figures, metric))
        for name, outcome in outcomes.items()
        for convention, figures in outcome.figures.items()
        for metric in ("auroc", "aupr", "aupr_in", "aupr_out", "fpr95")
    }


def method(manager: PluginManager, name: str, classes: int = 0, **options: Any) -> Any:
    """Return a plug-in's detector as a function of a network's logits.

    Args:
        manager: Who knows detectors.
        name: The detector's.
        classes: How many of the outputs are classes, 0: all. It scores those, unless it wants all outputs.
        **options: Of the detector.

    Raises:
        LookupError: No plug-in offers it.
    """
    spec = manager.get("detector", name)
    detector = spec.load()(**options)

    def score(logits: Tensor) -> Tensor:
        return as_outlier_scores(detector.score(logits), higher_is=spec.higher_is)

    if not classes or getattr(detector, "all_outputs", False):
        return _Pointwise(score)
    return _Pointwise(OverClasses(score, classes))


class _Pointwise:
    """A score that looks at single pixels, as those do that rows are published of."""

    pointwise = True

    def __init__(self, score: Any) -> None:
        self._score = score

    def score(self, logits: Tensor) -> Tensor:
        """Outlier scores, higher = more OOD."""
        scores: Tensor = self._score(logits)
        return scores


class Watched:
    """A data set that tells how far its reader is."""

    def __init__(self, data: Any, passes: Passes, what: str) -> None:
        self._data, self._progress, self._what = data, passes.progress, what
        self.names: Sequence[str] = getattr(data, "names", ())

    def __len__(self) -> int:
        """Number of images."""
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        """Image and mask."""
        self._progress(self._what, index, len(self._data))
        return self._data[index]


def _normalising(model: torch.nn.Module, chosen: Network) -> torch.nn.Module:
    """Put the normalisation of a network before it."""
    if not chosen.mean:
        return model
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return torch.nn.Sequential(_Normalise(chosen).to(device), model).eval()


def _mixed(model: torch.nn.Module, computing: Computing) -> torch.nn.Module:
    """Run a network in mixed precision, if it is wished."""
    return _Mixed(model, computing).eval() if computing.amp else model


class _Mixed(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, computing: Computing) -> None:
        super().__init__()
        self._model, self._computing = model, computing

    def forward(self, images: Tensor) -> Tensor:
        """Logits in float32: scores are not taken in half precision."""
        with self._computing.autocast():
            return logits_of(self._model(images)).float()


class _Normalise(torch.nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, chosen: Network) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(chosen.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(chosen.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        normalised: Tensor = (images - self.mean) / self.std
        return normalised
