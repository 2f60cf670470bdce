"""Runs every case of docs/cases.md on both implementations, and holds the page against what came out."""

from typing import Any

import cases_page
import pytest
from loss_cases import ALPHA, CASES, MARGIN_IN, MARGIN_OUT, Case
from torch import nn

from energy_plugin.loss import EnergyRegularizedLoss

SETTINGS: dict[str, Any] = {
    "alpha": ALPHA,
    "margin_in": MARGIN_IN,
    "margin_out": MARGIN_OUT,
    "reduction": "group_mean",
}


def ours(**settings: Any) -> nn.Module:
    return EnergyRegularizedLoss(**(SETTINGS | settings))


def theirs(**settings: Any) -> nn.Module:
    pytorch_ood_loss = pytest.importorskip("pytorch_ood.loss")
    merged = SETTINGS | settings
    merged["reduction"] = "mean" if merged["reduction"] == "group_mean" else merged["reduction"]
    loss: nn.Module = pytorch_ood_loss.EnergyRegularizedLoss(**merged)
    return loss


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_our_loss_does(case: Case) -> None:
    assert case.run(ours) == case.ours


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_loss_of_pytorch_ood_does(case: Case) -> None:
    try:
        found = case.run(theirs)
    except TypeError:  # an argument that it does not have
        found = "TypeError"
    assert found == case.theirs


def test_the_page_says_what_the_tests_found() -> None:
    assert cases_page.PAGE.read_text() == cases_page.text(), "run `python tests/cases_page.py`"
