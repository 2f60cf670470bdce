"""Pictures of outlier maps: the image with the anomaly outlined, and the map over it with a colour bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from energy_plugin import labels
from energy_plugin.segmentation import Seen

_COLOURS = "inferno"
_CONTOUR = "#00e5ff"
_WIDTH = 1400  # pixels of a picture
_BESIDE = 1.4  # inches for titles and colour bar
# Quantiles of the labelled pixels where colours begin and end: single pixels would take all of them.
_SHOWN = (0.01, 0.99)


def overlay(image: Tensor, mask: Tensor, scores: Tensor, title: str = "") -> Figure:
    """Draw one image.

    Args:
        image: C x H x W in [0, 1].
        mask: H x W in our codes; void is hatched out in grey.
        scores: H x W outlier scores, higher = more OOD; infinite ones take the colour of the ends.
        title: Above the map.

    Raises:
        ValueError: The shapes do not fit.
    """
    height, width = scores.shape
    if image.shape[-2:] != scores.shape or mask.shape != scores.shape:
        raise ValueError(
            f"image {tuple(image.shape)}, mask {tuple(mask.shape)} and scores {tuple(scores.shape)} do not "
            "fit."
        )
    shown = image.detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy()
    values, low, high = _coloured(scores, mask != labels.VOID)
    figure = Figure(
        figsize=(_WIDTH / 100, _WIDTH / 100 / 2 * height / width + _BESIDE), dpi=100, layout="constrained"
    )
    left, right = figure.subplots(1, 2)
    left.imshow(shown)
    left.set_title("image, true anomaly outlined", fontsize=10)
    right.imshow(shown.mean(2), cmap="gray", vmin=0, vmax=1)
    drawn = right.imshow(values, cmap=_COLOURS, vmin=low, vmax=high, alpha=0.75)
    right.set_title(title, fontsize=10)
    for axes in (left, right):
        _mark(axes, mask)
        axes.set_axis_off()
    bar = figure.colorbar(drawn, ax=(left, right), location="bottom", fraction=0.05, aspect=60, extend="both")
    bar.set_label(
        "outlier score (higher = more out-of-distribution; colours from the 1st to the 99th percentile)"
    )
    return figure


def save(seen: Seen, folder: Path, *, digits: int = 3) -> list[Path]:
    """Write one PNG a detector for an image that was evaluated, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for detector, scores in seen.maps.items():
        name = f"{seen.index:0{digits}d}_{_safe(seen.name)}_{_safe(detector)}.png"
        title = f"{detector}, image {seen.name}"
        overlay(seen.image, seen.mask, scores, title).savefig(folder / name)
        paths.append(folder / name)
    return paths


def _mark(axes: Any, mask: Tensor) -> None:
    """Outline the anomaly and grey out void."""
    codes = mask.cpu()
    void = (codes == labels.VOID).numpy()
    anomaly = ((codes < 0) & (codes != labels.VOID)).numpy()
    if void.any():
        veil = np.zeros((*void.shape, 4), dtype=np.float32)
        veil[void] = (0.5, 0.5, 0.5, 0.55)
        axes.imshow(veil)
    if anomaly.any() and not anomaly.all():
        axes.contour(anomaly, levels=[0.5], colors=_CONTOUR, linewidths=1.2)


def _coloured(scores: Tensor, labelled: Tensor) -> tuple[Any, float, float]:
    """Return the scores and where their colours begin and end: void pixels have no say in it."""
    values = scores.detach().cpu().double()
    chosen = labelled.cpu() if bool(labelled.any()) else torch.ones_like(values, dtype=torch.bool)
    finite = values[chosen & values.isfinite()].numpy()
    if not finite.size:
        return torch.zeros_like(values).numpy(), 0.0, 1.0
    low, high = (float(value) for value in np.quantile(finite, _SHOWN))
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return values.clamp(low, high).numpy(), low, high


def _safe(text: str) -> str:
    return "".join(character if character.isalnum() or character in "-.=" else "_" for character in text)
