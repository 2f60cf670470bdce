"""DenseNet-BC-100 in its CIFAR form (Huang et al., CVPR 2017), parameters named as in published weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

GROWTH = 12
LAYERS_PER_BLOCK = 16
BOTTLENECK = 4 * GROWTH
STEM = 2 * GROWTH


class Bottleneck(nn.Module):
    """One layer: 1x1 convolution to 48 channels, 3x3 to 12, the result appended behind the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(BOTTLENECK)
        self.conv2 = nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + 12, H, W)."""
        narrow = self.conv1(functional.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.bn2(narrow)))], dim=1)


class Block(nn.Module):
    """Sixteen bottleneck layers; the channels grow by 16 * 12."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(*(Bottleneck(channels + i * GROWTH) for i in range(LAYERS_PER_BLOCK)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + 192, H, W)."""
        grown: Tensor = self.layer(x)
        return grown


class Transition(nn.Module):
    """Halve the channels by a 1x1 convolution (compression 0.5), then the map by 2x2 mean pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C // 2, H // 2, W // 2)."""
        return functional.avg_pool2d(self.conv1(functional.relu(self.bn1(x))), 2)


class DenseNetBC100(nn.Module):
    """DenseNet-BC with depth 100, growth 12 and compression 0.5: channels 24, 216, 108, 300, 150, 342.

    Args:
        classes: Number of logits.
        channels: Channels of the images: 1 or 3.
        pool: Window of the last mean pooling. The window is part of a study: with 7 on an 8 x 8 map (32 x 32
            images) the network sees only the upper left 7 x 7 of it, and was trained so.
    """

    def __init__(self, classes: int = 10, channels: int = 3, pool: int = 8) -> None:
        super().__init__()
        grown = LAYERS_PER_BLOCK * GROWTH
        first, second = STEM + grown, (STEM + grown) // 2 + grown
        last = second // 2 + grown
        self.pool = pool
        self.conv1 = nn.Conv2d(channels, STEM, 3, padding=1, bias=False)
        self.block1 = Block(STEM)
        self.trans1 = Transition(first)
        self.block2 = Block(first // 2)
        self.trans2 = Transition(second)
        self.block3 = Block(second // 2)
        self.bn1 = nn.BatchNorm2d(last)
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, H, W), H and W at least 4 * pool."""
        x = self.trans1(self.block1(self.conv1(x)))
        x = self.block3(self.trans2(self.block2(x)))
        pooled = functional.avg_pool2d(functional.relu(self.bn1(x)), self.pool)
        logits: Tensor = self.fc(pooled.flatten(1))
        return logits
