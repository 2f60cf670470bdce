"""What margins do: one MNIST network fine-tuned with several margins, outliers and seeds.

    results=benchmarks/experiments/results/margins_mnist.json
    python benchmarks/experiments/margins_mnist.py --json $results --data-root DATA
    python benchmarks/experiments/margins_mnist.py --json $results --docs docs/margins.md

The second line trains (about ten minutes on two cores; runs that the JSON has already are kept), the third
one writes the table into the page. The network is the Outlier Exposure study's MNIST baseline; notMNIST and
Fashion-MNIST are seen at evaluation only.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file
from torch import Tensor

from energy_plugin import margins
from energy_plugin.energy import energy
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.margins import MarginSuggestion
from energy_plugin.metrics import auroc, fpr_at_tpr
from energy_plugin_bench.inputs.imagesets import read_archive
from energy_plugin_bench.inputs.transforms import as_batch, grey, ink, resize28
from energy_plugin_bench.networks.convnet import OutlierExposureConvNet
from energy_plugin_bench.training import Schedule, finetune, logits_of_images, mixed_batches

STEPS = 468  # one epoch of 128 digits
BATCH_ID, BATCH_OOD = 128, 256
SCHEDULE = Schedule(steps=STEPS, lr=0.001, final_lr=1e-6)
OUTLIERS: Mapping[str, str] = {
    "thick": "Omniglot, 3 alphabets, strokes thickened",
    "thin": "Omniglot, 3 alphabets, strokes as they are",
    "cifar": "CIFAR-10 test, grey",
    "thick+cifar": "both, Omniglot six times",
}
MARGINS: Mapping[str, str] = {
    "measured": "the mean energies",
    "narrow": "the means, moved a quarter of the gap towards each other (`slack=-0.25`)",
    "-11/-7": "a milder pair, chosen by hand",
    "paper": "the paper's for CIFAR-10",
}
HAND_MADE: Mapping[str, tuple[float, float]] = {"-11/-7": (-11.0, -7.0), "paper": (-23.0, -5.0)}
SETS = ("notmnist", "fashion")


class Data:
    """Images under a data root, each set read once; pixels in [0, 1], N x 1 x 28 x 28."""

    def __init__(self, root: Path) -> None:
        self.root = root
        train, test = (
            self._archive("mnist/images/mnist_train.npz"),
            self._archive("mnist/images/mnist_test.npz"),
        )
        self.train, self.train_labels = as_batch(train.images), torch.from_numpy(train.labels)
        self.test, self.test_labels = as_batch(test.images), torch.from_numpy(test.labels)
        self.ood = {
            "notmnist": as_batch(self._archive("mnist/images/notmnist_small_10k.npz").images),
            "fashion": as_batch(self._archive("mnist/images/fashion_mnist_test.npz").images),
        }
        self.outliers = cache(self._outliers)

    def network(self) -> OutlierExposureConvNet:
        """The pretrained network, afresh."""
        network = OutlierExposureConvNet()
        network.load_state_dict(load_file(self.root / "mnist" / "weights" / "baseline_epoch_9.safetensors"))
        return network.eval()

    def _archive(self, path: str) -> Any:
        return read_archive(self.root / path)

    def _outliers(self, name: str) -> Tensor:
        if name == "thick+cifar":
            return torch.cat([self.outliers("thick")] * 6 + [self.outliers("cifar")])
        if name == "cifar":
            return as_batch(grey(resize28(self._archive("cifar/images/cifar10_test.npz").images)))
        strokes = ink(self._archive("mnist/images/omniglot_other3_105.npz").images) * np.uint8(255)
        return as_batch(resize28(thickened(strokes) if name == "thick" else strokes))


def thickened(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The brightest pixel of every 7 x 7 neighbourhood, uint8: strokes about as wide as those of digits."""
    return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.MaxFilter(7))) for image in images])


def measured_energies(data: Data, outliers: str) -> MarginSuggestion:
    """Energies of the pretrained network on the training digits and on the outliers."""
    return margins.suggest(
        data.network(), torch.split(data.train, 1000), torch.split(data.outliers(outliers), 1000)
    )


def margin_pair(name: str, found: MarginSuggestion) -> tuple[float, float]:
    """The margins of that name."""
    if name in HAND_MADE:
        return HAND_MADE[name]
    if name == "narrow":
        quarter = 0.25 * (found.margin_out - found.margin_in)
        return found.margin_in + quarter, found.margin_out - quarter
    return found.margin_in, found.margin_out


def figures(network: OutlierExposureConvNet, data: Data) -> dict[str, float]:
    """Test error, mean ID energy, FPR95 and AUROC of both scores on both sets; percent but for the energy.

    FPR95 as the network's study has it: outliers positive, the threshold with a recall nearest to 95 %; all
    images, no draws.
    """
    known = logits_of_images(network, data.test)
    result = {
        "error": 100 * (known.argmax(1) != data.test_labels).double().mean().item(),
        "id_energy": energy(known).double().mean().item(),
    }
    for name in SETS:
        unknown = logits_of_images(network, data.ood[name])
        for score, of in (("energy", energy), ("msp", _msp)):
            pair = of(known), of(unknown)
            result[f"{name}_fpr95_{score}"] = 100 * fpr_at_tpr(*pair, positive="ood", rule="nearest")
            result[f"{name}_auroc_{score}"] = 100 * auroc(*pair)
    return result


