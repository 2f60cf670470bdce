"""ResNet-v2 with group norm and standardised weights: Big Transfer (Kolesnikov et al., ECCV 2020).

Tensors are named as in the published PyTorch checkpoints. timm has the same architecture under other names
and with another constant in the standardisation, hence this definition.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 32
EPSILON = 1e-10
"""Added to the variance of a filter."""


class StandardisedConv(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) as a convolution without bias."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(variance + EPSILON)
        return functional.conv2d(x, weight, None, self.stride, self.padding)


def _conv(before: int, after: int, size: int, stride: int = 1) -> StandardisedConv:
    return StandardisedConv(before, after, size, stride=stride, padding=size // 2, bias=False)


class Unit(nn.Module):
    """A bottleneck with normalisation before each convolution; the stride is that of the 3x3 one."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = after // 4
        self.gn1, self.conv1 = nn.GroupNorm(GROUPS, before), _conv(before, inner, 1)
        self.gn2, self.conv2 = nn.GroupNorm(GROUPS, inner), _conv(inner, inner, 3, stride)
        self.gn3, self.conv3 = nn.GroupNorm(GROUPS, inner), _conv(inner, after, 1)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = _conv(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, before, H, W) to (N, after, H / stride, W / stride)."""
        active = functional.relu(self.gn1(x))
        shortcut = x if self.downsample is None else self.downsample(active)
        inner = functional.relu(self.gn2(self.conv1(active)))
        inner = functional.relu(self.gn3(self.conv2(inner)))
        mapped: Tensor = self.conv3(inner) + shortcut
        return mapped


class BigTransferResNet(nn.Module):
    """BiT-R50x1, -R101x1, ...

    Args:
        classes: Number of logits.
        units: Units of each of the four blocks: (3, 4, 23, 3) for R101.
        width: Factor on all channels.
    """

    def __init__(self, classes: int = 1000, units: Sequence[int] = (3, 4, 23, 3), width: int = 1) -> None:
        super().__init__()
        before = 64 * width
        self.root = nn.Sequential()
        self.root.add_module("conv", _conv(3, before, 7, 2))
        self.body = nn.Sequential()
        for block, count in enumerate(units, start=1):
            after = 128 * width * 2**block
            whole = nn.Sequential()
            for unit in range(1, count + 1):
                stride = 2 if unit == 1 and block > 1 else 1
                whole.add_module(f"unit{unit:02d}", Unit(before, after, stride))
                before = after
            self.body.add_module(f"block{block}", whole)
        self.before_head = nn.Sequential()
        self.before_head.add_module("gn", nn.GroupNorm(GROUPS, before))
        self.head = nn.Sequential()
        self.head.add_module("conv", nn.Conv2d(before, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W)."""
        # The stem's map is padded by zeros before pooling; after it they count, as values may be negative.
        x = functional.max_pool2d(functional.pad(self.root(x), (1, 1, 1, 1)), 3, stride=2)
        x = functional.relu(self.before_head(self.body(x)))
        logits: Tensor = self.head(x.mean(dim=(2, 3), keepdim=True))
        return logits[..., 0, 0]
