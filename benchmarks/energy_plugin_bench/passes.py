"""Logits of a network for an input: computed from the images, or the carried ones that this gave before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from energy_plugin.manager import PluginManager
from energy_plugin.outputs import logits_of
from energy_plugin_bench.assets import Assets, CorruptAssetError, verify
from energy_plugin_bench.imagesets import Array
from energy_plugin_bench.lazy import as_image_set
from energy_plugin_bench.recipe import Network, Recipe
from energy_plugin_bench.threads import one_thread
from energy_plugin_bench.transforms import apply, as_batch
from energy_plugin_bench.weights import load_weights

Progress = Callable[[str, int, int], None]
"""Told what runs, how many images are done, and of how many."""

BATCH = 200


@dataclass(frozen=True)
class Logits:
    """What a network says of an input.

    Attributes:
        logits: (N, C) float32.
        labels: (N,) int64.
        origin: Whether they were computed from images now, or carried.
    """

    logits: Tensor
    labels: Tensor
    origin: Literal["images", "carried logits"]


def quiet(what: str, done: int, total: int) -> None:
    """A `Progress` that says nothing."""


class Passes:
    """Logits for every (network, input), each computed or read once.

    Args:
        assets: Where files lie.
        manager: Who knows networks and data sets.
        from_images: Whether images go before carried logits, where both are there.
        progress: Told how far a network is.
    """

    def __init__(
        self, assets: Assets, manager: PluginManager, *, from_images: bool = False, progress: Progress = quiet
    ) -> None:
        self.assets = assets
        self.manager = manager
        self.from_images = from_images
        self.progress = progress
        self._known: dict[tuple[str, str, str], Logits] = {}

    def obstacles(self, recipe: Recipe, network: str, name: str) -> tuple[str, ...]:
        """Why there are no logits for this network and input; empty if there are."""
        if logits_file(recipe, network, name) in self.assets.manifest["logits"]:
            return ()
        lacking = [path for path in needed(recipe, network, name) if self.assets.locate(path) is None]
        told = [self.assets.missing(path) for path in lacking]
        backbone = self.manager.get("backbone", recipe.networks[network].backbone)
        dataset = self.manager.get("dataset", recipe.inputs[name].dataset)
        told += [
            f"needs {', '.join(spec.missing())} for {spec.name}: pip install {spec.extra!r}"
            for spec in (backbone, dataset)
            if spec.missing()
        ]
        return tuple(told)

    def __call__(self, recipe: Recipe, network: str, name: str) -> Logits:
        """Return the logits of a network for an input.

        Raises:
            MissingAssetError: Neither images and weights nor carried logits are there.
            CorruptAssetError: A file is not the one that is named.
            LookupError: No plug-in knows the network or the data set.
        """
        key = recipe.source, network, name
        if key not in self._known:
            carried = logits_file(recipe, network, name) in self.assets.manifest["logits"]
            here = all(self.assets.locate(path) for path in needed(recipe, network, name))
            if carried and not (self.from_images and here):
                self._known[key] = self._carried(recipe, network, name)
            else:
                self._known[key] = self.compute(recipe, network, name)
        return self._known[key]

    def compute(self, recipe: Recipe, network: str, name: str, *, every: int = 1) -> Logits:
        """Send the images through the network, or every so-manyth of them."""
        images = self.images(recipe, name)
        chosen = recipe.networks[network]
        model = self.model(chosen)
        tensor = forward(
            model,
            apply(images.images[::every], (*recipe.inputs[name].transform, *chosen.transform)),
            chosen,
            lambda done, total: self.progress(f"{network} on {name}", done, total),
        )
        return Logits(tensor, torch.from_numpy(images.labels[::every]), "images")

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
        return model.eval()


def forward(model: nn.Module, images: Array, chosen: Network, told: Callable[[int, int], None]) -> Tensor:
    """Logits (N, C) float32 of transformed images, in batches."""
    mean = torch.tensor(chosen.mean or (0.0,)).view(-1, 1, 1)
    std = torch.tensor(chosen.std or (1.0,)).view(-1, 1, 1)
    parts = []
    with torch.inference_mode(), nullcontext() if chosen.slow else one_thread():
        for start in range(0, len(images), BATCH):
            told(start, len(images))
            batch = as_batch(images[start : start + BATCH])
            parts.append(logits_of(model((batch - mean) / std)).float())
    told(len(images), len(images))
    return torch.cat(parts)


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
    return {
        "files": files,
        "backbone": chosen.backbone,
        "network_options": chosen.options,
        "mean": list(chosen.mean),
        "std": list(chosen.std),
        "dataset": images.dataset,
        "dataset_options": images.options,
        "transform": [*images.transform, *chosen.transform],
    }
