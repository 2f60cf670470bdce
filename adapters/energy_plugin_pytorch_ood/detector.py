"""The energy score as a detector of pytorch-ood, which its `Benchmark` and `GridSearch` take as their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytorch_ood.detector
import torch
from pytorch_ood.api import LogitsDetector, ModelNotSetException
from torch import Tensor

from energy_plugin.detector import EnergyDetector
from energy_plugin_pytorch_ood.producer import Producer, producer_of

THEIRS = pytorch_ood.detector.EnergyBased


class EnergyPluginDetector(LogitsDetector):  # type: ignore[misc]  # the host has no type information
    """The energy score as a detector of pytorch-ood; higher = more OOD.

    Beyond its own: scores in float32 or better whatever the logits' precision; networks whose output is a
    dictionary or an object; the network is run in evaluation mode and gets its mode back; segmentation
    benchmarks run in `Benchmark.evaluate` as they are; `cache=True` there never gives scores of earlier
    weights.

    Args:
        model: Network, or another callable; None when only `predict_logits` is used.
        t: Temperature T > 0; what `GridSearch` tunes.
        name: How result tables call it. Without one the class name, followed by T where it is not 1, so that
            several temperatures are told apart.
    """

    info = getattr(THEIRS, "info", None)  # a DetectorInfo since 0.4: tasks, paper
    higher_is = "ood"
    pointwise = True  # each pixel is scored by itself
    hyperparameter_space = {"t": [0.5, 1.0, 2.0, 5.0, 10.0, 100.0, 1000.0]}  # noqa: RUF012 - the host's form

    def __init__(self, model: Callable[..., Any] | None, t: float = 1.0, *, name: str | None = None) -> None:
        super().__init__()
        self._ours = EnergyDetector(temperature=t)
        self._name = name
        self._network: Any = None
        self._producer: Producer | None = None
        self.model = model
        self._rename()

    @property
    def model(self) -> Any:
        """The network as the host calls it: in evaluation mode, with its logits taken out of its output."""
        if self._network is None:
            return None
        self._producer = producer_of(self._network, self._producer)
        return self._producer

    @model.setter
    def model(self, network: Callable[..., Any] | None) -> None:
        if isinstance(network, Producer):
            network = network.network
        if network is not None and not callable(network):
            raise TypeError(
                f"model must be a network, another callable, or None; got {type(network).__name__}."
            )
        self._network, self._producer = network, None

    @property
    def t(self) -> float:
        """Temperature T > 0."""
        return self._ours.temperature

    @t.setter
    def t(self, value: float) -> None:
        self._ours.temperature = value
        self._rename()

    def predict(self, x: Tensor) -> Tensor:
        """Return the outlier scores of inputs: B x ..., without gradients, in evaluation mode.

        Raises:
            ModelNotSetException: There is no network.
        """
        if self._network is None:
            raise ModelNotSetException
        if self.device is not None:
            x = x.to(self.device)
        with torch.no_grad():
            scores: Tensor = self.predict_logits(self.model(x))
        return scores

    def predict_logits(self, logits: Tensor) -> Tensor:
        """Return the energies: B x C gives B, B x C x spatial gives B x spatial."""
        return self._ours.score(logits.as_subclass(Tensor))

    def __repr__(self) -> str:
        return f"{_plain(type(self)).__name__}(t={self.t:g})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A class made for its name cannot be pickled by name: the plain one is, and names itself again.
        return _blank, (_plain(type(self)),), vars(self) | {"_producer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rename()

    def _rename(self) -> None:
        """Let the class name, the only thing that a result table shows, tell instances apart."""
        plain = _plain(type(self))
        name = self._name or (plain.__name__ if self.t == 1 else f"{plain.__name__}(t={self.t:g})")
        self.__class__ = plain if name == plain.__name__ else _named(plain, name)  # type: ignore[arg-type]  # a class hashes


def _blank(kind: type[EnergyPluginDetector]) -> EnergyPluginDetector:
    """Return an instance without a state, for unpickling."""
    return kind.__new__(kind)


def _plain(kind: type[EnergyPluginDetector]) -> type[EnergyPluginDetector]:
    """Return the class itself, or what one made for its name was made from."""
    found: type[EnergyPluginDetector] = vars(kind).get("made_from", kind)
    return found


@cache
def _named(plain: type[EnergyPluginDetector], name: str) -> type[EnergyPluginDetector]:
    return type(
        name, (plain,), {"__module__": plain.__module__, "made_from": plain, "__doc__": plain.__doc__}
    )
