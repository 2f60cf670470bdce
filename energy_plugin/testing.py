"""Contract checks for third parties: one line each in the tests of a plug-in or of a host.

    check_plugin("my_plugin")
    check_loss(MyLoss)
    check_detector(MyDetector, higher_is="id")
    check_host("my_suite")                             # a suite that somebody registers at
    check_host(lookup=my_suite.plugins.find)           # a suite that reads the hooks itself

Any test runner will do. A check that fails raises `ContractError`, an AssertionError whose message begins
with the name of the check.
"""

from __future__ import annotations

import argparse
import importlib
import operator
import sys
from collections.abc import Callable, Collection, Iterable
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from energy_plugin import trial
from energy_plugin.errors import ContractError
from energy_plugin.manager import PluginManager, default_manager, register
from energy_plugin.records import TASKS, CommandSpec, PublishedSpec, Record
from energy_plugin.registration import Registration, once

_CLASSES = 5
_SPATIAL: dict[str, tuple[int, ...]] = {"classification": (), "segmentation": (3, 4)}
_OOD_CODES = (-1, -2, -7)
_PLAIN = -1

Loss = Callable[[Tensor, Tensor], Tensor]


def check_plugin(plugin: object, *, load: bool = True) -> tuple[Record, ...]:
    """Check that a plug-in is faultless: hooks spelt right, records valid, targets there.

    Args:
        plugin: The module or object that the entry point names, or its name: `module` or `module:attribute`.
        load: Whether to import the targets too; those whose `requires` are not installed are left out.

    Returns:
        The records, sorted by kind and name.

    Raises:
        ContractError: With every fault found.
    """
    check = _Check("check_plugin")
    found = check.call(f"importing {plugin}", _resolved, plugin)
    manager = PluginManager().add(found, "under test")
    records = tuple(offer.record for offer in manager.offers())
    faults = [problem.what for problem in manager.problems]
    if load:
        faults += [fault for record in records if not record.missing() for fault in _target_faults(record)]
    check.that(not faults, " ".join(faults))
    return records


def check_loss(
    factory: Callable[[], Loss], *, tasks: Collection[str] = TASKS, void: int | None = None
) -> None:
    """Check a loss `loss(logits, targets)` against the label contract: targets >= 0 are ID, < 0 OOD.

    For every task: batches with both kinds, with one, with none and with no sample give finite values and
    gradients; every negative code means the same; outliers with large logits are learnt from; the gradient is
    that of the value; the inputs stay as they were. Void samples change nothing and are in no mean.

    Args:
        factory: Makes the loss, which returns a scalar; called without arguments.
        tasks: `classification` (logits B x C, targets B), `segmentation` (B x C x H x W, targets B x H x W).
        void: The label code that the loss was told to leave out, if it was.

    Raises:
        ContractError: Naming the check that failed.
    """
    for task in tasks:
        check = _Check(f"check_loss ({task})")
        loss = check.call("making the loss", factory)
        logits, targets, outlier = _batch(task)
        mixed = targets.where(~outlier, _PLAIN)
        batches = {
            "a batch of both kinds": mixed,
            "a batch without OOD": targets,
            "a batch without ID": torch.full_like(targets, _PLAIN),
        }
        for what, labels in batches.items():
            _value_and_gradient(check, loss, what, logits, labels)
        _value_and_gradient(check, loss, "a batch without samples", logits[:0], targets[:0])
        _check_codes(check, loss, logits, targets, outlier)
        _check_slope(check, loss, logits, mixed)
        if void is not None:
            _check_void(check, loss, logits, mixed, void)


def check_detector(
    factory: Callable[[], Any], *, higher_is: Literal["ood", "id"] = "ood", tasks: Collection[str] = TASKS
) -> None:
    """Check a detector's `score(logits)`.

    For every task: one finite score a sample (B, or B x H x W), float32 or better whatever the precision of
    the logits; flat logits lie on the OOD side of peaked ones; a sample's score does not depend on others.

    Args:
        factory: Makes the detector, fitted where it needs to be; called without arguments.
        higher_is: What a higher score means, as its record says.
        tasks: `classification` (logits B x C), `segmentation` (logits B x C x H x W).

    Raises:
        ContractError: Naming the check that failed.
    """
    for task in tasks:
        check = _Check(f"check_detector ({task})")
        detector = check.call("making the detector", factory)
        logits, _, _ = _batch(task)
        peaked = logits * 0.1
        peaked[:, 0] += 12.0
        scores = {
            "random": _scores(check, detector, "random logits", logits),
            "half": _scores(check, detector, "bfloat16 logits", logits.bfloat16()),
            "none": _scores(check, detector, "a batch without samples", logits[:0]),
            "flat": _scores(check, detector, "flat logits", logits * 0.1),
            "peaked": _scores(check, detector, "peaked logits", peaked),
            "turned": _scores(check, detector, "random logits in another order", logits.flip(0)),
        }
        gap = scores["flat"].min() - scores["peaked"].max()
        gap = gap if higher_is == "ood" else scores["peaked"].min() - scores["flat"].max()
        check.that(
            bool(gap > 0),
            f"orientation: with higher_is={higher_is!r} flat logits must lie on the OOD side of peaked; "
            f"flat: {scores['flat'].mean():.4g} on average, peaked: {scores['peaked'].mean():.4g}",
        )
        alone = torch.allclose(scores["turned"].flip(0), scores["random"], rtol=1e-4, atol=1e-5)
        check.that(alone, "a sample's score depends on the other samples of its batch")


