"""Lazy images read nothing before they are asked for, and then what arrays would have given."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from energy_plugin_bench.inputs.lazy import LazyImages, as_image_set
from energy_plugin_bench.inputs.local import image_folder
from energy_plugin_bench.inputs.transforms import apply, as_batch

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)


class Counted(Dataset):
    """Images in another form each; counts what was read."""

    def __init__(self, form):
        self.form, self.read = form, []

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        self.read.append(index)
        return self.form(PIXELS[index]), index


@pytest.mark.parametrize("form", [np.asarray, Image.fromarray])
def test_images_are_read_when_asked_for_and_not_before(form):
    data = Counted(form)
    part = apply(LazyImages(data, range(5))[::2], ["square 4"])[1:]
    assert (len(part), data.read) == (2, [])
    assert torch.equal(as_batch(part), as_batch(apply(PIXELS[::2], ["square 4"])[1:]))
    assert data.read == [2, 4]


def test_fractions_of_tensors_stay_fractions():
    lazy = LazyImages(Counted(lambda p: torch.from_numpy(p).permute(2, 0, 1) / 255), range(5))
    assert torch.allclose(as_batch(lazy), as_batch(PIXELS))


def test_labels_are_taken_where_they_stand_and_read_where_they_do_not(tmp_path):
    data = Counted(np.asarray)
    assert as_image_set(data).labels.tolist() == [0, 1, 2, 3, 4]
    assert data.read == [0, 1, 2, 3, 4]
    data.targets, data.read = [7] * 5, []
    assert as_image_set(data).labels.tolist() == [7] * 5
    assert data.read == []
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(PIXELS[0]).save(tmp_path / name / "1.png")
    found = as_image_set(image_folder(tmp_path))
    assert found.labels.tolist() == [0, 1]
    assert np.array_equal(np.asarray(found.images)[1], PIXELS[0])


def test_a_data_set_without_a_length_is_refused():
    with pytest.raises(ValueError, match=r"a data set is generator, which has no len\(\)"):
        as_image_set(pair for pair in [])
