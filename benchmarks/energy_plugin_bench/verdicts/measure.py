"""From logits to figures: scores by a plug-in's detector, draws, metrics of a convention."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from energy_plugin.discovery import HOUSE
from energy_plugin.errors import DuplicateNameError
from energy_plugin.manager import PluginManager
from energy_plugin.metrics import Results, as_outlier_scores, evaluate
from energy_plugin.records import DetectorSpec, Record
from energy_plugin_bench.passes.threads import one_thread
from energy_plugin_bench.values.recipe import Protocol

AREAS_AND_RATES = ("fpr95", "tnr95", "tnr99", "auroc", "aupr", "aupr_in", "aupr_out")
"""Attributes of `Results` that rows name as metrics."""


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Attributes:
        value: Mean over the draws, a fraction.
        spread: Standard deviation over the draws (population form), a fraction; 0 without draws.
        draws: Number of draws; 0 where every image was scored once.
        drawn: OOD images a draw.
        n_ood: OOD images that there were to draw from.
        device: How far it moved at most on the other devices that were played, a fraction; None without.
        bound: How far it lies at most from the exact one, a fraction; 0 where it is exact. Pixels may be so
            many that they are counted in bins.
    """

    value: float
    spread: float = 0.0
    draws: int = 0
    drawn: int = 0
    n_ood: int = 0
    device: float | None = None
    bound: float = 0.0


def is_ours(record: Record) -> bool:
    """Whether a record is of one of our packages."""
    return record.target.partition(":")[0].partition(".")[0] in HOUSE


def detector_record(manager: PluginManager, name: str) -> DetectorSpec:
    """The detector of a name: ours where another plug-in took the name, too, since rows mean ours.

    Raises:
        UnknownNameError: No plug-in offers it.
        DuplicateNameError: Two other plug-ins do.
    """
    try:
        return manager.get("detector", name)
    except DuplicateNameError:
        records = [offer.record for offer in manager.offers("detector") if offer.record.name == name]
        ours = [record for record in records if isinstance(record, DetectorSpec) and is_ours(record)]
        if len(ours) != 1:
            raise
        return ours[0]


def outlier_scores(manager: PluginManager, method: str, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Score logits (N, C) by the detector of this name: (N,), higher = more OOD whatever its own direction.

    It is given a copy: what a stranger's detector does to its input concerns nobody else.

    Raises:
        LookupError: No plug-in offers it.
        ValueError: It gave something else than a score an image.
    """
    spec = detector_record(manager, method)
    options = {} if temperature == 1.0 else {"temperature": temperature}
    scores = spec.load()(**options).score(logits.clone())
    shape = tuple(getattr(scores, "shape", ()))
    if shape != (len(logits),):
        raise ValueError(
            f"the detector {method!r} gave {type(scores).__name__} of shape {shape} for logits of shape "
            f"{tuple(logits.shape)}; expected one score an image, ({len(logits)},)."
        )
    return as_outlier_scores(scores, higher_is=spec.higher_is)


def takes_temperature(manager: PluginManager, method: str) -> bool:
    """Whether a detector can be made with `temperature=...`."""
    parameters = inspect.signature(detector_record(manager, method).load()).parameters.values()
    return any(known.name == "temperature" or known.kind is known.VAR_KEYWORD for known in parameters)


def is_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Which rows of logits (N, C) have their maximum elsewhere than at the label: (N,) bool."""
    return logits.argmax(dim=1) != labels


def on_another_device(logits: Tensor, rounding: float, seed: int) -> Tensor:
    """Logits (N, C) as another device may give them.

    Each is moved by a random share of itself, normal with standard deviation `rounding`, and the classes are
    put into another order, so that what sums over them in float32 rounds otherwise: of probabilities that
    crowd at 1, the last bit decides which are 1.
    """
    generator = torch.Generator().manual_seed(seed)
    moved = logits * (1 + rounding * torch.randn(logits.shape, generator=generator))
    return moved[:, torch.randperm(logits.shape[1], generator=generator)]


def measured(
    id_scores: Tensor, ood_scores: Tensor, convention: str, protocol: Protocol
) -> Mapping[str, Figure]:
    """All figures of a convention, by metric.

    Args:
        id_scores: (N,), higher = more OOD.
        ood_scores: (M,).
        convention: A key of `energy_plugin.metrics.CONVENTIONS`.
        protocol: Whether and how OOD scores are drawn.

    Raises:
        ValueError: A draw is larger than the set.
    """
    with one_thread():
        return _measured(id_scores, ood_scores, convention, protocol)


def _measured(
    id_scores: Tensor, ood_scores: Tensor, convention: str, protocol: Protocol
) -> dict[str, Figure]:
    if not protocol.draws:
        return _figures([evaluate(id_scores, ood_scores, convention)], n_ood=len(ood_scores))
    size = protocol.draw_size(len(id_scores))
    if size < 1:
        raise ValueError(f"the protocol draws no OOD image for {len(id_scores)} ID images")
    if size > len(ood_scores):
        raise ValueError(f"a draw of {size} OOD images does not fit into a set of {len(ood_scores)}")
    results = [
        evaluate(id_scores, ood_scores[chosen], convention)
        for chosen in _draws(len(ood_scores), size, protocol)
    ]
    return _figures(results, draws=protocol.draws, drawn=size, n_ood=len(ood_scores))


def mean_of(parts: Iterable[tuple[Figure, str]]) -> tuple[Figure, str]:
    """Average figures that were measured apart, each with what it was computed from.

    The spread of the mean is that of independent parts; draws are those of one part.
    """
    figures, origins = zip(*parts, strict=True)
    spread = float(np.sqrt(sum(figure.spread**2 for figure in figures))) / len(figures)
    whole = Figure(
        value=float(np.mean([figure.value for figure in figures])),
        spread=spread,
        draws=min(figure.draws for figure in figures),
        drawn=figures[0].drawn,
        n_ood=min(figure.n_ood for figure in figures),
        device=max((f.device for f in figures if f.device is not None), default=None),
        bound=max(figure.bound for figure in figures),
    )
    return whole, " and ".join(dict.fromkeys(origins))


def with_devices(ours: Mapping[str, Figure], others: list[Mapping[str, Figure]]) -> dict[str, Figure]:
    """Our figures, each with how far it moves at most on other devices."""
    if not others:
        return dict(ours)
    return {
        metric: replace(figure, device=max(abs(other[metric].value - figure.value) for other in others))
        for metric, figure in ours.items()
    }


def _draws(count: int, size: int, protocol: Protocol) -> Iterator[Tensor]:
    """Indices of each draw: without replacement within a draw, anew for each."""
    generator = np.random.default_rng(protocol.seed)
    for _ in range(protocol.draws):
        yield torch.from_numpy(generator.permutation(count)[:size])


def _figures(results: list[Results], **counts: int) -> dict[str, Figure]:
    found = {}
    for metric in AREAS_AND_RATES:
        values = np.array([getattr(result, metric) for result in results], dtype=float)
        found[metric] = Figure(float(values.mean()), float(values.std()), **counts)
    return found
