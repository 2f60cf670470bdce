"""What a published value needs: known before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

from energy_plugin_bench.passes import logits_file, needed
from energy_plugin_bench.rows import ANOMALOUS_PIXELS, PublishedValue
from energy_plugin_bench.runner import Runner, question

NEEDS_DATA, NEEDS_DOWNLOAD, LONG = "needs_data", "needs_download", "long"


def needs(runner: Runner, source: str, row: PublishedValue) -> Iterator[str]:
    """Yield `needs_data`, `needs_download` and `long`, as they apply.

    `needs_data`: it takes files that the package does not carry. `needs_download`: it takes something that is
    not here, neither carried nor under the data root. `long`: it can be run, and takes minutes.
    """
    asked = question(row)
    if runner.obstacles(source, asked):
        yield NEEDS_DATA
        yield NEEDS_DOWNLOAD
        return
    passes, recipe = runner.passes, runner.registry.recipes[source]
    manifest = passes.assets.manifest
    inputs = recipe.needs(asked.id_set, asked.ood_set)
    without_logits = [n for n in inputs if logits_file(recipe, asked.network, n) not in manifest["logits"]]
    if any(set(needed(recipe, asked.network, name)) - set(manifest["files"]) for name in without_logits):
        yield NEEDS_DATA
    computed = [name for name in inputs if not passes.takes_carried(recipe, asked.network, name)]
    if asked.ood_set == ANOMALOUS_PIXELS or (recipe.networks[asked.network].slow and computed):
        yield LONG
