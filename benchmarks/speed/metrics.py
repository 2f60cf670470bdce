"""Time and memory of the metrics against scikit-learn and pytorch-ood, in one run.

    python benchmarks/speed/metrics.py [--scores 1000000 10000000] [--rounds 3] [--json]

Ratios compare methods that ran in turn in one process; seconds differ from machine to machine, no test.
Peak memory is the growth of the resident set of a fresh process (Linux only). One thread, 5 % OOD scores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energy_plugin.metrics import evaluate
from energy_plugin.streaming import StreamingMetrics

_BATCH = 1 << 20


def ours(id_scores: Tensor, ood_scores: Tensor) -> dict[str, float]:
    """Exact figures: AUROC, AUPR-IN, AUPR-OUT, FPR95, FPR99."""
    results = evaluate(id_scores, ood_scores, "pytorch_ood")
    return {"auroc": results.auroc, "fpr95": results.fpr95}


def streamed(id_scores: Tensor, ood_scores: Tensor) -> dict[str, float]:
    """The same from a histogram, fed in batches of about a million scores."""
    stream = StreamingMetrics("pytorch_ood", exact_up_to=0)
    for batch in torch.split(id_scores, _BATCH):
        stream.add(batch, "id")
    for batch in torch.split(ood_scores, _BATCH):
        stream.add(batch, "ood")
    results = stream.compute()
    return {
        "auroc": results.auroc.value,
        "fpr95": results.fpr95.value,
        "auroc_bound": results.auroc.bound,
        "fpr95_bound": results.fpr95.bound,
    }


def pytorch_ood(id_scores: Tensor, ood_scores: Tensor) -> dict[str, float]:
    """pytorch-ood's metric object: AUROC, AUTC, AUPR-IN, AUPR-OUT, FPR95."""
    from pytorch_ood.metrics import OODMetrics

    metrics = OODMetrics()
    metrics.update(id_scores, torch.zeros(len(id_scores), dtype=torch.int64))
    metrics.update(ood_scores, torch.full((len(ood_scores),), -1))
    found = metrics.compute()
    return {"auroc": float(found["AUROC"]), "fpr95": float(found["FPR95TPR"])}


def scikit_learn(id_scores: Tensor, ood_scores: Tensor) -> dict[str, float]:
    """scikit-learn's three calls: AUROC, average precision, ROC curve for FPR95."""
    import numpy as np
    from sklearn import metrics

    scores = torch.cat([id_scores, ood_scores]).numpy()
    labels = np.repeat([0, 1], [len(id_scores), len(ood_scores)])
    metrics.average_precision_score(labels, scores)
    fpr, tpr, _ = metrics.roc_curve(labels, scores)
    return {"auroc": metrics.roc_auc_score(labels, scores), "fpr95": float(fpr[np.argmax(tpr >= 0.95)])}


METHODS: dict[str, Callable[[Tensor, Tensor], dict[str, float]]] = {
    "exact": ours,
    "streaming": streamed,
    "pytorch-ood": pytorch_ood,
    "scikit-learn": scikit_learn,
}


def draw(number: int) -> tuple[Tensor, Tensor]:
    """ID scores like energies around -12 and 5 % OOD scores around -7."""
    generator = torch.Generator().manual_seed(0)
    outliers = number // 20
    inside = torch.empty(number - outliers).normal_(-12, 3, generator=generator)
    return inside, torch.empty(outliers).normal_(-7, 3, generator=generator)


def peak(method: str, number: int) -> int:
    """Growth of the resident set while one method runs, in bytes; for a fresh process."""
    torch.set_num_threads(1)
    METHODS[method](*draw(1000))  # what is imported and allocated once does not count
    pair = draw(number)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    METHODS[method](*pair)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """A size from the status of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(number: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Processor time (median of rounds, the methods in turn), peak memory and figures of each method."""
    pair = draw(number)
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    figures: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, method in METHODS.items():
            begin = time.process_time()
            figures[name] = method(*pair)
            seconds[name].append(time.process_time() - begin)
    del pair
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = {name: pool.apply(peak, (name, number)) for name in METHODS}
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "bytes_a_score": peaks[name] / number,
            "peak_megabytes": peaks[name] / 1e6,
            **figures[name],
        }
        for name in METHODS
    }


def table(number: int, found: dict[str, dict[str, Any]]) -> str:
    """The measurements of one size as text, with the ratios of our times to the others'."""
    lines = [f"{number:,} scores"]
    for name, row in found.items():
        ratios = ", ".join(
            f"{row['seconds'] / found[other]['seconds']:.3f} of {other}"
            for other in ("pytorch-ood", "scikit-learn")
            if name in ("exact", "streaming")
        )
        lines.append(
            f"  {name:13} {row['seconds']:8.3f} s {row['peak_megabytes']:8.1f} MB "
            f"{row['bytes_a_score']:6.1f} B/score  AUROC {row['auroc']:.6f}  FPR95 {row['fpr95']:.6f}"
            f"{'  time: ' + ratios if ratios else ''}"
        )
        if "auroc_bound" in row:
            lines.append(f"{'':16}bounds: AUROC {row['auroc_bound']:.1e}, FPR95 {row['fpr95_bound']:.1e}")
    return "\n".join(lines)


def main() -> None:
    """Measure and write the results to standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scores", type=int, nargs="+", default=[10**6, 10**7])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {number: measure(number, options.rounds) for number in options.scores}
    if options.json:
        versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
        text = json.dumps({"versions": versions, "scores": found}, indent=2)
    else:
        text = "\n".join(table(number, rows) for number, rows in found.items())
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
