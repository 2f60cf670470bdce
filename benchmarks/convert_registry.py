"""Turn the YAML of published values (`classification/`, `segmentation/`) into source files of the package.

    python benchmarks/convert_registry.py --published DIR

Ids, values, spreads, places and remarks are taken over as they stand; names of metrics, and of the common
methods, become the package's. What needs judgement (which rows cannot be compared, which are the same figure
as another source's) stands in `published_rules.toml`. `tests/bench/test_convert.py` holds the package's
files against the YAML where that folder is. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
PUBLISHED = HERE / "energy_plugin_bench" / "published"
RULES = tomllib.loads((HERE / "published_rules.toml").read_text(encoding="utf-8"))

METRICS = {
    "FPR95": "fpr95", "AUROC": "auroc", "AUPR_IN": "aupr_in", "AUPR_OUT": "aupr_out", "accuracy": "accuracy",
    "AUTC": "autc", "mIoU": "miou", "mAcc": "macc", "F1": "f1", "sIoU-gt": "siou_gt", "PPV": "ppv",
    "F1-mean": "f1_mean",
}  # fmt: skip
METHODS = {
    "none": "argmax", "MSP": "msp", "max-logit": "max_logit", "MaxLogit": "max_logit",
    "maxlogit": "max_logit", "entropy": "max_entropy", "MaxEntropy": "max_entropy",
    "energy (ENE)": "energy", "Energy": "energy", "max-logit (MLG)": "max_logit",
}  # fmt: skip
PIXELS = "anomalous_pixels"
WITHOUT_OOD = ("accuracy", "miou", "macc")
HEAD = ("title", "cite", "repository", "kind", "note")
ORDER = (
    "place", "id", "id_set", "ood_set", "network", "weights", "method", "temperature", "metric", "positive",
    "convention", "value", "std", "draws", "runs", "unit", "decimals", "caveats", "not_run", "same_as",
    "note",
)  # fmt: skip
DEFAULTS = {"temperature": 1.0, "decimals": 2, "runs": 0, "caveats": [], "note": "", "weights": ""}


def main(arguments: list[str] | None = None) -> None:
    """Write one file a source."""
    parser = argparse.ArgumentParser(description="Turn the YAML of published values into source files.")
    parser.add_argument("--published", type=Path, required=True, help="folder with the two parts")
    parser.add_argument("--to", type=Path, default=PUBLISHED, help="where the files go")
    options = parser.parse_args(arguments)
    for name, (head, rows) in converted(options.published).items():
        (options.to / f"{name}.toml").write_text(source_text(name, head, rows), encoding="utf-8")


def converted(folder: Path) -> dict[str, tuple[dict[str, str], list[dict[str, Any]]]]:
    """Every source with its head and its rows in the form of the package."""
    found: dict[str, tuple[dict[str, str], list[dict[str, Any]]]] = {}
    unused = dict(enumerate(RULES["rules"]))
    for name, head, raw in sources(folder):
        pairs = [(fields, _row(name, fields)) for fields in raw]
        _decimals([row for _, row in pairs])
        known = {**_others(), **{source: rows for source, (_, rows) in found.items()}}
        for fields, row in pairs:
            for number in _apply_rules(name, fields, row, known):
                unused.pop(number, None)
        found[name] = (head, [row for _, row in pairs])
    if unused:
        raise ValueError(f"rules that match no row: {list(unused.values())}")
    return found


def sources(folder: Path) -> Iterator[tuple[str, dict[str, str], list[dict[str, Any]]]]:
    """Name, head and unfolded rows of every YAML file; copied sources come after what they copy."""
    later = ("gem", "gradnorm", "rankfeat")
    files = sorted((folder / "classification").glob("*.yaml"), key=lambda f: (f.stem in later, f.stem))
    for file in files:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        yield file.stem, _classification_head(data), list(_classification(data))
    for file in sorted((folder / "segmentation").glob("*.yaml")):
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        yield file.stem, _segmentation_head(file.stem, data["source"]), list(_segmentation(data))


def _classification_head(data: Mapping[str, Any]) -> dict[str, str]:
    found = re.search(r"repository ([\w.-]+/[\w.-]+)", data["cite"])
    kind = RULES["kinds"].get(data["source"], "original")
    repository = found.group(1).rstrip(",;") if found else ""
    return {
        "title": data["title"],
        "cite": data["cite"],
        "repository": repository,
        "kind": kind,
        "note": _plain(data.get("remark", "")),
    }


def _segmentation_head(name: str, source: Mapping[str, Any]) -> dict[str, str]:
    commit = source.get("commit", source.get("commits", ""))
    repository = f"{source['repository']}{'@' if commit else ''}{commit}"
    note = _plain(f"{source['kind'][0].upper()}{source['kind'][1:]}. {source.get('note', '')}".strip())
    kind = RULES["kinds"].get(name, "original")
    return {
        "title": source["title"],
        "cite": source["title"],
        "repository": repository,
        "kind": kind,
        "note": note,
    }


def _classification(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for table in data["tables"]:
        shared = {key: value for key, value in table.items() if key not in ("columns", "rows")}
        for values in table["rows"]:
            own = {
                key: value for key, value in zip(table["columns"], values, strict=True) if value is not None
            }
            fields = {"method": "none", **shared, **own, "source": data["source"]}
            parts = ("source", "table", "id_dataset", "network", "method", "ood_dataset", "metric")
            yield {"id": "-".join(slug(str(fields[part])) for part in parts), **fields}


def _segmentation(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for table in data["tables"]:
        for own in table["rows"]:
            yield {"source": data["source"]["key"], "table": table["table"], "tkey": table["key"]} | {
                **table["common"],
                **own,
            }


def slug(text: str) -> str:
    """Lower case; every run of other signs than letters, digits, `_` and `.` is one `_`."""
    return re.sub(r"[^a-z0-9_.]+", "_", text.lower())


def _row(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the package, before rules."""
    segmentation = "dataset" in fields
    training, method = _training(fields["method"])
    metric = _metric(fields)
    row = {
        "place": fields["where_read"],
        "id": fields["id"],
        "table": fields["table"],
        "id_set": fields["dataset"] if segmentation else fields["id_dataset"],
        "network": fields["network"] + (f"+{training}" if training else ""),
        "weights": fields.get("weights", ""),
        "method": "argmax" if metric in WITHOUT_OOD else method,
        "metric": metric,
        "positive": fields["positive_class"],
        "convention": fields["convention"],
        "value": float(fields["value"]),
        "runs": fields.get("n_runs", 0),
        "unit": fields["unit"],
        "caveats": [],
        "note": _plain(fields.get("remark", "")),
    }
    if metric not in WITHOUT_OOD:
        row["ood_set"] = PIXELS if segmentation else fields["ood_dataset"]
    if "split" in fields:
        row["note"] = "; ".join(text for text in (fields["split"], row["note"]) if text)
    if not segmentation:
        row["temperature"] = float(fields["temperature"]) if "temperature" in fields else "unknown"
    if "std" in fields:
        row["std"] = float(fields["std"])
        row["draws"] = 10 if name == "outlier_exposure" else 0
    return row


