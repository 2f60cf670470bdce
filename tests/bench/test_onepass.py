"""A pass in chunks: kept as it goes, taken up where it stopped, shared without a bit's difference."""

import os
import subprocess
import sys
from pathlib import Path

import bench_fakes
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import energy_plugin_bench
from energy_plugin.cli import main
from energy_plugin_bench.inputs.assets import CorruptAssetError
from energy_plugin_bench.passes.cache import PassCache
from energy_plugin_bench.passes.computing import Computing

SMALL = Computing(batch_size=10)  # chunks of 1,000, the carried ones of less
ROW = "oe_mnist_baseline_error_rate"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr("energy_plugin_bench.passes.computing.CHUNK", 100)


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return PassCache(tmp_path / "passes", said.append)


@pytest.fixture
def seen(monkeypatch):
    """How many images went through the network in each batch."""
    calls = []
    forward = bench_fakes.Brightness.forward

    def counting(self, x):
        calls.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(bench_fakes.Brightness, "forward", counting)
    return calls


def taken(runner, name="all"):
    return runner.passes(runner.registry.recipes["shades"], "bright", name)


def files(cache):
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def test_a_second_run_computes_nothing(world, cache, seen):
    first = taken(world(cache=cache, computing=SMALL))
    assert (first.origin, sum(seen)) == ("images", 400)
    second = taken(world(cache=cache, computing=SMALL))
    assert (second.origin, sum(seen)) == ("cached logits", 400)
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.labels, second.labels)
    assert len(files(cache)) == 4  # one each chunk


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 2.0},
        {"recipe": bench_fakes.RECIPE.replace("seed = 1", "seed = 2")},
        {"recipe": bench_fakes.RECIPE.replace("options = { count", 'transform = ["ink"]\noptions = { count')},
        {
            "recipe": bench_fakes.RECIPE.replace(
                'e = "brightness"', 'e = "brightness"\nmean = [0.1]\nstd = [1.0]'
            )
        },
        {"computing": Computing(batch_size=20)},
        {"computing": Computing(batch_size=10, amp="bfloat16")},
    ],
    ids=["weights", "options", "transform", "normalisation", "batch size", "precision"],
)
def test_other_ingredients_are_computed_anew(world, cache, seen, change):
    taken(world(cache=cache, computing=SMALL))
    assert taken(world(**{"cache": cache, "computing": SMALL, **change})).origin == "images"
    assert sum(seen) == 800


def test_other_code_is_computed_anew(world, cache, seen, monkeypatch):
    taken(world(cache=cache))
    monkeypatch.setattr("energy_plugin_bench.passes.fingerprint._package", lambda name: "edited")
    assert taken(world(cache=cache)).origin == "images"


def test_weights_with_another_hash_are_refused_though_logits_are_kept(world, cache, tmp_path):
    taken(world(cache=cache))
    runner = world(cache=cache)
    weights = tmp_path / "data" / "shades" / "bright.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(CorruptAssetError, match=r"bright\.safetensors is not the file that was named"):
        taken(runner)


class _BrokenOffError(Exception):
    """What ends a run."""


def stop_at(count, error=_BrokenOffError):
    def told(what, done, total):
        if done >= count:
            raise error

    return told


def broken_off(runner, error=_BrokenOffError):
    with pytest.raises(error):
        taken(runner)


@pytest.mark.parametrize("error", [KeyboardInterrupt, _BrokenOffError])
def test_a_pass_that_was_broken_off_goes_on_where_it_stopped(world, cache, seen, error):
    whole = taken(world(computing=SMALL))
    seen.clear()
    broken_off(world(cache=cache, computing=SMALL, progress=stop_at(250, error)), error)
    assert sum(seen) == 250
    assert len(files(cache)) == 2  # two chunks are whole
    assert not list(cache.folder.rglob("*.part"))
    told = []
    resumed = taken(world(cache=cache, computing=SMALL, progress=lambda *report: told.append(report)))
    assert sum(seen) == 250 + 200
    assert told[0] == ("bright on all", 200, 400)
    assert torch.equal(resumed.logits, whole.logits)
    assert torch.equal(resumed.labels, whole.labels)
    assert whole.labels.tolist() == bench_fakes.shades(count=400, seed=1).labels.tolist()
    assert len(files(cache)) == 4


