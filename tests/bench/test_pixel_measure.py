"""Rows of anomalous pixels in a small world: judged, kept, taken up where they stopped, shared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pixel_fakes
import pytest
import torch
from pixel_fakes import scores, verdicts
from safetensors import safe_open
from safetensors.torch import load_file

from energy_plugin import hookimpl, labels
from energy_plugin.metrics import aupr, auroc, fpr_at_tpr
from energy_plugin.records import DetectorSpec
from energy_plugin_bench.passes import fingerprint
from energy_plugin_bench.passes.cache import PassCache
from energy_plugin_bench.passes.computing import Computing
from energy_plugin_bench.verdicts.comparison import beside, scoring_pixels, third_party
from energy_plugin_bench.verdicts.detectors import VoidProbability


@pytest.fixture
def runner(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "CONVENTIONS", labels.CONVENTIONS)  # put back what the world adds
    pixel_fakes.write_world(tmp_path)
    return lambda root=tmp_path, **options: pixel_fakes.runner_of(tmp_path, root, **options)


@pytest.fixture
def cache(tmp_path):
    return PassCache(tmp_path / "passes", lambda message: None)


@pytest.fixture
def seen(monkeypatch):
    """A line for every image that goes through the network."""
    calls = []
    forward = pixel_fakes.Tiny.forward
    monkeypatch.setattr(pixel_fakes.Tiny, "forward", lambda self, x: (calls.append(1), forward(self, x))[1])
    return calls


def figures(runner):
    return {name: verdict.measured for name, verdict in verdicts(runner).items()}


def test_rows_are_judged_by_pixels_pooled_over_images_with_an_anomaly(runner):
    seen = []
    found = verdicts(runner(progress=lambda what, done, total: seen.append((what, done, total))))
    assert {name: verdict.status for name, verdict in found.items() if verdict.status != "measured"} == {
        "tiny_ap": "reproduced", "tiny_fpr": "reproduced", "tiny_wrong": "differs", "absent": "not run",
    }  # fmt: skip
    assert found["tiny_ap"].origin == "images"
    assert found["tiny_ap"].tolerance.width == pytest.approx(0.00005 + 0.0001, abs=1e-8)
    assert seen == [("tiny on small", index, 3) for index in range(3)]  # one pass for all rows


def test_what_nobody_published_comes_from_the_same_pass_over_the_classes(runner):
    measuring = runner()
    extras = {verdict.id: verdict.measured for verdict in measuring.extras("pixels")}
    known, anomalous = scores(lambda logits: -logits[:3].logsumexp(0))
    assert extras["measured_tiny_small_energy_mask2anomaly_auroc"] == pytest.approx(
        100 * auroc(known, anomalous), abs=1e-4
    )
    known, anomalous = scores(lambda logits: -logits[:3].softmax(0).amax(0))
    assert extras["measured_tiny_small_msp_mask2anomaly_aupr_out"] == pytest.approx(
        100 * aupr(known, anomalous), abs=1e-4
    )
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


def test_maps_are_kept_and_a_second_run_sends_no_image_through(runner, cache, seen):
    plain = figures(runner())
    first, second = (verdicts(runner(cache=cache)) for _ in range(2))
    assert len(seen) == 6  # three without a cache, three of the first run
    assert {name: verdict.measured for name, verdict in first.items()} == plain
    assert {name: verdict.measured for name, verdict in second.items()} == plain
    assert (first["tiny_ap"].origin, second["tiny_ap"].origin) == ("images", "cached maps")
    assert len(list(cache.folder.rglob("*.safetensors"))) == 3


def test_what_is_kept_of_an_image_is_its_maps_and_on_which_side_pixels_are(runner, cache):
    verdicts(runner(cache=cache))
    kept = [load_file(file) for file in cache.folder.rglob("*.safetensors")]
    assert {name for part in kept for name in part} == {
        "sides", "map.void_probability", "map.energy", "map.msp",
    }  # fmt: skip
    sides = sorted(tuple(sorted(set(part["sides"].flatten().tolist()))) for part in kept)
    assert sides == [(-100, -1, 0), (-100, -1, 0), (-100, 0)]
    assert all(part[name].shape == (1, *pixel_fakes.SIZE) for part in kept for name in part)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_pass_that_was_broken_off_goes_on_with_the_image_that_was_at_work(runner, cache, seen, error):
    def stop(what, done, total):
        if done == 2:
            raise error

    with pytest.raises(error):
        verdicts(runner(cache=cache, progress=stop))
    assert len(seen) == 2
    resumed = figures(runner(cache=cache))
    assert len(seen) == 3
    assert resumed == figures(runner())


def test_a_map_that_was_cut_off_is_computed_anew_and_told(runner, cache, seen):
    whole = figures(runner(cache=cache))
    file = next(cache.folder.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    told = []
    again = runner(cache=PassCache(cache.folder, told.append))
    assert figures(again) == whole
    assert len(seen) == 4
    assert len(told) == 1
    assert "is damaged" in told[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("classes = 3", "classes = 2"),
        ('methods = ["energy", "msp"]', 'methods = ["energy"]'),
        ('backbone = "tiny_pixels"', 'backbone = "tiny_pixels"\nmean = [0.5, 0.5, 0.5]\nstd = [1, 1, 1]'),
        ("options = {", "options = { size = [8, 12],"),
    ],
    ids=["classes", "detectors", "normalisation", "options"],
)
def test_maps_of_something_else_are_not_taken(runner, cache, seen, tmp_path, old, new):
    verdicts(runner(cache=cache))
    recipe = tmp_path / "published" / "recipe.toml"
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))
    verdicts(runner(cache=cache))
    assert len(seen) == 6


@pytest.mark.parametrize("scores", ['["energy", "msp"]', '["msp"]'])
def test_maps_of_other_code_are_not_taken(runner, cache, seen, monkeypatch, tmp_path, scores):
    recipe = tmp_path / "published" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('["energy", "msp"]', scores))
    verdicts(runner(cache=cache))
    package = fingerprint._package
    edited = {"energy_plugin": "edited"}  # every map is scored and made large by its code
    monkeypatch.setattr(fingerprint, "_package", lambda name: edited.get(name) or package(name))
    verdicts(runner(cache=cache))
    assert len(seen) == 6


def contents(folder):
    """Hash of the tensors in each file of a cache."""
    found = {}
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            found[str(file.relative_to(folder))] = stored.metadata()["sha256"]
    return found


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.long)])  # four for three images
def test_several_processes_give_the_figures_and_maps_of_one(runner, cache, tmp_path, processes):
    alone = verdicts(runner(cache=cache))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = os.pathsep.join((str(Path(pixel_fakes.__file__).parent), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [*launch, pixel_fakes.__file__, str(tmp_path), "shared"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = [f"{name} {verdict.origin} {verdict.measured!r}" for name, verdict in alone.items()]
    assert done.stdout.splitlines() == expected
    assert contents(cache.folder) == contents(tmp_path / "shared")
    assert len(contents(cache.folder)) == 3


class FirstLogit:
    """A third party's score of pixels."""

    def score(self, logits):
        return -logits[:, 0]


