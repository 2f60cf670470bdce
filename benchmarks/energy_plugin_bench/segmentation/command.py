"""The command `energy-plugin evaluate`: anomaly segmentation on a folder of images and one of masks."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energy_plugin import labels
from energy_plugin.errors import LabelError, near_misses
from energy_plugin.manager import PluginManager, default_manager
from energy_plugin.metrics import CONVENTIONS
from energy_plugin.segmentation import Outcome, Seen, evaluate
from energy_plugin_bench.apply.networks import brings_weights, random_weights
from energy_plugin_bench.arguments import at_least, folder, number
from energy_plugin_bench.devices import device_of
from energy_plugin_bench.inputs import pairs
from energy_plugin_bench.inputs.weights import load_weights
from energy_plugin_bench.interrupts import StoppedError, ending
from energy_plugin_bench.verdicts.pixels import method

WELL, USAGE = 0, 2
COLUMNS = ("detector", "convention", "AP", "FPR95", "FPR95 (ID positive)", "AUROC", "images", "within")


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the command's arguments and return what runs it."""
    parser.epilog = (
        "Example: energy-plugin evaluate images masks --ood 1 --void 255 --network enet --option classes=20 "
        "--weights enet.safetensors --classes 19 --map-dir maps. The table is in per cent; --json gives "
        "fractions."
    )
    parser.add_argument(
        "images", type=Path, help="folder of images, or a zip archive with images/ and masks/"
    )
    parser.add_argument("masks", type=Path, nargs="?", help="folder of masks with the same names")
    _add_codes(parser)
    _add_network(parser)
    parser.add_argument(
        "--detector", action="append", metavar="NAME", help="energy, msp, ...; repeatable (default: energy)"
    )
    parser.add_argument(
        "--temperature", type=number(0, beyond=True), default=1.0, help="of the energy (default: 1)"
    )
    parser.add_argument(
        "--convention", action="append", choices=sorted(CONVENTIONS), metavar="NAME",
        help="how figures are computed; repeatable (default: fishyscapes-server)",
    )  # fmt: skip
    parser.add_argument("--per-image", action="store_true", help="figures of each image, too")
    parser.add_argument("--map-dir", type=folder, metavar="DIR", help="write a picture of each map here")
    parser.add_argument("--json", action="store_true", help="print one JSON document; figures are fractions")
    return run


def _add_codes(parser: argparse.ArgumentParser) -> None:
    codes = parser.add_argument_group("codes of the masks")
    codes.add_argument(
        "--codes", choices=sorted(labels.CONVENTIONS), metavar="NAME", help="a named convention"
    )
    codes.add_argument("--ood", type=int, nargs="+", metavar="CODE", help="or: codes of anomalies")
    codes.add_argument("--void", type=int, nargs="+", default=[], metavar="CODE", help="codes to leave out")
    codes.add_argument("--id", type=int, nargs="+", metavar="CODE", help="codes of known pixels (default: 0)")
    codes.add_argument("--mask-suffix", default="", help="what a mask's name has beyond its image's")


def _add_network(parser: argparse.ArgumentParser) -> None:
    network = parser.add_argument_group("network")
    network.add_argument(
        "--network",
        required=True,
        metavar="NAME",
        help="a backbone's name (energy-plugin list), else module:function",
    )
    network.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the network; VALUE is JSON or text",
    )
    network.add_argument("--weights", type=Path, metavar="FILE", help="safetensors, loaded strictly")
    network.add_argument(
        "--random-weights", action="store_true", help="evaluate an untrained network all the same"
    )
    network.add_argument(
        "--classes", type=at_least(1), default=0, help="outputs that are classes (default: all)"
    )
    network.add_argument("--size", metavar="HxW", help="resize images and masks")
    network.add_argument("--resizer", choices=pairs.RESIZERS, default="pillow")
    network.add_argument(
        "--mean", type=number(), nargs="+", default=[], help="of each channel, images being in [0, 1]"
    )
    network.add_argument("--std", type=number(0, beyond=True), nargs="+", default=[], help="of each channel")
    network.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")


def run(options: argparse.Namespace) -> int:
    """Evaluate, print, and return the exit code."""
    manager = default_manager()
    try:
        options.device = device_of(options.device)
        _check_normalisation(options)
        data = _data(options)
        with ending():
            outcomes = evaluate(
                data,
                {name: _detector(manager, name, options) for name in options.detector or ["energy"]},
                network=_network(manager, options),
                conventions=options.convention or ["fishyscapes-server"],
                per_image=options.per_image,
                on_image=_watcher(options, len(data)),
            )
    except StoppedError as error:
        sys.stderr.write(f"{error}\n")
        return 128 + error.number
    except LabelError as error:
        sys.stderr.write(f"error: {_codes_advice(error)}\n")
        return USAGE
    except (ImportError, LookupError, OSError, TypeError, ValueError) as error:
        sys.stderr.write(f"error: {error.args[0] if isinstance(error, LookupError) else error}\n")
        return USAGE
    sys.stdout.write(_json(outcomes) if options.json else _text(outcomes))
    return WELL


def _data(options: argparse.Namespace) -> pairs.Pairs:
    """Return the images and masks."""
    settings = {"codes": _codes(options), "size": _size(options.size), "resizer": options.resizer}
    settings["mask_suffix"] = options.mask_suffix
    if options.masks is not None:
        return pairs.folders(options.images, options.masks, **settings)
    if options.images.is_file():
        return pairs.archive(options.images, **settings)
    raise ValueError(f"{options.images} is no archive: give a folder of masks as well.")


