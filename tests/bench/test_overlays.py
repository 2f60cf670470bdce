"""Pictures of outlier maps: what is drawn, and that odd maps are drawn too."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
import torch

from energy_plugin.segmentation import Seen
from energy_plugin_bench.segmentation.overlays import overlay, save

SIZE = (30, 60)


def parts():
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(SIZE, dtype=torch.int64)
    mask[10:20, 10:30] = -1
    mask[25:] = -100
    scores = torch.linspace(-5, 5, SIZE[1]).expand(SIZE).clone()
    return image, mask, scores


def test_a_picture_has_image_map_contour_and_colour_bar():
    image, mask, scores = parts()
    scores[25:] = 1e6  # void: no say in the colours
    figure = overlay(image, mask, scores, "energy, image a")
    left, right, bar = figure.axes
    assert right.get_title() == "energy, image a"
    assert "out-of-distribution" in bar.get_xlabel()
    drawn = right.get_images()[1]
    low, high = drawn.get_clim()
    assert (low, high) == pytest.approx((-5, 5), abs=0.2)
    assert len(left.collections) == len(right.collections) == 1  # the contour
    assert len(left.get_images()) == 2  # the image and the veil over void


@pytest.mark.parametrize("change", ["constant", "infinite", "no anomaly", "all void"])
def test_odd_maps_are_drawn(change):
    image, mask, scores = parts()
    if change == "constant":
        scores[:] = 2.0
    if change == "infinite":
        scores[:, :30] = torch.inf
    if change == "no anomaly":
        mask[:] = 0
    if change == "all void":
        mask[:] = -100
    figure = overlay(image, mask, scores)
    figure.canvas.draw()
    assert all(np.isfinite(part) for part in figure.axes[1].get_images()[1].get_clim())


def test_shapes_must_fit():
    image, mask, scores = parts()
    with pytest.raises(ValueError, match="do not fit"):
        overlay(image, mask[:5], scores)


def test_one_file_a_detector(tmp_path):
    image, mask, scores = parts()
    seen = Seen(7, "city/a b", image, mask, {"energy": scores, "E(t=2)": scores})
    paths = save(seen, tmp_path / "maps")
    assert [path.name for path in paths] == ["007_city_a_b_energy.png", "007_city_a_b_E_t=2_.png"]
    picture = matplotlib.image.imread(paths[0])
    assert picture.shape[1] == 1400
    assert picture[..., :3].std() > 0.1
