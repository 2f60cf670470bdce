"""What lies under a data root and no list knows, and the other way round."""

from __future__ import annotations

import hashlib

import pytest

UNUSED = {
    "mnist/images/mnist_train.npz": "for training, which no row is about",
    "mnist/images/omniglot_other3_105.npz": "alphabets that the source left out: for training",
    "mnist/weights/baseline_epoch_9.pt": "the same tensors as the .safetensors",
    "mnist/weights/oe_scratch_epoch_9.pt": "the same tensors as the .safetensors",
    "mnist/weights/oe_tune_epoch_4.pt": "the same tensors as the .safetensors",
}
"""Files of the data root that no recipe asks for, and why."""
FOLDERS = ("cifar", "mnist", "segmentation")


def lying(data_root):
    """Paths of weights and images under the data root."""
    return {
        str(path.relative_to(data_root))
        for folder in FOLDERS
        for part in ("images", "weights")
        for path in (data_root / folder / part).iterdir()
    }


def test_every_file_of_the_data_root_is_listed_or_known_to_be_unused(registry, data_root):
    assert lying(data_root) - set(registry.files) == set(UNUSED)


def test_every_listed_file_that_is_not_fetched_lies_there(registry, data_root):
    listed = {path for path in registry.files if path.split("/")[0] in FOLDERS}
    assert listed - lying(data_root) == set()
    elsewhere = {path for path in registry.files if path not in listed}
    assert all(registry.files[path].url or registry.files[path].get for path in elsewhere)


def test_every_published_row_of_the_data_root_is_in_the_registry(registry, data_root):
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the published rows of the data root")
    ours = {row.id for _, row in registry.rows()}
    loose = {name.replace("-", "_") for name in ours}
    gone = {}
    for folder in FOLDERS:
        rows = yaml.safe_load((data_root / folder / "published_rows.yaml").read_text())["rows"]
        names = {row["id"] for row in rows}
        # ids of segmentation were taken in with underscores
        known = (
            names & ours if folder != "segmentation" else {n for n in names if n.replace("-", "_") in loose}
        )
        gone[folder] = names - known
    assert gone == {folder: set() for folder in FOLDERS}


def test_every_recipe_s_file_is_asked_for_by_a_network_or_an_input(registry):
    asked = {
        path
        for recipe in registry.recipes.values()
        for path in (
            *(network.weights for network in recipe.networks.values()),
            *(chosen.asset for chosen in recipe.inputs.values()),
        )
    }
    assert {path for path in registry.files if path not in asked} == set()


def test_hashes_are_those_of_the_data_root_s_own_list(registry, data_root):
    for folder in FOLDERS:
        for line in (data_root / folder / "sha256sums.txt").read_text().splitlines():
            sha256, _, name = line.partition("  ")
            path = f"{folder}/{name}"
            if path in registry.files:
                assert registry.files[path].sha256 == sha256, path
    small = "mnist/weights/baseline_epoch_9.safetensors"
    assert hashlib.sha256((data_root / small).read_bytes()).hexdigest() == registry.files[small].sha256
