"""The command that makes what is carried: whole files, an honest manifest, nothing done twice."""

import json

import numpy as np
import pytest

from energy_plugin_bench import carry
from energy_plugin_bench.inputs.assets import digest


def test_recompressed_archives_hold_the_same_arrays_and_one_hash(tmp_path):
    source = tmp_path / "images.npz"
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    np.savez(source, images=images, labels=np.array([1, 2], np.uint8), class_names=np.array(["a", "b"]))
    for name in ("one.npz", "two.npz"):
        carry.recompress(source, tmp_path / name)
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["images"], images)
        assert archive["class_names"].tolist() == ["a", "b"]
    assert digest(tmp_path / "one.npz") == digest(tmp_path / "two.npz")


@pytest.fixture
def carried(world, monkeypatch, tmp_path):
    """Run the command on the small world; return how to."""
    import bench_fakes

    recipe = bench_fakes.RECIPE.replace('backbone = "brightness"', 'backbone = "brightness"\nslow = true')
    runner = world(recipe=recipe)
    monkeypatch.setattr(carry.registries, "load", lambda: runner.registry)
    monkeypatch.setattr("energy_plugin_bench.verdicts.runner.default_manager", lambda: runner.manager)

    def run():
        return carry.main(["--data-root", str(tmp_path / "data"), "--to", str(tmp_path / "carried")])

    return run


def test_logits_of_every_pass_and_a_manifest(carried, tmp_path):
    assert carried() == 0
    manifest = json.loads((tmp_path / "carried" / "manifest.json").read_text())
    assert set(manifest["logits"]) == {
        f"logits/shades/bright--{name}.safetensors" for name in ("ends", "middle", "all")
    }
    for path, entry in manifest["logits"].items():
        assert digest(tmp_path / "carried" / path) == entry["sha256"]


def test_a_second_run_makes_only_what_is_missing_or_changed(carried, tmp_path, monkeypatch):
    carried()
    made = []
    original = carry._carry_logits
    monkeypatch.setattr(carry, "_carry_logits", lambda *a: (made.append(a[1][2]), original(*a)))
    carried()
    assert made == []
    (tmp_path / "carried" / "logits" / "shades" / "bright--all.safetensors").write_bytes(b"cut")
    carried()
    assert made == ["all"]


def test_breaking_off_keeps_what_is_done(carried, tmp_path, monkeypatch):
    original, done = carry._carry_logits, []

    def interrupted(*arguments):
        if done:
            raise KeyboardInterrupt
        original(*arguments)
        done.append(arguments)

    monkeypatch.setattr(carry, "_carry_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        carried()
    assert len(json.loads((tmp_path / "carried" / "manifest.json").read_text())["logits"]) == 1
    assert not list((tmp_path / "carried").rglob("*.part"))
