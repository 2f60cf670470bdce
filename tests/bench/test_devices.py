"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from energy_plugin_bench.devices import device_of


def gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("count", "name", "found"),
    [(0, None, "cpu"), (0, "cpu", "cpu"), (1, None, "cuda"), (2, "cuda:1", "cuda:1"), (1, "cuda", "cuda")],
)
def test_a_device_by_name_or_a_gpu_where_there_is_one(monkeypatch, count, name, found):
    gpus(monkeypatch, count)
    assert device_of(name) == torch.device(found)


@pytest.mark.parametrize(
    ("count", "name", "words"),
    [
        (0, "cuda", "torch finds no GPU; use --device cpu"),
        (0, "cuda:1", "torch finds no GPU; use --device cpu"),
        (2, "cuda:2", "finds 2 GPU"),
        (0, "toaster", "expected cpu, cuda"),
        (0, "hpu", "cannot use the device 'hpu' here"),
    ],
)
def test_one_that_is_not_there_is_refused(monkeypatch, count, name, words):
    gpus(monkeypatch, count)
    with pytest.raises(ValueError, match=words):
        device_of(name)
