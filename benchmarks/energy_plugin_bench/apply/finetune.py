"""`energy-plugin finetune`: energy-regularised fine-tuning of any backbone on any images."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from energy_plugin.manager import default_manager
from energy_plugin.margins import PRESETS, preset
from energy_plugin.metrics import convention
from energy_plugin_bench.apply import options as common
from energy_plugin_bench.apply.finetuning import Finetuning
from energy_plugin_bench.apply.loop import AMP_DTYPES
from energy_plugin_bench.apply.preprocess import AUGMENTS
from energy_plugin_bench.apply.processes import joined
from energy_plugin_bench.apply.progress import Progress
from energy_plugin_bench.apply.settings import Place, Settings
from energy_plugin_bench.arguments import at_least, folder, number, share

EPILOG = """\
examples:
  energy-plugin finetune --backbone timm:resnet50.a1_in1k --pretrained --option num_classes=12 \\
      --id photos/known --outliers photos/other --out runs/first
  energy-plugin finetune ... --resume                    (goes on after a break, to the same weights)
  torchrun --nproc-per-node 4 -m energy_plugin.cli finetune ...          (several GPUs, the same result)

A source of images is a folder (its subfolders are the classes), an .npz file with `images` and `labels`
(uint8), or the name of a plug-in's data set (`energy-plugin list dataset`).
"""


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Describe the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    common.add_network(parser)
    group = parser.add_argument_group("images")
    group.add_argument("--id", required=True, metavar="SOURCE", help="in-distribution images, with classes")
    group.add_argument(
        "--outliers",
        metavar="SOURCE",
        default="",
        help="auxiliary outliers; without any, cross-entropy alone, and --ood-test is needed to measure with",
    )
    group.add_argument(
        "--id-test", metavar="SOURCE", default="", help="to measure with (else a part is held out)"
    )
    group.add_argument(
        "--ood-test",
        metavar="[NAME=]SOURCE",
        action="append",
        default=[],
        help="outliers to measure with; may be repeated (else a part of --outliers is held out)",
    )
    group.add_argument(
        "--hold-out",
        type=share(whole=False),
        default=0.1,
        metavar="SHARE",
        help="where there is no test source (0.1)",
    )
    common.add_images(parser)
    _add_training(parser)
    _add_run(parser)
    return run


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training (what is not given comes from the preset)")
    group.add_argument(
        "--preset", default="liu2020-default", help=f"published schedule: {', '.join(sorted(PRESETS))}"
    )
    group.add_argument(
        "--margins",
        default="measured",
        metavar="measured|published|IN,OUT",
        help="measured on the network before training (default), the preset's, or as --margins=-11,-7",
    )
    for name, kind in (
        ("alpha", number(0)),
        ("epochs", at_least(1)),
        ("lr", number(0, beyond=True)),
        ("batch-id", at_least(1)),
        ("batch-ood", at_least(1)),
    ):
        group.add_argument(f"--{name}", type=kind)
    group.add_argument("--final-lr", type=number(0), default=1e-6, help="where the cosine ends (1e-6)")
    group.add_argument("--weight-decay", type=number(0), default=5e-4, help="of the optimiser (0.0005)")
    group.add_argument("--augment", choices=AUGMENTS, default="none")
    group.add_argument(
        "--accumulate", type=at_least(1), default=1, metavar="PARTS", help="micro-batches a step"
    )
    group.add_argument("--amp", choices=("off", *AMP_DTYPES), default="off", help="half precision")
    group.add_argument("--seed", type=at_least(0), default=0, help="of everything random (0)")


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--out", required=True, type=folder, help="folder for model, checkpoint, log and result"
    )
    group.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out, if there is one"
    )
    group.add_argument(
        "--checkpoint-every",
        type=at_least(1),
        default=200,
        metavar="STEPS",
        help="between checkpoints (default 200); one more is written at the end, and at Ctrl-C",
    )
    group.add_argument("--convention", default="energy_ood", help="whose rules AUROC and FPR95 follow")
    common.add_run(group)


def run(options: argparse.Namespace) -> int:
    """Fine-tune and print the figures before and after."""
    return common.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    place = Place(
        out=options.out,
        data_root=options.data_root,
        resume=options.resume,
        checkpoint_every=options.checkpoint_every,
        workers=options.workers,
        random_weights=options.random_weights,
    )
    with joined(options.device) as process, warnings.catch_warnings():
        progress = Progress(show=process.first and not options.quiet)
        warnings.simplefilter("always", UserWarning)  # they are this command's messages
        if process.first:
            warnings.showwarning = lambda message, *_, **__: progress.say(f"warning: {message}")
        result = Finetuning(settings, place, process, default_manager(), progress).run()
        if process.first:
            for name, why in result["unreadable"].items():
                progress.say(f"left out, cannot be read: {name}: {why}")
            progress.say(f"margins: {result['margins']['measured']}")
            _print(result, as_json=options.json)
    return 0


def settings_of(options: argparse.Namespace) -> Settings:
    """Fill in what the user did not say from the preset.

    Raises:
        LookupError: No such preset or convention.
        ValueError: Margins that cannot be read.
    """
    known = preset(options.preset)
    convention(options.convention)
    given = {
        "alpha": options.alpha,
        "epochs": options.epochs,
        "lr": options.lr,
        "batch_id": options.batch_id,
        "batch_ood": options.batch_ood,
    }
    published = {name: getattr(known, name) for name in given}
    if published["batch_ood"] is None:
        raise ValueError(f"the preset {known.name!r} is for {known.task}; finetune trains classifiers.")
    chosen: dict[str, Any] = published | {name: value for name, value in given.items() if value is not None}
    return Settings(
        backbone=options.backbone,
        options=dict(options.option),
        weights=str(options.weights or ""),
        pretrained=options.pretrained,
        known=options.id,
        outliers=options.outliers,
        known_test=options.id_test,
        ood_tests=dict(_named(text) for text in options.ood_test),
        hold_out=options.hold_out,
        data=common.data_wishes(options),
        margins=_margins(options.margins, (known.margin_in, known.margin_out)),
        **chosen,
        **{
            name: getattr(options, name)
            for name in ("final_lr", "weight_decay", "accumulate", "augment", "amp", "seed", "convention")
        },
    )


def _margins(text: str, published: tuple[float, float]) -> Any:
    if text in ("measured", "published"):
        return text if text == "measured" else published
    try:
        margin_in, margin_out = map(float, text.split(","))
    except ValueError as error:
        raise ValueError(
            f"--margins is {text!r}; expected 'measured', 'published', or numbers, as --margins=-11,-7"
        ) from error
    if not (math.isfinite(margin_in) and math.isfinite(margin_out) and margin_in < margin_out):
        raise ValueError(
            f"--margins is {text!r}: margin_in={margin_in:g} must be below margin_out={margin_out:g}, as in "
            "--margins=-11,-7, since energies of ID images are the lower ones."
        )
    return margin_in, margin_out


def _named(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    return (name, source) if equals else (Path(text).stem, text)


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return
    table = Table("", "before", "after")
    before, after = result["before"], result["after"]
    for name in ("accuracy", "mean_energy"):
        percent = name == "accuracy"
        table.add_row(
            name, *(f"{100 * r[name]:.2f} %" if percent else f"{r[name]:.2f}" for r in (before, after))
        )
    for name in before["outliers"]:
        for metric in ("auroc", "fpr95"):
            pair = (r["outliers"][name][metric] for r in (before, after))
            table.add_row(f"{name}: {metric}", *(f"{100 * value:.2f} %" for value in pair))
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "110"))
    console = Console(width=width)
    console.print(table)
    console.print(f"loss: {result['loss']}", soft_wrap=True)
    console.print(f"{result['steps']} steps, {result['seconds']:.0f} s; {result['model']}", soft_wrap=True)
