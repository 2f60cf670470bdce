"""Fine-tuning with the energy-regularised loss as a trainer of OpenOOD, beside its outlier exposure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from openood.trainers.base_trainer import BaseTrainer
from torch import Tensor, nn

from energy_plugin.labels import OOD
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.outputs import logits_of
from energy_plugin_openood.settings import setting

SETTINGS: dict[str, Any] = {
    "alpha": 0.1,
    "margin_in": -25.0,
    "margin_out": -7.0,
    "reduction": "group_mean",
}
"""Read from `config.trainer`; the defaults are those of the training script of Liu et al. (NeurIPS 2020)."""


class EnergyPluginTrainer(BaseTrainer):  # type: ignore[misc]  # the host has no type information
    """An epoch over ID batches, each joined with a batch of outliers, on the device of the network.

    Optimiser and schedule are the base trainer's. The outliers' own labels are not read: all are OOD.

    Args:
        net: The network.
        train_loader: ID batches with `data` and `label`.
        train_unlabeled_loader: Batches of outliers with `data`; begun again as often as it ends.
        config: OpenOOD's; `config.trainer` may hold `SETTINGS`.
    """

    def __init__(
        self, net: nn.Module, train_loader: Iterable[Any], train_unlabeled_loader: Iterable[Any], config: Any
    ) -> None:
        super().__init__(net, train_loader, config)
        self.train_unlabeled_loader = train_unlabeled_loader
        self.criterion = EnergyRegularizedLoss(
            **{name: setting(config, f"trainer.{name}", default) for name, default in SETTINGS.items()}
        )

    def train_epoch(self, epoch_idx: int) -> tuple[nn.Module, dict[str, Any]]:
        """Train one epoch; return (network, {epoch_idx, loss}), the loss smoothed as other trainers do."""
        self.net.train()
        outliers = _endless(self.train_unlabeled_loader)
        smoothed = torch.zeros(())
        for batch in self.train_loader:
            loss = self._step(batch, next(outliers))
            smoothed = 0.8 * smoothed.to(loss.device) + 0.2 * loss
        average = float(smoothed)
        gather = getattr(self, "save_metrics", None)  # over processes, in 1.5
        return self.net, {"epoch_idx": epoch_idx, "loss": gather(average) if gather else average}

    def _step(self, batch: Any, outliers: Any) -> Tensor:
        device = next(self.net.parameters()).device
        data = torch.cat([batch["data"], outliers["data"]]).to(device)
        targets = torch.cat([batch["label"].long(), torch.full((len(outliers["data"]),), OOD)]).to(device)
        loss: Tensor = self.criterion(logits_of(self.net(data)), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        self.optimizer.step()
        self.scheduler.step()
        return loss.detach()


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a loader again and again.

    Raises:
        ValueError: It has none.
    """
    while True:
        seen = False
        for batch in loader:
            seen = True
            yield batch
        if not seen:
            raise ValueError("train_unlabeled_loader has no batch: the loss learns from outliers.")