def _plain(text: str) -> str:
    """A remark that names other files of the YAML names sources then."""
    return re.sub(r"\b(?!config\b)(\w+)\.yaml\b", r"\1", text)


def _training(method: str) -> tuple[str, str]:
    """What a network was trained with, where the method's name says it, and the score."""
    if method == "energy_ft":
        return "energy_ft", "energy"
    found = re.fullmatch(r"(?!temp_scale)(.+)_(msp|energy)", method)
    return (found.group(1), found.group(2)) if found else ("", METHODS.get(method, method))


def _metric(fields: Mapping[str, Any]) -> str:
    """AP and AUPR of segmentation are of the row's positive class."""
    if fields["metric"] in ("AP", "AUPR"):
        return "aupr_in" if fields["positive_class"] == "id" else "aupr_out"
    return METRICS[fields["metric"]]


def _decimals(rows: list[dict[str, Any]]) -> None:
    """A table prints one number of digits: the most that a value shows, as YAML drops zeros at the end."""
    most: dict[str, int] = {}
    for row in rows:
        shown = repr(row["value"]).partition(".")[2].rstrip("0")
        most[row["table"]] = max(most.get(row["table"], 0), len(shown))
    for row in rows:
        row["decimals"] = min(most[row["table"]], 6)


def _apply_rules(
    name: str, fields: Mapping[str, Any], row: dict[str, Any], known: Mapping[str, list[dict[str, Any]]]
) -> list[int]:
    """Apply what matches, in order; return which rules those were."""
    training = row["network"].partition("+")[2]
    texts = {key: str(value) for key, value in fields.items()} | {
        "plus": f"+{training}" if training else "",
        "id_base": str(fields.get("id_dataset", "")).removesuffix("_fs"),
    }
    matched = []
    for number, rule in enumerate(RULES["rules"]):
        if rule["source"] != name or not _matches(rule.get("where", {}), texts):
            continue
        matched.append(number)
        row["caveats"] += [caveat for caveat in rule.get("caveats", []) if caveat not in row["caveats"]]
        for key, template in rule.get("set", {}).items():
            text = template.format_map(texts) if isinstance(template, str) else template
            row[key] = "; ".join(part for part in (row["note"], text) if part) if key == "note" else text
        if "same_as" in rule:
            same = _same(row, rule["same_as"], known[rule["same_as"]["source"]])
            row.update({"same_as": same} if same else {"not_run": rule["same_as"].get("or", "")})
    return matched