class Pooled:
    """A third party's score of whole images."""

    def score(self, logits):
        return logits.flatten(1).sum(1)


class Hungry:
    """A third party's score that wants what there is not."""

    def score(self, logits):
        raise KeyError("features")


class Stranger:
    @hookimpl
    def ood_detectors(self):
        names = {"first_logit": "FirstLogit", "pooled": "Pooled", "hungry": "Hungry"}
        return [DetectorSpec(name=n, target=f"strange_pixels:{t}") for n, t in names.items()]


def test_other_plug_ins_detectors_score_the_maps_of_the_same_pass(runner, cache, seen, monkeypatch):
    module = ModuleType("strange_pixels")
    module.FirstLogit, module.Pooled, module.Hungry = FirstLogit, Pooled, Hungry
    monkeypatch.setitem(sys.modules, "strange_pixels", module)
    measuring, told = runner(cache=cache), []
    measuring.manager.add(Stranger(), "stranger")
    names = ("max_logit", *third_party(measuring.manager))
    measuring.beside_pixels = scoring_pixels(measuring.manager, names, told.append)
    assert set(measuring.beside_pixels) >= {"max_logit", "first_logit"}
    assert not set(measuring.beside_pixels) & {"pooled", "hungry"}
    assert sum("'pooled'" in line and "(1,)" in line for line in told) == 1
    assert sum("'hungry'" in line and "features" in line for line in told) == 1
    known = list(verdicts(measuring).values())
    rows = list(measuring.registry.rows())
    found = {v.id: v for v in beside(measuring, rows, names, known=known, say=told.append)}
    assert len(seen) == 3
    inside, outside = scores(lambda logits: -logits[0])
    ours = found["measured_tiny_small_first_logit_mask2anomaly_aupr_out"]
    assert ours.measured == pytest.approx(100 * aupr(inside, outside), abs=1e-4)
    assert "stranger" in ours.note
    assert "measured_tiny_small_max_logit_mask2anomaly_fpr95" in found


