"""What recipes do to images, on images small enough to see."""

import numpy as np
import pytest
import torch
from PIL import Image

from energy_plugin_bench.inputs import transforms


def test_negative_of_bytes_and_of_fractions():
    assert transforms.apply(np.array([[[0, 255, 10]]], np.uint8), ["negative"]).tolist() == [[[255, 0, 245]]]
    assert transforms.apply(np.array([[[0.25]]], np.float32), ["negative"]).tolist() == [[[0.75]]]


def test_grey_weighs_the_colours():
    images = np.zeros((1, 1, 3, 3), np.uint8)
    images[0, 0] = np.eye(3) * 255
    assert transforms.grey(images)[0, 0] == pytest.approx([0.2989, 0.5870, 0.1140])


def test_ink_stays_zero_or_one_after_resizing():
    paper = np.ones((2, 105, 105), np.uint8)
    paper[0, 40:70, 40:70] = 0
    out = transforms.apply(paper, ["ink", "resize28", "black_and_white"])
    assert out.shape == (2, 28, 28)
    assert set(np.unique(out[0])) == {0.0, 1.0}
    assert out[0].mean() == pytest.approx((30 / 105) ** 2, abs=0.01)
    assert out[1].max() == 0


def test_an_unknown_step_is_told_with_near_misses():
    with pytest.raises(LookupError, match="Did you mean 'negative'"):
        transforms.apply(np.zeros((1, 2, 2), np.uint8), ["negativ"])


def test_batches_are_fractions_with_channels_first():
    grey = transforms.as_batch(np.full((2, 3, 4), 255, np.uint8))
    assert (grey.shape, grey.dtype, grey.max().item()) == ((2, 1, 3, 4), torch.float32, 1.0)
    colour = transforms.as_batch(np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3))
    assert colour.shape == (1, 3, 2, 4)
    assert (colour[0, :, 0, 1] * 255).tolist() == pytest.approx([3, 4, 5])
    assert transforms.as_batch(np.full((1, 2, 2), 0.5, np.float32)).unique().tolist() == [0.5]


@pytest.mark.parametrize(("height", "width"), [(40, 57), (57, 40), (224, 301), (33, 33)])
def test_resizing_and_cropping_are_those_of_torchvision_on_pillow_images(height, width):
    vision = pytest.importorskip("torchvision.transforms", reason="torchvision is the reference")
    pixels = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    ours = transforms.apply(pixels, ["resize 32", "crop 32"])[0]
    image = Image.fromarray(pixels[0])
    theirs = vision.Compose([vision.Resize(32), vision.CenterCrop(32)])(image)
    assert np.array_equal(ours, np.asarray(theirs))
    squashed = transforms.apply(pixels, ["square 48"])[0]
    assert np.array_equal(squashed, np.asarray(vision.Resize((48, 48))(image)))
    bicubic = vision.Resize(32, vision.InterpolationMode.BICUBIC)(image)
    assert np.array_equal(transforms.apply(pixels, ["resize 32 bicubic"])[0], np.asarray(bicubic))


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="images of 20 x 40 are too small for a crop of 32"):
        transforms.apply(np.zeros((1, 20, 40, 3), np.uint8), ["crop 32"])


@pytest.mark.parametrize("name", ["resize", "resize big", "resize 0", "crop -4", "resize 32 cubic"])
def test_a_size_that_is_none_is_told(name):
    with pytest.raises(LookupError, match=f"there is no transform '{name}'"):
        transforms.step(name)


def test_grey_becomes_three_equal_channels():
    coloured = transforms.colour(np.arange(4, dtype=np.uint8).reshape(1, 2, 2))
    assert coloured.shape == (1, 2, 2, 3)
    assert coloured[0, 1, 0].tolist() == [2, 2, 2]
