"""Score functions to stand beside the energy, and the blur that some sources put after a score.

All of them take logits B x C x ..., give B x ... in float32 or better, and are higher for what is more
out-of-distribution. Each pixel is scored by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from energy_plugin.energy import energy, widen

Score = Callable[[Tensor], Tensor]


def max_logit(logits: Tensor) -> Tensor:
    """Minus the largest logit (Hendrycks et al., ICML 2022)."""
    return -widen(logits).amax(1)


def msp(logits: Tensor) -> Tensor:
    """1 minus the largest softmax probability (Hendrycks and Gimpel, ICLR 2017)."""
    return 1 - widen(logits).softmax(1).amax(1)


def max_entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax, divided by the logarithm of the number of classes: in [0, 1].

    Raises:
        ValueError: there is one class only, whose entropy is 0.
    """
    wide = widen(logits)
    if wide.shape[1] < 2:
        raise ValueError(f"entropy needs two classes or more, got logits of shape {tuple(logits.shape)}.")
    logs = wide.log_softmax(1)
    # A masked class (-inf) has probability 0 and adds nothing, but 0 * -inf is NaN.
    terms = (logs.exp() * logs).masked_fill_(logs == -torch.inf, 0.0)
    return -terms.sum(1) / math.log(wide.shape[1])


@dataclass(frozen=True)
class OutputProbability:
    """Softmax probability of one output: the score of networks with a void or outlier class.

    Args:
        output: its index; negative ones count from the end.
    """

    output: int = -1

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the probability, B x ...

        Raises:
            IndexError: there is no such output.
        """
        return widen(logits).softmax(1).select(1, self.output)


@dataclass(frozen=True)
class OverClasses:
    """A score over the first classes only, where a network has further outputs.

    Args:
        function: the score.
        classes: how many outputs are classes.
    """

    function: Score
    classes: int

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the score of the first `classes` logits.

        Raises:
            ValueError: there are fewer.
        """
        if logits.shape[1] < self.classes:
            raise ValueError(
                f"{self.classes} classes are asked for, got logits of shape {tuple(logits.shape)}."
            )
        return self.function(logits[:, : self.classes])


SCORES: Mapping[str, Score] = MappingProxyType(
    {"energy": energy, "max_logit": max_logit, "msp": msp, "max_entropy": max_entropy}
)
"""The scores by name."""


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of a score map, edges mirrored: what PEBAL and others do after the score (7, sigma 1).

    Args:
        size: width of the kernel in pixels, odd.
        sigma: standard deviation in pixels.
    """

    size: int = 7
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0 or not self.sigma > 0:
            raise ValueError(f"size is odd and sigma above 0; got {self.size} and {self.sigma}.")

    def __call__(self, scores: Tensor) -> Tensor:
        """Blur maps of shape B x H x W."""
        half = self.size // 2
        places = torch.arange(-half, half + 1, dtype=scores.dtype, device=scores.device)
        kernel = torch.exp(-0.5 * (places / self.sigma).square())
        kernel = kernel / kernel.sum()
        padded = functional.pad(scores.unsqueeze(1), (half,) * 4, mode="reflect")
        across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
        return functional.conv2d(across, kernel.view(1, 1, -1, 1)).squeeze(1)