def check_host(
    host: str | Callable[[], Registration] | None = None,
    *,
    modules: Iterable[str] = (),
    lookup: Callable[[str, str], Any] | None = None,
) -> None:
    """Check how a host is served: by a registration, by the hooks that it has adopted, or by both.

    A registration is whole, made once, and taken back without a trace; afterwards it is undone. A lookup
    finds a plug-in's detector while broken plug-ins are installed beside it, and guesses no name.

    Args:
        host: The name of a suite that a plug-in knows, or what its `HostSpec` loads.
        modules: Names of modules of the host (with all below them) whose namespaces must be the same before
            and after; those that the `HostSpec` requires are added.
        lookup: The host's own: called with a hook and a name, such as ("ood_detectors", "energy"), it returns
            what the record's target names. It must look at entry points when it is called.

    Raises:
        ContractError: Naming the check that failed.
        TypeError: There is neither a host nor a lookup.
    """
    if host is None and lookup is None:
        raise TypeError("check_host needs a host (a name, or what makes the registration) or lookup=...")
    if lookup is not None:
        _check_lookup(lookup)
    if host is not None:
        _check_registration(host, set(modules))


def _check_lookup(lookup: Callable[[str, str], Any]) -> None:
    check = _Check("check_host (lookup)")
    with trial.installed():
        what = "with broken plug-ins installed, looking up a good one"
        found = check.call(what, lookup, "ood_detectors", trial.GOOD)
        check.that(callable(found), f"{what}: expected what the target names, got {found!r}")
        check.that(
            hasattr(check.call(f"{what}: calling it", found), "score"), f"{what}: it makes no detector"
        )
        for name, why in (
            (trial.CLAIMED, "a name with two owners"),
            (trial.ABSENT, "a name that nobody has"),
        ):
            try:
                guessed = lookup("ood_detectors", name)
            except Exception as error:  # noqa: BLE001 - which error a host raises is its own choice
                named = name != trial.CLAIMED or all(owner in str(error) for owner in trial.CLAIMANTS)
                check.that(named, f"{why}: the error must name both, got {type(error).__name__}: {error}")
                continue
            check.that(False, f"{why} must be an error, but the lookup gave {guessed!r}")


def _check_registration(host: str | Callable[[], Registration], roots: set[str]) -> None:
    check = _Check(f"check_host ({host if isinstance(host, str) else getattr(host, '__name__', host)})")
    if isinstance(host, str):
        spec = check.call("looking the host up", default_manager().get, "host", host)
        roots |= set(spec.requires)
        check.call("importing the bridge", spec.load)
    make = (lambda: register(host)) if isinstance(host, str) else (lambda: once(host, host))
    before = _namespaces(roots)
    handle = check.call("registering", make)
    check.that(bool(handle.changes), "the registration reports no change")
    for change in handle.changes:
        check.that(change.in_place, f"{change}, says the registration, but it is not there")
    check.that(check.call("registering again", make) is handle, "a second call must return the first handle")
    foreign = check.call("undo", handle.undo)
    check.that(not foreign, f"undo took these for somebody else's: {', '.join(map(str, foreign))}")
    left = _differences(before, _namespaces(roots))
    check.that(not left, f"undo leaves traces: {', '.join(left)}")


class _Check:
    """Names the running check in every error."""

    def __init__(self, title: str) -> None:
        self.title = title

    def that(self, truth: bool, message: str) -> None:
        if not truth:
            raise ContractError(f"{self.title}: {message}")

    def call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise ContractError(f"{self.title}: {what} raised {type(error).__name__}: {error}") from error


def _resolved(plugin: object) -> object:
    if not isinstance(plugin, str):
        return plugin
    module_name, _, path = plugin.partition(":")
    module = importlib.import_module(module_name)
    return operator.attrgetter(path)(module) if path else module


def _target_faults(record: Record) -> list[str]:
    """Load one target and say what is wrong with it."""
    label = f"{record.kind} {record.name!r} ({record.target})"
    try:
        target = record.load()
        if isinstance(record, PublishedSpec):
            toml = any(entry.name.endswith(".toml") for entry in target.path.iterdir())
            return [] if toml else [f"{label} holds no *.toml file."]
        if not callable(target):
            return [f"{label} is {target!r}; expected a callable."]
        if isinstance(record, CommandSpec) and not callable(target(argparse.ArgumentParser())):
            return [f"{label} must return the function that runs the command."]
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything
        return [f"{label} does not load: {type(error).__name__}: {error}"]
    return []


