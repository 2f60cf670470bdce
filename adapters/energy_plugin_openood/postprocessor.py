"""The energy score as a postprocessor of OpenOOD, where a higher confidence means in-distribution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from openood.postprocessors import BasePostprocessor
from torch import Tensor, nn

from energy_plugin.detector import EnergyDetector
from energy_plugin.outputs import logits_of
from energy_plugin_openood.settings import setting


class EnergyPluginPostprocessor(BasePostprocessor):  # type: ignore[misc]  # the host has no type information
    """The negative energy T logsumexp(logits / T) as OpenOOD's confidence; higher = more ID.

    `Evaluator(net, id_name, postprocessor=EnergyPluginPostprocessor())` takes it as it is. Beyond their own:
    it runs on the device of the network, hence without a GPU; confidences are float32 or better whatever the
    precision of the logits; outputs may be dictionaries or objects; a search of one temperature is no search.

    Args:
        config: OpenOOD's own, of which `postprocessor.postprocessor_args.temperature` and
            `postprocessor.postprocessor_sweep` are read; None: T = 1, no search.
        temperature: T > 0; goes before the configuration's.
    """

    higher_is = "id"

    def __init__(self, config: Any = None, temperature: float | None = None) -> None:
        super().__init__(config)
        given = setting(config, "postprocessor.postprocessor_args.temperature", 1.0)
        self._ours = EnergyDetector(temperature=given if temperature is None else temperature)
        self.args_dict: dict[str, list[float]] = dict(
            setting(config, "postprocessor.postprocessor_sweep", {})
        )
        self.APS_mode = setting(config, "postprocessor.APS_mode", False)
        self.hyperparam_search_done = False  # read by the evaluator; their base class does not have it

    @property
    def APS_mode(self) -> bool:  # noqa: N802 - the host's name
        """Whether the evaluator is to search the temperature on its validation sets."""
        return self._search

    @APS_mode.setter
    def APS_mode(self, value: bool) -> None:  # noqa: N802
        self._search = bool(value) and any(len(values) > 1 for values in self.args_dict.values())

    @property
    def temperature(self) -> float:
        """T > 0."""
        return self._ours.temperature

    def set_hyperparam(self, hyperparam: list[float]) -> None:
        """Take a temperature of the search."""
        self._ours.temperature = hyperparam[0]

    def get_hyperparam(self) -> float:
        """Return the temperature."""
        return self.temperature

    @torch.no_grad()
    def postprocess(self, net: nn.Module, data: Any) -> tuple[Tensor, Tensor]:
        """Return (predicted classes, confidences): B, or B x spatial for maps of logits."""
        logits = logits_of(net(data))
        return logits.argmax(1), -self._ours.score(logits)

    def inference(
        self, net: nn.Module, data_loader: Iterable[Any], progress: bool = True
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return (predictions, confidences, labels) of a loader whose batches hold `data` and `label`.

        Raises:
            ValueError: The network gives maps: the evaluator labels whole images.
        """
        del progress  # their loader shows one
        device = next((part.device for part in net.parameters()), None)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for batch in data_loader:
            data = batch["data"]
            predictions, confidences = self.postprocess(net, data if device is None else data.to(device))
            if confidences.ndim != 1:
                raise ValueError(
                    f"the network gives maps of shape {tuple(confidences.shape[1:])}, but OpenOOD "
                    "labels whole images. energy_plugin.segmentation evaluates maps."
                )
            found.append((predictions.cpu(), confidences.cpu(), torch.as_tensor(batch["label"]).cpu()))
        if not found:
            raise ValueError("the loader has no batch.")
        predicted, confident, labels = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
        return predicted.astype(int), confident, labels.astype(int)
