"""The one line for OpenOOD: the name `energy_plugin` wherever it looks postprocessors and trainers up.

Four lookups: the dictionary of the evaluation API; its `get_postprocessor`, which would download a
configuration file for the name; the `get_postprocessor` of the pipelines; their `get_trainer`. The functions
are replaced in every module of OpenOOD that has been imported and hand all other names on. Without
registering, pass an instance: `Evaluator(net, id_name, postprocessor=EnergyPluginPostprocessor())`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from openood.evaluation_api import postprocessor as evaluation
from openood.postprocessors import utils as pipelines
from openood.trainers import utils as training

from energy_plugin.registration import Change, Registration, attribute, item
from energy_plugin_openood.postprocessor import EnergyPluginPostprocessor
from energy_plugin_openood.settings import setting
from energy_plugin_openood.trainer import EnergyPluginTrainer

__all__ = ["NAME", "EnergyPluginPostprocessor", "EnergyPluginTrainer", "register"]

NAME = "energy_plugin"


def register() -> Registration:
    """Add the postprocessor and the trainer under their name."""
    return Registration(
        "openood",
        [
            item(evaluation.postprocessors, NAME, EnergyPluginPostprocessor),
            *_everywhere("get_postprocessor", evaluation.get_postprocessor, _by_file),
            *_everywhere("get_postprocessor", pipelines.get_postprocessor, _by_config),
            *_everywhere("get_trainer", training.get_trainer, _trainer),
        ],
    )


def _everywhere(
    name: str, original: Callable[..., Any], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> list[Change]:
    """Replace a function in every module of the host that holds it, for most import it by name."""
    replacement = functools.wraps(original)(wrap(original))
    places = [
        module
        for path, module in sorted(sys.modules.items())
        if isinstance(module, ModuleType) and f"{path}.".startswith("openood.")
    ]
    return [attribute(place, name, replacement) for place in places if vars(place).get(name) is original]


def _by_file(original: Callable[..., Any]) -> Callable[..., Any]:
    """Of the evaluation API: a configuration file is honoured where there is one, and none is needed."""

    def get_postprocessor(config_root: str, postprocessor_name: str, id_data_name: str) -> Any:
        file = Path(config_root, "postprocessors", f"{NAME}.yml")
        if postprocessor_name == NAME and not file.exists():
            return EnergyPluginPostprocessor()
        return original(config_root, postprocessor_name, id_data_name)

    return get_postprocessor


def _by_config(original: Callable[..., Any]) -> Callable[..., Any]:
    """Of the pipelines, which name the postprocessor in their configuration."""

    def get_postprocessor(config: Any) -> Any:
        ours = setting(config, "postprocessor.name") == NAME
        return EnergyPluginPostprocessor(config) if ours else original(config)

    return get_postprocessor


def _trainer(original: Callable[..., Any]) -> Callable[..., Any]:
    """Of the pipelines: the outlier exposure pipeline hands over both loaders as a pair, the config last."""

    def get_trainer(net: Any, train_loader: Any, *others: Any, **named: Any) -> Any:
        config = named["config"] if "config" in named else others[-1]
        if setting(config, "trainer.name") != NAME:
            return original(net, train_loader, *others, **named)
        if not isinstance(train_loader, (list, tuple)) or len(train_loader) != 2:
            raise ValueError(
                f"trainer {NAME!r} needs ID batches and outliers: the pipeline 'train_oe' hands both over."
            )
        known, outliers = train_loader
        return EnergyPluginTrainer(net, known, outliers, config)

    return get_trainer
