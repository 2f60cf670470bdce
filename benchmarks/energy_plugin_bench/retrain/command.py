"""The command `retrain`: published figures of fine-tuned networks, met again by training."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from energy_plugin_bench.atomic import replacing
from energy_plugin_bench.inputs.assets import Assets
from energy_plugin_bench.retrain.retraining import Retraining, parse_retraining, verdicts
from energy_plugin_bench.retrain.song_training import Run, Split, pretrained, retrain
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.files import Asset
from energy_plugin_bench.verdicts.verdict import Verdict

REPRODUCED, DIFFERS, USAGE, NOTHING = 0, 1, 2, 3
RECIPE = resources.files("energy_plugin_bench") / "retrained" / "song_mnist_energyft.toml"


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments; return what runs."""
    recipe, _ = parse_retraining(RECIPE)
    parser.add_argument("--data-root", type=Path, help="folder that holds mnist/ (or ENERGY_PLUGIN_DATA)")
    parser.add_argument(
        "--outliers", type=int, nargs="+", default=list(recipe.outliers), help="a class; a series each"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(recipe.seeds), help="one run each")
    parser.add_argument("--steps", type=int, default=recipe.steps, help=argparse.SUPPRESS)  # for tests
    parser.add_argument("--runs", type=Path, help="JSON file of runs: those in it are kept, new ones added")
    parser.add_argument("--no-training", action="store_true", help="only judge the runs of --runs")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    return _main


def _main(options: argparse.Namespace) -> int:
    recipe, own_files = parse_retraining(RECIPE)
    registry = registries.load()
    rows = {row.id: row for row in registry.sources[recipe.source].rows}
    unpublished = [n for n in options.outliers if recipe.rows.format(outliers=n, metric="auroc") not in rows]
    if unpublished:
        _tell(f"--outliers: nothing is published for {unpublished} outliers a class; see {recipe.source}")
        return USAGE
    runs = _earlier(options.runs)
    if not options.no_training:
        runs = _trained(recipe, {**registry.files, **own_files}, runs, options)
    found = list(verdicts(recipe, rows, runs, options.outliers))
    _print(found, runs, options)
    judged = {verdict.status for verdict in found} - {"not run"}
    return NOTHING if not judged else DIFFERS if "differs" in judged else REPRODUCED


def _trained(
    recipe: Retraining, files: Mapping[str, Asset], runs: list[Run], options: argparse.Namespace
) -> list[Run]:
    """The runs and those that were asked for and missing."""
    done = {(run.outliers, run.seed, run.steps) for run in runs}
    wanted = [(count, seed) for seed in options.seeds for count in options.outliers]
    missing = [pair for pair in wanted if (*pair, options.steps) not in done]
    if not missing:
        return runs
    assets = Assets(files, options.data_root)
    split = Split.read(assets.find(recipe.train_images), assets.find(recipe.test_images), recipe.classes)
    for count, seed in missing:
        name = f"N={count} seed={seed}"

        def on_step(step: int, loss: float, name: str = name) -> None:
            _tell(f"{name} step {step} of {options.steps}: loss {loss:.4f}")

        run = retrain(
            pretrained(assets.find(recipe.weights), recipe.classes),
            split,
            outliers=count,
            seed=seed,
            steps=options.steps,
            margins=recipe.preset,
            convention=recipe.convention,
            on_step=on_step,
        )
        figures = f"error {run.error_rate:.2f}, TNR95 {run.tnr95:.2f}, TNR99 {run.tnr99:.2f}"
        _tell(f"{name}: {figures}, AUROC {run.auroc:.2f}, {run.seconds:.0f} s")
        runs = [*runs, run]
        _keep(options.runs, runs)
    return runs


def _earlier(path: Path | None) -> list[Run]:
    if path is None or not path.exists():
        return []
    return [Run(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))["runs"]]


def _keep(path: Path | None, runs: list[Run]) -> None:
    if path is not None:
        with replacing(path) as part:
            part.write_text(json.dumps(_document(runs), indent=1) + "\n", encoding="utf-8")


def _document(runs: list[Run]) -> dict[str, Any]:
    return {"runs": [run.to_dict() for run in runs]}


def _print(found: list[Verdict], runs: list[Run], options: argparse.Namespace) -> None:
    if options.json:
        document = {**_document(runs), "verdicts": [verdict.to_dict() for verdict in found]}
        text = json.dumps(document, indent=1)
    elif options.markdown:
        text = markdown(found)
    else:
        text = "\n".join(f"{verdict}{f'; {verdict.note}' if verdict.note else ''}" for verdict in found)
    sys.stdout.write(f"{text}\n")


def markdown(found: list[Verdict]) -> str:
    """The verdicts as a table: published, our mean over the runs and their spread, tolerance, verdict."""
    lines = ["| figure | published | trained here | tolerance | verdict |", "|---|---|---|---|---|"]
    for verdict in found:
        if verdict.measured is None or verdict.tolerance is None:
            lines.append(f"| `{verdict.id}` | {verdict.published} | | | {verdict.status}: {verdict.reason} |")
            continue
        digits = 4 if verdict.asked.method == "training" else 2
        measured = f"{verdict.measured:.{digits}f} (sd {verdict.spread:.{digits}f}, {verdict.draws} runs)"
        width = f"+- {verdict.tolerance.width:.{digits}f}"
        notes = f"; {verdict.note}" if verdict.note else ""
        lines.append(
            f"| `{verdict.id}` | {verdict.published} | {measured} | {width} | {verdict.status}{notes} |"
        )
    return "\n".join(lines)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
