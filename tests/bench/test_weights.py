"""Weights are loaded strictly, under other names, and never by running what is in the file."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from energy_plugin_bench.inputs.assets import CorruptAssetError
from energy_plugin_bench.inputs.weights import load_weights, read_tensors


class Evil:
    def __reduce__(self):
        return (print, ("run by unpickling",))


@pytest.fixture
def tensors():
    return {f"module.fc.{name}": value + 1 for name, value in nn.Linear(3, 2).state_dict().items()}


RENAME = {r"^module\.": "", r"^fc\.": ""}


@pytest.mark.parametrize("around", [None, "state_dict", "model"])
def test_pytorch_files_are_read_out_of_what_is_around_them(tmp_path, tensors, around):
    torch.save({around: tensors, "epoch": 3} if around else tensors, tmp_path / "w.pt")
    layer = nn.Linear(3, 2)
    load_weights(layer, tmp_path / "w.pt", RENAME)
    assert torch.equal(layer.weight, tensors["module.fc.weight"])


def test_safetensors_are_read(tmp_path, tensors):
    save_file(tensors, tmp_path / "w.safetensors")
    layer = nn.Linear(3, 2)
    load_weights(layer, tmp_path / "w.safetensors", RENAME)
    assert torch.equal(layer.bias, tensors["module.fc.bias"])


def test_a_file_that_would_run_something_is_refused(tmp_path, capsys):
    torch.save({"weight": Evil()}, tmp_path / "w.pt")
    with pytest.raises(CorruptAssetError, match="does not fit Linear"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(CorruptAssetError):
        load_weights(nn.Linear(3, 2), tmp_path / "plain.pt")
    assert "run by unpickling" not in capsys.readouterr().out


def test_other_tensors_and_two_of_one_name_are_refused(tmp_path, tensors):
    torch.save(tensors, tmp_path / "w.pt")
    with pytest.raises(CorruptAssetError, match="Missing key"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.pt")
    with pytest.raises(CorruptAssetError, match="two tensors would be called 'x'"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.pt", {".+": "x"})


def test_something_else_than_tensors_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(CorruptAssetError, match="holds list; expected tensors by name"):
        read_tensors(tmp_path / "w.pt")
