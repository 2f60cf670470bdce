"""What a published value needs: known before anything is computed, and fetched if that is wished."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from energy_plugin_bench.inputs.assets import digest
from energy_plugin_bench.inputs.download import Outcome, fetch_all
from energy_plugin_bench.passes.passes import logits_file, needed
from energy_plugin_bench.values.rows import PublishedValue, Source
from energy_plugin_bench.verdicts.questions import passes_of, question
from energy_plugin_bench.verdicts.runner import Runner

NEEDS_DATA, NEEDS_DOWNLOAD, NOT_RUNNABLE, LONG = "needs_data", "needs_download", "not_runnable", "long"
MEANINGS = {
    NEEDS_DATA: "published values that take more than the package carries",
    NEEDS_DOWNLOAD: "published values that lack nothing but files which --energy-download fetches",
    NOT_RUNNABLE: "published values that lack something which nobody fetches; they are skipped",
}
"""What the names mean; `long` is known everywhere."""


def needs(runner: Runner, source: Source, row: PublishedValue) -> Iterator[str]:
    """Yield `needs_data`, `needs_download`, `not_runnable` and `long`, as they apply.

    `needs_data`: it takes more than the package carries, whether that is here or not. `needs_download`: it
    lacks nothing but files that have an address. `not_runnable`: it lacks something else: weights that nobody
    published, a set that must be asked for, a comparison that would be none. `long`: it can be run, and a
    network takes minutes over its images.
    """
    asked = question(row)
    if row.obstacle or runner.obstacles(source.name, asked):
        yield NEEDS_DATA
        yield NEEDS_DOWNLOAD if wanted(runner, [(source, row)]) else NOT_RUNNABLE
        return
    passes, recipe = runner.passes, runner.registry.recipes[source.name]
    manifest = passes.assets.manifest
    which = passes_of(recipe, asked)
    without_logits = [each for each in which if logits_file(recipe, *each) not in manifest["logits"]]
    if any(set(needed(recipe, *each)) - set(manifest["files"]) for each in without_logits):
        yield NEEDS_DATA
    computed = [network for network, name in which if not passes.takes_carried(recipe, network, name)]
    if any(recipe.networks[network].slow for network in computed):
        yield LONG


def wanted(runner: Runner, rows: Iterable[tuple[Source, PublishedValue]]) -> list[str]:
    """Paths that must be fetched so that rows can run.

    Rows that would still lack something (a set that must be asked for, a detector) want nothing.
    """
    found: dict[str, None] = {}
    for source, row in rows:
        lacking = _lacking(runner, source, row)
        if all(runner.assets.files[path].url for path in lacking):
            found.update(dict.fromkeys(lacking))
    return list(found)


def _lacking(runner: Runner, source: Source, row: PublishedValue) -> list[str]:
    """Files that alone keep a row from being run; nothing where something else does, too."""
    recipe = runner.registry.recipes.get(source.name)
    if recipe is None or row.obstacle or recipe.obstacles(row.network, row.id_set, row.ood_set):
        return []
    if row.ood_set and not any(spec.name == row.method for spec in runner.manager.detectors()):
        return []
    lacking: list[str] = []
    for network, name in passes_of(recipe, question(row)):
        if logits_file(recipe, network, name) not in runner.assets.manifest["logits"]:
            lacking += needed(recipe, network, name)
    return [path for path in dict.fromkeys(lacking) if runner.assets.locate(path) is None]


def fetch_for(runner: Runner, rows: Iterable[tuple[Source, PublishedValue]]) -> Outcome:
    """Fetch what rows need, saying on stderr how much that is and what could not be fetched."""
    paths = wanted(runner, rows)
    sizes = [runner.assets.files[path].size for path in paths]
    if paths:
        unknown = f", {sizes.count(0)} of unknown size" if 0 in sizes else ""
        total = f"{sum(sizes) / 1e6:,.0f} MB{unknown}"
        sys.stderr.write(f"fetching {len(paths)} files ({total}) into {runner.assets.cache}\n")
    outcome = fetch_all(runner.assets, paths)
    for path in outcome.fetched:
        asset = runner.assets.files[path]
        if not (asset.sha256 or asset.md5):
            found = runner.assets.cache / path
            came = f"sha256:{digest(found)} came" if found.is_file() else "what came"
            sys.stderr.write(f"{path}: {came} is not verified: no hash was published\n")
    for path, reason in outcome.failed.items():
        sys.stderr.write(f"{path}: {reason}\n")
    return outcome
