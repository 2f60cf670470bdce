"""Local images with labels: folders, lists, arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from energy_plugin.manager import default_manager
from energy_plugin_bench.inputs.local import Arrays, image_folder, image_list

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def tree(tmp_path):
    for name in ("cat/1.png", "cat/2.PNG", "dog/deep/3.bmp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(path)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    return tmp_path


def test_subfolders_are_classes(tree):
    data = image_folder(tree)
    assert data.classes == ("cat", "dog")
    assert [data[index][1] for index in range(len(data))] == [0, 0, 1]
    assert torch.equal(data[0][0], torch.from_numpy(PIXELS).permute(2, 0, 1) / 255)


def test_one_label_for_all(tree):
    data = image_folder(tree, label=-1, transform=lambda image: image.size)
    assert [data[index] for index in range(3)] == [((7, 5), -1)] * 3


def test_loose_images_have_no_class(tree):
    Image.fromarray(PIXELS).save(tree / "4.png")
    with pytest.raises(ValueError, match="lies in no subfolder"):
        image_folder(tree)
    with pytest.raises(FileNotFoundError, match="has no images"):
        image_folder(tree / "nothing")


def test_lists_give_paths_and_labels(tree):
    (tree / "list.txt").write_text("# comment\ncat/1.png 4\n\ndog/deep/3.bmp -1\n")
    data = image_list(tree / "list.txt")
    assert [data[index][1] for index in range(2)] == [4, -1]
    assert len(image_list(tree / "list.txt", root=tree)) == 2
    (tree / "list.txt").write_text("cat/9.png 4\n")
    with pytest.raises(FileNotFoundError, match=r"cat/9\.png"):
        image_list(tree / "list.txt")
    (tree / "list.txt").write_text("cat/1.png\n")
    with pytest.raises(ValueError, match="not a path and a label"):
        image_list(tree / "list.txt")


def test_arrays_give_images_and_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS[None, ..., 0], labels=np.array([3]))
    assert Arrays(tmp_path / "a.npz")[0][1] == 3
    assert Arrays(tmp_path / "a.npz")[0][0].shape == (1, 5, 7)
    assert Arrays(tmp_path / "a.npz", label=-1)[0][1] == -1
    np.savez(tmp_path / "a.npz", images=PIXELS[None])
    with pytest.raises(ValueError, match="expected images and labels"):
        Arrays(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=PIXELS[None].astype(float), labels=np.array([3]))
    with pytest.raises(ValueError, match="expected uint8"):
        Arrays(tmp_path / "a.npz")


def test_all_are_offered_by_name():
    for name in ("image_folder", "image_list", "image_arrays"):
        assert callable(default_manager().get("dataset", name).load())