@pytest.fixture
def pictures(tmp_path):
    """A data set of files, as a recipe names it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(400):
        shade = Image.new("RGB", (4, 4), (index % 250, 0, 0))
        shade.save(folder / f"{index:03d}.png")
    return folder


def of_pictures(world, folder, **options):
    recipe = bench_fakes.RECIPE.replace(
        'dataset = "shades"\noptions = { count = 400, seed = 1 }',
        f'dataset = "image_folder"\noptions = {{ path = "{folder}", label = 0 }}',
    )
    runner = world(recipe=recipe, computing=SMALL, **options)
    runner.manager.add(energy_plugin_bench)
    return runner


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"no image")])
def test_an_image_that_is_missing_loses_nothing_that_was_done(world, cache, seen, pictures, damage):
    bad = pictures / "250.png"
    good = bad.read_bytes()
    runner = of_pictures(world, pictures, cache=cache)
    recipe = runner.registry.recipes["shades"]
    data = runner.passes.images(recipe, "all")
    runner.passes.images = lambda *_: data  # what is missing was there when the files were listed
    damage(bad)
    with pytest.raises(
        CorruptAssetError, match=r"image 250 of 400( \(.*250\.png\))? cannot be read.*Put the file back"
    ):
        taken(runner)
    bad.write_bytes(good)
    again = of_pictures(world, pictures, cache=cache)
    found = taken(again)
    whole = taken(of_pictures(world, pictures))
    assert torch.equal(found.logits, whole.logits)
    done_before = (
        200 if damage is not Path.unlink else 0
    )  # a file that is gone is told before anything is done
    assert sum(seen) == (250 if done_before else 0) + (400 - done_before) + 400


def test_another_image_in_a_folder_is_computed_anew(world, cache, pictures):
    assert taken(of_pictures(world, pictures, cache=cache)).origin == "images"
    assert taken(of_pictures(world, pictures, cache=cache)).origin == "cached logits"
    Image.new("RGB", (4, 4), (0, 0, 9)).save(pictures / "007.png")
    assert taken(of_pictures(world, pictures, cache=cache)).origin == "images"


@pytest.mark.parametrize("part", [False, True])
def test_a_file_cut_in_half_is_computed_anew_and_told(world, cache, seen, said, part):
    whole = taken(world(computing=SMALL))
    seen.clear()
    if part:
        broken_off(world(cache=cache, computing=SMALL, progress=stop_at(100)))
    else:
        taken(world(cache=cache, computing=SMALL))
    done = sum(seen)
    file = files(cache)[0]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = taken(world(cache=cache, computing=SMALL))
    assert again.origin == "images"
    assert torch.equal(again.logits, whole.logits)
    assert sum(seen) - done == (400 if part else 100)  # nothing but the damaged chunk is lost
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert taken(world(cache=cache, computing=SMALL)).origin == "cached logits"


def test_a_full_disk_costs_no_result(world, cache, said, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    expected = taken(world())
    monkeypatch.setattr(Path, "write_bytes", full)
    found = taken(world(cache=cache))
    assert torch.equal(found.logits, expected.logits)
    assert len(said) == 1


def test_images_that_nobody_can_identify_are_not_kept(world, cache, monkeypatch):
    monkeypatch.setattr("energy_plugin_bench.passes.fingerprint.of_images", lambda data, positions: None)
    for _ in range(2):
        assert taken(world(cache=cache)).origin == "images"
    assert not cache.folder.exists()


def test_mixed_precision_moves_figures_a_little(world):
    exact, mixed = (taken(world(computing=Computing(amp=amp))).logits for amp in ("", "bfloat16"))
    assert mixed.dtype == torch.float32
    assert torch.allclose(exact, mixed, atol=1e-2)


def test_chunks_are_whole_batches_and_the_same_for_everybody():
    assert Computing(batch_size=30).chunks(200) == [range(90), range(90, 180), range(180, 200)]
    assert Computing(batch_size=300).chunks(700) == [range(300), range(300, 600), range(600, 700)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"workers": -1}, "workers -1"),
        ({"amp": "float8"}, "expected bfloat16 or float16"),
        ({"device": "toaster"}, "the device is 'toaster'; expected cpu, cuda"),
        ({"device": "meta"}, "torch cannot use the device 'meta' here; use --device cpu"),
        ({"device": "mtia"}, "torch cannot use the device 'mtia' here; use --device cpu"),
    ],
)
def test_wrong_settings_are_told(wrong, said):
    with pytest.raises(ValueError, match=said):
        Computing(**wrong)


def cached(home):
    """What is kept: key and hash of the content, of each file."""
    found = {}
    for path in (home / "passes").rglob("*.safetensors"):
        with safe_open(path, framework="pt") as stored:
            found[f"{path.parent.name}/{path.name}"] = stored.metadata()["sha256"]
    return found


def test_two_processes_give_what_one_gives_bit_for_bit(tmp_path, monkeypatch, capsys):
    monkeypatch.undo()  # chunks of the usual size, as the processes have them
    monkeypatch.delenv("ENERGY_PLUGIN_DATA", raising=False)
    one, two = tmp_path / "one", tmp_path / "two"
    monkeypatch.setenv("ENERGY_PLUGIN_HOME", str(one))
    arguments = ["reproduce", "-k", ROW, "--json"]
    assert main(arguments) == 0
    alone = capsys.readouterr().out
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "ENERGY_PLUGIN_HOME": str(two), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, "-m", "energy_plugin.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert cached(one) == cached(two)
    assert len(cached(two)) == 10
    figures = [line for line in done.stdout.splitlines() if '"measured"' in line or '"origin"' in line]
    assert figures == [line for line in alone.splitlines() if '"measured"' in line or '"origin"' in line]
    assert done.stdout.startswith("{")  # one document: the other process prints nothing
    assert done.stdout.count('"schema"') == 1
    assert '"processes": "2"' in done.stdout


def test_an_error_of_one_process_ends_all(tmp_path):
    weights = tmp_path / "mnist" / "weights" / "baseline_epoch_9.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"something else")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "energy_plugin.cli", "reproduce", "-k", ROW, "--data-root", str(tmp_path)],
        env={**os.environ, "ENERGY_PLUGIN_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode != 0
    assert "expected sha256:277eeb51" in done.stderr
    assert done.stdout == ""


def test_a_network_that_brings_its_own_weights_counts_by_them(world, cache, seen, monkeypatch):
    def own(value):
        monkeypatch.setattr(bench_fakes.Brightness, "__init__", lambda self: _init(self, value), raising=True)
        return world(
            cache=cache, recipe=bench_fakes.RECIPE.replace('weights = "shades/bright.safetensors"', "")
        )

    def _init(self, value):
        torch.nn.Module.__init__(self)
        self.scale = torch.nn.Parameter(torch.tensor(value, dtype=torch.bfloat16))

    assert [taken(own(value)).origin for value in (1.0, 1.0, 2.0)] == ["images", "cached logits", "images"]
