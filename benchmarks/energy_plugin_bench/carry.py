"""Makes what the package carries: images and weights whose terms allow it, and logits for everything else.

    python -m energy_plugin_bench.carry --data-root DATA

Only what is missing or made of other files is made. It can be broken off at any time and goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from energy_plugin_bench.atomic import replacing
from energy_plugin_bench.inputs.assets import CARRIED, Assets, digest, read_manifest
from energy_plugin_bench.passes.passes import logits_file, made_of, needed
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.recipe import Recipe
from energy_plugin_bench.values.rows import ANOMALOUS_PIXELS
from energy_plugin_bench.verdicts.questions import questions
from energy_plugin_bench.verdicts.runner import Runner

COMMAND = "python -m energy_plugin_bench.carry --data-root DATA"


def main(arguments: list[str] | None = None) -> int:
    """Make the carried files and their manifest."""
    parser = argparse.ArgumentParser(description="Make the files that the package carries.")
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/ and cifar/")
    parser.add_argument("--to", type=Path, default=CARRIED, help="where the files go")
    options = parser.parse_args(arguments)
    registry = registries.load()
    assets = Assets(registry.files, options.data_root, carried=options.to)
    for path, asset in registry.files.items():
        if asset.carry and not _up_to_date(options.to, "files", path, asset.sha256):
            _carry_file(assets, path, options.to)
    runner = Runner(registry, assets, from_images=True, progress=_say)
    for recipe, network, name in passes(runner):
        path = logits_file(recipe, network, name)
        made = made_of(recipe, network, name, assets)
        if not _up_to_date(options.to, "logits", path, made):
            _carry_logits(runner, (recipe, network, name), options.to / path, made)
    return 0


def passes(runner: Runner) -> Iterator[tuple[Recipe, str, str]]:
    """Every recipe's (network, input) whose logits are to be carried.

    Those of networks that take minutes, and those that need a file which is not carried. Logits of pixels are
    too many to be carried; what is fetched, or has no whole hash, is not carried either.
    """
    for source, recipe in runner.registry.recipes.items():
        found: dict[tuple[str, str], None] = {}
        for asked in questions(runner.registry, source):
            if asked.ood_set == ANOMALOUS_PIXELS:
                continue
            if not recipe.obstacles(asked.network, asked.id_set, asked.ood_set):
                for network, ood_set in recipe.parts(asked.network, asked.id_set, asked.ood_set):
                    found |= {(network, name): None for name in recipe.needs(asked.id_set, ood_set)}
        for network, name in found:
            files = [runner.registry.files[path] for path in needed(recipe, network, name)]
            if any(asset.url or not asset.hashed for asset in files):
                continue
            if recipe.networks[network].slow or not all(asset.carry for asset in files):
                yield recipe, network, name


def _up_to_date(folder: Path, part: str, path: str, made: object) -> bool:
    entry = read_manifest(folder)[part].get(path)
    file = folder / path
    return bool(entry and entry["made_of"] == made and file.is_file() and digest(file) == entry["sha256"])


def _carry_file(assets: Assets, path: str, folder: Path) -> None:
    asset = assets.files[path]
    source = (assets.data_root or folder) / path
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        if path.endswith(".npz"):
            recompress(source, part)
        else:
            shutil.copyfile(source, part)
    entry = {"licence": asset.licence, "origin": asset.origin}
    _enter(folder, "files", path, entry | {"made_of": asset.sha256})


def recompress(source: Path, target: Path) -> None:
    """Write an npz archive anew with LZMA: the same arrays, a fifth smaller, still read by `numpy.load`."""
    with np.load(source, allow_pickle=False) as archive, zipfile.ZipFile(target, "w") as packed:
        for name in archive.files:
            member = zipfile.ZipInfo(f"{name}.npy")  # a fixed date: the same arrays give the same file
            member.compress_type = zipfile.ZIP_LZMA
            with packed.open(member, "w") as stream:
                np.lib.format.write_array(stream, archive[name], allow_pickle=False)


def _carry_logits(runner: Runner, which: tuple[Recipe, str, str], target: Path, made: dict[str, Any]) -> None:
    result = runner.passes.compute(*which)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        save_file({"logits": result.logits.contiguous(), "labels": result.labels.to(torch.int16)}, part)
    folder = target.parents[2]
    path = target.relative_to(folder).as_posix()
    _enter(folder, "logits", path, {"made_of": made, "versions": _versions(), "command": COMMAND})


def _enter(folder: Path, part: str, path: str, entry: dict[str, Any]) -> None:
    manifest = {"schema": 1, **read_manifest(folder)}
    file = folder / path
    manifest[part][path] = {"sha256": digest(file), "size": file.stat().st_size, **entry}
    manifest[part] = dict(sorted(manifest[part].items()))
    with replacing(folder / "manifest.json") as written:
        written.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("torch", "numpy", "pillow", "safetensors")
    }


def _say(what: str, done: int, total: int) -> None:
    if done % 2000 == 0:
        sys.stderr.write(f"{what}: {done:,} of {total:,}\n")


if __name__ == "__main__":
    sys.exit(main())
