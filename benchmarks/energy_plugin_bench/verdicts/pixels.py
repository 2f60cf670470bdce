"""Figures of pixels: a set once through a network, for everything that is asked of the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from energy_plugin import labels
from energy_plugin.manager import PluginManager
from energy_plugin.metrics import as_outlier_scores
from energy_plugin.outputs import logits_of
from energy_plugin.segmentation import Evaluation, OverClasses
from energy_plugin.segmentation.scoring import Scorer, logits_for, scorers
from energy_plugin_bench.passes.cache import Tensors
from energy_plugin_bench.passes.computing import Computing
from energy_plugin_bench.passes.passes import Origin, Passes
from energy_plugin_bench.values.networks import Network
from energy_plugin_bench.values.recipe import Recipe
from energy_plugin_bench.verdicts.measure import Figure, detector_record, is_ours
from energy_plugin_bench.verdicts.verdict import Question

PIXEL_METRICS = ("auroc", "aupr", "aupr_in", "aupr_out", "fpr95")
EXACT_UP_TO = 1 << 28
"""Pixels in memory, 4 bytes each and method; of more, figures come with a bound that the tolerance adds."""
CODE = (__name__, "energy_plugin")
"""Modules that make maps of logits, beside those of the detectors."""


class DetectorFailedError(ValueError):
    """A detector cannot score the maps; `score` is what it is called in its pass."""

    def __init__(self, score: str, error: Exception) -> None:
        super().__init__(f"the detector {score!r} failed: {error}")
        self.score = score


def pixel_figures(
    passes: Passes, recipe: Recipe, asked: Iterable[Question]
) -> tuple[dict[str, Figure], Origin]:
    """Measure all questions of one network and one set in one pass, together with the other processes.

    What is kept and shared are the maps: logits are C times as many, and scores look at single pixels.

    Args:
        passes: Where networks, sets and maps come from, and whom progress is told.
        recipe: Names them.
        asked: Questions that differ in method, metric and convention only.

    Returns:
        In the first process, figures by "score convention metric", fractions, and what they came from; no
        figures in the others.

    Raises:
        MissingAssetError: A file is not there.
        CorruptAssetError: A file is not the one that is named.
        LookupError: No plug-in knows the network, the set or a detector.
    """
    questions = list(asked)
    network, name = questions[0].network, recipe.input_of(questions[0].id_set)
    scores = {score_of(question): (question.method, question.temperature or 1.0) for question in questions}
    pass_ = _PixelPass(passes, recipe, network, name, scores)
    evaluation = Evaluation(
        pass_.detectors,
        conventions=tuple(dict.fromkeys(str(question.convention) for question in questions)),
        exact_up_to=EXACT_UP_TO,
    )
    kept = True
    # Images first: of those that only compute, the pass must come to its end all the same.
    for (sides, maps, was_kept), shown in zip(pass_.images(), pass_.names, strict=False):
        evaluation.update(sides, maps=maps, names=(shown,))
        kept = kept and was_kept
    outcomes = evaluation.outcomes() if passes.process.first else {}
    figures = {
        f"{outcome.detector} {convention} {metric}": Figure(value, bound=found.bound)
        for outcome in outcomes.values()
        for convention, found in outcome.figures.items()
        for metric in PIXEL_METRICS
        if (value := getattr(found, metric)) is not None
    }
    return figures, "cached maps" if kept else "images"


def score_of(asked: Question) -> str:
    """What the score of a question is called beside others of its pass."""
    return asked.method if asked.temperature in (None, 1.0) else f"{asked.method} T={asked.temperature:g}"


def _options(temperature: float) -> dict[str, float]:
    return {} if temperature == 1.0 else {"temperature": temperature}


class _PixelPass:
    """A network over images with masks: outlier maps of several detectors, an image at a time."""

    def __init__(
        self, passes: Passes, recipe: Recipe, network: str, name: str, scores: Mapping[str, tuple[str, float]]
    ) -> None:
        self._passes, self._recipe, self._network, self._name = passes, recipe, network, name
        self._chosen = recipe.networks[network]
        self._data = passes.images(recipe, name)
        self._methods = {method for method, _ in scores.values()}
        self.detectors = {
            score: method(passes.manager, name, self._chosen.classes, **_options(temperature))
            for score, (name, temperature) in scores.items()
        }
        self._scorers = scorers(self.detectors)
        self.names = tuple(getattr(self._data, "names", ())) or tuple(map(str, range(len(self._data))))

    def images(self) -> Iterator[tuple[Tensor, dict[str, Tensor], bool]]:
        """Yield sides (1 x H x W: 0 ID, -1 OOD, or void), maps (1 x H x W) and whether they were kept."""
        targets = (detector_record(self._passes.manager, name).target for name in sorted(self._methods))
        parts = self._passes.parts(
            self._recipe,
            self._network,
            self._name,
            self._data,
            [range(index, index + 1) for index in range(len(self._data))],
            self._computed,
            beyond={"maps": list(self.detectors), "classes": self._chosen.classes},
            code=(*CODE, *(target.partition(":")[0] for target in targets)),
        )
        for part in parts:
            device = self._passes.computing.device  # where pixels are sorted
            maps = {name: part.tensors[f"map.{name}"].to(device) for name in self.detectors}
            yield part.tensors["sides"].long(), maps, part.kept

    @cached_property
    def _model(self) -> torch.nn.Module:
        model = self._passes.model(self._chosen)
        return _mixed(_normalising(model, self._chosen), self._passes.computing)

    def _computed(self, chunk: range) -> Tensors:
        """What is kept of one image."""
        self._passes.progress(f"{self._network} on {self._name}", chunk.start, len(self._data))
        image, mask = self._data[chunk.start]
        with torch.inference_mode():
            logits = logits_for(self._model, image.unsqueeze(0), None)
            size = int(mask.shape[-2]), int(mask.shape[-1])
            maps = {f"map.{s.name}": self._scored(s, logits, size) for s in self._scorers}
        sides = mask.reshape(1, *size)
        sides = torch.where(sides == labels.VOID, sides, -(sides < 0).long())
        return {"sides": sides.to(torch.int8), **maps}

    def _scored(self, scorer: Scorer, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """The map (1 x H x W) of a detector, which may be a stranger's and raise anything."""
        try:
            return scorer.from_logits(logits, size).cpu().contiguous()
        except Exception as error:
            raise DetectorFailedError(scorer.name, error) from error


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
    spec = detector_record(manager, name)
    detector = spec.load()(**options)

    ours = is_ours(spec)

    def score(logits: Tensor) -> Tensor:
        # What a stranger's detector does to its input concerns nobody else.
        scores = detector.score(logits if ours else logits.clone())
        return as_outlier_scores(scores, higher_is=spec.higher_is)

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
