"""Images in batches: the same from arrays, files and threads, and a missing file is told."""

import numpy as np
import pytest
import torch
from PIL import Image

from energy_plugin_bench.inputs.assets import CorruptAssetError
from energy_plugin_bench.inputs.imagesets import ImageSet
from energy_plugin_bench.inputs.lazy import as_image_set
from energy_plugin_bench.inputs.local import image_folder
from energy_plugin_bench.inputs.reading import batches


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def folder(pixels, tmp_path):
    for index, image in enumerate(pixels):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "a" / f"{index:02d}.png")
    return tmp_path


def joined(read):
    parts = list(read)
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def test_arrays_come_in_order_and_batches(pixels):
    data = ImageSet(pixels, np.arange(11))
    sizes = [len(labels) for _, labels in batches(data, range(1, 10, 2), (), 2)]
    images, labels = joined(batches(data, range(1, 10, 2), (), 2))
    assert sizes == [2, 2, 1]
    assert labels.tolist() == [1, 3, 5, 7, 9]
    assert torch.equal(images, torch.from_numpy(pixels[1:10:2]).permute(0, 3, 1, 2).float() / 255)


@pytest.mark.parametrize("workers", [0, 3])
def test_files_give_what_arrays_give(pixels, folder, workers):
    expected = joined(batches(ImageSet(pixels, np.zeros(11, dtype=np.int64)), range(11), (), 4))
    found = joined(batches(as_image_set(image_folder(folder)), range(11), (), 4, workers=workers))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("kind", ["pil", "array"])
def test_transforms_see_pixels_whatever_the_data_set_gives(pixels, kind):
    class Pairs:
        labels = range(11)

        def __len__(self):
            return len(pixels)

        def __getitem__(self, index):
            image = pixels[index]
            return {"pil": Image.fromarray(image), "array": image}[kind], index

    expected, _ = joined(batches(ImageSet(pixels, np.arange(11)), range(11), ("negative",), 4))
    found, labels = joined(batches(as_image_set(Pairs()), range(11), ("negative",), 4))
    assert torch.equal(found, expected)
    assert labels.tolist() == list(range(11))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_missing_image_is_told_by_name(folder, workers):
    data = as_image_set(image_folder(folder))
    (folder / "a" / "07.png").unlink()
    with pytest.raises(
        CorruptAssetError, match=r"image 7 of 11 \(.*07\.png\) cannot be read: .*07\.png.* Put the file back"
    ):
        joined(batches(data, range(11), (), 4, workers=workers))


def test_an_image_that_is_cut_off_is_told(folder):
    file = folder / "a" / "03.png"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(CorruptAssetError, match=r"image 3 of 11 \(.*03\.png\) cannot be read"):
        joined(batches(as_image_set(image_folder(folder)), range(11), (), 4))


def test_images_of_different_sizes_are_told_with_what_helps(folder):
    Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(folder / "a" / "05.png")
    with pytest.raises(ValueError, match=r"different sizes .*\n?.*The recipe needs a transform"):
        joined(batches(as_image_set(image_folder(folder)), range(11), (), 4))
