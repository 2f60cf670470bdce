"""What the tests of adapters share: a host that may be absent, and a real network with real images."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def host_module(name: str, reason: str) -> Any:
    """Import a module of a host, or skip; what hosts warn of on import is their own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"{reason}: {error}", allow_module_level=True)


class Case(NamedTuple):
    """A network trained on digits, digits, and images of another kind."""

    network: nn.Module
    digits: Tensor
    labels: Tensor
    others: Tensor

    def loader(self, which: str, *, batch_size: int = 250, label: int | None = None) -> DataLoader[Any]:
        """Batches of (images, labels); the digits' own labels, or one for all."""
        images: Tensor = getattr(self, which)
        own = self.labels if which == "digits" else torch.full((len(images),), -1)
        labels = own if label is None else torch.full((len(images),), label)
        return DataLoader(TensorDataset(images, labels), batch_size=batch_size)

    def logits(self, which: str) -> Tensor:
        """Logits of the network, in evaluation mode."""
        self.network.eval()
        with torch.no_grad():
            return torch.cat([self.network(images) for images, _ in self.loader(which)])


@cache
def mnist(others: str = "fashion_mnist", every: int = 10, network: str = "baseline_epoch_9") -> Case:
    """The small network of the Outlier Exposure study, every so-manyth MNIST test image and other image.

    The network, MNIST and Fashion-MNIST are carried; `notmnist` skips where there is no data root.
    """
    pytest.importorskip("pydantic", reason="the extra [bench] is not installed")
    from energy_plugin import default_manager
    from energy_plugin_bench.inputs.assets import Assets, MissingAssetError
    from energy_plugin_bench.inputs.transforms import apply, as_batch
    from energy_plugin_bench.passes.passes import Passes
    from energy_plugin_bench.values import registry

    known = registry.load(default_manager())
    passes = Passes(Assets(known.files), default_manager())
    recipe = known.recipes["outlier_exposure_mnist"]
    try:
        loaded = {name: passes.images(recipe, name) for name in ("mnist_test", others)}
        model = passes.model(recipe.networks[network])
    except MissingAssetError as missing:
        pytest.skip(str(missing))
    images = {
        name: as_batch(apply(data.images[::every], recipe.inputs[name].transform)).float()
        for name, data in loaded.items()
    }
    labels = torch.as_tensor(loaded["mnist_test"].labels[::every]).long()
    return Case(model, images["mnist_test"], labels, images[others])
