"""The evaluation of a detector on blobs that oodeel's source archive ships, for its Energy or ours.

The network that it downloads is replaced by a plainer one where there is no connection.
"""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import pytest
import torch
from oodeel.methods import Energy
from tests.tests_torch import torch_methods_utils as shipped

own = shipped.load_blob_mlp


def network() -> torch.nn.Module:
    """The network of the tests; without a connection one that tells the ID blobs by the sum of a point."""
    try:
        return own()
    except (URLError, OSError):
        hidden, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        with torch.no_grad():
            hidden.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
            head.weight.copy_(torch.eye(2))
        return torch.nn.Sequential(hidden, torch.nn.ReLU(), head)


@pytest.mark.parametrize("options", [{}, {"use_react": True, "react_quantile": 0.8}], ids=["plain", "react"])
def test_blobs(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Their thresholds of AUROC and FPR95."""
    monkeypatch.setattr(shipped, "load_blob_mlp", network)
    shipped.eval_detector_on_blobs(Energy(**options), check_react_clipping=bool(options))
