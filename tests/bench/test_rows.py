"""Rows are read as they are written, and every fault is told at once."""

import pytest

from energy_plugin_bench.values.checking import RowsError
from energy_plugin_bench.values.rows import parse_source

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


def test_what_the_good_fields_contradict_is_told_beside_the_bad_ones():
    _, faults = parsed({**ROW, "value": 150.0, "valeu": 3, "positive": "id", "std": -1.0})
    assert [fault.partition("paper_fpr95: ")[2] for fault in faults] == [
        "std: Input should be greater than or equal to 0, got -1.0",
        "unknown field 'valeu'. Did you mean 'value' or 'table'?",
        "value 150.0 is outside [0, 100] percent",
        "id is positive here, but ood in 'outlier_exposure'",
    ]


def test_what_hangs_on_a_field_that_has_a_fault_is_not_made_up():
    _, faults = parsed({**ROW, "unit": "per mille", "value": 150.0})
    assert len(faults) == 1


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


@pytest.mark.parametrize("metric", ["aupr", "tnr95", "tnr99"])
def test_figures_of_the_positive_kind_follow_the_convention_too(metric):
    _, faults = parsed({**ROW, "metric": metric, "positive": "id"})
    assert faults == ["paper.toml: paper_fpr95: id is positive here, but ood in 'outlier_exposure'"]


@pytest.mark.parametrize("metric", ["auroc", "aupr_in", "aupr_out"])
def test_figures_that_name_their_positive_kind_or_have_none_are_free(metric):
    _, faults = parsed({**ROW, "metric": metric, "positive": "id"})
    assert not faults


PIXELS = {"ood_set": "anomalous_pixels", "convention": "pebal"}
IMPOSSIBLE = [
    ({"metric": "aupr_out", "convention": "ninco"}, "'ninco' has no area under the precision-recall curve"),
    ({"metric": "aupr", "convention": "oodeel"}, "'oodeel' has no area under the precision-recall curve"),
    ({**PIXELS, "metric": "aupr_in", "convention": "ninco"}, "'ninco' has no area"),
    ({"convention": "muad"}, "the convention 'muad' is a mean over maps of pixels, and 'b' are images"),
    ({**PIXELS, "metric": "tnr95"}, "of pixels there is no tnr95, but fpr95"),
]


@pytest.mark.parametrize(("change", "said"), IMPOSSIBLE)
def test_a_figure_that_its_convention_cannot_give_is_a_fault_unless_the_row_says_so(change, said):
    _, faults = parsed({**ROW, **change})
    assert len(faults) == 1
    assert said in faults[0]
    assert "say in 'not_run' why" in faults[0]
    assert not parsed({**ROW, **change, "not_run": "never"})[1]


def test_a_mean_over_maps_of_pixels_is_well():
    assert not parsed({**ROW, **PIXELS, "convention": "muad"})[1]


def test_accuracies_are_free_of_what_their_table_s_convention_lacks():
    row = {**ROW, "metric": "accuracy", "method": "argmax"}
    assert not parsed({**row, "ood_set": None, "convention": "ninco"}, {**row, "convention": "muad"})[1]


@pytest.mark.parametrize(
    ("change", "digits"),
    [({"value": 0.5671, "unit": "fraction"}, 4), ({"value": 57.129, "decimals": 0}, 3), ({"value": 1e-5}, 5)],
)
def test_fewer_decimals_than_were_written_are_a_fault(change, digits):
    _, faults = parsed({**ROW, **change})
    assert len(faults) == 1
    assert f"has {digits} digits after the point, and decimals is" in faults[0]
    assert not parsed({**ROW, **change, "decimals": digits})[1]


@pytest.mark.parametrize("value", [50, 50.0, 0.0, 100.0])
def test_zeros_at_the_end_are_no_decimals(value):
    assert not parsed({**ROW, "value": value, "decimals": 0})[1]


def test_an_unknown_caveat_is_a_fault():
    _, faults = parsed({**ROW, "caveats": ["hearsay"]})
    assert len(faults) == 1
    assert "caveats.0" in faults[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "x"}, "source: expected a table, got 'x'"),
        ({"source": [{"name": "x"}]}, "source: expected a table, got [{'name': 'x'}]"),
        ({"source": HEAD, "tables": {"name": "t"}}, "tables: expected an array of tables, got {'name': 't'}"),
        ({"source": HEAD, "tables": [1]}, "table 1: expected a table, got 1"),
        ({"source": HEAD, "tables": [{"row": []}]}, "table 1: field 'rows' is missing"),
        ({"source": HEAD, "tables": [{"rows": 5}]}, "table 1: rows: expected an array of tables, got 5"),
        ({"source": HEAD, "tables": [{"rows": {}}]}, "table 1: rows: expected an array of tables, got {}"),
        ({"source": HEAD, "tables": [{"rows": [5]}]}, "table 1, row 1: expected a table, got 5"),
    ],
)
def test_toml_of_another_shape_is_one_fault_with_its_place(data, said):
    faults = []
    parse_source(data, "x.toml", faults)
    assert faults == [f"x.toml: {said}"]


def test_rows_beside_a_faulty_head_or_table_are_still_checked():
    faults = []
    parse_source({"source": "x", "tables": [1, {"rows": [{**ROW, "value": 150.0}]}]}, "x.toml", faults)
    assert len(faults) == 3
