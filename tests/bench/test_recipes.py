"""Recipes that need a download, run end to end on fakes: small images of odd sizes, a small network instead.

Transforms, draws, means over sets and networks, detectors and conventions are the recipes' own. Real networks
are built below, where they are small, and given an image.
"""

from __future__ import annotations

import io
import math
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from energy_plugin.manager import default_manager
from energy_plugin_bench.inputs.assets import Assets
from energy_plugin_bench.verdicts.runner import Runner

COUNT = 12
NOISE = 60
SIZES = ((40, 32), (32, 57), (64, 64), (33, 48))

pytest.importorskip("pytorch_ood", reason="the extra [pytorch-ood] is not installed")
scipy_io = pytest.importorskip("scipy.io", reason="SciPy writes the stand-in for SVHN")

RUNS = {
    "dice_issue_2": 21,
    "energy_ood": 8,
    "gem": 8,
    "maha_norm_ninco": 172,
    "mos": 20,
    "nac": 30,
    "oodeel": 6,
    "outlier_exposure": 132,
    "openood_leaderboard": 81,
    "openood_rerun": 48,
    "pytorch_ood": 161,
    "rankfeat": 40,
    "react": 40,
}
"""Sources and how many of their rows run once everything that can be had is there."""


class StandIn(nn.Module):
    """A linear map of 4 x 4 mean colours; keeps the sizes that it has seen."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(1000, 48, generator=generator))
        self.seen: set[tuple[int, ...]] = set()

    def forward(self, x):
        assert x.shape[1] == 3
        self.seen.add(tuple(x.shape[2:]))
        return nn.functional.adaptive_avg_pool2d(x, 4).flatten(1) @ self.weight.T


@pytest.fixture(scope="module")
def fakes(tmp_path_factory, registry):
    """A data root with every downloadable file of the recipes, as small as it can be."""
    root = tmp_path_factory.mktemp("fakes")
    for path in registry.files:
        write(root / path, np.random.default_rng(len(path)))
    return root


@pytest.fixture
def runner(fakes, registry, monkeypatch):
    """A runner on the fakes; its networks stand in, one for each name."""
    unhashed = {
        path: asset.model_copy(update={"sha256": "", "md5": "", "size": 0, "count": 0})
        for path, asset in registry.files.items()
    }
    recipes = {name: fewer_noise(recipe) for name, recipe in registry.recipes.items()}
    made = Runner(replace(registry, files=unhashed, recipes=recipes), Assets(unhashed, fakes))
    made.assets.manifest["logits"] = {}
    made.stands = {}

    def model(chosen):
        name = chosen.model_dump_json()
        return made.stands.setdefault(name, StandIn(len(made.stands)))

    monkeypatch.setattr(made.passes, "model", model)
    return made


def fewer_noise(recipe):
    """The recipe with small sets of generated images."""
    inputs = {
        name: chosen.model_copy(update={"options": {**chosen.options, "count": NOISE}})
        if "count" in chosen.options
        else chosen
        for name, chosen in recipe.inputs.items()
    }
    return recipe.model_copy(update={"inputs": inputs})


def write(path, rng):
    """Write what a path of the lists should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".pt", ".pth", ".tar", ".ckpt", ".safetensors", ".zip"):
        path.touch()
    elif path.name.endswith("-binary.tar.gz"):
        write_cifar(path, rng)
    elif path.suffix == ".mat":
        pixels = rng.integers(0, 256, (32, 32, 3, COUNT), dtype=np.uint8)
        scipy_io.savemat(path, {"X": pixels, "y": np.arange(1, COUNT + 1)[:, None] % 10 + 1})
    elif path.suffix == ".npz":
        images = rng.integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
        np.savez(path, images=images, labels=np.arange(COUNT) % 10)
    elif path.suffix == ".txt":
        write_list(path, rng)
    else:
        write_images(path, rng)


def write_cifar(path, rng):
    before, name = (2, "test.bin") if "100" in path.name else (1, "test_batch.bin")
    records = rng.integers(0, 256, (COUNT, before + 3072), dtype=np.uint8)
    records[:, :before] %= 10
    content = records.tobytes()
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(f"cifar/{name}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def write_images(folder, rng):
    for index in range(COUNT):
        height, width = (32, 32) if "odin" in folder.parts else SIZES[index % len(SIZES)]
        file = folder / f"class{index % 3}" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)


def write_list(path, rng):
    large = "imagenet" in str(path.parent)
    folder = path.parents[2] / ("images_largescale" if large else "images_classic")
    write_images(folder / path.parent.name / path.stem, rng)
    files = sorted(
        file.relative_to(folder) for file in folder.rglob(f"{path.parent.name}/{path.stem}/*/*.png")
    )
    path.write_text("".join(f"{file} {index % 10}\n" for index, file in enumerate(files)))


@pytest.mark.parametrize("source", RUNS)
def test_a_recipe_runs_end_to_end(runner, source):
    known = runner.registry.sources[source]
    verdicts = [runner.verdict(known, row) for row in known.rows]
    run = [verdict for verdict in verdicts if verdict.status != "not run"]
    assert len(run) == RUNS[source]
    for verdict in run:
        assert 0 <= verdict.measured <= 100
        assert verdict.tolerance.width > 0
        assert verdict.origin == "images"
    assert any(verdict.asked.method == "energy" for verdict in run) or source == "outlier_exposure"


