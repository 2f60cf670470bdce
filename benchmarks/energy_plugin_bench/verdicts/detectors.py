"""Detectors that published rows compare the energy score with."""

from __future__ import annotations

import torch
from torch import Tensor

from energy_plugin.segmentation import max_entropy, max_logit


class MaxSoftmax:
    """Maximum softmax probability (Hendrycks and Gimpel, ICLR 2017), as an outlier score: its negative.

    Args:
        temperature: What logits are divided by before (Liang et al., ICLR 2018), positive.

    Raises:
        ValueError: The temperature is not positive.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def score(self, logits: Tensor) -> Tensor:
        """Outlier scores in [-1, -1/C], in the logits' dtype as the published evaluations take them.

        Args:
            logits: (N, C, ...), classes in dimension 1, floating point.
        """
        scaled = logits if self.temperature == 1.0 else logits / self.temperature
        return -torch.softmax(scaled, dim=1).amax(dim=1)


class MaxLogit:
    """Maximum logit (Hendrycks et al., ICML 2022), as an outlier score: its negative."""

    def score(self, logits: Tensor) -> Tensor:
        """Outlier scores (N, ...) of logits (N, C, ...)."""
        return max_logit(logits)


class MaxEntropy:
    """Entropy of the softmax, in [0, 1]."""

    def score(self, logits: Tensor) -> Tensor:
        """Outlier scores (N, ...) of logits (N, C, ...)."""
        return max_entropy(logits)


class VoidProbability:
    """Softmax probability of the last output, of networks trained with a void class."""

    all_outputs = True

    def score(self, logits: Tensor) -> Tensor:
        """Outlier scores (N, ...) in [0, 1] of logits (N, C, ...)."""
        return torch.softmax(logits, dim=1).select(1, -1)
