"""Small image sources that a network can learn to tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


def striped(count, kind, seed, size=28):
    """Grey images: stripes across (0), stripes down (1), a bright square (2); or noise (-1)."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (count, size, size))
    if kind == 0:
        images[:, ::4] += 150
    elif kind == 1:
        images[:, :, ::4] += 150
    elif kind == 2:
        images[:, 8:20, 8:20] += 150
    else:
        images = random.integers(0, 255, (count, size, size))
    return images.astype(np.uint8)


@pytest.fixture
def archives(tmp_path):
    """A folder with `known.npz` (three classes), `outliers.npz` (noise) and tests of both."""
    for name, count, seed in (("known", 20, 1), ("known_test", 8, 2)):
        images = np.concatenate([striped(count, kind, seed) for kind in range(3)])
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.repeat(np.arange(3), count))
    for name, count, seed in (("outliers", 30, 3), ("outliers_test", 12, 4)):
        np.savez(tmp_path / f"{name}.npz", images=striped(count, -1, seed))
    return tmp_path


@pytest.fixture
def photos(tmp_path):
    """A folder of PNG files in three class folders, with what folders of real users hold besides."""
    folder = tmp_path / "photos"
    for kind, name in enumerate(("across", "down", "square")):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(striped(5, kind, 5)):
            Image.fromarray(image).save(folder / name / f"{number}.png")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("not seen")
    return folder


@pytest.fixture
def broken(tmp_path):
    """A folder of files that are called images and are none, and one that is."""
    folder = tmp_path / "broken"
    folder.mkdir()
    Image.fromarray(striped(1, 0, 0, 64)[0]).save(folder / "good.png")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpeg").write_text("hello")
    (folder / "flipped.png").write_bytes(whole[:60] + bytes(b ^ 255 for b in whole[60:90]) + whole[90:])
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "floats.tif")
    return folder