@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        ("energy_ood", {(32, 32)}),
        ("pytorch_ood", {(32, 32)}),
        ("nac", {(32, 32)}),
        ("react", {(224, 224)}),
        ("mos", {(480, 480)}),
        ("rankfeat", {(224, 224)}),  # its BiT rows are those of MOS
    ],
)
def test_networks_see_the_size_that_the_source_gave_them(runner, source, sizes):
    known = runner.registry.sources[source]
    for row in known.rows:
        if row.method == "energy":
            runner.verdict(known, row)
    assert set().union(*(stand.seen for stand in runner.stands.values())) == sizes


def test_a_mean_is_that_of_its_sets_under_the_source_s_draws(runner):
    known = runner.registry.sources["gem"]
    row = next(row for row in known.rows if (row.method, row.metric) == ("energy", "auroc"))
    verdict = runner.verdict(known, row)
    recipe = runner.registry.recipes["gem"]
    assert verdict.draws == 10
    figures = []
    for name in recipe.sets["mean6"].mean_of:
        asked = replace(verdict.asked, ood_set=name)
        figure, _ = runner._figure(recipe, asked)
        assert figure.drawn == COUNT // 5
        figures.append(figure)
    assert sum(figure.spread > 0 for figure in figures) > 1
    assert verdict.measured == pytest.approx(100 * np.mean([figure.value for figure in figures]))
    expected = 100 * math.sqrt(sum(figure.spread**2 for figure in figures)) / 6
    assert verdict.spread == pytest.approx(expected)
    # no spread was printed: ours stands in, for ten draws of theirs and ten of ours
    width = 3 * expected * math.sqrt(10 / 9) * math.sqrt(2 / 10) + 0.005
    assert verdict.tolerance.width == pytest.approx(width)


def test_a_figure_over_three_training_runs_is_their_mean(runner):
    recipe = runner.registry.recipes["nac"]
    known = runner.registry.sources["nac"]
    row = next(r for r in known.rows if (r.method, r.ood_set, r.metric) == ("energy", "svhn", "auroc"))
    verdict = runner.verdict(known, row)
    parts = recipe.networks["resnet18_32x32/cifar10"].mean_of
    values = [
        runner._figure(recipe, replace(verdict.asked, network=name, ood_set="cifar10/svhn"))[0].value
        for name in parts
    ]
    assert len(set(values)) == 3
    assert verdict.measured == pytest.approx(100 * np.mean(values))


def test_what_is_not_there_is_asked_for_with_size_source_and_terms(registry, monkeypatch):
    monkeypatch.delenv("ENERGY_PLUGIN_DATA", raising=False)
    runner = Runner(registry, Assets(registry.files))
    known = registry.sources["oodeel"]
    row = next(row for row in known.rows if row.id.startswith("oodeel-torch_cifar10_svhn-"))
    reason = runner.verdict(known, row).reason
    assert "needs chenyaofo/cifar10_resnet20.pt under a data root" in reason
    assert "64,275,384 bytes: Fetched by --download. From SVHN" in reason
    assert "Terms: for non-commercial use only" in reason


SMALL = [
    ("energy_ood", "wrn-40-2/cifar10/crossentropy", 32, 10),
    ("energy_ood", "wrn-40-2/cifar100/energy/s1", 32, 100),
    ("outlier_exposure", "wrn-40-2/cifar10/oe_tune", 32, 10),
    ("oodeel", "resnet20_chenyaofo", 32, 10),
    ("nac", "resnet18_32x32/cifar10/s0", 32, 10),
    ("openood_leaderboard", "resnet18_224x224/imagenet200/s1", 64, 200),
    ("pytorch_ood", "wrn-40-2/cifar100/oe/s0", 32, 100),
    ("react", "mobilenet_v2", 64, 1000),
]
PUBLISHED_NAMES = {
    "oodeel": lambda name: name.replace("linear.", "fc."),
    "nac": lambda name: name.replace("linear.", "fc.").replace("downsample", "shortcut"),
}


@pytest.mark.parametrize(("source", "network", "size", "classes"), SMALL)
def test_a_small_network_is_built_takes_weights_under_their_published_names_and_sees_an_image(
    registry, tmp_path, source, network, size, classes
):
    chosen = registry.recipes[source].networks[network]
    made = default_manager().get("backbone", chosen.backbone).load()(**chosen.options)
    rename = PUBLISHED_NAMES.get(source, lambda name: name)
    file = tmp_path / chosen.weights
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {rename(name): value for name, value in made.state_dict().items()}}, file)
    files = {chosen.weights: registry.files[chosen.weights].model_copy(update={"sha256": "", "md5": ""})}
    loaded = Runner(registry, Assets(files, tmp_path)).passes.model(chosen)
    image = torch.rand(1, 3, size, size)
    assert loaded(image).shape == (1, classes)
    assert torch.equal(loaded(image), made.eval()(image))


def test_every_backbone_and_data_set_of_the_recipes_is_offered(registry):
    manager = default_manager()
    for recipe in registry.recipes.values():
        for network in recipe.networks.values():
            if network.backbone:
                manager.get("backbone", network.backbone)
        for chosen in recipe.inputs.values():
            if chosen.dataset:
                manager.get("dataset", chosen.dataset)
