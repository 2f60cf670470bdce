"""Ways to measure wrongly, each on carried inputs: what becomes of figures that are reproduced otherwise."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import energy_plugin_bench
from energy_plugin import hookimpl
from energy_plugin.manager import PluginManager
from energy_plugin.metrics import CONVENTIONS, FPR_RULES, Convention, evaluate
from energy_plugin.records import DetectorSpec
from energy_plugin_bench.inputs.assets import Assets, digest
from energy_plugin_bench.values.registry import Registry
from energy_plugin_bench.verdicts import measure
from energy_plugin_bench.verdicts.runner import Runner
from energy_plugin_bench.verdicts.verdict import Verdict

WEIGHTS = "mnist/weights/baseline_epoch_9.safetensors"
OE, SONG = "outlier_exposure_mnist", "song_energy_ood"
MSP = (
    "oe_mnist_baseline_fashion_mnist_fpr95",
    "oe_mnist_baseline_fashion_mnist_auroc",
    "oe_mnist_baseline_fashion_mnist_aupr",
    "oe_mnist_baseline_error_detection_fpr95",
)
FEW = (
    "oe_mnist_oe_scratch_error_detection_fpr95",
    "oe_mnist_oe_tune_error_detection_fpr95",
    "song_mnist_pretrained_errordetection_tnr95",
)
"""Of a few dozen positives each, wrongly classified images: here the rules for the threshold part."""
ENERGY = (
    "song_mnist_pretrained_energy_tnr95",
    "song_mnist_pretrained_energy_auroc",
    "song_mnist_pretrained_energy_aupr",
)
ERROR = ("oe_mnist_baseline_error_rate",)


@dataclasses.dataclass(frozen=True)
class Line:
    """One figure under one sabotage.

    Attributes:
        what: The sabotage.
        right: Verdict without it.
        wrong: Verdict with it.
        blind: Why this figure cannot show it; empty if it must.
    """

    what: str
    right: Verdict
    wrong: Verdict
    blind: str = ""


Judge = Callable[[tuple[str, ...]], dict[str, Verdict]]


def judge(runner: Runner, names: tuple[str, ...]) -> dict[str, Verdict]:
    """Verdicts on rows by id."""
    rows = {row.id: (source, row) for source, row in runner.registry.rows()}
    return {name: runner.verdict(*rows[name]) for name in names}


def on(registry: Registry, data_root: Path | None = None, manager: PluginManager | None = None) -> Runner:
    return Runner(registry, Assets(registry.files, data_root), manager=manager)


@cache
def _seen() -> dict[object, object]:
    """Logits that mistakes after the network share."""
    return {}


def after(registry: Registry, manager: PluginManager | None = None) -> Runner:
    """A runner for mistakes that come after the network: every image is seen once for all of them."""
    runner = on(registry, manager=manager)
    runner.passes._known = _seen()
    return runner


class _Flipped:
    @hookimpl
    def ood_detectors(self):
        return [
            DetectorSpec(name="energy", target="energy_plugin.detector:EnergyDetector", higher_is="id"),
            DetectorSpec(
                name="msp", target="energy_plugin_bench.verdicts.detectors:MaxSoftmax", higher_is="id"
            ),
        ]


class _WithoutDetectors:
    """The harness less its detectors, whose names another plug-in takes."""

    ood_backbones = energy_plugin_bench.ood_backbones
    ood_datasets = energy_plugin_bench.ood_datasets
    ood_published = energy_plugin_bench.ood_published


def flipped(registry: Registry) -> dict[str, Verdict]:
    manager = PluginManager().add(_WithoutDetectors, "harness").add(_Flipped(), "flipped")
    return judge(after(registry, manager), MSP + ENERGY)


def under(
    convention: Callable[[Convention], Convention], names: tuple[str, ...]
) -> Callable[[Registry], dict[str, Verdict]]:
    """Measure rows under changed conventions."""

    def measured(registry: Registry) -> dict[str, Verdict]:
        def changed(inward, outward, name):
            return evaluate(inward, outward, convention(CONVENTIONS[name]))

        with mock.patch.object(measure, "evaluate", changed):
            return judge(after(registry), names)

    return measured


def other_side(convention: Convention) -> Convention:
    return dataclasses.replace(convention, positive="id" if convention.positive == "ood" else "ood")


def ruled(rule: str, names: tuple[str, ...]) -> Callable[[Registry], dict[str, Verdict]]:
    """Take another threshold for 95 %."""
    return under(lambda convention: dataclasses.replace(convention, fpr_rule=rule), names)


def undivided(registry: Registry) -> dict[str, Verdict]:
    def as_it_is(images):
        return torch.from_numpy(np.ascontiguousarray(images)).float().unsqueeze(1)

    with mock.patch("energy_plugin_bench.inputs.reading.as_batch", as_it_is):
        return judge(on(registry), MSP + ERROR)


def one_weight(registry: Registry) -> dict[str, Verdict]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / WEIGHTS
        file.parent.mkdir(parents=True)
        tensors = load_file(on(registry).assets.find(WEIGHTS))
        tensors["fc2.bias"][3] += 4
        save_file(tensors, file)
        forged = registry.files[WEIGHTS].model_copy(update={"sha256": digest(file)})
        registry = dataclasses.replace(registry, files={**registry.files, WEIGHTS: forged})
        return judge(on(registry, Path(folder)), MSP + ERROR)


def other_set(registry: Registry) -> dict[str, Verdict]:
    inputs = dict(registry.recipes[OE].inputs)
    inputs["fashion_mnist"], inputs["negative_mnist"] = inputs["negative_mnist"], inputs["fashion_mnist"]
    return judge(on(_with_recipe(registry, OE, inputs=inputs)), MSP[:3])


def sides_exchanged(registry: Registry) -> dict[str, Verdict]:
    sets = dict(registry.recipes[SONG].sets)
    sets["mnist_test_0to7"], sets["mnist_test_8to9"] = sets["mnist_test_8to9"], sets["mnist_test_0to7"]
    # Fewer images are left to draw from than a draw takes, so the area that is drawn is left out.
    return judge(on(_with_recipe(registry, SONG, sets=sets)), ENERGY[:2])


def _with_recipe(registry: Registry, source: str, **changes) -> Registry:
    recipe = registry.recipes[source].model_copy(update=changes)
    return dataclasses.replace(registry, recipes={**registry.recipes, source: recipe})


SAME_AREA = "AUROC is the same whichever kind is positive"
DRAWN = "moves it by less than the spread of the source's draws"
SAME_POINT = "both rules take the same threshold here"
SABOTAGES: dict[str, tuple[Callable[[Registry], dict[str, Verdict]], dict[str, str]]] = {
    "the sign of the score flipped": (flipped, {}),
    "the positive class swapped": (
        under(other_side, MSP + ENERGY),
        {MSP[1]: SAME_AREA, ENERGY[1]: SAME_AREA},
    ),
    "the first threshold that reaches 95 %, not the nearest": (
        ruled("first", (MSP[0], ENERGY[0], *FEW)),
        {MSP[0]: DRAWN, ENERGY[0]: DRAWN, FEW[1]: SAME_POINT},
    ),
    "the threshold at rank 0.95 n, rounded down": (
        ruled("rank-floor", (MSP[0], ENERGY[0], *FEW)),
        {MSP[0]: DRAWN, ENERGY[0]: DRAWN},
    ),
    "thresholds at every fourth score only": (
        ruled("every-fourth", (MSP[0], ENERGY[0], *FEW)),
        {MSP[0]: DRAWN, ENERGY[0]: DRAWN, FEW[2]: SAME_POINT},
    ),
    "pixels not divided by 255": (undivided, {}),
    "one weight of 21,840 changed": (one_weight, {}),
    "two OOD sets exchanged": (other_set, {}),
    "in-distribution and OOD images exchanged": (sides_exchanged, {}),
}
"""What is done wrongly, and which figures cannot show it, with the reason."""


def lines(registry: Registry) -> Iterator[Line]:
    """Every sabotage on its figures."""
    right = judge(after(registry), MSP + FEW + ENERGY + ERROR)
    for what, (sabotage, blind) in SABOTAGES.items():
        for name, wrong in sabotage(registry).items():
            yield Line(what, right[name], wrong, blind.get(name, ""))


FEW_POSITIVES = 94


@dataclasses.dataclass(frozen=True)
class Moved:
    """FPR95 of one pair of sets under a convention, and how far sabotages move it, in percent."""

    convention: Convention
    stated: float
    flipped: float
    swapped: float
    rule: str
    by_rule: float


def moves(registry: Registry) -> Iterator[Moved]:
    """The energy of a carried network, digits against letters, under every convention."""
    runner = after(registry)
    recipe = registry.recipes[OE]
    inward, outward = (
        measure.outlier_scores(
            runner.manager, "energy", runner.passes(recipe, "baseline_epoch_9", name).logits
        )
        for name in ("mnist_test", "notmnist")
    )
    for convention in CONVENTIONS.values():
        # Few of the positive kind, so that rules for the threshold part.
        sides = (
            (inward[:FEW_POSITIVES], outward)
            if convention.positive == "id"
            else (inward, outward[:FEW_POSITIVES])
        )

        def rate(chosen: Convention, sign: int = 1, sides: tuple[torch.Tensor, ...] = sides) -> float:
            return 100 * evaluate(sign * sides[0], sign * sides[1], chosen).fpr95

        by_rule = {rule: rate(dataclasses.replace(convention, fpr_rule=rule)) for rule in FPR_RULES}
        stated = rate(convention)
        farthest = max(by_rule, key=lambda rule: abs(by_rule[rule] - stated))
        yield Moved(
            convention,
            stated,
            rate(convention, -1),
            rate(other_side(convention)),
            farthest,
            by_rule[farthest],
        )
