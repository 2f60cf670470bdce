"""Images of a data set in batches, read by several threads where they come from files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from energy_plugin_bench.assets import CorruptAssetError
from energy_plugin_bench.imagesets import Array
from energy_plugin_bench.transforms import apply, as_batch

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) float32, and labels (B,) int64."""


def batches(
    data: Any, positions: Sequence[int], steps: Iterable[str], size: int, *, workers: int = 0
) -> Iterator[Batch]:
    """Read and transform images, in order.

    Args:
        data: Has `images` (N, H, W[, C]) and `labels` (N,) as arrays; or gives pairs of an image (PIL, array
            or tensor) and a label by position.
        positions: Which images.
        steps: Names of transforms.
        size: Images a batch.
        workers: Threads that read and transform pairs ahead; arrays need none.

    Raises:
        CorruptAssetError: An image cannot be read; says which.
        LookupError: There is no such transform.
    """
    steps = tuple(steps)
    if isinstance(getattr(data, "images", None), np.ndarray):
        chosen = np.asarray(positions)
        # As one array: steps such as the weighting of colours need not round alike on pieces of another size.
        images, labels = apply(data.images[chosen], steps), torch.from_numpy(data.labels[chosen]).long()
        for start in range(0, len(chosen), size):
            yield as_batch(images[start : start + size]), labels[start : start + size]
        return
    read = _ahead(data, positions, steps, workers)
    for start in range(0, len(positions), size):
        pairs = [next(read) for _ in positions[start : start + size]]
        yield torch.cat([image for image, _ in pairs]), torch.tensor([label for _, label in pairs])


def _ahead(
    data: Any, positions: Sequence[int], steps: tuple[str, ...], workers: int
) -> Iterator[tuple[Tensor, int]]:
    """Yield images in order, a bounded number of them read ahead."""
    if not workers:
        for position in positions:
            yield _one(data, position, steps)
        return
    waiting: deque[Future[tuple[Tensor, int]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for position in positions:
                waiting.append(pool.submit(_one, data, position, steps))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()


def _one(data: Any, position: int, steps: tuple[str, ...]) -> tuple[Tensor, int]:
    """Return an image as (1, C, H, W), and its label."""
    try:
        image, label = data[position]
    except (OSError, EOFError, SyntaxError) as error:  # Pillow's for files that are cut off, or none
        raise CorruptAssetError(
            f"image {position} of {len(data)} cannot be read: {error}. Put the file back; images that were "
            "done before are kept."
        ) from error
    if isinstance(image, Tensor) and not steps:
        return image.float().unsqueeze(0), int(label)
    return as_batch(apply(_pixels(image)[None], steps)), int(label)


def _pixels(image: Any) -> Array:
    """An image as H x W x C or H x W."""
    if not isinstance(image, Tensor):
        return np.asarray(image)
    if image.dim() == 3:
        image = image.permute(1, 2, 0)
    pixels: Array = (image.squeeze(-1) if image.shape[-1] == 1 else image).numpy()
    return pixels
