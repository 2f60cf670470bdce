"""What the page says of mmengine's registry holds; a decode head's call is written out here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from page_code import code
from suite_cases import host_module

from energy_plugin import EnergyRegularizedLoss

host_module("mmengine.registry", "mmengine is not installed")
models: Any = importlib.import_module("mmengine.registry").MODELS


@pytest.fixture
def built() -> Iterator[Any]:
    code("frameworks.md", "mmengine, mmsegmentation")
    yield models.build({"type": "EnergyPluginLoss", "alpha": 0.1, "margin_in": -25.0, "margin_out": -7.0})
    models.module_dict.pop("EnergyPluginLoss")
    assert "EnergyPluginLoss" not in models


def test_a_decode_head_can_call_it(built: Any) -> None:
    logits, mask = torch.randn(2, 4, 6, 5, requires_grad=True), torch.randint(4, (2, 6, 5))
    mask[0, :2], mask[1, 3:] = 255, -1
    assert built.loss_name.startswith("loss_")
    value = built(logits, mask, weight=None, ignore_index=255)
    torch.testing.assert_close(value, EnergyRegularizedLoss(0.1, -25.0, -7.0, ignore_index=255)(logits, mask))
    value.backward()
    assert not logits.grad[0, :, :2].any()  # void


def test_what_it_has_no_meaning_for_is_refused(built: Any) -> None:
    logits, mask = torch.randn(2, 4, 6, 5), torch.randint(4, (2, 6, 5))
    for options in ({"ignore_index": 0}, {"weight": torch.ones(2, 6, 5)}):
        with pytest.raises(ValueError, match="not in this loss"):
            built(logits, mask, **options)
