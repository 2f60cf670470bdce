"""Logits of a network for an input: computed from the images, or those that this gave before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from energy_plugin.errors import DuplicateNameError
from energy_plugin.manager import PluginManager
from energy_plugin.records import Record
from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.inputs.assets import Assets, CorruptAssetError, verify
from energy_plugin_bench.inputs.lazy import as_image_set
from energy_plugin_bench.inputs.reading import batches
from energy_plugin_bench.inputs.weights import load_weights
from energy_plugin_bench.passes import fingerprint
from energy_plugin_bench.passes.cache import PassCache, Tensors
from energy_plugin_bench.passes.computing import Computing
from energy_plugin_bench.passes.onepass import Part, Pass
from energy_plugin_bench.values.networks import Network
from energy_plugin_bench.values.recipe import Recipe

Progress = Callable[[str, int, int], None]
"""Told what runs, how many images are done, and of how many."""

Origin = Literal["images", "cached logits", "carried logits", "cached maps"]
"""What a figure was computed from."""

ALONE = Process(0, 1, torch.device("cpu"))
ARCHIVES = (".npz", ".zip")
"""Files that hold the images themselves: their hash says what the images are."""
KEPT = 2 << 30
"""Bytes of logits that stay in memory where a cache on disk has them too."""


@dataclass(frozen=True)
class Logits:
    """What a network says of an input.

    Attributes:
        logits: (N, C) float32.
        labels: (N,) int64.
        origin: Whether they were computed from images, now or before, or carried.
    """

    logits: Tensor
    labels: Tensor
    origin: Origin


def quiet(what: str, done: int, total: int) -> None:
    """A `Progress` that says nothing."""


class Passes:
    """Logits for every (network, input), each computed or read once.

    Args:
        assets: Where files lie.
        manager: Who knows networks and data sets.
        from_images: Whether images go before carried logits, where both are there.
        progress: Told how far a network is.
        computing: Device, batches, precision.
        cache: Where what networks give is kept; None keeps nothing.
        process: Which of the processes that share the images this is.

    Attributes:
        used: SHA-256 of every file that figures came from, by path.
    """

    def __init__(
        self,
        assets: Assets,
        manager: PluginManager,
        *,
        from_images: bool = False,
        progress: Progress = quiet,
        computing: Computing | None = None,
        cache: PassCache | None = None,
        process: Process = ALONE,
    ) -> None:
        self.assets = assets
        self.manager = manager
        self.from_images = from_images
        self.progress = progress
        self.computing = computing or Computing()
        self.cache = cache
        self.process = process
        self.used: dict[str, str] = {}
        self._not_installed: dict[tuple[str, str], tuple[str, ...]] = {}
        self._known: dict[tuple[str, str, str], Logits] = {}
        self._failed: dict[tuple[str, str, str], Exception] = {}

    def obstacles(self, recipe: Recipe, network: str, name: str) -> tuple[str, ...]:
        """Why there are no logits for this network and input; empty if there are."""
        if logits_file(recipe, network, name) in self.assets.manifest["logits"]:
            return ()
        lacking = [path for path in needed(recipe, network, name) if self.assets.locate(path) is None]
        told = [self.assets.missing(path) for path in lacking]
        names = recipe.networks[network].backbone, recipe.inputs[name].dataset
        if names not in self._not_installed:  # thousands of rows ask for a few of them
            self._not_installed[names] = self._not_offered(recipe, network, name)
        return (*told, *self._not_installed[names])

    def _not_offered(self, recipe: Recipe, network: str, name: str) -> tuple[str, ...]:
        try:
            records = self._records(recipe, network, name)
        except (LookupError, DuplicateNameError) as error:
            return (str(error.args[0]),)
        return tuple(
            f"needs {', '.join(spec.missing())} for {spec.name}: pip install {spec.extra!r}"
            for spec in records
            if spec.missing()
        )

    def _records(self, recipe: Recipe, network: str, name: str) -> tuple[Record, Record]:
        """What the network and the data set are."""
        backbone = self.manager.get("backbone", recipe.networks[network].backbone)
        return backbone, self.manager.get("dataset", recipe.inputs[name].dataset)

    def __call__(self, recipe: Recipe, network: str, name: str) -> Logits:
        """Return the logits of a network for an input.

        Raises:
            MissingAssetError: Neither images and weights nor carried logits are there.
            CorruptAssetError: A file is not the one that is named.
            LookupError: No plug-in knows the network or the data set.
        """
        key = recipe.source, network, name
        if key in self._failed:  # what does not work once is not tried for every row
            raise self._failed[key]
        if key not in self._known:
            carried = self.takes_carried(recipe, network, name)
            try:
                found = (self._carried if carried else self.compute)(recipe, network, name)
            except Exception as error:
                error.add_note(f"the network {network!r} on {name!r}")
                self._failed[key] = error
                raise
            self._make_room(found)
            self._known[key] = found
        return self._known[key]

    def has_failed(self, recipe: Recipe, network: str, name: str) -> bool:
        """Whether these logits were asked for, and there was a fault."""
        return (recipe.source, network, name) in self._failed

    def takes_carried(self, recipe: Recipe, network: str, name: str) -> bool:
        """Whether carried logits are taken, and no image is looked at."""
        carried = logits_file(recipe, network, name) in self.assets.manifest["logits"]
        here = all(self.assets.locate(path) for path in needed(recipe, network, name))
        return carried and not (self.from_images and here)

    def compute(self, recipe: Recipe, network: str, name: str, *, every: int = 1) -> Logits:
        """Send the images through the network, or every so-manyth of them, or find that it was done before.

        Where there are several processes, all must call this; the first one gets the logits, the others none.
        """
        chosen = recipe.networks[network]
        steps = (*recipe.inputs[name].transform, *chosen.transform)
        data, model = self.images(recipe, name), cache(lambda: self.model(chosen))
        positions = range(0, len(data), every)
        computing, what = self.computing, f"{network} on {name}"

        def chunk_of(chunk: range) -> Tensors:
            read = batches(data, chunk, steps, computing.batch_size, workers=computing.workers)
            before = chunk.start // every
            logits, labels = computing.forward(
                model(), read, chosen, lambda done: self.progress(what, before + done, len(positions))
            )
            return {"logits": logits, "labels": labels}

        chunks = [positions[part.start : part.stop] for part in computing.chunks(len(positions))]
        parts = list(self.parts(recipe, network, name, data, chunks, chunk_of, keep=every == 1))
        self.progress(what, len(positions), len(positions))
        if not self.process.first:
            return Logits(torch.empty(0, 0), torch.empty(0, dtype=torch.int64), "images")
        logits, labels = (torch.cat([part.tensors[key] for part in parts]) for key in ("logits", "labels"))
        return Logits(logits, labels, "cached logits" if all(part.kept for part in parts) else "images")

    def parts(
        self,
        recipe: Recipe,
        network: str,
        name: str,
        data: Any,
        chunks: Sequence[range],
        compute: Callable[[range], Tensors],
        *,
        beyond: Mapping[str, Any] | None = None,
        code: Sequence[str] = (),
        keep: bool = True,
    ) -> Iterator[Part]:
        """Yield what every chunk of the images gives, computed or found, in the first process.

        Args:
            recipe: Names network and images.
            network: Its name.
            name: Of the input.
            data: Its images.
            chunks: Positions that are computed together, the same for every process.
            compute: From a chunk to its tensors.
            beyond: What the tensors depend on beside network and images.
            code: Modules that make them of logits.
            keep: Whether the cache may know them.
        """
        self.used |= {path: self.assets.identity(path) for path in needed(recipe, network, name)}
        return Pass(
            chunks=chunks,
            compute=compute,
            process=self.process,
            cache=self.cache if keep else None,
            made_of=lambda: {**self._made_of(recipe, network, name, code), **(beyond or {})},
            identify=partial(self._identified, recipe.inputs[name].asset, data),
        ).run()

    def _made_of(self, recipe: Recipe, network: str, name: str, code: Sequence[str]) -> Mapping[str, Any]:
        """Everything that a pass depends on, the code among it, but for images that no list vouches for.

        The files are hashed before: what is kept does not hide that a file is another one than the list says.
        """
        for path in needed(recipe, network, name):
            self.assets.find(path)
        chosen = recipe.networks[network]
        known: dict[str, Any] = made_of(recipe, network, name, self.assets)
        known["files"] = {path: self.assets.identity(path) for path in known["files"]}
        if not chosen.weights:
            known["weights"] = fingerprint.of_weights(self.model(chosen))
        version = fingerprint.code_version(*self._records(recipe, network, name), modules=code)
        return known | {"code": version, "computing": self.computing.made_on()}

    def _identified(self, path: str, data: Any, chunk: range) -> Mapping[str, Any] | None:
        """What identifies images: the hash of their archive where a list has one, else themselves."""
        if path.endswith(ARCHIVES) and self.assets.files[path].sha256:
            return {"part": [chunk.start, chunk.stop]}
        return fingerprint.of_images(data, chunk)

    def _make_room(self, found: Logits) -> None:
        """Let go of the oldest logits that the cache has too."""
        held = [
            (key, known.logits.nbytes)
            for key, known in self._known.items()
            if known.origin != "carried logits"
        ]
        excess = sum(size for _, size in held) + found.logits.nbytes - KEPT
        for key, size in held if self.cache and self.cache.writable else ():
            if excess <= 0:
                return
            del self._known[key]
            excess -= size

    def _carried(self, recipe: Recipe, network: str, name: str) -> Logits:
        path = logits_file(recipe, network, name)
        entry = self.assets.manifest["logits"][path]
        wanted = made_of(recipe, network, name, self.assets)
        if entry["made_of"] != wanted:
            raise CorruptAssetError(
                f"the carried {path} were made of {entry['made_of']}, the recipe says {wanted}; "
                f"make them anew: {entry['command']}"
            )
        verify(self.assets.carried / path, entry["sha256"], entry["size"])
        self.used |= entry["made_of"]["files"] | {path: entry["sha256"]}
        tensors = load_file(self.assets.carried / path)
        return Logits(tensors["logits"], tensors["labels"].long(), "carried logits")

    def images(self, recipe: Recipe, name: str) -> Any:
        """Return the data set of an input."""
        chosen = recipe.inputs[name]
        options = dict(chosen.options)
        if chosen.asset:
            options["path"] = self.assets.find(chosen.asset)
        found = self.manager.get("dataset", chosen.dataset).load()(**options)
        return found if hasattr(found, "images") or hasattr(found, "names") else as_image_set(found)

    def model(self, chosen: Network) -> nn.Module:
        """Return a network with its weights, in evaluation mode."""
        weights = self.assets.find(chosen.weights) if chosen.weights else None
        model: nn.Module = self.manager.get("backbone", chosen.backbone).load()(**chosen.options)
        if weights is not None:
            load_weights(model, weights, chosen.rename)
        return model.eval().to(self.computing.device)


def needed(recipe: Recipe, network: str, name: str) -> tuple[str, ...]:
    """Paths of the files that a computation from images needs."""
    paths = (recipe.networks[network].weights, recipe.inputs[name].asset)
    return tuple(path for path in paths if path)


def logits_file(recipe: Recipe, network: str, name: str) -> str:
    """Path of carried logits, under the carried folder."""
    return f"logits/{recipe.source}/{network}--{name}.safetensors"


def made_of(recipe: Recipe, network: str, name: str, assets: Assets) -> dict[str, Any]:
    """Everything that logits depend on, as plain data: carried ones count only where it is unchanged."""
    chosen, images = recipe.networks[network], recipe.inputs[name]
    files = {path: assets.files[path].sha256 for path in needed(recipe, network, name)}
    known = {
        "files": files,
        "backbone": chosen.backbone,
        "network_options": chosen.options,
        "mean": list(chosen.mean),
        "std": list(chosen.std),
        "dataset": images.dataset,
        "dataset_options": images.options,
        "transform": [*images.transform, *chosen.transform],
    }
    return known | ({"rename": chosen.rename} if chosen.rename else {})
