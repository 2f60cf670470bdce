"""Means over processes and micro-batches: the gradient is the whole batch's."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from energy_plugin.energy import REDUCTIONS
from energy_plugin.loss import EnergyRegularizedLoss

MEANS = ["mean", "group_mean"]
SCALARS = [*MEANS, "sum"]
WEIGHT = torch.linspace(0.5, 1.5, 4)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """30 samples, the outliers bunched, so that a third of the batch may hold none."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(0, 4, (30,), generator=generator)
    targets[12:19] = -1
    targets[25] = 255
    return torch.randn(30, 6, generator=generator), targets


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Linear(6, 4)


def make(reduction: Any, *, weighted: bool = False, synchronize: bool = False) -> EnergyRegularizedLoss:
    weight = WEIGHT if weighted else None
    return EnergyRegularizedLoss(
        0.1, -5, -1, reduction, ignore_index=255, weight=weight, synchronize=synchronize
    )


def whole_gradient(loss: EnergyRegularizedLoss) -> tuple[torch.Tensor, float]:
    model, (inputs, targets) = network(), data()
    value = loss(model(inputs), targets)
    value.backward()
    return gradient_of(model), value.item()


def gradient_of(model: nn.Module) -> torch.Tensor:
    return torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    )


def work(rank: int, bounds: list[int], reduction: str, micro_batches: int, rendezvous: str, out: str) -> None:
    """Train one step on the rows between two bounds; every process writes its gradient and its loss."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    processes = len(bounds) - 1
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=processes
    )
    try:
        model = DistributedDataParallel(network())
        inputs, targets = (tensor[bounds[rank] : bounds[rank + 1]] for tensor in data())
        loss = make(reduction, synchronize=True)
        parts = list(zip(inputs.chunk(micro_batches), targets.chunk(micro_batches), strict=True))
        counts = sum((loss.group_counts(labels) for _, labels in parts), torch.zeros(2, dtype=torch.long))
        value = torch.zeros(())
        for number, (rows, labels) in enumerate(parts):
            model.require_backward_grad_sync = number == len(parts) - 1
            part = loss(model(rows), labels, counts=counts if micro_batches > 1 else None)
            part.backward()
            value += part.detach()
        torch.save((gradient_of(model), value.item()), f"{out}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


def run(
    tmp_path: Path, bounds: list[int], reduction: str, micro_batches: int
) -> list[tuple[torch.Tensor, float]]:
    rendezvous = tmp_path / "rendezvous"
    multiprocessing.start_processes(
        work,
        (bounds, reduction, micro_batches, str(rendezvous), str(tmp_path)),
        nprocs=len(bounds) - 1,
        start_method="fork",
    )
    return [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(bounds) - 1)]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("reduction", SCALARS)
@pytest.mark.parametrize(
    "bounds", [[0, 11, 30], [0, 9, 14, 30]], ids=["two, one without OOD", "three, uneven"]
)
def test_ddp_gives_the_gradient_of_the_whole_batch(
    tmp_path: Path, bounds: list[int], reduction: str, micro_batches: int
) -> None:
    expected, value = whole_gradient(make(reduction))
    results = run(tmp_path, bounds, reduction, micro_batches)
    for gradient, _ in results:
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)
    assert sum(part for _, part in results) / len(results) == pytest.approx(value, rel=1e-5)


def test_without_the_counts_the_group_mean_would_be_wrong() -> None:
    """The size of the error that `synchronize` repairs, so that the test above cannot pass by chance."""
    inputs, targets = data()
    expected, _ = whole_gradient(make("group_mean"))
    model = network()
    for part in (slice(0, 11), slice(11, 30)):
        (make("group_mean")(model(inputs[part]), targets[part]) / 2).backward()
    assert (gradient_of(model) - expected).norm() > 0.05 * expected.norm()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", MEANS)
@pytest.mark.parametrize("micro_batches", [2, 5, 30])
def test_accumulation_gives_the_gradient_of_the_whole_batch(
    micro_batches: int, reduction: str, weighted: bool
) -> None:
    loss = make(reduction, weighted=weighted)
    expected, value = whole_gradient(loss)
    model, (inputs, targets) = network(), data()
    parts = list(zip(inputs.chunk(micro_batches), targets.chunk(micro_batches), strict=True))
    counts = sum(loss.group_counts(labels) for _, labels in parts)
    losses = [loss(model(rows), labels, counts=counts) for rows, labels in parts]
    sum(losses).backward()
    torch.testing.assert_close(gradient_of(model), expected, rtol=1e-6, atol=1e-6)
    assert sum(part.item() for part in losses) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_synchronize_in_a_single_process_changes_nothing(reduction: Any) -> None:
    inputs, targets = data()
    logits = network()(inputs)
    torch.testing.assert_close(
        make(reduction, synchronize=True)(logits, targets), make(reduction)(logits, targets)
    )
