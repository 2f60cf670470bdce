"""What suites' own evaluations say of our detector, beside our figures of the same scores.

    results=benchmarks/experiments/results/suite_figures.json
    python benchmarks/experiments/suite_figures.py --json $results --data-root DATA
    python benchmarks/experiments/suite_figures.py --json $results --docs docs/suites.md

The first line runs the suites that can be imported where it runs (their pins forbid one environment for all)
and keeps what the file has of others; the second writes the table into the page. The network is the Outlier
Exposure study's MNIST baseline; 10,000 MNIST test images against 10,000 of Fashion-MNIST and of notMNIST.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from energy_plugin import default_manager, metrics, register
from energy_plugin.detector import EnergyDetector
from energy_plugin_bench.inputs.assets import Assets
from energy_plugin_bench.inputs.transforms import apply, as_batch
from energy_plugin_bench.passes.passes import Passes
from energy_plugin_bench.values import registry

Scores = tuple[Tensor, Tensor]
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
SETS = {"fashion_mnist": "Fashion-MNIST", "notmnist": "notMNIST"}
LABELS = {"oodeel": "oodeel", "torch_uncertainty": "torch-uncertainty", "detectors": "detectors"}


def loader(images: Tensor, label: int = 0) -> DataLoader[Any]:
    """Batches of images, all with one label."""
    return DataLoader(TensorDataset(images, torch.full((len(images),), label)), batch_size=500)


def oodeel(network: nn.Module, known: Tensor, other: Tensor) -> dict[str, Any]:
    """Their detector interface and their metrics, with the default grid and with every threshold."""
    from oodeel.eval.metrics import bench_metrics

    with register("oodeel"):
        import oodeel.methods

        detector = oodeel.methods.EnergyPluginDetector()
    detector.fit(network)
    scores = tuple(detector.score(loader(images))[0] for images in (known, other))
    return {
        f"bench_metrics, step={step}": {"auroc": float(found["auroc"]), "fpr95": float(found["fpr95tpr"])}
        for step in (4, 1)
        for found in [bench_metrics(scores, step=step)]
    }


def torch_uncertainty(network: nn.Module, known: Tensor, other: Tensor) -> dict[str, Any]:
    """Their routine under Lightning, with our criterion and with theirs; and both with logits 120 higher."""
    import lightning.pytorch as lightning
    from torch_uncertainty.routines import ClassificationRoutine

    class Shifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = network(x) + 120.0
            return logits

    found = {}
    with register("torch_uncertainty"):
        for title, model in (("", network), (", logits + 120", Shifted())):
            for criterion in ("energy_plugin", "energy"):
                routine = ClassificationRoutine(
                    model, num_classes=10, loss=None, eval_ood=True, ood_criterion=criterion
                )
                trainer = lightning.Trainer(
                    accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
                )
                loaders = [loader(known), loader(other)]
                rows = trainer.test(routine, loaders, verbose=False)
                row = {key.split("/dataloader")[0]: value for part in rows for key, value in part.items()}
                found[f"ood_criterion={criterion!r}{title}"] = {
                    "auroc": row["ood/AUROC"],
                    "fpr95": row["ood/FPR95"],
                }
    return found


def detectors(network: nn.Module, known: Tensor, other: Tensor) -> dict[str, Any]:
    """Their pipeline; its FPR95 has ID positive."""
    import detectors as host
    from detectors.pipelines.ood import OODBenchmarkPipeline

    class Pipeline(OODBenchmarkPipeline):  # type: ignore[misc]  # the host has no type information
        def _setup_datasets(self) -> None:
            self.in_dataset, self.out_dataset = (loader(images).dataset for images in (known, other))
            self.out_datasets = {"other": self.out_dataset}

    pipeline = Pipeline(
        "known", {"other": None}, None, batch_size=500, num_workers=0, prefetch_factor=None, limit_fit=0
    )
    with register("detectors"):
        found = pipeline.run(host.create_detector("energy_plugin", model=network))["results"]["other"]
    return {"pipeline, ID positive": {"auroc": found["auroc"], "fpr95": found["fpr_at_0.95_tpr"]}}


RUNNERS: dict[str, Callable[[nn.Module, Tensor, Tensor], dict[str, Any]]] = {
    "oodeel": oodeel,
    "torch_uncertainty": torch_uncertainty,
    "detectors": detectors,
}


def ours(network: nn.Module, known: Tensor, other: Tensor) -> dict[str, Any]:
    """Our figures of our scores: exact, both kinds positive."""
    with torch.no_grad():
        pair = [
            EnergyDetector().score(torch.cat([network(batch) for batch, _ in loader(images)]))
            for images in (known, other)
        ]
    return {
        "auroc": metrics.auroc(*pair),
        "fpr95": metrics.fpr_at_tpr(*pair),
        "fpr95_id": metrics.fpr_at_tpr(*pair, positive="id"),
    }


def run(root: str | None, results: dict[str, Any]) -> dict[str, Any]:
    """Measure with every suite that can be imported; add to what is known of others."""
    known = registry.load(default_manager())
    passes = Passes(Assets(known.files, root), default_manager())
    recipe = known.recipes["outlier_exposure_mnist"]
    network = passes.model(recipe.networks["baseline_epoch_9"])

    def images(name: str) -> Tensor:
        data = passes.images(recipe, name)
        return as_batch(apply(data.images, recipe.inputs[name].transform)).float()

    digits = images("mnist_test")
    for name in SETS:
        other = images(name)
        row = results.setdefault(name, {})
        row["ours"] = ours(network, digits, other)
        for host, runner in RUNNERS.items():
            try:
                row[host] = runner(network, digits, other)
            except ImportError as error:
                sys.stderr.write(f"{host}: left out, {error}\n")
                continue
            results.setdefault("versions", {})[host] = version(host.replace("_", "-"))
    return results


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown, in percent."""
    lines = [
        "| images | suite | evaluation | AUROC, theirs | ours | FPR95, theirs | ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, title in SETS.items():
        mine = results[name]["ours"]
        for host, label in LABELS.items():
            for way, found in results[name].get(host, {}).items():
                fpr = mine["fpr95_id" if "ID positive" in way else "fpr95"]
                cells = (found["auroc"], mine["auroc"], found["fpr95"], fpr)
                figures = " | ".join(f"{100 * value:.4f}" for value in cells)
                lines.append(f"| {title} | {label} {results['versions'][host]} | `{way}` | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, required=True, help="results, read and written")
    parser.add_argument("--data-root", help="folder with mnist/, for notMNIST")
    parser.add_argument("--docs", type=Path, help="page that gets the table")
    options = parser.parse_args()
    results = json.loads(options.json.read_text()) if options.json.exists() else {}
    if options.docs is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = run(options.data_root, results)
        options.json.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        return
    text = options.docs.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    options.docs.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}")


if __name__ == "__main__":
    main()
