"""Checkpoints: whole or not at all, and complete."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from energy_plugin_bench.apply import checkpoint


def test_tensors_and_document_come_back(tmp_path):
    shared = torch.arange(6.0)
    tensors = {"a": shared, "b": shared, "c": shared.view(2, 3).T, "n": torch.tensor(7)}
    checkpoint.save_file(tmp_path / "deep" / "x.safetensors", tensors, {"step": 3, "text": "ä"})
    found, told = checkpoint.load(tmp_path / "deep" / "x.safetensors")
    assert told == {"step": 3, "text": "ä", "form": checkpoint.FORM}
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(("place", "name"), [(checkpoint.os, "fsync"), (checkpoint.Path, "replace")])
def test_a_writing_that_fails_leaves_the_old_file_and_no_trace(tmp_path, monkeypatch, place, name):
    path = tmp_path / "x.safetensors"
    checkpoint.save_file(path, {"a": torch.ones(3)}, {"step": 1})
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(place, name, full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save_file(path, {"a": torch.zeros(3)}, {"step": 2})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_cut_off_file_is_said_to_be_one(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_file(path, {"a": torch.ones(300)}, {"step": 1})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="cut off"):
        checkpoint.load(path)


def test_other_safetensors_and_other_forms_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="not one written here"):
        checkpoint.load(tmp_path / "x.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "y.safetensors", {checkpoint.KEY: '{"form": 99}'})
    with pytest.raises(ValueError, match="form 99"):
        checkpoint.load(tmp_path / "y.safetensors")


def test_training_goes_on_as_if_never_broken_off(tmp_path):
    def made():
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)

    def steps(network, optimiser, seeds):
        for seed in seeds:
            inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
            optimiser.zero_grad()
            network(inputs).square().mean().backward()
            optimiser.step()

    whole, optimiser = made()
    steps(whole, optimiser, range(6))
    first, optimiser = made()
    steps(first, optimiser, range(3))
    checkpoint.save_file(tmp_path / "x.safetensors", checkpoint.state_of(first, optimiser), {})
    second, optimiser = made()
    checkpoint.restore(second, optimiser, checkpoint.load(tmp_path / "x.safetensors")[0])
    steps(second, optimiser, range(3, 6))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
