"""A small world of anomalous pixels: an archive, a network with a void output, published figures."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from energy_plugin import hookimpl, labels
from energy_plugin.manager import PluginManager
from energy_plugin.metrics import aupr, fpr_at_tpr
from energy_plugin.plugin import ood_detectors as own_detectors
from energy_plugin.records import BackboneSpec, PublishedSpec
from energy_plugin_bench import ood_datasets, ood_detectors
from energy_plugin_bench.inputs.assets import Assets
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.verdicts.runner import Runner

SIZE = (16, 24)
FOLDER: Path
"""Where rows and recipe lie."""


class Tiny(nn.Conv2d):
    """Three classes and a void output, the last one."""

    def __init__(self):
        super().__init__(3, 4, 1)


def images():
    """Three images: two with an anomaly, the last without."""
    generator = np.random.default_rng(5)
    for index in range(3):
        pixels = generator.integers(0, 200, (*SIZE, 3), dtype=np.uint8)
        mask = np.zeros(SIZE, dtype=np.uint8)
        mask[-2:] = 255
        if index < 2:
            mask[3:9, 4:12] = 2
            pixels[mask == 2] += 40
        yield f"{index}", pixels, mask


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def model():
    torch.manual_seed(0)
    return Tiny().eval()


def scores(function):
    """ID and OOD scores of the images with an anomaly, by hand."""
    known, anomalous = [], []
    with torch.no_grad():
        for _, pixels, mask in images():
            logits = model()(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0]
            if (mask == 2).any():
                values = function(logits)
                known.append(values[torch.from_numpy(mask == 0)])
                anomalous.append(values[torch.from_numpy(mask == 2)])
    return torch.cat(known), torch.cat(anomalous)


def void(logits):
    return logits.softmax(0)[3]


SOURCE = """
[source]
name = "pixels"
title = "Pixels"
cite = "none"

[[tables]]
place = "here"
network = "tiny"
id_set = "small"
ood_set = "anomalous_pixels"
method = "void_probability"
convention = "mask2anomaly"
unit = "percent"
decimals = 4
rows = [
  {{ id = "tiny_ap", metric = "aupr_out", value = {ap:.4f} }},
  {{ id = "tiny_fpr", metric = "fpr95", value = {fpr:.4f} }},
  {{ id = "tiny_wrong", metric = "fpr95", value = {wrong:.4f} }},
  {{ id = "absent", network = "absent", metric = "fpr95", value = 1.0 }},
]
"""
RECIPE = """
[recipe]
source = "pixels"

[networks.tiny]
backbone = "tiny_pixels"
weights = "tiny.safetensors"
classes = 3

[networks.absent]
missing = "no weights"

[inputs.small]
dataset = "image_mask_archive"
asset = "small.zip"
options = { codes = "lost_ids" }

[[protocols]]
allowance = 1e-6
reason = "rounding, and what builds differ by"

[[extras]]
networks = ["tiny"]
id_set = "small"
ood_sets = ["anomalous_pixels"]
methods = ["energy", "msp"]
metrics = ["auroc", "aupr_out"]
convention = "mask2anomaly"
"""


CODES = labels.LabelConvention(name="lost_ids", classes=(0,), ood=(2,), void=(255,))


class Plugin:
    """Offers network, rows, and what the package itself offers."""

    ood_datasets = staticmethod(ood_datasets)
    ood_detectors = staticmethod(ood_detectors)

    @hookimpl
    def ood_backbones(self):
        return [BackboneSpec(name="tiny_pixels", target="pixel_fakes:Tiny")]

    @hookimpl
    def ood_published(self):
        return [PublishedSpec(name="p", target="pixel_fakes:FOLDER")]


class Own:
    """The energy detector."""

    ood_detectors = staticmethod(own_detectors)


def write_world(root):
    """Write files, rows and recipe under `root`."""
    folder = root / "published"
    folder.mkdir()
    save_file(model().state_dict(), root / "tiny.safetensors")
    with zipfile.ZipFile(root / "small.zip", "w") as archive:
        for name, pixels, mask in images():
            archive.writestr(f"images/{name}.jpg", png(pixels))
            archive.writestr(f"masks/{name}.png", png(mask))
    known, anomalous = scores(void)
    figures = {"ap": 100 * aupr(known, anomalous), "fpr": 100 * fpr_at_tpr(known, anomalous, rule="linear")}
    (folder / "pixels.toml").write_text(SOURCE.format(**figures, wrong=figures["fpr"] + 0.001))
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "files.toml").write_text("\n".join(listed(root, n) for n in ("tiny.safetensors", "small.zip")))


def listed(root, name):
    """The entry of a file in the list."""
    file = root / name
    return (
        f'[files."{name}"]\nsha256 = "{hashlib.sha256(file.read_bytes()).hexdigest()}"\n'
        f'size = {file.stat().st_size}\nlicence = "none"\norigin = "made up"\nget = "Make it."\n'
    )


def runner_of(root, data_root, **options):
    """A runner on the world under `root`."""
    global FOLDER
    FOLDER = root / "published"
    labels.CONVENTIONS = MappingProxyType({**labels.CONVENTIONS, CODES.name: CODES})
    manager = PluginManager().add(Plugin()).add(Own())
    loaded = registries.load(manager)
    return Runner(loaded, Assets(loaded.files, data_root), manager=manager, **options)


def verdicts(runner):
    """Verdicts by id, those on what nobody published among them."""
    found = {row.id: runner.verdict(source, row) for source, row in runner.registry.rows()}
    return found | {verdict.id: verdict for verdict in runner.extras("pixels")}


def main():
    """Measure as one of several processes; the first one prints the figures."""
    from energy_plugin_bench.apply.processes import joined
    from energy_plugin_bench.passes.cache import PassCache

    root = Path(sys.argv[1])
    with joined("cpu") as process:
        runner = runner_of(root, root, process=process, cache=PassCache(root / sys.argv[2]))
        runner.share(runner.registry.rows() if process.first else ())
        if process.first:
            for name, verdict in verdicts(runner).items():
                print(name, verdict.origin, repr(verdict.measured))


if __name__ == "__main__":
    import pixel_fakes  # the module that targets name, not this run of it

    pixel_fakes.main()
