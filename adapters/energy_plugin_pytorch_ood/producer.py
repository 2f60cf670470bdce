"""A network as pytorch-ood's benchmark calls it: made safe for what the host does around the call.

`Benchmark.evaluate` and `GridSearch` run a network in whatever mode it is, flatten what it gives to B x N,
which destroys maps, and with `cache=True` keep it under the identity of the network, which new weights do not
change.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from energy_plugin.outputs import evaluating, logits_of


class Unflattened(Tensor):
    """Logits with spatial dimensions that stay as they are when the host flattens them."""

    def view(self, *shape: Any) -> Tensor:
        """Hand back the logits as they are for `view(B, -1)`; anything else is torch's."""
        plain = self.as_subclass(Tensor)
        flattens = len(shape) == 2 and isinstance(shape[1], int) and shape[1] == -1 and shape[0] == len(plain)
        return plain if flattens else plain.view(*shape)


class Producer:
    """One network with its weights of one moment; new weights make another producer.

    Args:
        network: A network, or any callable.
        version: What its weights were.
    """

    def __init__(self, network: Callable[..., Any], version: object) -> None:
        self.version = version
        # The process keeps producers (see below), and must not keep every network with them.
        self._held: Any = weakref.ref(network) if isinstance(network, nn.Module) else lambda: network

    @property
    def network(self) -> Any:
        """The network itself."""
        found = self._held()
        if found is None:
            raise ReferenceError(
                "the network of this detector's `model` is gone: keep the detector or the network."
            )
        return found

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the logits in evaluation mode; maps survive the host's flattening."""
        with evaluating(self.network):
            logits = logits_of(self.network(inputs))
        return logits.as_subclass(Unflattened) if logits.ndim > 2 else logits

    def __getattr__(self, name: str) -> Any:
        if name == "__qualname__":  # what the host names files of its disk cache by
            return f"{type(self.network).__qualname__}_{_digest(self.network)}"
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.network, name)


_latest: weakref.WeakKeyDictionary[nn.Module, Producer] = weakref.WeakKeyDictionary()
# The host's cache knows producers by `id`. The id of a freed one would come back with another network, and
# with it the wrong logits; so none is freed. They are small, one for each state of weights that was
# evaluated.
_never_freed: list[Producer] = []


def producer_of(network: Callable[..., Any], last: Producer | None) -> Producer:
    """Return the producer of a network: the same one for all detectors, as long as its weights are.

    Args:
        network: A network, or any callable.
        last: What the detector had last; a plain callable has no weights to compare, so it keeps this.
    """
    if not isinstance(network, nn.Module):
        return last if last is not None else _made(network, None)
    version = tuple((id(part), _version(part)) for part in (*network.parameters(), *network.buffers()))
    known = _latest.get(network)
    if known is None or known.version != version:
        known = _latest[network] = _made(network, version)
    return known


def _made(network: Callable[..., Any], version: object) -> Producer:
    producer = Producer(network, version)
    _never_freed.append(producer)
    return producer


def _digest(network: Any) -> str:
    """Return a short hash of all weights, or nothing for what has none."""
    digest = hashlib.sha256()
    for name, tensor in (network.state_dict() if isinstance(network, nn.Module) else {}).items():
        if isinstance(tensor, Tensor):
            digest.update(name.encode())
            values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def _version(tensor: Tensor) -> int:
    """Return how often a tensor was written to; inference tensors do not count, nor are written to."""
    return 0 if tensor.is_inference() else tensor._version
