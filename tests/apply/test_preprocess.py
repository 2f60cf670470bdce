"""Images as networks take them: pixel by pixel what timm's own evaluation makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from energy_plugin_bench.apply.preprocess import AUGMENTS, DataConfig, augmented

timm_data = pytest.importorskip("timm.data")
CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(50, 70), (70, 50), (33, 33), (20, 90)])
@pytest.mark.parametrize(
    ("size", "crop_pct", "crop_mode"),
    [
        (32, 1.0, "center"),
        (32, 0.875, "center"),
        (31, 0.95, "center"),
        (48, 0.9, "center"),
        (32, 0.95, "squash"),
    ],
)
def test_pixels_equal_timms(interpolation, shape, size, crop_pct, crop_mode):
    image = Image.fromarray(RANDOM.integers(0, 255, (*shape, 3), np.uint8))
    config = DataConfig(
        input_size=(3, size, size),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.25),
        interpolation=interpolation,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
    )
    theirs = timm_data.create_transform(**config.to_dict())
    ours = config.batch([config.prepare(image)], CPU)[0]
    torch.testing.assert_close(ours, theirs(image), rtol=0, atol=2e-6)  # the same pixels, float32 arithmetic


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_eight_bit_mode_becomes_grey_or_colour(mode, channels):
    image = Image.fromarray(RANDOM.integers(0, 255, (9, 9, 3), np.uint8)).convert(mode)
    if mode == "P":
        image.info["transparency"] = bytes(range(256))
    config = DataConfig(input_size=(channels, 5, 5))
    assert config.prepare(image).shape == (5, 5, channels)


def test_an_image_of_the_right_size_is_left_as_it_is():
    pixels = RANDOM.integers(0, 255, (28, 28), np.uint8)
    config = DataConfig(input_size=(1, 28, 28))
    assert (config.prepare(Image.fromarray(pixels))[..., 0] == pixels).all()
    torch.testing.assert_close(
        config.batch([config.prepare(Image.fromarray(pixels))], CPU)[0, 0], torch.from_numpy(pixels) / 255
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"input_size": (2, 5, 5)}, "channels"),
        ({"interpolation": "bicubik"}, "bicubic"),
        ({"crop_mode": "border"}, "border"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"mean": (1.0, 2.0)}, "2 values for 3"),
        ({"std": (0.0,)}, "positive"),
    ],
)
def test_wrong_values_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        DataConfig(**{"input_size": (3, 5, 5), **wrong})


def test_what_the_user_wishes_goes_before_what_the_network_says():
    known = {"input_size": (3, 224, 224), "mean": (0.5,) * 3, "crop_pct": 0.9, "head": "ignored"}
    config = DataConfig.of(known, input_size=(3, 32, 32), mean=None)
    assert config.input_size == (3, 32, 32)
    assert config.mean == (0.5,) * 3
    assert config.crop_pct == 0.9
    assert DataConfig.of(config.to_dict()) == config


def test_augmentations_keep_the_shape_and_hang_on_the_generator_alone():
    pixels = RANDOM.integers(0, 255, (32, 32, 3), np.uint8)
    for how in AUGMENTS:
        first, second = (augmented(pixels, how, np.random.default_rng(3)) for _ in range(2))
        assert first.shape == pixels.shape
        assert (first == second).all()
    assert (augmented(pixels, "none", np.random.default_rng(3)) == pixels).all()
    seen = {augmented(pixels, "flip-crop", np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert len(seen) > 15
