"""The fine-tuning loop of the harness."""

import copy
import itertools

import pytest
import torch
from torch import nn

from energy_plugin.energy import energy
from energy_plugin_bench.training import (
    OUTLIER,
    Schedule,
    energies_of_images,
    finetune,
    logits_of_images,
    mixed_batches,
)

IMAGES = torch.arange(10.0).reshape(10, 1, 1, 1)
LABELS = torch.arange(10) % 3
OUTLIERS = torch.arange(100.0, 104.0).reshape(4, 1, 1, 1)


def batches(seed=0, batch_id=6, batch_ood=None):
    generator = torch.Generator().manual_seed(seed)
    return mixed_batches(
        IMAGES, LABELS, OUTLIERS, batch_id=batch_id, batch_ood=batch_ood, generator=generator
    )


def test_a_batch_holds_distinct_samples_with_their_labels_and_all_outliers_last():
    images, labels = next(batches())
    drawn = images[:6].flatten().long()
    assert len(set(drawn.tolist())) == 6
    assert labels[:6].tolist() == (drawn % 3).tolist()
    assert images[6:].flatten().tolist() == [100.0, 101.0, 102.0, 103.0]
    assert labels[6:].tolist() == [OUTLIER] * 4


def test_outliers_are_drawn_with_replacement():
    images, labels = next(batches(batch_ood=50))
    assert images.shape == (56, 1, 1, 1)
    assert set(images[6:].flatten().tolist()) == {100.0, 101.0, 102.0, 103.0}
    assert (labels[6:] == OUTLIER).all()


def test_the_generator_decides_every_draw_and_each_batch_is_a_new_one():
    first, again, other = (list(itertools.islice(batches(seed, batch_ood=3), 3)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    assert not torch.equal(first[0][0], first[1][0])


def test_learning_rates():
    assert [Schedule(steps=4, lr=0.1).lr_at(step) for step in range(4)] == [0.1] * 4
    cosine = Schedule(steps=4, lr=0.1, final_lr=0.02)
    assert [cosine.lr_at(step) for step in (0, 2, 4)] == pytest.approx([0.1, 0.06, 0.02])


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.fc = nn.Linear(1, 3)

    def forward(self, x):
        return self.fc(self.norm(x).flatten(1))


def by_hand(network, data, schedule):
    """Nesterov's momentum and decay written out."""
    network.train()
    parameters = list(network.parameters())
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    losses = []
    for step in range(schedule.steps):
        images, labels = next(data)
        known = labels >= 0
        logits = network(images)
        loss = nn.functional.cross_entropy(logits[known], labels[known])
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient, v in zip(parameters, gradients, velocity, strict=True):
                gradient = gradient + schedule.weight_decay * parameter
                v.copy_(gradient if step == 0 else schedule.momentum * v + gradient)
                parameter -= schedule.lr_at(step) * (gradient + schedule.momentum * v)
        losses.append(loss.item())
    return losses


def test_the_loop_is_nesterov_with_weight_decay_and_its_schedule():
    torch.manual_seed(0)
    network = Network().eval()
    twin = copy.deepcopy(network)
    schedule = Schedule(steps=5, lr=0.1, final_lr=0.01, weight_decay=0.01)
    told = []
    losses = finetune(
        network,
        nn.CrossEntropyLoss(ignore_index=OUTLIER),
        batches(),
        schedule,
        on_step=lambda *args: told.append(args),
    )
    assert losses == pytest.approx(by_hand(twin, batches(), schedule), rel=1e-5)
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert told == list(enumerate(losses, start=1))
    assert not network.training
    assert network.norm.num_batches_tracked == 5


def test_logits_and_energies_do_not_hang_on_the_batch():
    torch.manual_seed(0)
    network = Network().eval()
    whole = network(IMAGES)
    assert torch.equal(logits_of_images(network, IMAGES, batch=3), whole)
    torch.testing.assert_close(energies_of_images(network, IMAGES, batch=4), energy(whole).detach())
