"""What is asked of a source: the questions of its rows, and those that nobody published an answer to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from energy_plugin_bench.values.recipe import Extra, Recipe
from energy_plugin_bench.values.registry import Registry
from energy_plugin_bench.values.rows import ANOMALOUS_PIXELS, CLASSIFICATION_METRICS, PublishedValue
from energy_plugin_bench.verdicts.verdict import Question


def questions(registry: Registry, source: str) -> Iterator[Question]:
    """Everything that is asked for a source: its rows, and what nobody published."""
    for row in registry.sources[source].rows:
        yield question(row)
    for extra in registry.recipes[source].extras:
        yield from of_extra(extra)


def question(row: PublishedValue) -> Question:
    """What a row is of; where no temperature is stated, scores other than the energy have none."""
    unstated = row.temperature == "unknown"
    temperature = (None if row.method == "energy" else 1.0) if unstated else float(row.temperature)
    return Question(row.network, row.id_set, row.ood_set, row.method, row.metric, row.convention, temperature)


def of_extra(extra: Extra) -> Iterator[Question]:
    """What is asked that nobody published."""
    for network in extra.networks:
        for metric in extra.metrics:
            if metric in CLASSIFICATION_METRICS:
                yield Question(network, extra.id_set, None, "argmax", metric, None)
        for ood_set, method in itertools.product(extra.ood_sets, extra.methods):
            for metric in extra.metrics:
                if metric not in CLASSIFICATION_METRICS:
                    yield Question(network, extra.id_set, ood_set, method, metric, extra.convention)


def measured_id(asked: Question) -> str:
    """Id of a figure that nobody published: everything that it is of."""
    parts = ["measured", asked.network, asked.id_set]
    if asked.ood_set is not None:
        other = [] if asked.ood_set == ANOMALOUS_PIXELS else [asked.ood_set]
        at = [] if asked.temperature in (None, 1.0) else [f"t{asked.temperature:g}"]
        parts += [*other, asked.method, *at, str(asked.convention)]
    return "_".join([*parts, asked.metric])


def passes_of(recipe: Recipe, asked: Question) -> list[tuple[str, str]]:
    """Networks and inputs whose passes a question needs."""
    return [
        (network, name)
        for network, ood_set in recipe.parts(asked.network, asked.id_set, asked.ood_set)
        for name in recipe.needs(asked.id_set, ood_set)
    ]
