"""Runs recipes: rows in, verdicts out."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from energy_plugin.manager import PluginManager, default_manager
from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.inputs.assets import Assets
from energy_plugin_bench.passes.cache import PassCache
from energy_plugin_bench.passes.computing import Computing
from energy_plugin_bench.passes.passes import ALONE, Logits, Passes, Progress, quiet
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.networks import Set
from energy_plugin_bench.values.recipe import Protocol, Recipe
from energy_plugin_bench.values.registry import Registry
from energy_plugin_bench.values.rows import (
    ANOMALOUS_PIXELS,
    CLASSIFICATION_METRICS,
    ERROR_DETECTION,
    PublishedValue,
    Source,
)
from energy_plugin_bench.verdicts.measure import (
    Figure,
    is_wrong,
    mean_of,
    measured,
    on_another_device,
    outlier_scores,
    with_devices,
)
from energy_plugin_bench.verdicts.obstacles import Obstacles
from energy_plugin_bench.verdicts.pixels import DetectorFailedError, pixel_figures, score_of
from energy_plugin_bench.verdicts.questions import measured_id, of_extra, passes_of, question, questions
from energy_plugin_bench.verdicts.verdict import ALSO, Question, Verdict, judged, tolerance


class Runner:
    """Measures rows; every network sees every image once, whatever is asked of it.

    Args:
        registry: Rows, recipes and file lists; None takes what plug-ins offer.
        assets: Where files lie; None takes `ENERGY_PLUGIN_DATA` and the carried files.
        manager: Who knows networks, data sets and detectors; None takes the process's.
        from_images: Whether images go before carried logits, where both are there.
        progress: Told how far a network is.
        computing: Device, batches, precision.
        cache: Where what networks give is kept; None keeps nothing.
        process: Which of the processes that share the images this is.

    Attributes:
        beside_pixels: Detectors that score every map of pixels, too, whoever asks for them.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        assets: Assets | None = None,
        *,
        manager: PluginManager | None = None,
        from_images: bool = False,
        progress: Progress = quiet,
        computing: Computing | None = None,
        cache: PassCache | None = None,
        process: Process = ALONE,
    ) -> None:
        self.manager = manager or default_manager()
        self.registry = registry or registries.load(self.manager)
        self.assets = assets or Assets(self.registry.files)
        self.passes = Passes(
            self.assets, self.manager, from_images=from_images, progress=progress,
            computing=computing, cache=cache, process=process,
        )  # fmt: skip
        self.beside_pixels: tuple[str, ...] = ()
        self._measured: dict[tuple[object, ...], Mapping[str, Figure]] = {}
        self._obstacles = Obstacles(self.registry, self.manager, self.passes)
        self._failed_pixels: dict[tuple[str, str, str], Exception] = {}
        self._failed_maps: dict[tuple[str, str, str, str], DetectorFailedError] = {}
        self._pixel_figures: dict[tuple[str, str, str], tuple[Mapping[str, Figure], str]] = {}

    def verdict(self, source: Source, row: PublishedValue) -> Verdict:
        """Measure one row and judge it.

        Raises:
            CorruptAssetError: A file is not the one that the recipe names.
            LookupError: No plug-in knows a network, data set or detector of the recipe.
        """
        asked = question(row)
        told = Verdict(
            id=row.id, source=source.name, status="not run", asked=asked, unit=row.unit,
            published=row.printed, place=row.place, note=row.remark,
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
            elsewhere=None if figure.device is None else figure.device * row.scale,
            explained=recipe.explanation(row.id),
            note="; ".join(note for note in (row.remark, ood.note) if note),
        )

    def attempt(self, source: Source, row: PublishedValue) -> Verdict:
        """Measure one row and judge it; where files or code are at fault, it is not run and says why."""
        try:
            return self.verdict(source, row)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # files and plug-ins of strangers: others go on
            return Verdict(
                id=row.id, source=source.name, status="not run", asked=question(row), unit=row.unit,
                failed=True, published=row.printed, place=row.place, note=row.remark, reason=_told(error),
            )  # fmt: skip

    def extras(self, source: str, chosen: Callable[[str], bool] = lambda _: True) -> Iterator[Verdict]:
        """Measure what nobody published, where that can be done and its id is chosen; in percent."""
        recipe = self.registry.recipes.get(source)
        for extra, asked in ((e, q) for e in (recipe.extras if recipe else ()) for q in of_extra(e)):
            if chosen(measured_id(asked)) and not self.obstacles(source, asked):
                yield self.attempt_figure(source, asked, extra.note)

    def attempt_figure(self, source: str, asked: Question, note: str = "") -> Verdict:
        """Measure a figure that nobody published; what goes wrong is told as by `attempt`."""
        try:
            return self.measure(source, asked, note)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # as in `attempt`
            return Verdict(
                id=measured_id(asked), source=source, status="not run", asked=asked, unit="percent",
                failed=True, reason=_told(error), note=note,
            )  # fmt: skip

    def broken(self, source: str, asked: Question) -> bool:
        """Whether a pass that the question needs was tried and failed, whatever the score."""
        recipe = self.registry.recipes[source]
        if asked.ood_set == ANOMALOUS_PIXELS:
            return (source, asked.network, asked.id_set) in self._failed_pixels
        return any(self.passes.has_failed(recipe, *which) for which in passes_of(recipe, asked))

    def measure(self, source: str, asked: Question, note: str = "") -> Verdict:
        """Measure a figure that nobody published, in percent; nothing must speak against it (`obstacles`)."""
        recipe = self.registry.recipes[source]
        figure, origin = self._figure(recipe, asked)
        return Verdict(
            id=measured_id(asked),
            source=source,
            status="measured",
            asked=asked,
            unit="percent",
            measured=100 * figure.value,
            spread=100 * figure.spread if figure.draws else None,
            draws=figure.draws,
            origin=origin,
            note="; ".join(n for n in (note, _ood_set(recipe, asked).note) if n),
        )

    def share(
        self,
        rows: Iterable[tuple[Source, PublishedValue]],
        chosen: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Make the logits and maps that rows and extras need, together with the other processes.

        Every process calls this; the first one says what is needed, and can measure alone after it.

        Args:
            rows: Those of the first process count.
            chosen: Which extras are measured, as `extras` takes it.
        """
        process = self.passes.process
        asked = {(source.name, question(row)): None for source, row in rows}
        for name in {name: None for name, _ in asked}:
            recipe = self.registry.recipes.get(name)
            extras = (q for extra in (recipe.extras if recipe else ()) for q in of_extra(extra))
            asked |= {(name, q): None for q in extras if chosen(measured_id(q))}
        for source, network, name, of_pixels in process.told(self._needed(asked) if process.first else []):
            recipe = self.registry.recipes[source]
            if of_pixels:
                self._pixel_pass(recipe, network, name, of_pixels)
            else:
                self.passes(recipe, network, name)
        self.passes.process = ALONE

    def _needed(
        self, asked: Iterable[tuple[str, Question]]
    ) -> list[tuple[str, str, str, tuple[Question, ...]]]:
        """Source, network, input and questions of pixels, if it is of these, of every pass to be computed."""
        found: dict[tuple[str, str, str, tuple[Question, ...]], None] = {}
        for source, q in asked:
            if self.obstacles(source, q):
                continue
            recipe = self.registry.recipes[source]
            if q.ood_set == ANOMALOUS_PIXELS:
                for network, _ in recipe.parts(q.network, q.id_set, q.ood_set):
                    found[source, network, q.id_set, self._of_pixels(recipe, network, q.id_set)] = None
                continue
            for network, name in passes_of(recipe, q):
                if not self.passes.takes_carried(recipe, network, name):
                    found[source, network, name, ()] = None
        return list(found)

    def obstacles(self, source: str, asked: Question) -> tuple[str, ...]:
        """Why a figure cannot be measured; empty if nothing speaks against it. Nothing is computed."""
        return self._obstacles(source, asked)

    def _figure(self, recipe: Recipe, asked: Question) -> tuple[Figure, str]:
        """Measure one figure, and say what it was computed from."""
        parts = recipe.parts(asked.network, asked.id_set, asked.ood_set)
        if parts != [(asked.network, asked.ood_set)]:
            return mean_of(self._figure(recipe, replace(asked, network=n, ood_set=o)) for n, o in parts)
        if asked.ood_set == ANOMALOUS_PIXELS:
            return self._pixels(recipe, asked)
        known = self._taken(recipe, asked.network, asked.id_set)
        if asked.metric in CLASSIFICATION_METRICS:
            if int(known.labels.min()) < 0:
                raise ValueError(f"images of {asked.id_set!r} have labels below 0, which are no classes")
            share = float(is_wrong(known.logits, known.labels).double().mean())
            return Figure(share if asked.metric == "error_rate" else 1 - share), known.origin
        protocol = _protocol(recipe, asked)
        within = asked.ood_set == ERROR_DETECTION
        other = known if within else self._taken(recipe, asked.network, str(asked.ood_set))
        key = (recipe.source, *(v for name, v in vars(asked).items() if name != "metric"), protocol)
        if key not in self._measured:
            self._measured[key] = self._all_figures(recipe.source, asked, protocol)
        return self._measured[key][asked.metric], " and ".join(dict.fromkeys((known.origin, other.origin)))

    def _pixels(self, recipe: Recipe, asked: Question) -> tuple[Figure, str]:
        """Measure a figure of pixels, and say what it was computed from."""
        together = self._of_pixels(recipe, asked.network, asked.id_set)
        figures, origin = self._pixel_pass(recipe, asked.network, asked.id_set, together)
        failed = self._failed_maps.get((recipe.source, asked.network, asked.id_set, score_of(asked)))
        if failed is not None:
            raise failed
        return figures[f"{score_of(asked)} {asked.convention} {asked.metric}"], origin

    def _of_pixels(self, recipe: Recipe, network: str, id_set: str) -> tuple[Question, ...]:
        """Everything that is asked of one pass and can be answered."""
        wanted = (network, id_set, ANOMALOUS_PIXELS)
        asked = questions(self.registry, recipe.source)
        of_these = [q for q in asked if (q.network, q.id_set, q.ood_set) == wanted]
        more = [replace(q, method=name, temperature=1.0) for name in self.beside_pixels for q in of_these]
        return tuple(q for q in dict.fromkeys(of_these + more) if not self.obstacles(recipe.source, q))

    def _pixel_pass(
        self, recipe: Recipe, network: str, id_set: str, asked: tuple[Question, ...]
    ) -> tuple[Mapping[str, Figure], str]:
        """Measure questions of one pass, once; where there are several processes, all call this."""
        key = (recipe.source, network, id_set)
        if key in self._failed_pixels:  # what does not work once is not tried for every row
            raise self._failed_pixels[key]
        while key not in self._pixel_figures:
            try:
                self._pixel_figures[key] = pixel_figures(self.passes, recipe, asked)
            except Exception as error:  # noqa: BLE001  # raised again by `_without`, unless others can go on
                error.add_note(f"the network {network!r} on {id_set!r}")
                asked = self._without(error, key, asked)
        return self._pixel_figures[key]

    def _without(
        self, error: Exception, key: tuple[str, str, str], asked: tuple[Question, ...]
    ) -> tuple[Question, ...]:
        """What can be asked of a pass again, a detector having failed; several processes cannot go back."""
        if isinstance(error, DetectorFailedError) and self.passes.process.world == 1:
            self._failed_maps[(*key, error.score)] = error
            left = tuple(q for q in asked if score_of(q) != error.score)
            if left:
                return left
        self._failed_pixels[key] = error
        raise error

    def scores(self, source: str, asked: Question, device: int = 0) -> tuple[Tensor, Tensor]:
        """Outlier scores of the in-distribution and of the OOD images of a question.

        Args:
            source: Whose recipe it is.
            asked: A question of images, not of pixels, with an OOD set; nothing must speak against it.
            device: Number of another device to play, 0: none.
        """
        recipe = self.registry.recipes[source]
        known = self._taken(recipe, asked.network, asked.id_set)
        wrong = is_wrong(known.logits, known.labels) if asked.ood_set == ERROR_DETECTION else None
        sides = [known.logits]
        if wrong is None:
            sides.append(self._taken(recipe, asked.network, str(asked.ood_set)).logits)
        if device:
            rounding = recipe.networks[asked.network].rounding
            sides = [on_another_device(logits, rounding, device) for logits in sides]
        found = [outlier_scores(self.manager, asked.method, side, asked.temperature or 1.0) for side in sides]
        return (found[0], found[1]) if wrong is None else (found[0][~wrong], found[0][wrong])

    def _all_figures(self, source: str, asked: Question, protocol: Protocol) -> Mapping[str, Figure]:
        """All figures of the question's convention, by metric, with what other devices make of them."""

        def on(device: int) -> Mapping[str, Figure]:
            return measured(*self.scores(source, asked, device), asked.convention or "", protocol)

        return with_devices(on(0), [on(device) for device in range(1, protocol.devices + 1)])

    def _taken(self, recipe: Recipe, network: str, name: str) -> Logits:
        """Logits of a set: those of its input, less the classes that it leaves out."""
        logits = self.passes(recipe, network, recipe.input_of(name))
        chosen = recipe.set_named(name)
        if chosen is None or not chosen.classes:
            return logits
        keep = torch.isin(logits.labels, torch.tensor(chosen.classes))
        return Logits(logits.logits[keep], logits.labels[keep], logits.origin)


def _told(error: BaseException) -> str:
    """What went wrong, where, for a reader; images and maps that its frames hold are let go."""
    traceback.clear_frames(error.__traceback__)
    text = str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)
    if not isinstance(error, LookupError | ValueError | OSError):
        text = f"{type(error).__name__}: {text}"
    return ": ".join(["failed", *getattr(error, "__notes__", ()), text])


def _protocol(recipe: Recipe, asked: Question) -> Protocol:
    found = recipe.protocol(asked.metric, asked.ood_set)
    if found is None:
        raise LookupError(
            f"the recipe of {recipe.source} has no protocol for {asked.metric}, {asked.ood_set}"
        )
    return found


def _ood_set(recipe: Recipe, asked: Question) -> Set:
    return recipe.set_named(recipe.meant(asked.id_set, asked.ood_set or "")) or Set()