def run(data: Data, outliers: str, pair: tuple[float, float], seed: int) -> dict[str, float]:
    """Fine-tune for one epoch with these outliers and margins; the figures afterwards."""
    torch.manual_seed(seed)  # dropout
    network = data.network()
    loss = EnergyRegularizedLoss(alpha=0.1, margin_in=pair[0], margin_out=pair[1], reduction="group_mean")
    batches = mixed_batches(
        data.train,
        data.train_labels,
        data.outliers(outliers),
        batch_id=BATCH_ID,
        batch_ood=BATCH_OOD,
        generator=torch.Generator().manual_seed(seed),
    )
    finetune(network, loss, batches, SCHEDULE)
    return figures(network, data)


def _msp(logits: Tensor) -> Tensor:
    return -logits.double().softmax(1).amax(1)


def train(data_root: Path, path: Path, seeds: list[int]) -> None:
    """Run what the JSON lacks, writing it after every run."""
    data = Data(data_root)
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": [], "energies": {}}
    document["torch"] = torch.__version__
    document.setdefault("before", figures(data.network(), data))
    done = {(entry["outliers"], entry["margins"], entry["seed"]) for entry in document["runs"]}
    for outliers in OUTLIERS:
        found = measured_energies(data, outliers)
        document["energies"][outliers] = _described(found)
        sys.stderr.write(f"{outliers}: {found}\n")
        for name in MARGINS:
            pair = margin_pair(name, found)
            shares = _checked(pair, found)
            for seed in (seed for seed in seeds if (outliers, name, seed) not in done):
                entry = {"outliers": outliers, "margins": name, "margin_in": pair[0], "margin_out": pair[1]}
                entry |= {"seed": seed, **shares, **run(data, outliers, pair, seed)}
                sys.stderr.write(f"{outliers} {name} seed {seed}: {_brief(entry)}\n")
                document["runs"].append(entry)
                _write(path, json.dumps(document, indent=1) + "\n")
    _write(path, json.dumps(document, indent=1) + "\n")


def _described(found: MarginSuggestion) -> dict[str, float]:
    sides = {"id": found.id, "ood": found.ood}
    return {
        f"{side}_{field}": getattr(kept, field)
        for side, kept in sides.items()
        for field in ("mean", "std", "count")
    }


def _checked(pair: tuple[float, float], found: MarginSuggestion) -> dict[str, Any]:
    """Shares that violate the margins before training, and whether `margins.check` warns of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        id_share, ood_share = margins.check(*pair, found)
    return {"id_violations": id_share, "ood_violations": ood_share, "warned": bool(caught)}


def _brief(entry: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {entry[key]:.2f}" for key in ("error", "notmnist_fpr95_energy", "fashion_fpr95_energy")
    )


COLUMNS = (
    ("error", "test error"),
    ("notmnist_fpr95_energy", "notMNIST FPR95 energy"),
    ("notmnist_fpr95_msp", "notMNIST FPR95 MSP"),
    ("fashion_fpr95_energy", "Fashion FPR95 energy"),
    ("fashion_fpr95_msp", "Fashion FPR95 MSP"),
    ("id_energy", "mean E of the test digits"),
)
BEGIN, END = "<!-- table: margins_mnist -->", "<!-- end of table -->"


def table(document: Mapping[str, Any]) -> str:
    """The results as a Markdown table: mean over the seeds, in brackets the lowest and the highest."""
    head = [
        "outliers",
        "margins",
        "m_in, m_out",
        "ID, OOD violating at the start",
        *(title for _, title in COLUMNS),
    ]
    rows = [
        head,
        ["---"] * len(head),
        ["before", "", "", "", *(f"{document['before'][key]:.2f}" for key, _ in COLUMNS)],
    ]
    for outliers in OUTLIERS:
        for name in MARGINS:
            runs = [e for e in document["runs"] if (e["outliers"], e["margins"]) == (outliers, name)]
            first = runs[0]
            warned = " (warned)" if first["warned"] else ""
            rows.append(
                [
                    outliers,
                    name,
                    f"{first['margin_in']:.1f}, {first['margin_out']:.1f}",
                    f"{first['id_violations']:.0%}, {first['ood_violations']:.0%}{warned}",
                    *(_spread([entry[key] for entry in runs]) for key, _ in COLUMNS),
                ]
            )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _spread(values: list[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f})"


def with_table(page: str, document: Mapping[str, Any]) -> str:
    """The page with its table written anew."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(document)}\n{END}{rest.partition(END)[2]}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(path.suffix + ".part")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Train, or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, help="results: written, or read with --docs")
    parser.add_argument("--data-root", type=Path, help="folder that holds mnist/ and cifar/; trains")
    parser.add_argument("--docs", type=Path, help="page whose table is written from the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(arguments)
    if options.data_root is not None:
        train(options.data_root, options.json, options.seeds)
    if options.docs is not None:
        document = json.loads(options.json.read_text(encoding="utf-8"))
        _write(options.docs, with_table(options.docs.read_text(encoding="utf-8"), document))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
