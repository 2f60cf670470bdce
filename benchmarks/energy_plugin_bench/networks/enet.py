"""ENet, a small network for segmentation (Paszke et al., arXiv 1606.02147), as the published weights have it.

Encoder with PReLU, decoder with ReLU, convolutions without bias. Dropout is left out: it is off in evaluation
and has no weights. Heights and widths that divide by 8 pass without rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def _activation(relu: bool) -> nn.Module:
    return nn.ReLU() if relu else nn.PReLU()


def _block(*convolutions: nn.Conv2d, relu: bool, final: bool = True) -> nn.Sequential:
    """Each convolution with batch norm and activation; the last one's activation only where `final`."""
    parts: list[nn.Module] = []
    for number, convolution in enumerate(convolutions, start=1):
        parts += [convolution, nn.BatchNorm2d(convolution.out_channels)]
        if final or number < len(convolutions):
            parts.append(_activation(relu))
    return nn.Sequential(*parts)


def _conv(before: int, after: int, kernel: int | tuple[int, int] = 1, **options: int) -> nn.Conv2d:
    """A convolution without bias that keeps the size unless it has a stride."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    dilation, stride = options.get("dilation", 1), options.get("stride", 1)
    padding = (0, 0) if height == stride == 2 else (dilation * (height // 2), dilation * (width // 2))
    return nn.Conv2d(
        before, after, (height, width), stride=stride, padding=padding, dilation=dilation, bias=False
    )


class Initial(nn.Module):
    """A strided convolution beside max pooling, joined: 3 channels to 16 at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.main_branch = _conv(3, 13, 3, stride=2)
        self.batch_norm = nn.BatchNorm2d(16)
        self.out_activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 16, H / 2, W / 2)."""
        pooled = functional.max_pool2d(x, 3, stride=2, padding=1)
        joined = torch.cat([self.main_branch(x), pooled], dim=1)
        return cast("Tensor", self.out_activation(self.batch_norm(joined)))


class Bottleneck(nn.Module):
    """A narrow branch added to its input: 3x3 (dilated or not), or 5x1 and 1x5 where `asymmetric`."""

    def __init__(
        self, channels: int, *, dilation: int = 1, asymmetric: bool = False, relu: bool = False
    ) -> None:
        super().__init__()
        inner = channels // 4
        middle = [_conv(inner, inner, 3, dilation=dilation)]
        if asymmetric:
            middle = [_conv(inner, inner, (5, 1)), _conv(inner, inner, (1, 5))]
        self.ext_conv1 = _block(_conv(channels, inner), relu=relu)
        self.ext_conv2 = _block(*middle, relu=relu)
        self.ext_conv3 = _block(_conv(inner, channels), relu=relu)
        self.out_activation = _activation(relu)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        branch = self.ext_conv3(self.ext_conv2(self.ext_conv1(x)))
        return cast("Tensor", self.out_activation(x + branch))


class Downsampling(nn.Module):
    """Max pooling that remembers where its maxima were, added to a strided branch."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        inner = before // 4
        self.extra = after - before
        self.ext_conv1 = _block(_conv(before, inner, 2, stride=2), relu=False)
        self.ext_conv2 = _block(_conv(inner, inner, 3), relu=False)
        self.ext_conv3 = _block(_conv(inner, after), relu=False)
        self.out_activation = nn.PReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, before, H, W) to (N, after, H / 2, W / 2) and the places of the maxima."""
        pooled, places = functional.max_pool2d_with_indices(x, (2, 2))
        padded = functional.pad(pooled, (0, 0, 0, 0, 0, self.extra))
        branch = self.ext_conv3(self.ext_conv2(self.ext_conv1(x)))
        return self.out_activation(padded + branch), places


class Upsampling(nn.Module):
    """Unpooling to where the maxima were, added to a branch with a transposed convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        inner = before // 4
        self.main_conv1 = _block(_conv(before, after), relu=True, final=False)
        self.ext_conv1 = _block(_conv(before, inner), relu=True)
        self.ext_tconv1 = nn.ConvTranspose2d(inner, inner, 2, stride=2, bias=False)
        self.ext_tconv1_bnorm = nn.BatchNorm2d(inner)
        self.ext_conv2 = _block(_conv(inner, after), relu=True, final=False)

    def forward(self, x: Tensor, places: Tensor, size: Sequence[int]) -> Tensor:
        """Map (N, before, h, w) to (N, after, H, W), (H, W) the size before the matching pooling."""
        main = functional.max_unpool2d(self.main_conv1(x), places, (2, 2), output_size=list(size))
        branch = self.ext_tconv1(self.ext_conv1(x), output_size=list(size))
        branch = self.ext_conv2(functional.relu(self.ext_tconv1_bnorm(branch)))
        return functional.relu(main + branch)


_MIDDLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("regular", {}),
    ("dilated", {"dilation": 2}),
    ("asymmetric", {"asymmetric": True}),
    ("dilated", {"dilation": 4}),
    ("regular", {}),
    ("dilated", {"dilation": 8}),
    ("asymmetric", {"asymmetric": True}),
    ("dilated", {"dilation": 16}),
)


class ENet(nn.Module):
    """ENet.

    Args:
        classes: Number of logits a pixel, a void output included.
        keep: Logits to return, the first `keep` ones; None returns all.
    """

    def __init__(self, classes: int = 20, keep: int | None = None) -> None:
        super().__init__()
        self.keep = keep
        self.initial_block = Initial()
        self.downsample1_0 = Downsampling(16, 64)
        self.downsample2_0 = Downsampling(64, 128)
        self._encoder: list[list[str]] = [[], []]
        for number in range(1, 5):
            self._add(0, f"regular1_{number}", Bottleneck(64))
        for stage, first in ((2, 1), (3, 0)):
            for number, (kind, options) in enumerate(_MIDDLE, start=first):
                self._add(1, f"{kind}{stage}_{number}", Bottleneck(128, **options))
        self.upsample4_0 = Upsampling(128, 64)
        self.regular4_1 = Bottleneck(64, relu=True)
        self.regular4_2 = Bottleneck(64, relu=True)
        self.upsample5_0 = Upsampling(64, 16)
        self.regular5_1 = Bottleneck(16, relu=True)
        self.transposed_conv = nn.ConvTranspose2d(16, classes, 3, stride=2, padding=1, bias=False)

    def _add(self, part: int, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self._encoder[part].append(name)

    def _run(self, part: int, x: Tensor) -> Tensor:
        for name in self._encoder[part]:
            x = getattr(self, name)(x)
        return x

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """All but the head: (N, 64, H / 4, W / 4), and where the first pooling had its maxima."""
        half = self.initial_block(images)
        quarter, places = self.downsample1_0(half)
        quarter = self._run(0, quarter)
        eighth, quarter_places = self.downsample2_0(quarter)
        eighth = self._run(1, eighth)
        up = self.upsample4_0(eighth, quarter_places, quarter.shape[2:])
        return self.regular4_2(self.regular4_1(up)), places

    def head(self, features: Tensor, places: Tensor, size: Sequence[int]) -> Tensor:
        """The last layers, from what `trunk` gives of images of `size` (H, W): logits (N, classes, H, W)."""
        half = [(length + 1) // 2 for length in size]
        logits = self.transposed_conv(self.regular5_1(self.upsample5_0(features, places, half)), list(size))
        return cast("Tensor", logits if self.keep is None else logits[:, : self.keep])

    def head_parts(self) -> nn.ModuleList:
        """The modules of the head, to train them alone."""
        return nn.ModuleList([self.upsample5_0, self.regular5_1, self.transposed_conv])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes, H, W), or the first `keep` of them, of images (N, 3, H, W) in [0, 1]."""
        return self.head(*self.trunk(images), images.shape[2:])
