"""The package's rows are those that were read in the sources: same ids, same values."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOLDER = "ENERGY_PLUGIN_PUBLISHED"


def script(name):
    pytest.importorskip("yaml", reason="PyYAML reads the published rows")
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def convert():
    return script("convert_published")


@pytest.fixture(scope="module")
def convert_registry():
    return script("convert_registry")


@pytest.fixture(scope="module")
def folder():
    """The YAML of published values, where there is any."""
    beside = os.environ.get("ENERGY_PLUGIN_DATA")
    named = os.environ.get(FOLDER) or (beside and str(Path(beside).parent / "published"))
    if not named or not Path(named, "classification").is_dir():
        pytest.skip(f"needs the YAML of published values: {FOLDER} names no folder that holds it")
    return Path(named)


def test_ids_values_spreads_and_places_are_those_of_the_data_root(registry, data_root):
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the published rows of the data root")
    read = {}
    for part in ("mnist", "cifar"):
        for row in yaml.safe_load((data_root / part / "published_rows.yaml").read_text())["rows"]:
            read[row["id"]] = (float(row["value"]), row["std"], row["unit"], row["where_read"])
    ours = {row.id: (row.value, row.std, row.unit, row.place) for _, row in registry.rows()}
    assert {name: ours.get(name) for name in read} == read


def test_the_files_are_what_the_conversion_writes(convert, data_root, tmp_path):
    convert.main(["--data-root", str(data_root), "--to", str(tmp_path)])
    same_as_written(convert, tmp_path)


def test_the_files_of_the_registry_are_what_its_conversion_writes(convert_registry, folder, tmp_path):
    convert_registry.main(["--published", str(folder), "--to", str(tmp_path)])
    same_as_written(convert_registry, tmp_path)


def same_as_written(module, folder):
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert written
    assert {name: (module.PUBLISHED / name).read_text() for name in written} == written


def test_every_row_of_the_yaml_is_there_with_its_id_and_figures(registry, folder):
    read = {fields["id"]: str(figures(fields)) for fields in unfolded(folder)}
    assert len(read) == 4319
    rows = {row.id: row for _, row in registry.rows()}
    assert {name: str(kept(rows[name])) for name in read if name in rows} == read


def unfolded(folder):
    """Rows as the README of each folder says they unfold; written apart from the conversion."""
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the published rows")
    for file in sorted((folder / "classification").glob("*.yaml")):
        data = yaml.safe_load(file.read_text())
        for table in data["tables"]:
            for values in table["rows"]:
                fields = {**table, "method": table.get("method", "none")}
                fields |= {k: v for k, v in zip(table["columns"], values, strict=True) if v is not None}
                named = [data["source"]] + [
                    str(fields[k])
                    for k in ("table", "id_dataset", "network", "method", "ood_dataset", "metric")
                ]
                yield {**fields, "id": "-".join(map(dashed, named)), "source": data["source"]}
    for file in sorted((folder / "segmentation").glob("*.yaml")):
        for table in yaml.safe_load(file.read_text())["tables"]:
            for own in table["rows"]:
                yield {"table": table["table"], **table["common"], **own}


def dashed(text):
    """Runs of other signs than a-z 0-9 _ . become one _."""
    return re.sub("[^a-z0-9_.]+", "_", text.lower())


def figures(fields):
    """What a row of the YAML says in numbers and places."""
    return (
        float(fields["value"]),
        float(fields["std"]) if "std" in fields else None,
        fields["unit"],
        fields["where_read"],
        fields.get("n_runs", 0),
        fields["positive_class"],
        fields["table"],
        fields.get("weights", ""),
        fields.get("dataset") or fields["id_dataset"],
        fields["metric"].partition("_")[0].replace("AUPR", "AP").replace("-", "_").lower(),
        float(fields.get("temperature", 1.0 if "dataset" in fields else "nan")),
    )


def kept(row):
    """The same of a row of the package."""
    return (
        row.value,
        row.std,
        row.unit,
        row.place,
        row.runs,
        row.positive,
        row.table,
        row.weights,
        row.id_set,
        {"aupr_in": "ap", "aupr_out": "ap"}.get(row.metric, row.metric),
        float("nan" if row.temperature == "unknown" else row.temperature),
    )


def test_remarks_conventions_and_sets_of_the_yaml_are_kept(registry, folder):
    rows = {row.id: row for _, row in registry.rows()}
    for fields in unfolded(folder):
        row = rows[fields["id"]]
        plain = re.sub(r"\b(?!config\b)(\w+)\.yaml\b", r"\1", fields.get("remark", ""))
        assert plain in row.note, row.id
        described = {"meta-ood histogram (100 bins)": "meta-ood", "Cityscapes server": "cityscapes-server"}
        assert (
            described.get(fields["convention"], fields["convention"]) == row.convention
            or fields["convention"] in row.note
        ), row.id
        if "ood_dataset" in fields:
            assert row.ood_set == (None if fields["ood_dataset"] == "none" else fields["ood_dataset"])
        assert row.network.startswith(fields["network"])


def test_the_printed_digits_are_kept(registry, folder):
    rows = {row.id: row for _, row in registry.rows()}
    for fields in unfolded(folder):
        assert float(rows[fields["id"]].printed) == float(fields["value"]), fields["id"]
