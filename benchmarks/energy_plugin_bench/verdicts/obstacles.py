"""Why a figure cannot be measured, as far as that is known before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

from energy_plugin.errors import DuplicateNameError
from energy_plugin.manager import PluginManager
from energy_plugin.metrics import CONVENTIONS
from energy_plugin_bench.passes.passes import Passes
from energy_plugin_bench.values.recipe import Recipe
from energy_plugin_bench.values.registry import Registry
from energy_plugin_bench.values.rows import ANOMALOUS_PIXELS
from energy_plugin_bench.verdicts.measure import detector_record, takes_temperature
from energy_plugin_bench.verdicts.pixels import PIXEL_METRICS
from energy_plugin_bench.verdicts.questions import passes_of
from energy_plugin_bench.verdicts.verdict import Question


class Obstacles:
    """What speaks against measuring figures.

    Args:
        registry: Recipes.
        manager: Who knows detectors.
        passes: Who knows whether files are there.
    """

    def __init__(self, registry: Registry, manager: PluginManager, passes: Passes) -> None:
        self._registry, self._manager, self._passes = registry, manager, passes
        self._not_detectors: dict[str, str] = {}

    def __call__(self, source: str, asked: Question) -> tuple[str, ...]:
        """Return the reasons; none if nothing speaks against it."""
        recipe = self._registry.recipes.get(source)
        if recipe is None:
            return ("no recipe is written for this source yet",)
        missing = recipe.obstacles(asked.network, asked.id_set, asked.ood_set)
        if asked.ood_set:
            missing = (*self._of_the_score(asked), *_of_the_convention(asked), *missing)
        if missing:
            return missing
        if asked.ood_set == ANOMALOUS_PIXELS:
            missing = tuple(_of_pixels(recipe, asked))
        if missing:
            return missing
        if recipe.protocol(asked.metric, asked.ood_set) is None:
            return ("the recipe has no protocol for this metric and set",)
        found = [self._passes.obstacles(recipe, *which) for which in passes_of(recipe, asked)]
        return tuple(dict.fromkeys(obstacle for obstacles in found for obstacle in obstacles))

    def _of_the_score(self, asked: Question) -> Iterator[str]:
        if asked.method not in self._not_detectors:  # thousands of rows ask for a few of them
            self._not_detectors[asked.method] = self._not_a_detector(asked.method)
        fault = self._not_detectors[asked.method]
        if fault:
            yield fault
        elif asked.temperature is None:
            yield "the source does not state the temperature"
        elif asked.temperature != 1.0 and not takes_temperature(self._manager, asked.method):
            yield f"the score {asked.method!r} takes no temperature; the row's is {asked.temperature:g}"

    def _not_a_detector(self, name: str) -> str:
        try:
            detector_record(self._manager, name)
        except DuplicateNameError as error:
            return str(error.args[0])
        except LookupError:
            return f"no plug-in offers the score {name!r} as a detector of logits"
        return ""


def _of_the_convention(asked: Question) -> Iterator[str]:
    rules = CONVENTIONS.get(str(asked.convention))
    if rules is None:
        return
    if rules.aupr_rule is None and asked.metric.startswith("aupr"):
        yield f"the convention {asked.convention!r} computes no AUPR"
    if rules.pooling != "pooled" and asked.ood_set != ANOMALOUS_PIXELS:
        yield f"the convention {asked.convention!r} takes means over images of pixels, not whole images"


def _of_pixels(recipe: Recipe, asked: Question) -> Iterator[str]:
    """What of a recipe cannot be done with images that have masks."""
    if asked.metric not in PIXEL_METRICS:
        yield f"{asked.metric} is not computed of pixels; {', '.join(PIXEL_METRICS)} are"
    chosen = recipe.set_named(asked.id_set)
    if chosen is not None and chosen.classes:
        yield "the recipe leaves out classes of images, which images with masks have not"
    networks = {network for network, _ in recipe.parts(asked.network, asked.id_set, asked.ood_set)}
    transforms = [recipe.inputs[recipe.input_of(asked.id_set)].transform]
    transforms += [known.transform for name in networks if (known := recipe.network(name))]
    if any(transforms):
        yield (
            "the recipe has transforms, which images with masks do not take: say size and resizer in the "
            "options of the data set"
        )
