"""A small world for the harness: a network, a data set, a detector, rows and a recipe."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from energy_plugin import hookimpl
from energy_plugin.records import BackboneSpec, DatasetSpec, DetectorSpec, PublishedSpec
from energy_plugin_bench.inputs.imagesets import ImageSet


class Brightness(nn.Module):
    """Two classes, bright and dark; sure of both ends, unsure of grey."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        light = x.mean(dim=(1, 2, 3))
        return self.scale * torch.stack([light, 1 - light], dim=1)


def shades(low=0.0, high=1.0, count=200, seed=0):
    """Grey images of one shade each; those above one half are of class 0."""
    shade = np.random.default_rng(seed).uniform(low, high, count).astype(np.float32)
    return ImageSet(np.tile(shade[:, None, None], (1, 4, 4)), np.where(shade > 0.5, 0, 1))


class Certainty:
    """A detector whose high scores mean in-distribution."""

    def score(self, logits):
        return logits.amax(dim=1)


class Plugin:
    """Offers all of it, as a third party would."""

    def __init__(self, folder: Path) -> None:
        global FOLDER
        FOLDER = folder

    @hookimpl
    def ood_backbones(self):
        return [BackboneSpec(name="brightness", target="bench_fakes:Brightness")]

    @hookimpl
    def ood_datasets(self):
        return [DatasetSpec(name="shades", target="bench_fakes:shades")]

    @hookimpl
    def ood_detectors(self):
        return [DetectorSpec(name="certainty", target="bench_fakes:Certainty", higher_is="id")]

    @hookimpl
    def ood_published(self):
        return [PublishedSpec(name="shades", target="bench_fakes:FOLDER")]


FOLDER: Path

SOURCE = """
[source]
name = "shades"
title = "Shades of grey"
cite = "made up"

[[tables]]
place = "table 1, line"
network = "bright"
id_set = "ends"
unit = "percent"
method = "certainty"
convention = "outlier_exposure"
rows = [
  { id = "shades_error", place = "1", metric = "error_rate", method = "argmax", value = 0.0 },
  { id = "shades_auroc", place = "2", metric = "auroc", ood_set = "middle", value = 100.0 },
  { id = "shades_fpr95", place = "3", metric = "fpr95", ood_set = "middle", value = 50.0 },
  { id = "shades_drawn", place = "4", metric = "auroc", ood_set = "all", value = 90.0, std = 1.0, draws = 5 },
  { id = "shades_none", place = "5", metric = "auroc", ood_set = "nowhere", value = 75.0 },
]
"""

RECIPE = """
[recipe]
source = "shades"

[networks.bright]
backbone = "brightness"
weights = "shades/bright.safetensors"

[inputs.ends]
dataset = "shades"
options = { low = 0.9, high = 1.0 }

[inputs.middle]
dataset = "shades"
options = { low = 0.4, high = 0.6 }

[inputs.all]
dataset = "shades"
options = { count = 400, seed = 1 }

[inputs.nowhere]
missing = "needs pictures that nobody has"

[[protocols]]
ood_sets = ["all"]
draws = 20
size = 100
errors = 3.0
reason = "three standard errors"

[[protocols]]
reason = "rounding"

[[extras]]
networks = ["bright"]
id_set = "ends"
ood_sets = ["middle", "nowhere"]
methods = ["certainty"]
metrics = ["auroc"]
convention = "outlier_exposure"
"""


def write_world(folder: Path, *, source: str = SOURCE, recipe: str = RECIPE, scale: float = 1.0) -> Path:
    """Write published/ and a data root under `folder`; return the data root."""
    (folder / "published").mkdir(exist_ok=True)
    weights = folder / "data" / "shades" / "bright.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({"scale": torch.tensor(scale)}, weights)
    files = f"""
[files."shades/bright.safetensors"]
sha256 = "{hashlib.sha256(weights.read_bytes()).hexdigest()}"
size = {weights.stat().st_size}
licence = "ours"
origin = "the tests"
get = "Run the tests."
"""
    for name, text in {"source": source, "recipe": recipe, "files": files}.items():
        (folder / "published" / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder / "data"
