"""Detectors that published rows compare the energy score with."""

from __future__ import annotations

import torch
from torch import Tensor


class MaxSoftmax:
    """Maximum softmax probability (Hendrycks and Gimpel, ICLR 2017), as an outlier score: its negative."""

    def score(self, logits: Tensor) -> Tensor:
        """Outlier scores in [-1, -1/C], in the logits' dtype as the published evaluations take them.

        Args:
            logits: (N, C, ...), classes in dimension 1, floating point.
        """
        return -torch.softmax(logits, dim=1).amax(dim=1)
