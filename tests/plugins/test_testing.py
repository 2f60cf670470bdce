"""The contract checks: they pass what is right, and each of them catches what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from energy_plugin import EnergyDetector, EnergyRegularizedLoss, EnergyRegularizer, hookimpl
from energy_plugin.errors import ContractError
from energy_plugin.records import CommandSpec, LossSpec, PublishedSpec
from energy_plugin.registration import Registration, attribute
from energy_plugin.testing import check_detector, check_host, check_loss, check_plugin

Install = Callable[..., str]


# check_plugin


@pytest.mark.parametrize(
    "plugin", ["energy_plugin.plugin", "energy_plugin_timm", "energy_plugin_pytorch_ood"]
)
def test_our_own_plugins_pass(plugin: str) -> None:
    assert check_plugin(plugin, load="timm" not in plugin and "pytorch" not in plugin)


def test_a_module_or_object_may_be_given(install: Install) -> None:
    module = install("good-one", loss="good")
    (record,) = check_plugin(module)
    assert record == LossSpec(name="good", target="good_one:Loss")
    plugin = SimpleNamespace(ood_losses=hookimpl(lambda: [record]))
    assert check_plugin(plugin) == (record,)


def plugin_with(**hooks: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(
        **{name: hookimpl(lambda records=records: records) for name, records in hooks.items()}
    )


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        ("no_such_module", "importing no_such_module raised ModuleNotFoundError"),
        (SimpleNamespace(ood_loses=hookimpl(lambda: ())), "Did you mean 'ood_losses'"),
        (SimpleNamespace(), "implements no hook"),
        (plugin_with(ood_losses=[3]), "3 is no loss record"),
        (
            plugin_with(ood_losses=[LossSpec(name="x", target="no_such:y")]),
            "loss 'x' (no_such:y) does not load",
        ),
        (plugin_with(ood_losses=[LossSpec(name="x", target="json:dumpz")]), "has no 'dumpz'"),
        (plugin_with(ood_losses=[LossSpec(name="x", target="math:pi")]), "expected a callable"),
        (plugin_with(ood_commands=[CommandSpec(name="x", target="json:dumps")]), "does not load: TypeError"),
        (
            plugin_with(ood_commands=[CommandSpec(name="x", target="builtins:repr")]),
            "must return the function",
        ),
        (plugin_with(ood_published=[PublishedSpec(name="x", target="os:sep")]), "holds no *.toml"),
    ],
)
def test_faulty_plugins_are_caught(plugin: object, told: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_plugin(plugin)
    assert str(caught.value).startswith("check_plugin: ")
    assert told in str(caught.value)


def test_what_is_not_installed_is_not_loaded() -> None:
    spec = LossSpec(name="x", target="no_such:y", requires=("no_such",))
    assert check_plugin(plugin_with(ood_losses=[spec])) == (spec,)
    other = LossSpec(name="x", target="no_such:y")
    assert check_plugin(plugin_with(ood_losses=[other]), load=False) == (other,)


# check_loss


@pytest.mark.parametrize("reduction", ["mean", "group_mean", "sum"])
@pytest.mark.parametrize("void", [None, 255, -9])
def test_our_loss_passes(reduction: Any, void: int | None) -> None:
    check_loss(lambda: EnergyRegularizedLoss(reduction=reduction, ignore_index=void), void=void)
    check_loss(lambda: EnergyRegularizer(0.1, -25.0, -7.0, reduction, ignore_index=void), void=void)


def loss_with(change: Callable[[Tensor, Tensor, Tensor], Tensor], **options: Any) -> Callable[[], Any]:
    """Return a factory of our loss with one fault."""

    def factory() -> Callable[[Tensor, Tensor], Tensor]:
        ours = EnergyRegularizedLoss(ignore_index=255, **options)
        return lambda logits, targets: change(ours(logits, targets), logits, targets)

    return factory


def overwrite(value: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    targets.data.clamp_(min=0)  # past the eyes of autograd, which would raise in backward
    return value


def no_outliers(value: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    return (
        nn.functional.cross_entropy(logits, targets.where(targets >= 0, -100)).nan_to_num() + 0 * logits.sum()
    )


class Doubled(torch.autograd.Function):
    """A value whose gradient is twice what it should be."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (lambda: 1 / 0, "making the loss raised ZeroDivisionError"),
        (nn.CrossEntropyLoss, "a batch of both kinds raised IndexError"),
        (lambda: nn.CrossEntropyLoss(ignore_index=-1), "a batch without ID: the value is nan"),
        (lambda: EnergyRegularizedLoss(reduction="none"), "expected a scalar tensor"),
        (
            loss_with(lambda value, logits, targets: value / (targets < 0).sum()),
            "a batch without OOD: the value",
        ),
        (loss_with(lambda value, logits, targets: value / targets.numel()), "a batch without samples"),
        (
            loss_with(lambda value, logits, targets: value + (0 * logits.sum()).sqrt()),
            "gradient is not finite",
        ),
        (loss_with(overwrite), "inputs were changed in place"),
        (
            loss_with(lambda value, logits, targets: value + (targets == -1).sum()),
            "OOD codes: every negative",
        ),
        (
            loss_with(lambda value, logits, targets: value + (targets == -2).sum()),
            "OOD codes: every negative",
        ),
        (loss_with(no_outliers), "no gradient, so OOD samples are not learnt from"),
        (loss_with(lambda value, logits, targets: Doubled.apply(value)), "gradient: along one direction"),
        (loss_with(lambda value, logits, targets: value.detach()), "backward raised RuntimeError"),
        (
            loss_with(lambda value, logits, targets: value + 1e-3 * logits.sum()),
            "void samples have a gradient",
        ),
        (loss_with(lambda value, logits, targets: value + (targets == 255).sum()), "void: the value is"),
    ],
)
def test_faulty_losses_are_caught(factory: Any, told: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_loss(factory, void=255)
    assert str(caught.value).startswith("check_loss (classification): ")
    assert told in str(caught.value)


def test_a_fault_in_segmentation_alone_is_caught() -> None:
    def factory() -> Callable[[Tensor, Tensor], Tensor]:
        ours = EnergyRegularizedLoss()
        return lambda logits, targets: ours(logits.flatten(1), targets)  # maps read as classes

    check_loss(factory, tasks=("classification",))
    with pytest.raises(ContractError, match=r"check_loss \(segmentation\)"):
        check_loss(factory)
    with pytest.raises(ValueError, match="Unknown task 'detection'"):
        check_loss(factory, tasks=("detection",))


# check_detector


def detector_with(change: Callable[[Tensor, Tensor], Any]) -> Callable[[], Any]:
    return lambda: SimpleNamespace(score=lambda logits: change(EnergyDetector().score(logits), logits))


def test_detectors_pass_in_their_orientation() -> None:
    check_detector(EnergyDetector)
    check_detector(lambda: EnergyDetector(temperature=2.0))
    check_detector(detector_with(lambda score, logits: -score), higher_is="id")


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (lambda: 1 / 0, "making the detector raised ZeroDivisionError"),
        (SimpleNamespace, "random logits raised AttributeError"),
        (detector_with(lambda score, logits: -score), "orientation: with higher_is='ood'"),
        (detector_with(lambda score, logits: score.tolist()), "expected a tensor, got list"),
        (detector_with(lambda score, logits: score.mean()), "expected scores of shape (12,), got ()"),
        (detector_with(lambda score, logits: score.to(logits.dtype)), "scores of torch.bfloat16 collapse"),
        (detector_with(lambda score, logits: score / 0.0), "scores are not finite"),
        (detector_with(lambda score, logits: score + 1e-2 * score.cumsum(0)), "depends on the other samples"),
        (lambda: SimpleNamespace(score=lambda x: -x.float().logsumexp(-1)), "got (12, 5, 3)"),
    ],
)
def test_faulty_detectors_are_caught(factory: Any, told: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_detector(factory)
    assert str(caught.value).startswith("check_detector (")
    assert told in str(caught.value)


# check_host


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("made_up_suite")
    module.loss = "theirs"  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "made_up_suite", module)
    return module


def test_a_clean_registration_passes(suite: Any) -> None:
    check_host(lambda: Registration("suite", [attribute(suite, "loss", "ours")]), modules=["made_up_suite"])
    assert suite.loss == "theirs"


def test_faulty_registrations_are_caught(suite: Any) -> None:
    def untold() -> Registration:
        suite.secret = 1
        return Registration("suite", [attribute(suite, "loss", "ours")])

    def gone() -> Registration:
        handle = Registration("suite", [attribute(suite, "loss", "ours")])
        suite.loss = "theirs"
        return handle

    cases: dict[str, Callable[[], Any]] = {
        "undo leaves traces: made_up_suite.secret": untold,
        "made_up_suite.loss replaced, says the registration, but it is not there": gone,
        "reports no change": lambda: Registration("suite", []),
        "registering raised TypeError": lambda: 42,
        "registering raised ZeroDivisionError": lambda: 1 / 0,
        "looking the host up raised UnknownNameError": "no_such_suite",  # type: ignore[dict-item]
    }
    for told, host in cases.items():
        with pytest.raises(ContractError) as caught:
            check_host(host, modules=["made_up_suite"])
        assert str(caught.value).startswith("check_host (")
        assert told in str(caught.value)
