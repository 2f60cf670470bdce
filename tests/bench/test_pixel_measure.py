"""Rows of anomalous pixels in a small world: an archive, a network with a void output, published figures."""

from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from energy_plugin import hookimpl
from energy_plugin.manager import PluginManager
from energy_plugin.metrics import aupr, auroc, fpr_at_tpr
from energy_plugin.plugin import ood_detectors as own_detectors
from energy_plugin.records import BackboneSpec, PublishedSpec
from energy_plugin_bench import ood_datasets, ood_detectors
from energy_plugin_bench import registry as registries
from energy_plugin_bench.assets import Assets
from energy_plugin_bench.runner import Runner

SIZE = (16, 24)
STATE: dict[str, object] = {}


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


def scores(function):
    """ID and OOD scores of the images with an anomaly, by hand."""
    known, anomalous = [], []
    with torch.no_grad():
        for _, pixels, mask in images():
            logits = STATE["model"](torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0]
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
options = { codes = "given" }

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


class Plugin:
    ood_datasets = staticmethod(ood_datasets)
    ood_detectors = staticmethod(ood_detectors)

    @hookimpl
    def ood_backbones(self):
        return [BackboneSpec(name="tiny_pixels", target="tiny_pixels:Tiny")]

    @hookimpl
    def ood_published(self):
        return [PublishedSpec(name="p", target="tiny_pixels:FOLDER")]


class Own:
    ood_detectors = staticmethod(own_detectors)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    import sys
    import types

    folder = tmp_path / "published"
    folder.mkdir()
    monkeypatch.setitem(sys.modules, "tiny_pixels", types.SimpleNamespace(Tiny=Tiny, FOLDER=folder))
    torch.manual_seed(0)
    STATE["model"] = model = Tiny().eval()
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        for name, pixels, mask in images():
            archive.writestr(f"images/{name}.jpg", png(pixels))
            archive.writestr(f"masks/{name}.png", png(mask))
    known, anomalous = scores(void)
    figures = {"ap": 100 * aupr(known, anomalous), "fpr": 100 * fpr_at_tpr(known, anomalous, rule="linear")}
    (folder / "pixels.toml").write_text(SOURCE.format(**figures, wrong=figures["fpr"] + 0.001))
    # the codes of the archive: 2 is the anomaly, 255 void
    (folder / "recipe.toml").write_text(RECIPE.replace('codes = "given"', 'codes = "lost_ids"'))
    names = ("tiny.safetensors", "small.zip")
    lines = [
        f'[files."{name}"]\nsha256 = "{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}"\n'
        f'size = {(tmp_path / name).stat().st_size}\nlicence = "none"\norigin = "made up"\nget = "Make it."\n'
        for name in names
    ]
    (folder / "files.toml").write_text("\n".join(lines))
    manager = PluginManager().add(Plugin()).add(Own())
    return lambda root=tmp_path, **options: Runner(
        loaded := registries.load(manager), Assets(loaded.files, root), manager=manager, **options
    )


@pytest.fixture(autouse=True)
def codes(monkeypatch):
    from types import MappingProxyType

    from energy_plugin import labels

    mine = labels.LabelConvention(name="lost_ids", classes=(0,), ood=(2,), void=(255,))
    known = MappingProxyType({**labels.CONVENTIONS, "lost_ids": mine})
    monkeypatch.setattr(labels, "CONVENTIONS", known)


def verdicts(runner):
    return {row.id: runner.verdict(source, row) for source, row in runner.registry.rows()}


def test_rows_are_judged_by_pixels_pooled_over_images_with_an_anomaly(runner):
    seen = []
    found = verdicts(runner(progress=lambda what, done, total: seen.append((what, done, total))))
    assert {name: verdict.status for name, verdict in found.items()} == {
        "tiny_ap": "reproduced", "tiny_fpr": "reproduced", "tiny_wrong": "differs", "absent": "not run",
    }  # fmt: skip
    assert found["tiny_ap"].origin == "images"
    assert found["tiny_ap"].tolerance.width == pytest.approx(0.00005 + 0.0001, abs=1e-8)
    assert seen == [("tiny on small", index, 3) for index in range(3)]  # one pass for all rows


def test_what_nobody_published_comes_from_the_same_pass_over_the_classes(runner):
    measuring = runner()
    extras = {verdict.id: verdict.measured for verdict in measuring.extras("pixels")}
    known, anomalous = scores(lambda logits: -logits[:3].logsumexp(0))
    assert extras["measured_tiny_small_energy_auroc"] == pytest.approx(
        100 * auroc(known, anomalous), abs=1e-4
    )
    known, anomalous = scores(lambda logits: -logits[:3].softmax(0).amax(0))
    assert extras["measured_tiny_small_msp_aupr_out"] == pytest.approx(100 * aupr(known, anomalous), abs=1e-4)
    assert len(extras) == 4


def test_without_the_files_rows_are_not_run_and_say_why(runner, tmp_path, monkeypatch):
    monkeypatch.delenv("ENERGY_PLUGIN_DATA", raising=False)
    found = verdicts(runner(root=None))
    assert {verdict.status for verdict in found.values()} == {"not run"}
    assert "needs tiny.safetensors under a data root" in found["tiny_ap"].reason
    assert "needs small.zip" in found["tiny_ap"].reason
    assert found["absent"].reason == "no weights"


def test_a_changed_archive_is_refused(runner, tmp_path):
    measuring = runner()
    (tmp_path / "small.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match="is not the file that was named"):
        verdicts(measuring)


def test_the_published_rows_of_this_package_can_all_be_answered(registry):
    """Every row has a recipe that knows its network and set; what cannot be run says why."""
    recipes = registry.recipes
    rows = [(s.name, row) for s, row in registry.rows() if s.name.endswith("_anomaly_segmentation")]
    assert len(rows) == 302
    reasons = [recipes[name].obstacles(row.network, row.id_set, row.ood_set) for name, row in rows]
    assert sum(not reason for reason in reasons) == 24
    assert not any("does not know" in text for reason in reasons for text in reason)
    for name, row in rows:
        assert recipes[name].protocol(row.metric, row.ood_set) is not None


def test_mixed_precision_moves_figures_a_little_and_scores_stay_float32(runner, monkeypatch):
    from energy_plugin_bench.computing import Computing
    from energy_plugin_bench.detectors import VoidProbability

    seen = []
    score = VoidProbability.score
    monkeypatch.setattr(
        VoidProbability, "score", lambda self, logits: (seen.append(logits.dtype), score(self, logits))[1]
    )
    exact, mixed = (
        verdicts(runner(computing=Computing(amp=amp)))["tiny_ap"].measured for amp in ("", "bfloat16")
    )
    assert exact != mixed
    assert exact == pytest.approx(mixed, abs=2)
    assert set(seen) == {torch.float32}
