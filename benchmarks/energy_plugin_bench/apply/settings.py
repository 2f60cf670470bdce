"""What decides the result of a fine-tuning, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from energy_plugin_bench.apply.loop import Amp
from energy_plugin_bench.apply.preprocess import Augment


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the result; two runs with the same settings, machine and versions give the same weights.

    Attributes:
        backbone: Name of a plug-in's network, or a file that an earlier run wrote.
        options: For the plug-in's factory.
        weights: File of weights for it.
        pretrained: Whether the plug-in brings the weights.
        known: ID images, with classes.
        outliers: Auxiliary outliers; empty trains with the cross-entropy alone.
        known_test: ID images to measure with; empty holds out a share of `known`.
        ood_tests: Outliers to measure with, by name; empty holds out a share of `outliers`.
        hold_out: That share.
        data: What images the network takes, as far as the user says so.
        margins: `measured`, or the two.
        alpha: Weight of the hinge.
        reduction: As the loss takes it.
        epochs: Times that every ID image is seen.
        lr: At the first step; a cosine leads to `final_lr`.
        final_lr: At the last step.
        weight_decay: Of the optimiser.
        batch_id: ID images a step.
        batch_ood: Outliers a step.
        accumulate: Micro-batches a step.
        augment: How training images are moved at random.
        amp: Half precision.
        seed: Of everything random.
        convention: Whose rules the figures follow.
    """

    backbone: str
    options: Mapping[str, Any]
    weights: str = ""
    pretrained: bool = False
    known: str
    outliers: str = ""
    known_test: str = ""
    ood_tests: Mapping[str, str]
    hold_out: float = 0.1
    data: Mapping[str, Any]
    margins: Literal["measured"] | tuple[float, float] = "measured"
    alpha: float
    reduction: Literal["group_mean", "mean"] = "group_mean"
    epochs: int
    lr: float
    final_lr: float = 1e-6
    weight_decay: float = 5e-4
    batch_id: int
    batch_ood: int
    accumulate: int = 1
    augment: Augment = "none"
    amp: Amp = "off"
    seed: int = 0
    convention: str = "energy_ood"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how a run happens; changes nothing in its result.

    Attributes:
        out: Folder for what it writes.
        data_root: Where relative sources are looked for.
        resume: Whether to go on from a checkpoint in `out`.
        checkpoint_every: Steps between checkpoints.
        workers: Threads that read images.
        random_weights: Whether an untrained network is meant to be one.
    """

    out: Path
    data_root: Path | None = None
    resume: bool = False
    checkpoint_every: int = 200
    workers: int = 4
    random_weights: bool = False