def _codes(options: argparse.Namespace) -> str | labels.LabelConvention:
    if bool(options.codes) == bool(options.ood):
        raise ValueError(
            "say what the codes of the masks mean, by --codes NAME or by --ood (with --void, --id)."
        )
    if options.codes:
        return str(options.codes)
    classes = tuple(options.id) if options.id else (0,)
    return labels.LabelConvention(
        name="given", ood=tuple(options.ood), void=tuple(options.void), classes=classes
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"--size {text!r}: expected height and width, such as 512x1024.")
    return int(height), int(width)


def _network(manager: PluginManager, options: argparse.Namespace) -> Callable[[Tensor], Any]:
    """Return the network with its weights and normalisation."""
    given = dict(_option(text) for text in options.option)
    factory, own = _factory(manager, options.network)
    if not (own or options.weights or options.random_weights or brings_weights(given)):
        raise random_weights(options.network, "whose figures mean nothing", "--weights FILE")
    model = factory(**given)
    if options.weights is not None:
        load_weights(model, options.weights)
    model = model.eval().to(options.device)
    if not options.mean:
        return model  # type: ignore[no-any-return]  # a module
    mean, std = (
        torch.tensor(given, device=options.device).view(-1, 1, 1) for given in (options.mean, options.std)
    )
    return lambda images: model((images.to(options.device) - mean) / std)


def _factory(manager: PluginManager, name: str) -> tuple[Callable[..., Any], bool]:
    """Return what makes the network, and whether it is the user's own function, which knows its weights."""
    try:
        spec = manager.get("backbone", name)
    except LookupError:
        if ":" not in name:
            raise
        return _function(name), True
    if spec.tasks and "segmentation" not in spec.tasks:
        raise ValueError(
            f"the network {name!r} is for {', '.join(spec.tasks)}; expected one for segmentation, with "
            "logits B x C x H x W (energy-plugin list backbone; or your own, as module:function)."
        )
    return spec.load(), False


def _function(name: str) -> Callable[..., Any]:
    """Return the user's function.

    Raises:
        LookupError: There is no such module, or no such function in it.
    """
    module, _, function = name.partition(":")
    sys.path.insert(0, "")  # modules of the user lie where the command runs
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the user's module imports
        raise LookupError(
            f"{name!r} is neither a backbone of a plug-in (energy-plugin list backbone) nor is there a "
            f"module {module!r} in the working folder or on Python's path."
        ) from error
    try:
        return getattr(found, function)  # type: ignore[no-any-return]  # called with the options below
    except AttributeError as error:
        raise LookupError(
            f"the module {module!r} has no {function!r}. {near_misses(function, vars(found))}"
        ) from error


def _check_normalisation(options: argparse.Namespace) -> None:
    if bool(options.mean) != bool(options.std):
        given, lacking = ("--mean", "--std") if options.mean else ("--std", "--mean")
        raise ValueError(f"{given} is given alone: give {lacking} as well.")
    if len(options.mean) != len(options.std):
        raise ValueError(f"--mean has {len(options.mean)} channels and --std {len(options.std)}.")


def _codes_advice(error: Exception) -> str:
    """Return an unknown code's message with our options; its last sentence is for callers in Python."""
    facts, _, _ = str(error).partition(" Name another convention")
    return (
        f"{facts} Say what each code means: --id for known pixels, --ood for anomalies, --void for what is "
        "left out; or name the data set's convention with --codes."
    )


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option {text!r}: expected KEY=VALUE.")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _detector(manager: PluginManager, name: str, options: argparse.Namespace) -> Any:
    """Return a detector by name, over the classes."""
    settings = {"temperature": options.temperature} if name == "energy" else {}
    return method(manager, name, options.classes, **settings)


def _watcher(options: argparse.Namespace, total: int) -> Callable[[Seen], None]:
    """Return what is told of each image: progress for people, and the picture."""
    if options.map_dir is not None:
        from energy_plugin_bench.segmentation.overlays import save  # matplotlib, only for pictures

    def told(seen: Seen) -> None:
        if options.map_dir is not None:
            save(seen, options.map_dir)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{seen.index + 1} of {total} images" + "\n" * (seen.index + 1 == total))

    return told


def _json(outcomes: Mapping[str, Outcome]) -> str:
    return json.dumps([outcome.to_dict() for outcome in outcomes.values()], indent=2) + "\n"


def _text(outcomes: Mapping[str, Outcome]) -> str:
    """Return a table in per cent; AP is that of OOD pixels."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for name, outcome in outcomes.items():
        for convention, found in outcome.figures.items():
            aupr = "-" if found.aupr_out is None else f"{100 * found.aupr_out:.4f}"
            rates = (f"{100 * value:.4f}" for value in (found.fpr95_ood, found.fpr95_id, found.auroc))
            bound = f"{100 * found.bound:.4f}" if found.bound else "exact"
            images = f"{found.n_images}" + (f" ({found.n_skipped} left out)" if found.n_skipped else "")
            rows.append((name, convention, aupr, *rates, images, bound))
    table = _aligned(rows)
    for name, outcome in outcomes.items():
        if outcome.images:
            shown: list[tuple[str, ...]] = [("image", "AP", "FPR95", "AUROC", "OOD pixels")]
            shown += [
                (i.name, *(_percent(v) for v in (i.aupr_out, i.fpr95, i.auroc)), str(i.n_ood))
                for i in outcome.images
            ]
            table += f"\n{name}\n{_aligned(shown)}"
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.4f}"


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"
