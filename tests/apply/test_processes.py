"""What several processes agree on."""

from __future__ import annotations

import pytest
import torch

from energy_plugin_bench.apply.processes import Process, distributed


@pytest.mark.parametrize(("own", "others"), [(False, 0.0), (False, 1.0), (True, 0.0), (True, 1.0)])
def test_what_one_wishes_all_do(monkeypatch, own, others):
    monkeypatch.setattr(distributed, "all_reduce", lambda value: value.add_(others))
    assert Process(0, 2, torch.device("cpu")).wished(own) == (own or others > 0)
    assert Process(0, 1, torch.device("cpu")).wished(own) == own
