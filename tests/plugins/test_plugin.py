"""What we offer ourselves, through the door that everybody uses."""

from __future__ import annotations

from energy_plugin import EnergyDetector, EnergyRegularizedLoss, default_manager
from energy_plugin.discovery import Plugin
from energy_plugin.testing import check_detector, check_loss


def test_loss_and_detector_come_through_the_entry_point() -> None:
    manager = default_manager()
    loss, detector = manager.get("loss", "energy_regularized"), manager.get("detector", "energy")
    assert loss.load() is EnergyRegularizedLoss
    assert detector.load() is EnergyDetector
    owners = {offer.plugin for offer in manager.offers() if offer.record in (loss, detector)}
    assert [(o.name, o.distribution) for o in owners] == [("energy_plugin", "energy-plugin")]
    assert all(isinstance(owner, Plugin) for owner in owners)


def test_they_keep_what_their_records_say() -> None:
    manager = default_manager()
    loss, detector = manager.get("loss", "energy_regularized"), manager.get("detector", "energy")
    check_loss(loss.load(), tasks=loss.tasks)
    check_detector(detector.load(), higher_is=detector.higher_is, tasks=detector.tasks)
