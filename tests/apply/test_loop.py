"""The training loop: micro-batches and processes change nothing; half precision; divergence."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin_bench.apply import images
from energy_plugin_bench.apply.draws import Draws
from energy_plugin_bench.apply.loop import DivergedError, Training, train
from energy_plugin_bench.apply.preprocess import DataConfig
from energy_plugin_bench.apply.processes import Process, joined
from energy_plugin_bench.training import Schedule

ALONE = Process(0, 1, torch.device("cpu"))


def network():
    """Neither batch norm nor dropout: a batch cut up gives what the whole gives."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 3))


def training(folder, process=ALONE, lr=0.05, **settings):
    known, outliers = images.of_archive(folder / "known.npz"), images.of_archive(folder / "outliers.npz")
    return Training(
        known=known,
        outliers=outliers,
        draws=Draws(count_id=len(known), count_ood=len(outliers), batch_id=25, batch_ood=14, seed=3),
        schedule=Schedule(steps=6, lr=lr, final_lr=0.001),
        data=DataConfig(input_size=(1, 28, 28)),
        process=process,
        **settings,
    )


def trained(chosen, start=0):
    model, losses = network(), []
    loss = EnergyRegularizedLoss(0.1, -3.0, -1.0, "group_mean")
    train(
        model,
        loss,
        chosen,
        chosen.schedule.optimiser(model),
        chosen.scaler(),
        start=start,
        on_step=lambda step, value, lr: losses.append((step, value, lr)),
    )
    return model, losses


def assert_same(model, other, tolerance=1e-6):
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=tolerance)


def test_the_loss_falls_and_the_network_is_left_in_evaluation_mode(archives):
    model, losses = trained(training(archives))
    assert [step for step, _, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert losses[-1][1] < 0.6 * losses[0][1]
    assert losses[0][2] == pytest.approx(0.05)
    assert not model.training


def test_the_first_step_is_the_papers_objective_on_the_whole_batch(archives):
    chosen = training(archives)
    ((pixels, targets),) = chosen.micro_batches(0)
    logits = network().double()(chosen.data.batch(pixels, torch.device("cpu")).double())
    energies, known = -logits.logsumexp(1), targets >= 0
    expected = (
        nn.functional.cross_entropy(logits[known], targets[known])
        + 0.1 * (energies[known] + 3).relu().square().mean()
        + 0.1 * (-1 - energies[~known]).relu().square().mean()
    )
    assert trained(chosen)[1][0][1] == pytest.approx(expected.item(), abs=1e-5)


def test_micro_batches_give_the_weights_of_the_whole_batch(archives):
    whole, first = trained(training(archives))
    parts, losses = trained(training(archives, accumulate=4))
    assert_same(parts, whole)
    assert [value for _, value, _ in losses] == pytest.approx([value for _, value, _ in first], abs=1e-5)
    assert len(training(archives, accumulate=4).micro_batches(0)) == 4


def test_bfloat16_and_float16_train_nearly_to_the_same(archives):
    _, losses = trained(training(archives))
    for amp in ("bf16", "fp16"):
        _, found = trained(training(archives, amp=amp))
        assert found[-1][1] == pytest.approx(losses[-1][1], rel=0.1)  # eight bits of a bfloat16


def test_images_that_cannot_be_read_are_missing_from_images_and_targets(broken, archives):
    chosen = training(archives)
    folder = images.of_folder(broken)
    odd = Training(**{**vars(chosen), "outliers": folder, "draws": Draws(
        count_id=60, count_ood=len(folder), batch_id=25, batch_ood=len(folder), seed=3)})  # fmt: skip
    ((pixels, targets),) = odd.micro_batches(0)
    assert len(pixels) == len(targets)
    assert int((targets < 0).sum()) == 1
    assert len(folder.unreadable) == len(folder) - 1


def test_a_loss_that_is_no_number_ends_the_training(archives):
    with pytest.raises(DivergedError, match=r"step \d.*--lr"):
        trained(training(archives, lr=1e20))


def test_without_outliers_it_is_cross_entropy(archives):
    chosen = training(archives)
    plain = Training(**{**vars(chosen), "outliers": None, "draws": Draws(
        count_id=60, count_ood=0, batch_id=25, batch_ood=14, seed=3)})  # fmt: skip
    ((pixels, targets),) = plain.micro_batches(0)
    assert (targets >= 0).all()
    model = network()
    expected = nn.functional.cross_entropy(model(plain.data.batch(pixels, torch.device("cpu"))), targets)
    loss, seen = EnergyRegularizedLoss(0.0), []
    optimiser, scaler = plain.schedule.optimiser(model), plain.scaler()
    train(model, loss, plain, optimiser, scaler, on_step=lambda _, value, lr: seen.append(value))
    assert seen[0] == pytest.approx(expected.item(), abs=1e-6)


def test_the_next_batch_is_the_one_that_asking_gives(archives):
    chosen = training(archives, workers=3)
    with ThreadPoolExecutor(3) as pool:
        for step, parts in chosen.ahead(2):
            (pixels, targets), (again, same) = parts[0], chosen.micro_batches(step, pool)[0]
            assert all((a == b).all() for a, b in zip(pixels, again, strict=True))
            assert torch.equal(targets, same)


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_the_weights_of_one(archives, tmp_path, processes):
    whole, _ = trained(training(archives))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += [
        "--master-port",
        str(29650 + processes),
        __file__,
        str(archives),
        str(tmp_path / "weights.pt"),
    ]
    subprocess.run(command, check=True, timeout=300)
    found = network()
    found.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert_same(found, whole)


def _as_one_of_several(folder: str, out: str) -> None:
    with joined("cpu") as process:
        model, _ = trained(training(Path(folder), process, accumulate=2))
        if process.first:
            torch.save(model.state_dict(), out)


if __name__ == "__main__":
    _as_one_of_several(*sys.argv[1:])
