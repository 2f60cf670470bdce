"""Runs recipes: rows in, verdicts out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch

from energy_plugin.manager import PluginManager, default_manager
from energy_plugin_bench import registry as registries
from energy_plugin_bench.assets import Assets
from energy_plugin_bench.measure import (
    Figure,
    is_wrong,
    mean_of,
    measured,
    on_another_device,
    outlier_scores,
    with_devices,
)
from energy_plugin_bench.passes import Logits, Passes, Progress, quiet
from energy_plugin_bench.recipe import Extra, Network, Protocol, Recipe, Set
from energy_plugin_bench.registry import Registry
from energy_plugin_bench.rows import (
    ANOMALOUS_PIXELS,
    CLASSIFICATION_METRICS,
    ERROR_DETECTION,
    PublishedValue,
    Source,
)
from energy_plugin_bench.segmentation.measure import pixel_figures
from energy_plugin_bench.verdict import ALSO, Question, Verdict, judged, tolerance


class Runner:
    """Measures rows; every network sees every image once, whatever is asked of it.

    Args:
        registry: Rows, recipes and file lists; None takes what plug-ins offer.
        assets: Where files lie; None takes `ENERGY_PLUGIN_DATA` and the carried files.
        manager: Who knows networks, data sets and detectors; None takes the process's.
        from_images: Whether images go before carried logits, where both are there.
        progress: Told how far a network is.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        assets: Assets | None = None,
        *,
        manager: PluginManager | None = None,
        from_images: bool = False,
        progress: Progress = quiet,
    ) -> None:
        self.manager = manager or default_manager()
        self.registry = registry or registries.load(self.manager)
        self.assets = assets or Assets(self.registry.files)
        self.passes = Passes(self.assets, self.manager, from_images=from_images, progress=progress)
        self._measured: dict[tuple[object, ...], Mapping[str, Figure]] = {}

    def verdict(self, source: Source, row: PublishedValue) -> Verdict:
        """Measure one row and judge it.

        Raises:
            CorruptAssetError: A file is not the one that the recipe names.
            LookupError: No plug-in knows a network, data set or detector of the recipe.
        """
        asked = _asked(row)
        told = Verdict(
            id=row.id, source=source.name, status="not run", asked=asked, unit=row.unit,
            published=row.printed, place=row.place, note=row.note,
        )  # fmt: skip
        obstacles = (row.obstacle,) if row.obstacle else self.obstacles(source.name, asked)
        if obstacles:
            return replace(told, reason=ALSO.join(obstacles))
        recipe = self.registry.recipes[source.name]
        figure, origin = self._figure(recipe, asked)
        ood = _ood_set(recipe, asked)
        allowed = tolerance(row, _protocol(recipe, asked), figure, ood)
        value = figure.value * row.scale
        return replace(
            told,
            status=judged(value, allowed),
            measured=value,
            spread=figure.spread * row.scale if figure.draws else None,
            draws=figure.draws,
            tolerance=allowed,
            origin=origin,
            note="; ".join(note for note in (row.note, ood.note) if note),
        )

    def extras(self, source: str, chosen: Callable[[str], bool] = lambda _: True) -> Iterator[Verdict]:
        """Measure what nobody published, where that can be done and its id is chosen; in percent."""
        recipe = self.registry.recipes.get(source)
        for extra, asked in ((e, q) for e in (recipe.extras if recipe else ()) for q in _questions(e)):
            of = asked.id_set if asked.ood_set == ANOMALOUS_PIXELS else asked.ood_set
            name = f"measured_{asked.network}_{of}_{asked.method}_{asked.metric}"
            if recipe is None or not chosen(name) or self.obstacles(source, asked):
                continue
            figure, origin = self._figure(recipe, asked)
            yield Verdict(
                id=name,
                source=source,
                status="measured",
                asked=asked,
                unit="percent",
                measured=100 * figure.value,
                spread=100 * figure.spread if figure.draws else None,
                draws=figure.draws,
                origin=origin,
                note="; ".join(n for n in (extra.note, _ood_set(recipe, asked).note) if n),
            )

    def obstacles(self, source: str, asked: Question) -> tuple[str, ...]:
        """Why a figure cannot be measured; empty if nothing speaks against it. Nothing is computed."""
        recipe = self.registry.recipes.get(source)
        if recipe is None:
            return ("no recipe is written for this source yet",)
        missing = recipe.obstacles(asked.network, asked.id_set, asked.ood_set)
        if asked.ood_set and not any(spec.name == asked.method for spec in self.manager.detectors()):
            missing = (f"no plug-in offers the score {asked.method!r} as a detector of logits", *missing)
        if missing:
            return missing
        if recipe.protocol(asked.metric, asked.ood_set) is None:
            return ("the recipe has no protocol for this metric and set",)
        found = [
            self.passes.obstacles(recipe, network, name)
            for network, ood_set in recipe.parts(asked.network, asked.id_set, asked.ood_set)
            for name in recipe.needs(asked.id_set, ood_set)
        ]
        return tuple(dict.fromkeys(obstacle for obstacles in found for obstacle in obstacles))

    def _figure(self, recipe: Recipe, asked: Question) -> tuple[Figure, str]:
        """Measure one figure, and say what it was computed from."""
        parts = recipe.parts(asked.network, asked.id_set, asked.ood_set)
        if parts != [(asked.network, asked.ood_set)]:
            return mean_of(self._figure(recipe, replace(asked, network=n, ood_set=o)) for n, o in parts)
        if asked.ood_set == ANOMALOUS_PIXELS:
            return self._pixels(recipe, asked), "images"
        known = self._taken(recipe, asked.network, asked.id_set)
        if asked.metric in CLASSIFICATION_METRICS:
            share = float(is_wrong(known.logits, known.labels).double().mean())
            return Figure(share if asked.metric == "error_rate" else 1 - share), known.origin
        protocol = _protocol(recipe, asked)
        other = (
            known
            if asked.ood_set == ERROR_DETECTION
            else self._taken(recipe, asked.network, str(asked.ood_set))
        )
        key = (recipe.source, *(v for name, v in vars(asked).items() if name != "metric"), protocol)
        if key not in self._measured:
            self._measured[key] = self._all_figures(
                asked, protocol, known, other, recipe.networks[asked.network]
            )
        return self._measured[key][asked.metric], " and ".join(dict.fromkeys((known.origin, other.origin)))

    def _pixels(self, recipe: Recipe, asked: Question) -> Figure:
        """Measure a figure of pixels, together with all others that are asked of the same pass."""
        key = (recipe.source, asked.network, asked.id_set, ANOMALOUS_PIXELS)
        if key not in self._measured:
            together = [
                other
                for other in questions(self.registry, recipe.source)
                if (other.network, other.id_set) == (asked.network, asked.id_set)
            ]
            self._measured[key] = pixel_figures(self.passes, recipe, together)
        found = self._measured[key][f"{asked.method} {asked.convention} {asked.metric}"]
        return replace(found, device=_protocol(recipe, asked).allowance)

    def _all_figures(
        self, asked: Question, protocol: Protocol, known: Logits, other: Logits, network: Network
    ) -> Mapping[str, Figure]:
        """All figures of the question's convention, by metric, with what other devices make of them."""
        wrong = is_wrong(known.logits, known.labels) if asked.ood_set == ERROR_DETECTION else None

        def on(device: int) -> Mapping[str, Figure]:
            sides = [side.logits for side in ((known,) if wrong is not None else (known, other))]
            if device:
                sides = [on_another_device(logits, network.rounding, device) for logits in sides]
            scores = [outlier_scores(self.manager, asked.method, logits) for logits in sides]
            inward, outward = (scores[0][~wrong], scores[0][wrong]) if wrong is not None else scores
            return measured(inward, outward, asked.convention or "", protocol)

        return with_devices(on(0), [on(device) for device in range(1, protocol.devices + 1)])

    def _taken(self, recipe: Recipe, network: str, name: str) -> Logits:
        """Logits of a set: those of its input, less the classes that it leaves out."""
        logits = self.passes(recipe, network, recipe.input_of(name))
        chosen = recipe.set_named(name)
        if chosen is None or not chosen.classes:
            return logits
        keep = torch.isin(logits.labels, torch.tensor(chosen.classes))
        return Logits(logits.logits[keep], logits.labels[keep], logits.origin)


def _protocol(recipe: Recipe, asked: Question) -> Protocol:
    found = recipe.protocol(asked.metric, asked.ood_set)
    if found is None:
        raise LookupError(
            f"the recipe of {recipe.source} has no protocol for {asked.metric}, {asked.ood_set}"
        )
    return found


def _ood_set(recipe: Recipe, asked: Question) -> Set:
    return recipe.set_named(recipe.meant(asked.id_set, asked.ood_set or "")) or Set()


def questions(registry: Registry, source: str) -> Iterator[Question]:
    """Everything that is asked for a source: its rows, and what nobody published."""
    for row in registry.sources[source].rows:
        yield _asked(row)
    for extra in registry.recipes[source].extras:
        yield from _questions(extra)


def _asked(row: PublishedValue) -> Question:
    return Question(row.network, row.id_set, row.ood_set, row.method, row.metric, row.convention)


def _questions(extra: Extra) -> Iterator[Question]:
    for network in extra.networks:
        for ood_set in extra.ood_sets:
            for method in extra.methods:
                for metric in extra.metrics:
                    yield Question(network, extra.id_set, ood_set, method, metric, extra.convention)