def test_a_detector_cannot_change_the_maps_of_others(runner, monkeypatch):
    module = ModuleType("strange_pixels")
    module.FirstLogit = type("Rude", (), {"score": lambda self, logits: logits.zero_()[:, 0]})
    module.Pooled = module.Hungry = FirstLogit
    monkeypatch.setitem(sys.modules, "strange_pixels", module)
    measuring = runner()
    measuring.manager.add(Stranger(), "stranger")
    measuring.beside_pixels = ("first_logit", "pooled")
    found = {v.asked.method: v for v in beside(measuring, list(measuring.registry.rows()), ("pooled",))}
    inside, outside = scores(lambda logits: -logits[0])
    assert found["pooled"].asked.metric == "fpr95"
    assert found["pooled"].measured == pytest.approx(
        100 * fpr_at_tpr(inside, outside, rule="linear"), abs=1e-4
    )


def test_transforms_which_masks_do_not_take_are_told(runner, tmp_path):
    recipe = tmp_path / "published" / "recipe.toml"
    text = recipe.read_text()
    assert "options = {" in text
    recipe.write_text(text.replace("options = {", 'transform = ["resize 8"]\noptions = {'))
    found = verdicts(runner())
    assert found["tiny_ap"].status == "not run"
    assert "transforms, which images with masks do not take" in found["tiny_ap"].reason


def test_a_stranger_s_detector_that_fails_on_the_maps_costs_no_row(runner, monkeypatch):
    expected = figures(runner())
    module = ModuleType("strange_pixels")
    module.FirstLogit, module.Pooled, module.Hungry = FirstLogit, Hungry, Hungry
    monkeypatch.setitem(sys.modules, "strange_pixels", module)
    measuring, told = runner(), []
    measuring.manager.add(Stranger(), "stranger")
    measuring.beside_pixels = ("first_logit", "hungry")  # as if it had passed for small maps
    assert figures(measuring) == expected
    found = beside(measuring, list(measuring.registry.rows()), ("hungry", "first_logit"), say=told.append)
    assert {verdict.asked.method for verdict in found} == {"first_logit"}
    assert len(told) == 1
    assert "'hungry'" in told[0]
    assert "features" in told[0]


def test_a_detector_that_fails_on_the_maps_is_named(runner, monkeypatch):
    monkeypatch.setattr(VoidProbability, "score", Hungry.score)
    with pytest.raises(ValueError, match="the detector 'void_probability' failed: 'features'"):
        verdicts(runner())


def test_more_pixels_than_are_kept_are_counted_and_the_tolerance_says_how_well(runner, monkeypatch):
    exact = verdicts(runner())
    monkeypatch.setattr("energy_plugin_bench.verdicts.pixels.EXACT_UP_TO", 100)
    binned = verdicts(runner())
    for name in ("tiny_ap", "tiny_fpr", "tiny_wrong"):
        bound = binned[name].tolerance.width - exact[name].tolerance.width
        assert 0 < bound < 0.1
        assert abs(binned[name].measured - exact[name].measured) <= bound
        assert "counted in bins" in binned[name].tolerance.reason
        assert "counted in bins" not in exact[name].tolerance.reason
    assert binned["tiny_ap"].status == "reproduced"


def test_mixed_precision_moves_figures_a_little_and_scores_stay_float32(runner, monkeypatch):
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
