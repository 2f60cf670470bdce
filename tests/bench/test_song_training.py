"""The re-training of the Song study, on a toy of its shape."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from energy_plugin.energy import energy
from energy_plugin.metrics import auroc, fpr_at_tpr
from energy_plugin_bench.retrain.song_training import Run, Split, measured, pretrained, retrain

pytest.importorskip("safetensors")


def archive(path, labels):
    """Images whose brightness tells their digit, 28 x 28."""
    labels = np.asarray(labels)
    noise = np.random.default_rng(0).integers(0, 8, (len(labels), 28, 28))
    np.savez(path, images=(labels[:, None, None] * 25 + noise).astype(np.uint8), labels=labels)
    return path


@pytest.fixture
def split(tmp_path):
    train = archive(tmp_path / "train.npz", list(range(10)) * 20)
    test = archive(tmp_path / "test.npz", list(range(10)) * 5)
    return Split.read(train, test, classes=8)


class Toy(nn.Module):
    """Logits that know the brightness."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, 8)
        with torch.no_grad():
            centres = torch.arange(8) * 25 / 255 + 0.014
            self.fc.weight.copy_((2000 * centres).unsqueeze(1))
            self.fc.bias.copy_(-1000 * centres**2)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


def test_the_split_keeps_eights_and_nines_out(split):
    assert split.train.shape == (160, 1, 28, 28)
    assert sorted(set(split.train_labels.tolist())) == list(range(8))
    assert [len(pool) for pool in split.outliers] == [20, 20]
    assert (len(split.test), len(split.test_outliers)) == (40, 10)
    assert split.test_labels.max() == 7
    assert 0.7 < split.test_outliers.mean() < 0.95  # digits 8 and 9, in [0, 1]


def retrained(split, **options):
    settings = {"outliers": 4, "seed": 0, "steps": 3, "margins": "song-mnist", "convention": "energy_ood"}
    return retrain(Toy(), split, **settings | options)


def test_a_run_is_decided_by_its_seed(split):
    first, again, other = retrained(split), retrained(split), retrained(split, seed=1)
    assert dataclasses.replace(first, seconds=0.0) == dataclasses.replace(again, seconds=0.0)
    assert first.losses != other.losses
    assert (first.outliers, first.seed, first.steps, len(first.losses)) == (4, 0, 3, 3)


def test_the_first_loss_is_the_papers_objective_on_all_outliers(split):
    seen = []

    class Watched(Toy):
        def forward(self, x):
            if self.training:
                seen.append(x)
            return super().forward(x)

    run = retrain(
        Watched(), split, outliers=4, seed=0, steps=1, margins="song-mnist", convention="energy_ood"
    )
    images = seen[0]
    assert len(images) == 128 + 2 * 4
    toy = Toy()
    known, unknown = toy(images[:128]), toy(images[128:])
    brightness = (images[:128].mean((1, 2, 3)) * 255 / 25).floor().long()
    loss = nn.functional.cross_entropy(known, brightness) + 0.1 * (
        (energy(known) + 25).relu().square().mean() + (-7 - energy(unknown)).relu().square().mean()
    )
    assert run.losses == pytest.approx([loss.item()], rel=1e-5)
    assert sorted((images[128:].mean((1, 2, 3)) * 255 / 25).floor().tolist()) == [8] * 4 + [9] * 4


def test_the_figures_are_those_of_the_study(split):
    generator = torch.Generator().manual_seed(0)
    known, unknown = (torch.randn(400, 1, 1, 8, generator=generator) * scale for scale in (6.0, 2.0))
    overlapping = dataclasses.replace(
        split, test=known, test_outliers=unknown, test_labels=torch.zeros(400).long()
    )
    found = measured(nn.Flatten(), overlapping, "energy_ood")  # the pixels are the logits
    pair = energy(known.flatten(1)), energy(unknown.flatten(1))
    assert 0.0 < found["tnr99"] < found["tnr95"] < 100.0
    assert found["auroc"] == 100 * auroc(*pair)
    for level in (95, 99):
        rate = fpr_at_tpr(*pair, tpr=level / 100, positive="id", rule="nearest")
        assert found[f"tnr{level}"] == pytest.approx(100 - 100 * rate)


def test_the_error_rate_is_that_of_the_classes(split):
    toy = Toy().eval()
    assert measured(toy, split, "energy_ood")["error_rate"] == 0.0
    split.test_labels[0] += 1
    assert measured(toy, split, "energy_ood")["error_rate"] == pytest.approx(2.5)


def test_more_outliers_than_one_step_takes_are_refused(split):
    with pytest.raises(ValueError, match=r"must be 1 to 128, got 129"):
        retrained(split, outliers=129)
    with pytest.raises(ValueError, match="got 0"):
        retrained(split, outliers=0)


def test_a_run_goes_through_json(split):
    run = retrained(split)
    assert Run(**json.loads(json.dumps(run.to_dict()))) == run


def test_the_network_before_the_fine_tuning_is_the_published_one():
    from energy_plugin_bench.inputs.assets import CARRIED

    network = pretrained(CARRIED / "cifar/weights/densenet100_mnist0to7_song.safetensors", 8)
    assert not network.training
    assert network(torch.zeros(1, 1, 28, 28)).shape == (1, 8)
