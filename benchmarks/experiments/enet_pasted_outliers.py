"""What the energy-regularised loss does to anomaly segmentation: ENet's last layers, trained on cut-outs.

    results=benchmarks/experiments/results/enet_pasted_outliers.json
    python benchmarks/experiments/enet_pasted_outliers.py --data-root DATA --json $results

Backgrounds are the Fishyscapes Static images (their own anomalies void), cut-outs the anomalies of
RoadAnomaly21. There are no class labels, so known pixels keep the class that the network gives them before:
the cross-entropy holds on to what it knew. Evaluated on RoadAnomaly and RoadObstacle21, of which nothing is
trained on. The encoder is frozen and runs once an image; minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from energy_plugin import labels
from energy_plugin.energy import energy
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.segmentation import Evaluation, Figures, max_logit, msp
from energy_plugin_bench.inputs import pairs
from energy_plugin_bench.networks.enet import ENet

SIZE = (512, 1024)
WEIGHTS = "segmentation/weights/enet_cityscapes_void_yurnero14.safetensors"
SETS = {
    "background": ("segmentation/images/fishyscapes_static.zip", "fishyscapes"),
    "cut-outs": ("segmentation/images/road_anomaly_21.zip", "segment_me_if_you_can"),
    "RoadAnomaly": ("segmentation/images/road_anomaly.zip", "road_anomaly"),
    "RoadObstacle21": ("segmentation/images/road_obstacle_21.zip", "segment_me_if_you_can"),
}
TEST = ("RoadAnomaly", "RoadObstacle21")
SCORES = {"energy": energy, "max_logit": max_logit, "msp": msp}

Encoded = tuple[Tensor, Tensor, Tensor]  # features, places of maxima, mask


def main() -> None:
    """Train and write what comes out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--images", type=int, default=40, help="pasted images")
    parser.add_argument("--test-images", type=int, default=0, help="of each test set; 0: all")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    found = experiment(options)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def experiment(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures before and after, for each seed."""
    network = enet(options.data_root)
    train = [encoded(network, *pair) for pair in pasted(options)]
    told(f"{len(train)} pasted images are encoded")
    tests = {name: list(encode_set(network, options, name)) for name in TEST}
    told("the test sets are encoded")
    margins = measured_margins(network, train)
    before = evaluated(network, tests, None)
    settings = {name: value for name, value in vars(options).items() if name not in ("data_root", "json")}
    found: dict[str, Any] = {
        "margins": margins,
        "settings": settings,
        "before": before,
        "after": [],
    }
    classes = [classes_of(network, encoding) for encoding in train]
    kept = {name: [classes_of(network, encoding) for encoding in data] for name, data in tests.items()}
    for seed in range(options.seeds):
        tuned = enet(options.data_root)
        losses = train_head(tuned, train, classes, margins, options, seed)
        after = evaluated(tuned, tests, kept)
        ends = {"first_loss": losses[0], "last_loss": sum(losses[-20:]) / len(losses[-20:])}
        found["after"].append({"seed": seed, **ends, **after})
        told(f"seed {seed}: {after}")
    return found


def enet(data_root: Path) -> ENet:
    """The network over its 19 classes, in evaluation mode: batch norm keeps its statistics."""
    network = ENet(classes=20, keep=19)
    network.load_state_dict(load_file(data_root / WEIGHTS), strict=True)
    return network.eval()


def data_of(options: argparse.Namespace, name: str) -> pairs.Pairs:
    """One of the sets."""
    path, codes = SETS[name]
    return pairs.archive(options.data_root / path, codes=codes, size=SIZE)


def pasted(options: argparse.Namespace) -> Any:
    """Yield images with a cut-out pasted in, and their masks: 0 known, -1 pasted, void."""
    generator = torch.Generator().manual_seed(0)
    backgrounds, cutouts = data_of(options, "background"), data_of(options, "cut-outs")
    objects = [cutouts[index] for index in range(len(cutouts))]
    for index in range(options.images):
        image, mask = backgrounds[index % len(backgrounds)]
        mask = torch.where(mask < 0, labels.VOID, mask)
        thing, shape = objects[int(torch.randint(len(objects), (), generator=generator))]
        yield paste(image.clone(), mask, thing, shape == labels.OOD, generator)


def paste(
    image: Tensor, mask: Tensor, thing: Tensor, shape: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Put what `shape` cuts out of `thing` somewhere, at 20 to 80 % of its size, half the time mirrored."""
    rows, columns = shape.any(1).nonzero().squeeze(1), shape.any(0).nonzero().squeeze(1)
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    scale = 0.2 + 0.6 * float(torch.rand((), generator=generator))
    size = [max(8, int(scale * (part.stop - part.start))) for part in window]
    cut = functional.interpolate(thing[:, *window][None], size=size, mode="bilinear", antialias=True)[0]
    inside = functional.interpolate(shape[window][None, None].float(), size=size, mode="nearest")[0, 0] > 0
    if float(torch.rand((), generator=generator)) < 0.5:
        cut, inside = cut.flip(-1), inside.flip(-1)
    top, left = (
        int(torch.randint(whole - part + 1, (), generator=generator))
        for whole, part in zip(SIZE, size, strict=True)
    )
    place = slice(top, top + size[0]), slice(left, left + size[1])
    image[:, *place] = torch.where(inside, cut, image[:, *place])
    mask[place] = torch.where(inside, labels.OOD, mask[place])
    return image, mask


@torch.no_grad()
def encoded(network: ENet, image: Tensor, mask: Tensor) -> Encoded:
    """What the frozen part says of an image."""
    features, places = network.trunk(image[None])
    return features, places.to(torch.int32), mask[None]


def encode_set(network: ENet, options: argparse.Namespace, name: str) -> Any:
    """Yield the images of a test set, encoded."""
    data = data_of(options, name)
    for index in range(min(options.test_images or len(data), len(data))):
        yield encoded(network, *data[index])


def logits_of(network: ENet, encoding: Encoded) -> Tensor:
    """Logits 1 x 19 x H x W."""
    return network.head(encoding[0], encoding[1].long(), SIZE)


@torch.no_grad()
def classes_of(network: ENet, encoding: Encoded) -> Tensor:
    """The class of each pixel, 1 x H x W."""
    return logits_of(network, encoding).argmax(1).to(torch.uint8)


@torch.no_grad()
def measured_margins(network: ENet, train: list[Encoded]) -> dict[str, float]:
    """Margins from the network's own energies: ID below its mean, OOD above what 95 % of ID stay below."""
    known, outliers = [], []
    for encoding in train:
        energies, mask = energy(logits_of(network, encoding)), encoding[2]
        known.append(energies[mask >= 0][::50])
        outliers.append(energies[mask == labels.OOD])
    ident, ood = torch.cat(known), torch.cat(outliers)
    return {
        "margin_in": round(float(ident.mean()), 2),
        "margin_out": round(float(ident.quantile(0.95)), 2),
        "id_mean": round(float(ident.mean()), 3),
        "ood_mean": round(float(ood.mean()), 3),
    }


def train_head(
    network: ENet,
    train: list[Encoded],
    classes: list[Tensor],
    margins: dict[str, float],
    options: argparse.Namespace,
    seed: int,
) -> list[float]:
    """Train the last layers, one image a step; return the losses."""
    loss = EnergyRegularizedLoss(
        options.alpha, margins["margin_in"], margins["margin_out"], "group_mean", ignore_index=labels.VOID
    )
    network.requires_grad_(False)
    head = network.head_parts().requires_grad_(True)
    optimiser = torch.optim.Adam(head.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(options.steps):
        index = int(torch.randint(len(train), (), generator=generator))
        mask = train[index][2]
        targets = torch.where(mask >= 0, classes[index].long(), mask)
        value = loss(logits_of(network, train[index]), targets)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        losses.append(value.item())
    return losses


@torch.no_grad()
def evaluated(
    network: ENet, tests: dict[str, list[Encoded]], kept: dict[str, list[Tensor]] | None
) -> dict[str, Any]:
    """AP and FPR95 in per cent, and how many known pixels keep their class."""
    found: dict[str, Any] = {}
    for name, data in tests.items():
        evaluation = Evaluation(SCORES, conventions="fishyscapes-server", exact_up_to=1 << 28)
        same = pixels = 0
        for index, encoding in enumerate(data):
            logits = logits_of(network, encoding)
            evaluation.update(encoding[2], logits=logits)
            if kept is not None:
                known = encoding[2] >= 0
                same += int((logits.argmax(1) == kept[name][index])[known].sum())
                pixels += int(known.sum())
        found[name] = {
            key: _percent(outcome.figures["fishyscapes-server"])
            for key, outcome in evaluation.outcomes().items()
        }
        if kept is not None:
            found[name]["classes_kept"] = round(100 * same / pixels, 2)
    return found


def _percent(figures: Figures) -> dict[str, float]:
    shown = {"AP": figures.aupr_out or 0.0, "FPR95": figures.fpr95, "AUROC": figures.auroc}
    return {name: round(100 * value, 2) for name, value in shown.items()}


def told(what: str) -> None:
    """Tell people how far it is."""
    sys.stderr.write(what + "\n")


if __name__ == "__main__":
    main()
