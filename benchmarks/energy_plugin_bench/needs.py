"""What a published value needs: known before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

from energy_plugin_bench.passes import logits_file, needed
from energy_plugin_bench.rows import PublishedValue
from energy_plugin_bench.runner import Runner, passes_of, question

NEEDS_DATA, NEEDS_DOWNLOAD, LONG = "needs_data", "needs_download", "long"


def needs(runner: Runner, source: str, row: PublishedValue) -> Iterator[str]:
    """Yield `needs_data`, `needs_download` and `long`, as they apply.

    `needs_data`: it takes files that the package does not carry. `needs_download`: it takes something that is
    not here, neither carried nor under the data root. `long`: it can be run, and a network takes minutes over
    its images.
    """
    asked = question(row)
    if row.obstacle or runner.obstacles(source, asked):
        yield NEEDS_DATA
        yield NEEDS_DOWNLOAD
        return
    passes, recipe = runner.passes, runner.registry.recipes[source]
    manifest = passes.assets.manifest
    wanted = passes_of(recipe, asked)
    without_logits = [which for which in wanted if logits_file(recipe, *which) not in manifest["logits"]]
    if any(set(needed(recipe, *which)) - set(manifest["files"]) for which in without_logits):
        yield NEEDS_DATA
    computed = [network for network, name in wanted if not passes.takes_carried(recipe, network, name)]
    if any(recipe.networks[network].slow for network in computed):
        yield LONG
