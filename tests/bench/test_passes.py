"""Logits: computed once, carried ones only while everything they were made of is unchanged."""

import json

import pytest
import torch

from energy_plugin_bench import carry
from energy_plugin_bench.inputs.assets import CorruptAssetError, MissingAssetError
from energy_plugin_bench.passes.cache import PassCache
from energy_plugin_bench.passes.passes import made_of


def recipe_of(runner):
    return runner.registry.recipes["shades"]


@pytest.fixture
def seen(monkeypatch):
    """How often images went through the network."""
    import bench_fakes

    calls = []
    forward = bench_fakes.Brightness.forward

    def counting(self, x):
        calls.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(bench_fakes.Brightness, "forward", counting)
    return calls


def test_every_image_goes_through_a_network_once(world, seen):
    runner = world()
    for source, row in runner.registry.rows():
        runner.verdict(source, row)
    list(runner.extras("shades"))
    assert sum(seen) == 200 + 200 + 400


def test_images_are_normalised_after_they_are_fractions(world):
    import bench_fakes

    shift = bench_fakes.RECIPE.replace(
        'backbone = "brightness"', 'backbone = "brightness"\nmean = [0.5]\nstd = [0.25]'
    )
    plain = world().passes
    logits = plain(recipe_of(world()), "bright", "middle").logits
    shifted = world(recipe=shift)
    moved = shifted.passes(recipe_of(shifted), "bright", "middle").logits
    assert torch.allclose(moved[:, 0], (logits[:, 0] - 0.5) / 0.25, atol=1e-5)


def test_progress_is_told(world):
    told = []
    runner = world(progress=lambda *report: told.append(report))
    runner.passes(recipe_of(runner), "bright", "all")
    assert told == [("bright on all", 0, 400), ("bright on all", 200, 400), ("bright on all", 400, 400)]


@pytest.fixture
def carried(world, tmp_path):
    """A folder that carries the logits of every pass of the small world."""
    runner = world()
    recipe = recipe_of(runner)
    for name in ("ends", "middle", "all"):
        path = tmp_path / "carried" / "logits" / "shades" / f"bright--{name}.safetensors"
        made = made_of(recipe, "bright", name, runner.assets)
        carry._carry_logits(runner, (recipe, "bright", name), path, made)
    return tmp_path / "carried"


def test_carried_logits_are_taken_and_are_what_images_give(world, carried, seen):
    runner, live = world(), world(from_images=True)
    taken = runner.passes(recipe_of(runner), "bright", "all")
    assert (taken.origin, seen) == ("carried logits", [])
    computed = live.passes(recipe_of(live), "bright", "all")
    assert (computed.origin, sum(seen)) == ("images", 400)
    assert torch.equal(taken.logits, computed.logits)
    assert torch.equal(taken.labels, computed.labels)


def test_carried_logits_serve_where_the_weights_are_missing(world, carried, tmp_path):
    runner = world(from_images=True)
    runner.assets.data_root = None
    assert runner.passes.obstacles(recipe_of(runner), "bright", "all") == ()
    assert runner.passes(recipe_of(runner), "bright", "all").origin == "carried logits"


def test_without_either_the_obstacle_says_what_is_needed(world):
    runner = world()
    runner.assets.data_root = None
    (obstacle,) = runner.passes.obstacles(recipe_of(runner), "bright", "all")
    assert obstacle.startswith("needs shades/bright.safetensors")
    with pytest.raises(MissingAssetError, match="Run the tests"):
        runner.passes(recipe_of(runner), "bright", "all")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("count = 400", "count = 300"),
        ("options = { count", 'transform = ["negative"]\noptions = { count'),
        ('backbone = "brightness"', 'backbone = "brightness"\nmean = [0.1]\nstd = [1.0]'),
    ],
)
def test_carried_logits_of_another_recipe_are_refused(world, carried, old, new):
    import bench_fakes

    assert old in bench_fakes.RECIPE
    runner = world(recipe=bench_fakes.RECIPE.replace(old, new))
    with pytest.raises(
        CorruptAssetError, match=r"were made of .* the recipe says .* make them anew: python -m"
    ):
        runner.passes(recipe_of(runner), "bright", "all")


def test_carried_logits_of_other_weights_are_refused(world, carried):
    runner = world(scale=2.0)
    with pytest.raises(CorruptAssetError, match="were made of"):
        runner.passes(recipe_of(runner), "bright", "all")


def test_carried_logits_that_were_changed_are_refused(world, carried):
    path = carried / "logits" / "shades" / "bright--all.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    runner = world()
    with pytest.raises(CorruptAssetError, match="is not the file that was named"):
        runner.passes(recipe_of(runner), "bright", "all")


def test_the_manifest_says_how_they_were_made(carried):
    entry = json.loads((carried / "manifest.json").read_text())["logits"][
        "logits/shades/bright--all.safetensors"
    ]
    assert entry["command"].startswith("python -m energy_plugin_bench.carry")
    assert entry["versions"]["torch"]
    assert entry["made_of"]["dataset_options"] == {"count": 400, "seed": 1}


def test_kept_logits_of_weights_without_a_published_hash_go_by_what_the_file_is(world, tmp_path):
    def logits(scale):
        runner = world(scale=scale, cache=PassCache(tmp_path / "kept"))
        known = runner.assets.files["shades/bright.safetensors"]
        runner.assets.files["shades/bright.safetensors"] = known.model_copy(update={"sha256": ""})
        return runner.passes(recipe_of(runner), "bright", "all")

    first, again, other = logits(1.0), logits(1.0), logits(2.0)
    assert [found.origin for found in (first, again, other)] == ["images", "cached logits", "images"]
    assert torch.equal(first.logits, again.logits)
    assert torch.allclose(other.logits, 2 * first.logits)
