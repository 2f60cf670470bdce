"""`energy-plugin score`: which images of a folder are out-of-distribution for a network."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence

from energy_plugin.detector import EnergyDetector
from energy_plugin.manager import default_manager
from energy_plugin_bench.apply import checkpoint, images, measure, networks, scoring
from energy_plugin_bench.apply import options as common
from energy_plugin_bench.apply.images import Images
from energy_plugin_bench.apply.preprocess import DataConfig
from energy_plugin_bench.apply.progress import Progress
from energy_plugin_bench.apply.sheet import contact_sheet
from energy_plugin_bench.apply.sources import data_config
from energy_plugin_bench.arguments import at_least, folder, number, share
from energy_plugin_bench.devices import device_of

EPILOG = """\
examples:
  energy-plugin score photos/new --backbone runs/first/model.safetensors --id photos/known --out scores
  energy-plugin score photos/new --backbone timm:resnet50.a1_in1k --pretrained --threshold=-12.5 --out scores

Writes scores.csv and scores.json (one entry for every image file, also for those that cannot be read) and
sheet.png. The threshold is the score that a share --tpr of the ID images stays at or below.
"""


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Describe the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "images", metavar="SOURCE", help="folder (at any depth), .npz file, or data set by name"
    )
    common.add_network(parser)
    group = parser.add_argument_group("decision (one of the two)")
    either = group.add_mutually_exclusive_group(required=True)
    either.add_argument("--id", metavar="SOURCE", help="ID images to fit the threshold on")
    either.add_argument("--threshold", type=number(), help="scores above it are OOD")
    group.add_argument(
        "--tpr", type=share(whole=True), default=0.95, help="share of ID images to accept (0.95)"
    )
    group.add_argument("--temperature", type=number(0, beyond=True), default=1.0)
    common.add_images(parser)
    group = parser.add_argument_group("run")
    group.add_argument(
        "--out", type=folder, required=True, help="folder for scores.csv, scores.json, sheet.png"
    )
    group.add_argument(
        "--sheet", type=at_least(0), default=12, metavar="N", help="images a block of the sheet (12); 0: none"
    )
    group.add_argument("--batch", type=at_least(1), default=64, metavar="IMAGES", help="images a batch (64)")
    common.add_run(group)
    return run


def run(options: argparse.Namespace) -> int:
    """Score, decide, write, and print what was found."""
    return common.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    progress = Progress(show=not options.quiet)
    manager = default_manager()
    device = device_of(options.device)
    source = images.find(options.images, manager=manager, data_root=options.data_root)
    known = images.find(options.id, manager=manager, data_root=options.data_root) if options.id else None
    opened = networks.find(
        options.backbone,
        manager=manager,
        options=dict(options.option),
        weights=options.weights,
        pretrained=options.pretrained,
    )
    if not (opened.trained or options.random_weights):
        raise networks.random_weights(options.backbone, "whose scores mean nothing", networks.BRINGING)
    network = opened.network.to(device).eval()
    detector = EnergyDetector(network, options.temperature)
    data = data_config(common.data_wishes(options), opened.data, known or source)

    def loader(chosen: Images) -> measure.Loader:
        return measure.Loader(
            images=chosen,
            data=data,
            device=device,
            batch=options.batch,
            workers=options.workers,
            told=progress.advance,
            labelled=False,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)  # they are this command's messages
        warnings.showwarning = lambda message, *_, **__: progress.say(f"warning: {message}")
        if known is None:
            detector.threshold = options.threshold
        else:
            with progress.phase("fitting the threshold", len(known)):
                detector.fit(loader(known), options.tpr)
            _report(progress, known)
        with progress.phase("scoring", len(source)):
            judged = scoring.judge(source, measure.passes(network, loader(source)), detector, opened.classes)
    _report(progress, source)
    _write(options, source, judged, detector, data)
    return common.WELL if scoring.ranked(judged) else common.CANNOT_RUN


def _report(progress: Progress, source: Images) -> None:
    for name, why in source.unreadable.items():
        progress.say(f"cannot be read: {name}: {why}")
    if source.passed_over:
        progress.say(f"passed over, no image by its ending: {', '.join(source.passed_over)}")


def _write(
    options: argparse.Namespace,
    source: Images,
    judged: Sequence[scoring.Judged],
    detector: EnergyDetector,
    data: DataConfig,
) -> None:
    document = scoring.as_document(judged, source, detector, backbone=options.backbone, data=data.to_dict())
    checkpoint.write(options.out / "scores.csv", scoring.as_csv(judged).encode())
    checkpoint.write(options.out / "scores.json", document.encode())
    if options.sheet > 0 and scoring.ranked(judged):
        picture = contact_sheet(source, judged, float(detector.threshold or 0.0), options.sheet)
        checkpoint.write(options.out / "sheet.png", picture)
    found = ", ".join(f"{number} {kind}" for kind, number in scoring.counts(judged).items())
    told = f"{len(judged)} images: {found}. Threshold {detector.threshold:.4f}"
    if detector.fitted:
        told += f", which accepts {detector.fitted.share:.0%} of {detector.fitted.count:,} ID images"
    sys.stdout.write(document if options.json else f"{told}.\n{options.out / 'scores.csv'}\n")
