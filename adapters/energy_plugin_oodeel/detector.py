"""The energy score as a detector of oodeel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from oodeel.methods.base import OODBaseDetector
from torch import Tensor

from energy_plugin.detector import EnergyDetector
from energy_plugin.energy import widen


class EnergyPluginDetector(OODBaseDetector):  # type: ignore[misc]  # the host has no type information
    """The energy score as a detector of oodeel; higher = more OOD, as there.

    Beyond its own: a temperature of the energy (theirs is ODIN's), float32 scores or better whatever the
    precision of the logits, and no harm from a second detector fitted on the same network, which takes the
    first one's hooks away.

    Args:
        t: Temperature T > 0 of the energy.
        **options: The host's: use_react, react_quantile, use_ash, ..., eps and temperature (both of ODIN).
    """

    higher_is = "ood"

    def __init__(self, t: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self._ours = EnergyDetector(temperature=t)

    @property
    def t(self) -> float:
        """Temperature T > 0 of the energy."""
        return self._ours.temperature

    @property
    def requires_to_fit_dataset(self) -> bool:
        """Whether `fit` needs data: it does not."""
        return False

    @property
    def requires_internal_features(self) -> bool:
        """Whether features of inner layers are used: they are not."""
        return False

    def _score_tensor(self, inputs: Any) -> np.ndarray[Any, Any]:
        """Return the energies of a batch: B, or B x spatial for maps of logits."""
        if self.eps > 0:
            inputs = self._input_perturbation(inputs, self.eps, self.temperature)
        scores: np.ndarray[Any, Any] = self._ours.score(self._logits(inputs)).cpu().numpy()
        return scores

    def _logits(self, inputs: Any) -> Tensor:
        extractor = self.feature_extractor
        if self.backend != "torch":
            raise TypeError(f"this detector scores PyTorch networks; this one is of {self.backend}.")
        if self.use_react or self.use_scale or self.use_ash:
            # These live in hooks on the network; what `fit` of another detector took away is put back.
            extractor.prepare_extractor()
            _, logits = extractor.predict_tensor(inputs)
        else:
            logits = _of_head(extractor, inputs)
        extractor._last_logits = widen(logits)  # handed back by `score`, through NumPy: no bfloat16 there
        return widen(logits)


def _of_head(extractor: Any, inputs: Any) -> Tensor:
    """Return the output of the network's head, seen by a hook that nobody else can take away."""
    caught: list[Tensor] = []
    head = extractor.find_layer(extractor.model, extractor.head_layer_id)
    handle = head.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    try:
        with torch.no_grad():
            extractor.model(torch.as_tensor(inputs).to(extractor._device))
    finally:
        handle.remove()
    return caught[-1].detach()
