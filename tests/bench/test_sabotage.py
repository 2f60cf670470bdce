"""Verdicts that cannot fail are worth nothing: each of these breaks one thing, and rows must differ."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import energy_plugin_bench
from energy_plugin import hookimpl
from energy_plugin.manager import PluginManager
from energy_plugin.records import DetectorSpec
from energy_plugin_bench.inputs.assets import Assets, CorruptAssetError, digest
from energy_plugin_bench.values.registry import Registry
from energy_plugin_bench.verdicts.runner import Runner

SONG, OE = "song_energy_ood", "outlier_exposure_mnist"
WEIGHTS = "mnist/weights/baseline_epoch_9.safetensors"


def rows_of(registry, expression):
    return registry.select(expression=expression)


def statuses(runner, rows):
    return {row.id: runner.verdict(source, row).status for source, row in rows}


def with_recipe(registry, source, **changes):
    recipe = registry.recipes[source].model_copy(update=changes)
    return dataclasses.replace(registry, recipes={**registry.recipes, source: recipe})


def on(registry: Registry, manager=None) -> Runner:
    return Runner(registry, Assets(registry.files), manager=manager)


@pytest.fixture
def energy_rows(registry, carried_runner):
    rows = rows_of(registry, "song_mnist_pretrained_energy or song_fashionmnist_pretrained_energy")
    rows += rows_of(registry, "song_mnist_energyft32_tnr or song_mnist_energyft32_au")
    assert set(statuses(carried_runner, rows).values()) == {"reproduced"}
    assert len(rows) == 12
    return rows


@pytest.fixture
def drawn_rows(registry, carried_runner):
    rows = rows_of(registry, "oe_mnist_baseline_fashion or oe_mnist_baseline_negative")
    assert set(statuses(carried_runner, rows).values()) == {"reproduced"}
    assert len(rows) == 6
    return rows


class FlippedEnergy:
    @hookimpl
    def ood_detectors(self):
        target = "energy_plugin.detector:EnergyDetector"
        return [DetectorSpec(name="energy", target=target, higher_is="id")]


def test_a_score_with_its_sign_flipped(registry, energy_rows):
    manager = PluginManager().add(energy_plugin_bench).add(FlippedEnergy())
    assert set(statuses(on(registry, manager), energy_rows).values()) == {"differs"}


def test_the_positive_class_swapped(carried_runner, energy_rows):
    swapped = [
        (source, row.model_copy(update={"convention": "outlier_exposure"})) for source, row in energy_rows
    ]
    found = statuses(carried_runner, swapped)
    same = {name for name, status in found.items() if status == "reproduced"}
    # AUROC is the same whichever class is called positive; one figure moves by less than its spread.
    assert same == {row.id for _, row in energy_rows if row.metric == "auroc"} | {
        "song_mnist_energyft32_tnr99"
    }


def test_the_positive_class_swapped_for_msp(carried_runner, drawn_rows):
    swapped = [(source, row.model_copy(update={"convention": "energy_ood"})) for source, row in drawn_rows]
    found = statuses(carried_runner, swapped)
    same = {name for name, status in found.items() if status == "reproduced"}
    aurocs = {row.id for _, row in drawn_rows if row.metric == "auroc"}
    assert same == aurocs | {"oe_mnist_baseline_negative_mnist_fpr95"}  # 5.3 either way


def test_id_and_ood_sets_exchanged(registry, energy_rows):
    sets = dict(registry.recipes[SONG].sets)
    for name in ("mnist_test", "fashion_mnist_test"):
        inner, outer = f"{name}_0to7", f"{name}_8to9"
        sets[inner], sets[outer] = sets[outer], sets[inner]
    # Fewer images are left to draw from than a draw takes, so the areas that are drawn are left out.
    rows = [(source, row) for source, row in energy_rows if row.metric != "aupr"]
    assert set(statuses(on(with_recipe(registry, SONG, sets=sets)), rows).values()) == {"differs"}


def test_two_ood_sets_exchanged(registry, drawn_rows):
    inputs = dict(registry.recipes[OE].inputs)
    inputs["fashion_mnist"], inputs["negative_mnist"] = inputs["negative_mnist"], inputs["fashion_mnist"]
    assert set(statuses(on(with_recipe(registry, OE, inputs=inputs)), drawn_rows).values()) == {"differs"}


def test_another_score_than_the_one_published(registry, carried_runner, drawn_rows):
    other = [(source, row.model_copy(update={"method": "energy"})) for source, row in drawn_rows]
    assert set(statuses(carried_runner, other).values()) == {"differs"}


def corrupted(root, carried_runner):
    """The network's file with one weight changed, under a data root."""
    tensors = load_file(carried_runner.assets.find(WEIGHTS))
    tensors["fc2.bias"][3] += 4
    file = root / WEIGHTS
    file.parent.mkdir(parents=True)
    save_file(tensors, file)
    return file


def test_one_wrong_weight_is_refused_by_its_hash(registry, carried_runner, drawn_rows, tmp_path):
    corrupted(tmp_path, carried_runner)
    runner = Runner(registry, Assets(registry.files, tmp_path))
    with pytest.raises(
        CorruptAssetError, match=r"baseline_epoch_9\.safetensors is not the file that was named"
    ):
        statuses(runner, drawn_rows)


def test_one_wrong_weight_makes_rows_differ_where_the_hash_is_forged(
    registry, carried_runner, drawn_rows, tmp_path
):
    file = corrupted(tmp_path, carried_runner)
    forged = registry.files[WEIGHTS].model_copy(update={"sha256": digest(file)})
    registry = dataclasses.replace(registry, files={**registry.files, WEIGHTS: forged})
    rows = drawn_rows + rows_of(registry, "oe_mnist_baseline_error")
    assert set(statuses(Runner(registry, Assets(registry.files, tmp_path)), rows).values()) == {"differs"}


def test_one_wrong_logit_is_refused_by_its_hash(registry, energy_rows, tmp_path):
    import shutil

    from energy_plugin_bench.inputs.assets import CARRIED

    carried = shutil.copytree(CARRIED, tmp_path / "carried")
    path = carried / "logits" / SONG / "densenet100_mnist0to7_song--mnist_test.safetensors"
    tensors = load_file(path)
    tensors["logits"][0, 0] += 1e-3
    save_file(tensors, path)
    with pytest.raises(CorruptAssetError, match="is not the file that was named"):
        statuses(Runner(registry, Assets(registry.files, carried=carried)), energy_rows)


def test_images_that_are_not_divided_by_255(registry, carried_runner, drawn_rows, monkeypatch):
    monkeypatch.setattr(
        "energy_plugin_bench.inputs.reading.as_batch",
        lambda images: torch.from_numpy(np.ascontiguousarray(images)).float().unsqueeze(1),
    )
    assert "differs" in statuses(on(registry), drawn_rows).values()
