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
from energy_plugin.manager import PluginManager, default_manager
from energy_plugin.metrics import CONVENTIONS
from energy_plugin.segmentation import Outcome, Seen, evaluate
from energy_plugin_bench.inputs import pairs
from energy_plugin_bench.inputs.weights import load_weights
from energy_plugin_bench.verdicts.pixels import method

WELL, USAGE = 0, 2
COLUMNS = ("detector", "convention", "AP", "FPR95", "FPR95 (ID positive)", "AUROC", "images", "within")


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the command's arguments and return what runs it."""
    parser.epilog = (
        "Example: energy-plugin evaluate images masks --ood 1 --void 255 --network enet --option classes=20 "
        "--weights enet.safetensors --classes 19 --map-dir maps. Figures are in per cent."
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
    parser.add_argument("--temperature", type=float, default=1.0, help="of the energy (default: 1)")
    parser.add_argument(
        "--convention", action="append", choices=sorted(CONVENTIONS), metavar="NAME",
        help="how figures are computed; repeatable (default: fishyscapes-server)",
    )  # fmt: skip
    parser.add_argument("--per-image", action="store_true", help="figures of each image, too")
    parser.add_argument("--map-dir", type=Path, metavar="DIR", help="write a picture of each map here")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
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
        help="a backbone's name (energy-plugin list), or module:function",
    )
    network.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the network; VALUE is JSON or text",
    )
    network.add_argument("--weights", type=Path, metavar="FILE", help="safetensors, loaded strictly")
    network.add_argument("--classes", type=int, default=0, help="outputs that are classes (default: all)")
    network.add_argument("--size", metavar="HxW", help="resize images and masks")
    network.add_argument("--resizer", choices=pairs.RESIZERS, default="pillow")
    network.add_argument(
        "--mean", type=float, nargs="+", default=[], help="of each channel, images being in [0, 1]"
    )
    network.add_argument("--std", type=float, nargs="+", default=[], help="of each channel")
    network.add_argument("--device", default="cpu")


def run(options: argparse.Namespace) -> int:
    """Evaluate, print, and return the exit code."""
    manager = default_manager()
    try:
        data = _data(options)
        outcomes = evaluate(
            data,
            {name: _detector(manager, name, options) for name in options.detector or ["energy"]},
            network=_network(manager, options),
            conventions=options.convention or ["fishyscapes-server"],
            per_image=options.per_image,
            on_image=_watcher(options, len(data)),
        )
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
    if ":" in options.network:
        module, _, function = options.network.partition(":")
        sys.path.insert(0, "")  # modules of the user lie where the command runs
        factory = getattr(importlib.import_module(module), function)
    else:
        factory = manager.get("backbone", options.network).load()
    model = factory(**dict(_option(text) for text in options.option))
    if options.weights is not None:
        load_weights(model, options.weights)
    model = model.eval().to(options.device)
    if len(options.mean) != len(options.std):
        raise ValueError(f"--mean has {len(options.mean)} channels and --std {len(options.std)}.")
    if not options.mean:
        return model  # type: ignore[no-any-return]  # a module
    mean, std = (
        torch.tensor(given, device=options.device).view(-1, 1, 1) for given in (options.mean, options.std)
    )
    return lambda images: model((images.to(options.device) - mean) / std)


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