def _batch(task: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, ID targets and a mask of samples that may become outliers; the same on every call."""
    if task not in _SPATIAL:
        raise ValueError(f"Unknown task {task!r}; expected one of {', '.join(_SPATIAL)}.")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, _CLASSES, *_SPATIAL[task], generator=generator)
    targets = torch.randint(_CLASSES, (12, *_SPATIAL[task]), generator=generator)
    outlier = torch.zeros_like(targets, dtype=torch.bool)
    outlier[::3] = True
    return logits, targets, outlier


def _value_and_gradient(
    check: _Check, loss: Loss, what: str, logits: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    labels = targets.clone()
    value = check.call(what, loss, leaf, labels)
    check.that(
        isinstance(value, Tensor) and value.ndim == 0, f"{what}: expected a scalar tensor, got {value!r}"
    )
    check.that(bool(value.isfinite()), f"{what}: the value is {value.item()}")
    check.call(f"{what}: backward", value.backward)
    gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    check.that(bool(gradient.isfinite().all()), f"{what}: the gradient is not finite")
    same = bool((leaf.detach() == logits).all() and (labels == targets).all())
    check.that(same, f"{what}: the inputs were changed in place")
    return value.detach(), gradient


def _check_codes(check: _Check, loss: Loss, logits: Tensor, targets: Tensor, outlier: Tensor) -> None:
    """Every negative code means OOD, and an outlier that looks like ID is learnt from."""
    values = {}
    for code in _OOD_CODES:
        what = f"a batch with the OOD code {code}"
        values[code], _ = _value_and_gradient(check, loss, what, logits, targets.where(~outlier, code))
    same = all(torch.isclose(value, values[_PLAIN]) for value in values.values())
    shown = ", ".join(f"{code}: {value:.6g}" for code, value in values.items())
    check.that(same, f"OOD codes: every negative label means the same, but the values differ ({shown})")
    labels = torch.full_like(targets, _PLAIN)
    _, gradient = _value_and_gradient(check, loss, "outliers with large logits", 20.0 * logits, labels)
    check.that(
        bool(gradient.any()), "outliers with large logits: no gradient, so OOD samples are not learnt from"
    )


def _check_slope(check: _Check, loss: Loss, logits: Tensor, targets: Tensor) -> None:
    """The gradient is that of the value: compared with a central difference along one direction."""
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    _, gradient = _value_and_gradient(check, loss, "a batch of both kinds", logits, targets)
    step = 1e-2
    after, before = loss(logits + step * direction, targets), loss(logits - step * direction, targets)
    wanted = ((after - before) / (2 * step)).item()
    got = (gradient * direction).sum().item()
    close = abs(got - wanted) <= 2e-2 * max(abs(wanted), abs(got), 1e-2)
    check.that(close, f"gradient: along one direction it is {got:.6g}, the value changes by {wanted:.6g}")


def _check_void(check: _Check, loss: Loss, logits: Tensor, targets: Tensor, void: int) -> None:
    """Void samples have no gradient and no part in the value or in a mean."""
    left_out = torch.zeros_like(targets, dtype=torch.bool)
    left_out[1::4] = True  # ID and OOD samples among them
    labels = targets.where(~left_out, void)
    value, gradient = _value_and_gradient(check, loss, "a batch with void", logits, labels)
    check.that(not gradient.movedim(1, -1)[left_out].any(), "void: void samples have a gradient")
    keep = ~left_out.flatten(1)[:, 0] if left_out.ndim > 1 else ~left_out
    rest, _ = _value_and_gradient(check, loss, "the same without void", logits[keep], targets[keep])
    check.that(
        bool(torch.isclose(value, rest, rtol=1e-4, atol=1e-6)),
        f"void: the value is {value:.6g} with void samples and {rest:.6g} without them",
    )
    _, gradient = _value_and_gradient(check, loss, "a batch of void", logits, torch.full_like(targets, void))
    check.that(not gradient.any(), "void: a batch of void has a gradient")


def _scores(check: _Check, detector: Any, what: str, logits: Tensor) -> Tensor:
    scores = check.call(what, lambda: detector.score(logits))
    check.that(isinstance(scores, Tensor), f"{what}: expected a tensor, got {type(scores).__name__}")
    shape = (logits.shape[0], *logits.shape[2:])
    check.that(
        tuple(scores.shape) == shape, f"{what}: expected scores of shape {shape}, got {tuple(scores.shape)}"
    )
    wide = scores.dtype in (torch.float32, torch.float64)
    check.that(
        wide, f"{what}: scores of {scores.dtype} collapse into few values; expected float32 or float64"
    )
    check.that(bool(scores.isfinite().all()), f"{what}: scores are not finite")
    found: Tensor = scores.detach()
    return found


def _namespaces(roots: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return the namespaces of every loaded module below the roots, less the submodules that imports add."""
    prefixes = tuple(f"{root}." for root in roots)
    return {
        name: {key: value for key, value in vars(module).items() if not isinstance(value, ModuleType)}
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and f"{name}.".startswith(prefixes or "\0")
    }


def _differences(before: dict[str, dict[str, object]], after: dict[str, dict[str, object]]) -> list[str]:
    absent = object()
    return [
        f"{module}.{key}"
        for module, known in before.items()
        for key in sorted(known.keys() | after[module].keys())
        if known.get(key, absent) is not after[module].get(key, absent)
    ]
