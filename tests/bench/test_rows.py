"""Rows are read as they are written, and every fault is told at once."""

import pytest

from energy_plugin_bench.values.rows import RowsError, parse_source

HEAD = {"name": "paper", "title": "A paper", "cite": "somebody"}
ROW = {
    "id": "paper_fpr95", "place": "line 3", "id_set": "a", "ood_set": "b", "network": "n", "method": "msp",
    "metric": "fpr95", "convention": "outlier_exposure", "value": 12.5, "unit": "percent",
}  # fmt: skip


def parsed(*rows, **table):
    faults = []
    return parse_source(
        {"source": HEAD, "tables": [{**table, "rows": list(rows)}]}, "paper.toml", faults
    ), faults


def test_a_table_gives_its_rows_what_they_share_and_a_row_overrides_it():
    shared = {key: value for key, value in ROW.items() if key not in ("id", "value", "place")}
    rows = (
        {"id": "one", "value": 1.0, "place": "3"},
        {"id": "two", "value": 2.0, "place": "4", "method": "energy"},
    )
    (source,), faults = parsed(*rows, place="log line", **shared)
    assert not faults
    assert [row.place for row in source.rows] == ["log line 3", "log line 4"]
    assert [row.method for row in source.rows] == ["msp", "energy"]


def test_printed_keeps_the_digits_that_a_float_loses():
    (source,), _ = parsed({**ROW, "value": 77.4})
    assert source.rows[0].printed == "77.40"


def test_all_faults_of_all_rows_are_told_at_once():
    _, faults = parsed(
        {**ROW, "convention": "outlier_exposur"}, {**ROW, "id": "two", "valeu": 1.0, "metric": "fpr9"}
    )
    text = "\n".join(faults)
    assert "paper.toml: paper_fpr95: convention: unknown convention 'outlier_exposur'" in text
    assert "Did you mean 'outlier_exposure'?" in text
    assert "paper.toml: two: unknown field 'valeu'. Did you mean 'value'" in text
    assert "two: metric:" in text
    assert len(faults) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": "12.5"}, "value: Input should be a valid number"),
        ({"value": 120.0}, "outside [0, 100] percent"),
        ({"value": 12.5, "unit": "fraction"}, "outside [0, 1] fraction"),
        ({"std": -1.0}, "std"),
        ({"ood_set": None}, "needs an ood_set and a convention"),
        ({"convention": None}, "needs an ood_set and a convention"),
        ({"unit": "per mille"}, "unit"),
        ({"value": float("nan")}, "value"),
    ],
)
def test_a_wrong_value_is_refused_with_what_came(change, said):
    sources, faults = parsed({**ROW, **change})
    assert len(faults) == 1
    assert said in faults[0]
    assert not sources[0].rows


def test_a_missing_field_is_named():
    _, faults = parsed({key: value for key, value in ROW.items() if key != "value"})
    assert faults == ["paper.toml: paper_fpr95: field 'value' is missing"]


def test_a_row_without_an_id_is_told_by_its_place_in_the_file():
    _, faults = parsed({key: value for key, value in ROW.items() if key != "id"})
    assert faults == ["paper.toml: table 1, row 1: field 'id' is missing"]


def test_unknown_tables_and_wrong_heads_are_faults():
    faults = []
    assert parse_source({"source": {"name": "x"}, "tabels": []}, "x.toml", faults) == []
    assert any("unknown table 'tabels'" in fault for fault in faults)
    assert any("field 'title' is missing" in fault for fault in faults)


def test_the_error_lists_its_faults():
    error = RowsError(["a", "b"])
    assert error.faults == ("a", "b")
    assert str(error).startswith("2 faults")


def test_a_row_says_why_nobody_can_measure_it():
    (source,), faults = parsed(
        ROW,
        {**ROW, "id": "2", "caveats": ["by eye"]},
        {**ROW, "id": "3", "caveats": ["by eye", "unreleased"]},
        {**ROW, "id": "4", "caveats": ["quoted"], "not_run": "copied from another page"},
        {**ROW, "id": "5", "metric": "autc"},
        {**ROW, "id": "6", "convention": "quoted"},
        {**ROW, "id": "7", "same_as": "paper_fpr95"},
    )
    assert not faults
    told = [row.obstacle for row in source.rows]
    assert told[:2] == ["", ""]
    assert told[2] == "no recipe: the weights were never released"
    assert told[3] == "no recipe: copied from another page"
    assert told[4] == "no recipe: the harness does not measure the area under the threshold curve"
    assert told[5] == "no recipe: the figures are quoted from several papers, each with its own rules"
    assert "counts (same_as)" in told[6]


def test_caveats_are_told_in_words_before_the_note():
    (source,), _ = parsed(
        {**ROW, "caveats": ["by eye", "another sample"], "note": "of 2021"}, {**ROW, "id": "2"}
    )
    assert source.rows[0].remark.startswith("read by eye from a picture; of a sample of images")
    assert source.rows[0].remark.endswith("; of 2021")
    assert source.rows[1].remark == ""


def test_a_positive_kind_that_the_convention_does_not_have_is_a_fault():
    _, faults = parsed({**ROW, "positive": "id"}, {**ROW, "id": "2", "positive": "unknown"})
    assert faults == ["paper.toml: paper_fpr95: id is positive here, but ood in 'outlier_exposure'"]


def test_an_unknown_caveat_is_a_fault():
    _, faults = parsed({**ROW, "caveats": ["hearsay"]})
    assert len(faults) == 1
    assert "caveats.0" in faults[0]
