"""Arguments that `finetune` and `score` share, and how their errors reach the user."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from energy_plugin_bench.apply.loop import DivergedError
from energy_plugin_bench.apply.networks import option
from energy_plugin_bench.apply.preprocess import RESAMPLING
from energy_plugin_bench.arguments import at_least, number, share
from energy_plugin_bench.interrupts import StoppedError, ending

WELL, USAGE, CANNOT_RUN = 0, 2, 3


def add_network(parser: argparse.ArgumentParser) -> None:
    """Which network, and where its weights come from."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--backbone",
        required=True,
        metavar="NAME|FILE",
        help="a plug-in's network (`energy-plugin list backbone`, timm:NAME), or a file that finetune wrote",
    )
    group.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="such as num_classes=10",
    )
    group.add_argument("--weights", type=Path, metavar="FILE", help="safetensors, or tensors of torch.save")
    group.add_argument(
        "--pretrained", action="store_true", help="the plug-in brings the weights (may download)"
    )
    group.add_argument("--random-weights", action="store_true", help="an untrained network is meant")


def add_images(parser: argparse.ArgumentParser) -> None:
    """How images are made ready, where the network does not say."""
    group = parser.add_argument_group("images as the network takes them (it mostly says so itself)")
    group.add_argument(
        "--data-root", type=Path, metavar="FOLDER", help="where relative sources are looked for"
    )
    group.add_argument("--input-size", type=_numbers(at_least(1), 3), metavar="C,H,W")
    group.add_argument("--mean", type=_numbers(number()), metavar="M[,M,M]", help="of pixels in [0, 1]")
    group.add_argument("--std", type=_numbers(number(0, beyond=True)), metavar="S[,S,S]")
    group.add_argument("--interpolation", choices=sorted(RESAMPLING))
    group.add_argument("--crop-pct", type=share(whole=True), metavar="SHARE")


def add_run(group: argparse._ArgumentGroup) -> None:
    """Where it runs, and what it says."""
    group.add_argument("--device", help="cpu, cuda, ...; a GPU where there is one")
    group.add_argument(
        "--workers", type=at_least(1), default=4, metavar="THREADS", help="that read images (4)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
    group.add_argument("--json", action="store_true", help="print one JSON document")


def data_wishes(options: argparse.Namespace) -> dict[str, Any]:
    """What the user said about images."""
    names = ("input_size", "mean", "std", "interpolation", "crop_pct")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what the user can mend becomes a message and an exit code, not a traceback."""
    try:
        with ending():
            return command()
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, StoppedError) else StoppedError()
        return _complain(stop, 128 + stop.number)  # as shells have it: 130 for Ctrl-C, 143 for SIGTERM
    except DivergedError as error:
        return _complain(error, CANNOT_RUN)
    except ImportError as error:
        return _complain(error, CANNOT_RUN)
    except (LookupError, OSError, TypeError, ValueError) as error:
        return _complain(error, USAGE)


def _complain(error: BaseException, code: int) -> int:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    sys.stderr.write(f"energy-plugin: {text}\n")
    return code


def _option(text: str) -> tuple[str, Any]:
    try:
        return option(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _numbers(kind: Callable[[str], Any], count: int | None = None) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        values = tuple(kind(part) for part in text.split(","))
        if count is not None and len(values) != count:
            raise argparse.ArgumentTypeError(f"expected {count} numbers, got {text!r}")
        return values

    return read
