"""The small ConvNet of the Outlier Exposure study's MNIST part (Hendrycks et al., ICLR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def sigmoid_gelu(x: Tensor) -> Tensor:
    """The sigmoid form of GELU, ``x * sigmoid(1.702 x)``: neither torch's exact nor its tanh form."""
    return x * torch.sigmoid(1.702 * x)


class OutlierExposureConvNet(nn.Module):
    """Two 5x5 convolutions and two linear layers, 21,840 parameters, for 28 x 28 grey images in [0, 1]."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.drop = nn.Dropout2d(0.5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 1, 28, 28)."""
        x = x.to(memory_format=torch.channels_last)  # else pooling takes half of all time on a CPU
        x = sigmoid_gelu(functional.max_pool2d(self.conv1(x), 2))
        x = sigmoid_gelu(functional.max_pool2d(self.drop(self.conv2(x)), 2))
        x = sigmoid_gelu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc2(x)
        return logits
