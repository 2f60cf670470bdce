"""What identifies images that no file list vouches for."""

from __future__ import annotations

import os
import sys
import zipfile
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from energy_plugin.records import BackboneSpec
from energy_plugin_bench.inputs.assets import CorruptAssetError
from energy_plugin_bench.inputs.imagesets import ImageSet
from energy_plugin_bench.inputs.pairs import Arrays, archive, folders
from energy_plugin_bench.passes import fingerprint
from energy_plugin_bench.passes.fingerprint import code_version, of_images


@pytest.fixture
def pictures(tmp_path):
    """Two images with masks."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for name in ("1", "2"):
            Image.new("L", (4, 3), int(name)).save(tmp_path / kind / f"{name}.png")
    return tmp_path


def of_folders(root):
    data = folders(root / "images", root / "masks", codes="fishyscapes")
    return [of_images(data, range(index, index + 1)) for index in range(2)]


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_an_image_or_a_mask_that_changes_is_another_one_and_only_that(pictures, kind):
    before = of_folders(pictures)
    assert before == of_folders(pictures)
    Image.new("L", (40, 30), 1).save(pictures / kind / "2.png")
    after = of_folders(pictures)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_file_that_was_only_touched_counts_as_changed(pictures):
    before = of_folders(pictures)
    os.utime(pictures / "masks" / "1.png", (1, 1))
    assert before[0] != of_folders(pictures)[0]


def test_a_mask_that_is_gone_is_told(pictures):
    data = folders(pictures / "images", pictures / "masks")
    (pictures / "masks" / "2.png").unlink()
    with pytest.raises(CorruptAssetError, match=r"image 1 of 2 cannot be read.*Put the file back"):
        of_images(data, range(2))


def test_arrays_count_by_images_and_truth(tmp_path):
    images, masks = np.zeros((2, 3, 4, 3), np.uint8), np.zeros((2, 3, 4), np.uint8)
    found = []
    for changed in (None, images, masks):
        if changed is not None:
            changed[1, 0, 0] = 1
        np.savez(tmp_path / "pairs.npz", images=images, masks=masks)
        found.append([of_images(Arrays(tmp_path / "pairs.npz"), range(i, i + 1)) for i in range(2)])
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][1] != found[1][1] != found[2][1]
    labelled = [of_images(ImageSet(images, np.array([0, label])), range(2)) for label in (0, 1)]
    assert labelled[0] != labelled[1]


def version_of(monkeypatch, name, file=None):
    """What the code of a module is known by that was not imported in the usual way."""
    module = ModuleType(name)
    if file is not None:
        module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)
    for known in (fingerprint._sources_of, fingerprint._source, fingerprint._package):
        known.cache_clear()  # as in a new process
    record = BackboneSpec(name="mine", target=f"{name}:Network")
    assert code_version(record) == code_version(record)
    return code_version(record)["sources"]


def test_a_network_of_the_script_that_runs_counts_by_the_script(tmp_path, monkeypatch):
    script = tmp_path / "mine.py"
    script.write_text("class Network: ...")
    first = version_of(monkeypatch, "__main__", script)
    assert version_of(monkeypatch, "__main__", script) == first
    script.write_text("class Network: ...  # edited")
    assert version_of(monkeypatch, "__main__", script) != first


def test_code_that_nobody_can_read_is_never_taken_for_the_same(monkeypatch):
    assert version_of(monkeypatch, "by_hand") != version_of(monkeypatch, "by_hand")


def test_nothing_can_be_said_of_members_of_an_archive(pictures):
    with zipfile.ZipFile(pictures / "all.zip", "w") as whole:
        for file in pictures.rglob("*.png"):
            whole.write(file, file.relative_to(pictures))
    assert of_images(archive(pictures / "all.zip"), range(2)) is None
