"""ResNets in their CIFAR forms: a 3x3 stem without pooling (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Without parameters the shortcut takes every `stride`-th pixel and pads channels with zeros; with a
    projection it is a 1x1 convolution and batch norm wherever the shape changes.
    """

    def __init__(self, before: int, after: int, stride: int, *, projection: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (after - before) // 2
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if projection and (stride != 1 or before != after):
            narrow = nn.Conv2d(before, after, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(narrow, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, before, H, W) to (N, after, H / stride, W / stride)."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            projected: Tensor = self.downsample(x)
            return projected
        taken = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(taken, (0, 0, 0, 0, self.padding, self.padding))


class CifarResNet(nn.Module):
    """Stages of basic blocks, each but the first with half the resolution of the one before.

    Args:
        classes: Number of logits.
        blocks: Basic blocks a stage: with three stages 3 for ResNet-20, 9 for ResNet-56; with four 2 for the
            ResNet-18 of 32 x 32 images.
        channels: Of each stage.
        projection: Whether shortcuts that change the shape have parameters.
    """

    def __init__(
        self,
        classes: int = 10,
        blocks: int = 3,
        channels: Sequence[int] = (16, 32, 64),
        *,
        projection: bool = False,
    ) -> None:
        super().__init__()
        before = channels[0]
        self.conv1 = nn.Conv2d(3, before, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.stages = tuple(f"layer{number}" for number in range(1, len(channels) + 1))
        for name, after in zip(self.stages, channels, strict=True):
            first = BasicBlock(before, after, 1 if name == "layer1" else 2, projection=projection)
            others = (BasicBlock(after, after, 1) for _ in range(blocks - 1))
            self.add_module(name, nn.Sequential(first, *others))
            before = after
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = getattr(self, name)(x)
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
