"""What the page says of Lightning holds: training, scores, and accumulation with batches of fixed shares."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from page_code import code
from suite_cases import host_module
from torch.utils.data import DataLoader, TensorDataset

from energy_plugin import EnergyRegularizedLoss
from energy_plugin.energy import energy
from energy_plugin.mixing import mixed_loader

host_module("lightning.pytorch", "lightning is not installed")
lightning: Any = importlib.import_module("lightning")

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "The .*dataloader.* does not have many workers",
        "The number of training batches",
        "`isinstance.treespec, LeafSpec.` is deprecated",
    )
]


def trainer(**options: Any) -> Any:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return lightning.Trainer(accelerator="cpu", enable_model_summary=False, **quiet, **options)


def clusters() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.cat([torch.randn(64, 2) + 4, torch.randn(64, 2) - 4, torch.randn(64, 2)])
    return inputs, torch.tensor([0, 1, -1]).repeat_interleave(64)


def test_the_module_trains_and_scores() -> None:
    inputs, targets = clusters()
    network = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    module = code("frameworks.md", "Lightning")["Energy"](
        network, EnergyRegularizedLoss(0.1, -5.0, -1.0, "group_mean")
    )
    first = module.loss(network(inputs), targets).item()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=48, shuffle=True)
    trainer(max_epochs=20).fit(module, loader)
    assert module.loss(network(inputs), targets).item() < 0.5 * first
    scores = trainer().predict(module, DataLoader(TensorDataset(inputs, targets), batch_size=96))
    torch.testing.assert_close(torch.cat(scores), energy(network(inputs)).detach())


@pytest.mark.parametrize("mixed", [True, False])
def test_accumulation_is_the_whole_step_where_shares_are_fixed(mixed: bool) -> None:
    inputs, targets = clusters()
    known, outliers = TensorDataset(inputs[:128], targets[:128]), TensorDataset(inputs[128:], targets[128:])
    if mixed:
        loader = mixed_loader(known, outliers, id_per_batch=32, ood_per_batch=16)
    else:
        loader = DataLoader(TensorDataset(inputs, targets), batch_size=48, shuffle=True)
    batches = list(loader)
    network = torch.nn.Linear(2, 2)
    module = code("frameworks.md", "Lightning")["Energy"](
        network, EnergyRegularizedLoss(1.0, -5.0, -1.0, "group_mean")
    )
    whole = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    module.loss(network(whole[0]), whole[1]).backward()
    wanted = network.weight.detach() - 0.1 * network.weight.grad
    network.zero_grad()
    trainer(max_steps=1, accumulate_grad_batches=4).fit(module, DataLoader(batches, batch_size=None))
    assert torch.allclose(network.weight, wanted, atol=1e-5) == mixed