def _matches(where: Mapping[str, str], texts: Mapping[str, str]) -> bool:
    return all(_holds(pattern, texts.get(key, "")) for key, pattern in where.items())


def _holds(pattern: str, text: str) -> bool:
    if pattern.startswith("!"):
        return not _holds(pattern[1:], text)
    return any(fnmatchcase(text, part) for part in pattern.split("|"))


def _same(row: Mapping[str, Any], rule: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str:
    """Id of the row of another source with this row's sets, network, method, metric and value."""

    def key(of: Mapping[str, Any], names: Mapping[str, str], sets: Mapping[str, str]) -> tuple[Any, ...]:
        ood, network = of.get("ood_set"), of["network"]
        network = names.get(network, slug(network).replace("-", "_") if rule.get("slugs") else network)
        id_set = names.get(of["id_set"], of["id_set"])
        return id_set, sets.get(str(ood), ood), network, of["method"], of["metric"], of["value"]

    wanted = key(row, rule.get("names", {}), rule.get("sets", {}))
    found = [other["id"] for other in others if key(other, {}, {}) == wanted]
    if len(found) != 1 and "or" not in rule:
        raise ValueError(f"{row['id']}: {len(found)} rows of {rule['source']} are this figure: {found}")
    return found[0] if found else ""


def _others() -> dict[str, list[dict[str, Any]]]:
    """Rows of the sources that were there before."""
    found = {}
    for name in ("dice_issue_2", "maha_norm_ninco"):
        data = tomllib.loads((PUBLISHED / f"{name}.toml").read_text(encoding="utf-8"))
        found[name] = [{**table, **row} for table in data["tables"] for row in table["rows"]]
    return found


def source_text(name: str, head: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The TOML text of a source: what all rows of a table share stands once."""
    lines = ["[source]", f"name = {_toml(name)}"]
    lines += [f"{key} = {_toml(head[key])}" for key in HEAD if head[key]]
    for table, group in groupby(rows, key=lambda row: row["table"]):
        members = [_without_defaults(row) for row in group]
        same = {
            key
            for key in set(members[0]) - {"id", "value"}
            if all(m.get(key) == members[0][key] for m in members)
        }
        lines += ["", "[[tables]]", f"name = {_toml(table)}"]
        lines += [f"{key} = {_toml(members[0][key])}" for key in ORDER if key in same]
        lines.append("rows = [")
        lines += [
            f"  {_toml({key: row[key] for key in ORDER if key in row and key not in same})},"
            for row in members
        ]
        lines.append("]")
    return "\n".join(lines) + "\n"


def _without_defaults(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in DEFAULTS or value != DEFAULTS[key]}


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


if __name__ == "__main__":
    main()
