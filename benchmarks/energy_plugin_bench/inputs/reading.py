"""Images of a data set in batches, read by several threads where they come from files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from energy_plugin_bench.inputs.assets import CorruptAssetError
from energy_plugin_bench.inputs.lazy import LazyImages
from energy_plugin_bench.inputs.transforms import apply, as_batch

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) float32, and labels (B,) int64."""


def batches(
    data: Any, positions: Sequence[int], steps: Iterable[str], size: int, *, workers: int = 0
) -> Iterator[Batch]:
    """Read and transform images, in order.

    Args:
        data: `images` (N, H, W[, C]) and `labels` (N,); as arrays, or lazy images.
        positions: Which images.
        steps: Names of transforms.
        size: Images a batch.
        workers: Threads that read and transform lazy images ahead; arrays need none.

    Raises:
        CorruptAssetError: An image cannot be read; says which.
        LookupError: There is no such transform.
        ValueError: Images of one batch have different sizes.
    """
    chosen = np.asarray(positions)
    labels = torch.from_numpy(data.labels[chosen]).long()
    if isinstance(data.images, LazyImages):
        read = _ahead(apply(data.images, steps), positions, workers)
        for start in range(0, len(chosen), size):
            yield _stacked([next(read) for _ in chosen[start : start + size]]), labels[start : start + size]
        return
    # As one array: steps such as the weighting of colours need not round alike on pieces of another size.
    images = apply(data.images[chosen], steps)
    for start in range(0, len(chosen), size):
        yield as_batch(images[start : start + size]), labels[start : start + size]


def _ahead(images: LazyImages, positions: Sequence[int], workers: int) -> Iterator[Tensor]:
    """Yield images (1, C, H, W) in order, a bounded number of them read ahead."""
    if not workers:
        for position in positions:
            yield _one(images, position)
        return
    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for position in positions:
                waiting.append(pool.submit(_one, images, position))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()


def _one(images: LazyImages, position: int) -> Tensor:
    try:
        return as_batch(np.asarray(images[position : position + 1]))
    except (OSError, EOFError, SyntaxError) as error:  # Pillow's for files that are cut off, or none
        raise CorruptAssetError(
            f"{images.told(position)} cannot be read: {error}. Put the file back; images that were done "
            "before are kept."
        ) from error


def _stacked(images: list[Tensor]) -> Tensor:
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise ValueError(
            f"images of different sizes (C, H, W) in one batch: {sorted(sizes)[:3]}. The recipe needs a "
            "transform that makes them alike, such as 'resize 256' and 'crop 224'."
        )
    return torch.cat(images)
