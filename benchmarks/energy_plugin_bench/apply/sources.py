"""The images of a fine-tuning: to train on and to measure with, and what the network takes of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from energy_plugin_bench.apply.images import Images
from energy_plugin_bench.apply.preprocess import DataConfig
from energy_plugin_bench.apply.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The images of a run."""

    known: Images
    outliers: Images | None
    known_test: Images
    ood_tests: Mapping[str, Images]

    def unreadable(self) -> dict[str, str]:
        """Everything that could not be read, with the reasons."""
        every = [self.known, self.outliers, self.known_test, *self.ood_tests.values()]
        return {name: why for one in every if one is not None for name, why in one.unreadable.items()}

    def digest(self) -> str:
        """What tells these images from others: names and labels of all."""
        every = [self.known, self.outliers, self.known_test, *self.ood_tests.values()]
        text = json.dumps([[list(one.names), one.labels.tolist()] for one in every if one is not None])
        return hashlib.sha256(text.encode()).hexdigest()


def sources(settings: Settings, find: Callable[[str], Images]) -> Sources:
    """Open all images, and hold some out where there are none to measure with.

    Raises:
        ValueError: ID images without classes, or nothing to measure the detection with.
    """
    known = find(settings.known)
    if (known.labels < 0).any():
        lacking = int((known.labels < 0).sum())
        raise ValueError(
            f"{lacking:,} of the {len(known):,} ID images of {known.source} have no class; give each class a "
            "subfolder, or an npz archive with labels."
        )
    outliers = find(settings.outliers) if settings.outliers else None
    ood_tests = {name: find(source) for name, source in settings.ood_tests.items()}
    if settings.known_test:
        known_test = find(settings.known_test)
    else:
        known, known_test = split(known, settings.hold_out, settings.seed)
    if not ood_tests:
        if outliers is None:
            raise ValueError("there is nothing to measure the detection with: give --outliers or --ood-test.")
        outliers, held = split(outliers, settings.hold_out, settings.seed)
        ood_tests = {"held-out outliers": held}
    return Sources(known=known, outliers=outliers, known_test=known_test, ood_tests=ood_tests)


def split(whole: Images, share: float, seed: int) -> tuple[Images, Images]:
    """Hold out a share of the images, drawn at random by the seed.

    Raises:
        ValueError: A side would be empty.
    """
    held = round(len(whole) * share)
    if not 0 < held < len(whole):
        raise ValueError(
            f"a share {share} of the {len(whole)} images of {whole.source} leaves one side empty."
        )
    order = np.random.default_rng((seed, 4)).permutation(len(whole))
    return whole.only(np.sort(order[held:])), whole.only(np.sort(order[:held]))


def data_config(wished: Mapping[str, Any], told: Mapping[str, Any], known: Images) -> DataConfig:
    """What images the network takes: as the user says, else the network, else as the ID images are.

    Raises:
        ValueError: Nobody says, and no ID image can be read.
    """
    values = dict(told)
    if "input_size" not in {**values, **wished}:
        kept, found = known.read(range(min(len(known), 16)), lambda image, _: np.asarray(image))
        if not kept:
            raise ValueError(f"the first images of {known.source} cannot be read: {known.unreadable}")
        height, width = found[0].shape[:2]
        values["input_size"] = (1 if found[0].ndim == 2 else 3, height, width)
    return DataConfig.of(values, **wished)


def check_classes(outputs: int, known: Images) -> None:
    """Refuse labels that the network has no logit for.

    Raises:
        ValueError: There are some.
    """
    classes = int(known.labels.max()) + 1
    if classes > outputs:
        raise ValueError(
            f"the network gives {outputs} logits, the ID images have classes up to {classes - 1}: make "
            f"it with --option num_classes={classes} (timm; other plug-ins have another name for it)."
        )
