"""Turn `published_rows.yaml` of a data root into the source files of the package.

    python benchmarks/convert_published.py --data-root DATA

Values, spreads, ids and places are taken over as they stand; names of sets, networks, methods, metrics and
conventions become those of the recipes. `tests/bench/test_convert.py` holds the package's files against the
YAML where the data root is. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import yaml

PUBLISHED = Path(__file__).parent / "energy_plugin_bench" / "published"

HEADS: dict[str, dict[str, str]] = {
    "outlier_exposure_mnist": {
        "title": "Deep Anomaly Detection with Outlier Exposure: the MNIST networks",
        "cite": "Hendrycks, Mazeika, Dietterich, ICLR 2019; result logs of the repository",
        "repository": "hendrycks/outlier-exposure@e6ede98a5474a0620d9befa50b38eaf584df4401",
        "kind": "original",
        "note": "std is over 10 unseeded draws of 2,000 images. The mean lines are means of the eight sets.",
    },
    "song_energy_ood": {
        "title": "Energy scores and energy-regularised fine-tuning of DenseNet-BC-100, few outliers",
        "cite": "Result logs of the repository (by the first author of SEE-OoD)",
        "repository": "Xiaoyang-Song/energy_ood@7001e74",
        "kind": "original",
        "note": "std is over 5 draws. What the logs print as TPR95 is 100 - FPR95. In the network names, "
        "energyftN and oeftN are fine-tuned with N auxiliary outliers a class.",
    },
    "akamaster_resnet": {
        "title": "Proper ResNet implementation for CIFAR-10: test errors",
        "cite": "README table of the repository",
        "repository": "akamaster/pytorch_resnet_cifar10@d5489e8",
        "kind": "original",
        "note": "No published energy figure was found for these weights.",
    },
    "dice_issue_2": {
        "title": "DICE, issue thread 2: energy scores of the CIFAR-100 DenseNet",
        "cite": "Posted by a user who ran the repository's evaluation",
        "repository": "deeplearning-wisc/dice",
        "kind": "user reproduction",
        "note": "Not figures of the paper. AUIN of the source is called aupr_in here.",
    },
}
METRICS = {
    "error_rate": "error_rate", "FPR95": "fpr95", "TNR at 95 % TPR": "tnr95", "TNR at 99 % TPR": "tnr99",
    "AUROC": "auroc", "AUPR": "aupr", "AUPR-in": "aupr_in",
}  # fmt: skip
SETS = {
    "mnist_test digits 0-7 (8,017 images)": "mnist_test_0to7",
    "mnist_test digits 8-9 (1,983; 1,603 drawn, 5 draws)": "mnist_test_8to9",
    "fashion_mnist_test classes 0-7 (8,000)": "fashion_mnist_test_0to7",
    "fashion_mnist_test classes 8-9 (2,000; 1,600 drawn, 5 draws)": "fashion_mnist_test_8to9",
    "cifar10_test (10,000)": "cifar10_test",
    "SVHN test digits 0-7": "svhn_test_0to7",
    "SVHN test digits 8-9": "svhn_test_8to9",
    "SVHN test (26,032; 2,000 drawn, 5 draws)": "svhn_test",
    "CIFAR-100 test": "cifar100_test",
    "SVHN": "svhn_test_1000_a_digit",
    "mean of the six": "mean_of_6",
    "none: wrongly against rightly classified test images": "error_detection",
}
REPEATED = re.compile(r"in (\d+) logs .*: mean ([\d.]+), min ([\d.]+), max ([\d.]+);")


def main(arguments: list[str] | None = None) -> None:
    """Write one file a source."""
    parser = argparse.ArgumentParser(description="Turn published_rows.yaml into the package's source files.")
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/ and cifar/")
    parser.add_argument("--to", type=Path, default=PUBLISHED, help="where the files go")
    options = parser.parse_args(arguments)
    for name, rows in converted(options.data_root).items():
        (options.to / f"{name}.toml").write_text(source_text(name, rows), encoding="utf-8")


def converted(data_root: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of the data root's files, by source, in the form of the package."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in HEADS}
    for part in ("mnist", "cifar"):
        for row in yaml.safe_load((data_root / part / "published_rows.yaml").read_text())["rows"]:
            source, convert = _source(row["id"])
            found[source].append(convert(row))
    return found


def _source(name: str) -> tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    if name.startswith("oe_mnist_"):
        return "outlier_exposure_mnist", _outlier_exposure
    if name.startswith("song_"):
        return "song_energy_ood", _song
    return ("dice_issue_2", _dice) if name.startswith("dice_") else ("akamaster_resnet", _common)


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        "id": row["id"],
        "place": row["where_read"],
        "id_set": SETS.get(row["id_dataset"], row["id_dataset"]),
        "ood_set": SETS.get(row["ood_dataset"], row["ood_dataset"]),
        "network": row["network"],
        "method": re.split(r"[ ,]", row["method"])[0].lower(),
        "metric": METRICS[row["metric"]],
        "value": float(row["value"]),
        "std": row["std"],
        "unit": row["unit"],
    }
    return {key: value for key, value in fields.items() if value is not None}


def _outlier_exposure(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = _common(row)
    if "ood_set" in fields:
        fields["convention"] = "outlier_exposure"
    return fields | ({"draws": 10} if "std" in fields else {})


def _song(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = _common(row)
    fields["network"] = _song_network(row)
    if "ood_set" in fields:
        fields["convention"] = (
            "energy_ood" if row["positive_class"] == "in-distribution" else "outlier_exposure"
        )
    if "std" in fields:
        fields["draws"] = 5
    repeated = REPEATED.search(row["remark"] or "")
    if repeated:
        logs, mean, minimum, maximum = repeated.groups()
        fields["repeats"] = {
            "logs": int(logs), "mean": float(mean), "minimum": float(minimum), "maximum": float(maximum),
        }  # fmt: skip
    return fields


def _song_network(row: Mapping[str, Any]) -> str:
    """The networks that are not published have no name in the YAML: theirs says what they were made from."""
    base = {
        "mnist": "mnist0to7",
        "fashionmnist": "fashion0to7",
        "cifar10-svhn": "cifar10",
        "svhn": "svhn0to7",
    }
    _, study, stage, *_ = row["id"].split("_")
    return f"densenet100_{base[study]}_song" + ("" if stage == "pretrained" else f"_{stage}")


def _dice(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = _common(row)
    fields["ood_set"] = fields["ood_set"].lower().replace("-", "_")
    return fields | {"convention": "wisc_odin_style"}


def source_text(name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The TOML text of a source: a table for each run of rows with one network and sets."""
    head = "\n".join(f"{key} = {_toml(value)}" for key, value in {"name": name, **HEADS[name]}.items())
    shared = ("network", "id_set", "ood_set", "method", "convention", "draws", "unit")
    tables = []
    for values, group in groupby(rows, key=lambda row: tuple(row.get(key) for key in shared)):
        members = list(group)
        place = _common_start([row["place"] for row in members])
        fields = {"place": place, **dict(zip(shared, values, strict=True))}
        lines = [f"{key} = {_toml(value)}" for key, value in fields.items() if value is not None]
        lines.append("rows = [")
        for row in members:
            own = {k: v for k, v in row.items() if k not in shared} | {
                "place": row["place"][len(place) :].strip()
            }
            lines.append(f"  {_toml({k: v for k, v in own.items() if v != ''})},")
        tables.append("\n".join(["[[tables]]", *lines, "]"]))
    return "\n\n".join([f"[source]\n{head}", *tables]) + "\n"


def _common_start(places: list[str]) -> str:
    """What all places begin with, up to a whole word."""
    same = takewhile(lambda column: len(set(column)) == 1, zip(*map(str.split, places), strict=False))
    return " ".join(column[0] for column in same)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


if __name__ == "__main__":
    main()
