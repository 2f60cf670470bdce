"""The package's rows are those that were read in the sources: same ids, same values."""

import importlib.util
from pathlib import Path

import pytest

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "convert_published.py"


@pytest.fixture(scope="module")
def convert():
    pytest.importorskip("yaml", reason="PyYAML reads the published rows of the data root")
    spec = importlib.util.spec_from_file_location("convert_published", PUBLISHED)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written
    assert {name: (convert.PUBLISHED / name).read_text() for name in written} == written
