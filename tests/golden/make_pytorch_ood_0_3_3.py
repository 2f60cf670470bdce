"""Write pytorch_ood_0_3_3.json: what EnergyRegularizedLoss of pytorch-ood 0.3.3 gives on fixed inputs.

pip install --no-deps --target T pytorch-ood==0.3.3 torchmetrics lightning-utilities
PYTHONPATH=T python tests/golden/make_pytorch_ood_0_3_3.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_ood
import torch
from pytorch_ood.loss import EnergyRegularizedLoss

SETTINGS = [(1.0, -1.0, -1.0), (0.1, -5.0, -3.0), (0.1, -25.0, -7.0)]


def case(logits: torch.Tensor, targets: torch.Tensor, settings: tuple[float, float, float]) -> dict[str, Any]:
    record: dict[str, Any] = {"logits": logits.tolist(), "targets": targets.tolist(), "settings": settings}
    for reduction in ("none", "mean", "sum"):
        inputs = logits.clone().requires_grad_()
        loss = EnergyRegularizedLoss(*settings, reduction=reduction)(inputs, targets)
        loss.sum().backward()
        record[reduction] = {"value": loss.tolist(), "gradient": inputs.grad.tolist()}
    return record


def main() -> None:
    generator = torch.Generator().manual_seed(20)
    logits = torch.randn(12, 5, generator=generator) * 3
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1, -1, -1, -1, -2, -7])
    maps = torch.randn(2, 4, 2, 3, generator=generator) * 3
    masks = torch.tensor([[[0, 1, -1], [2, 3, -1]], [[-1, -1, 0], [1, 2, 2]]])
    document = {
        "version": pytorch_ood.__version__,
        "classification": [case(logits, targets, settings) for settings in SETTINGS],
        "segmentation": [case(maps, masks, settings) for settings in SETTINGS],
    }
    Path(__file__).with_name("pytorch_ood_0_3_3.json").write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
