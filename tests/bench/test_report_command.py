"""`energy-plugin report`: one file for a reader, whatever the form, and nothing half-written."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from energy_plugin.cli import main
from energy_plugin_bench.inputs.assets import DATA_ROOT
from energy_plugin_bench.report.report import Report

ROWS = ["-k", "song_mnist_energyft32_ and not error"]


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch, tmp_path):
    monkeypatch.delenv(DATA_ROOT, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """The JSON of a report on a few rows."""
    path = tmp_path_factory.mktemp("report") / "verdicts.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(DATA_ROOT, raising=False)
        assert main(["report", *ROWS, "--no-cache", "--output", str(path)]) == 0
    return path


def test_json_holds_what_the_other_forms_are_made_of(verdicts):
    document = json.loads(verdicts.read_text())
    figures = {figure["id"]: figure for figure in document["figures"]}
    network = "densenet100_mnist0to7_song_energyft32"
    beside = f"measured_{network}_mnist_test_0to7_mnist_test_8to9_max_logit_energy_ood_auroc"
    assert figures[beside]["status"] == "measured"
    assert figures["song_mnist_energyft32_auroc"]["printed"] == "99.88"
    assert {curve["method"] for curve in document["curves"]} == {"energy", "msp", "max_logit"}
    assert document["sources"]["song_energy_ood"]["repository"] == "Xiaoyang-Song/energy_ood@7001e74"
    path = f"logits/song_energy_ood/{network}--mnist_test.safetensors"
    assert len(document["hashes"][path]) == 64
    assert document["environment"]["dtype"] == "float32"


def test_json_and_back(verdicts):
    report = Report.from_json(verdicts.read_text())
    assert report.to_json() == verdicts.read_text().rstrip("\n")


def test_html_is_the_default_and_says_where_it_went(verdicts, tmp_path, capsys):
    assert main(["report", "--from", str(verdicts)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("4 reproduced, 0 differ")
    assert err.endswith(". Written: report.html\n")
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<figure>") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_default_name_is_written_again_over_a_report_only(verdicts, tmp_path, capsys):
    own = tmp_path / "report.html"
    assert main(["report", "--from", str(verdicts)]) == 0
    first = own.read_text()
    own.write_text(first.replace("<h1>", "<h1>Yesterday: "))
    assert main(["report", "--from", str(verdicts)]) == 0
    assert own.read_text() == first
    assert capsys.readouterr().err.endswith(". Written over what was there: report.html\n")
    own.write_text("<title>My thesis</title>")
    assert main(["report", "--from", str(verdicts)]) == 2
    assert "report.html is there and is no report of this command" in capsys.readouterr().err
    assert own.read_text() == "<title>My thesis</title>"
    assert main(["report", "--from", str(verdicts), "--output", "report.html"]) == 0  # as it was asked for
    assert own.read_text() == first


@pytest.mark.parametrize("name", ["page.pdf", "page"])
def test_an_unknown_ending_is_told(verdicts, tmp_path, capsys, name):
    assert main(["report", "--from", str(verdicts), "--output", name]) == 2
    assert f"--output {name}: expected an ending of .html, .htm, .md" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(["report", "--from", str(verdicts), "--output", name, "--format", "csv"]) == 0
    assert (tmp_path / name).read_text().startswith("id,")


def test_a_folder_as_output_is_told(verdicts, tmp_path, capsys):
    assert main(["report", "--from", str(verdicts), "--output", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_carried_logits_were_not_computed_here(verdicts, tmp_path):
    document = json.loads(verdicts.read_text())
    assert document["environment"]["device"] == "cpu"
    said = document["environment"]["figures from carried logits"]
    count = sum(figure["measured"] is not None for figure in document["figures"])
    assert said == f"{count} of {count}; these logits were computed beforehand, on a CPU in float32"
    for figure in document["figures"]:
        figure["origin"] = "images"
    document["figures"][0]["origin"] = "images and carried logits"
    document["environment"]["device"] = "mps"
    (tmp_path / "mps.json").write_text(json.dumps(document))
    assert main(["report", "--from", "mps.json"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"<dt>figures from carried logits</dt><dd>1 of {count}; these" in page
    document["figures"][0]["origin"] = "images"
    (tmp_path / "mps.json").write_text(json.dumps(document))
    assert main(["report", "--from", "mps.json"]) == 0
    assert "carried logits" not in (tmp_path / "report.html").read_text()


def test_csv_has_a_line_for_each_figure(verdicts, capsys):
    assert main(["report", "--from", str(verdicts), "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    line = next(line for line in lines if line["id"] == "song_mnist_energyft32_auroc")
    assert (line["published"], line["status"], line["network"]) == (
        "99.88",
        "reproduced",
        "densenet100_mnist0to7_song_energyft32",
    )
    assert line["link"].startswith("https://github.com/Xiaoyang-Song/energy_ood/blob/7001e74/CIFAR/out/")
    assert float(line["tolerance"]) > 0
    assert "standard errors" in line["tolerance_reason"]
    assert len(lines) == len(json.loads(verdicts.read_text())["figures"])


@pytest.mark.parametrize(("name", "start"), [("a.md", "| source |"), ("a.csv", "id,source"), ("a.json", "{")])
def test_the_ending_of_the_name_says_the_form(verdicts, tmp_path, name, start):
    assert main(["report", "--from", str(verdicts), "--output", name]) == 0
    assert (tmp_path / name).read_text().startswith(start)


def test_reproduce_writes_the_same_forms(tmp_path):
    assert main(["reproduce", *ROWS, "--output", "page.html"]) == 0
    assert "<!DOCTYPE html>" in (tmp_path / "page.html").read_text()


NONE = "is no report of `energy-plugin reproduce --json` or `report --format json`: "


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON document"),
        ("[" * 100_000, "no JSON document"),
        ("[]", "Input should be a valid dictionary"),
        ('{"schema": 1, "figures": []}', "schema: Input should be 2"),
        ('{"schema": 2}', "figures: Field required"),
        ('{"schema": 2, "figures": [{"id": "a"}]}', "figures[0].source: Field required"),
        ("\udcff", "codec can't decode"),
    ],
)
def test_verdicts_that_are_none_are_told_and_nothing_is_written(tmp_path, capsys, content, said):
    (tmp_path / "verdicts.json").write_text(content, errors="surrogateescape")
    assert main(["report", "--from", "verdicts.json"]) == 2
    assert f"error: verdicts.json {NONE}" in (err := capsys.readouterr().err)
    assert said in err
    assert not (tmp_path / "report.html").exists()


def test_a_file_that_is_not_there_is_told(capsys):
    assert main(["report", "--from", "verdicts.json"]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("environment", [1]),
        ("environment", {"torch": 1}),
        ("sources", [1]),
        ("sources", {"song_energy_ood": {"title": 1}}),
        ("hashes", {"a": 1}),
        ("seconds", "x"),
        ("seconds", float("nan")),
        ("figures", {}),
        ("figures", []),
        ("figures.0", 1),
        ("figures.0.status", "perhaps"),
        ("figures.0.measured", "9"),
        ("figures.0.printed", "nine"),
        ("figures.0.unit", None),
        ("figures.0.draws", 1.5),
        ("figures.0.tolerance", {"target": 1.0}),
        ("curves", {}),
        ("curves.0.roc", []),
        ("curves.0.roc", [[0.0]]),
        ("curves.0.inward", [1]),
        ("curves.0.low", None),
        ("curves.0.positive", "both"),
    ],
)
@pytest.mark.parametrize("form", ["html", "csv"])
def test_wrong_types_are_told_with_their_place(verdicts, tmp_path, capsys, path, value, form):
    document = json.loads(verdicts.read_text())
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner = document
    for part in parents:
        inner = inner[part]
    inner[last] = value
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    assert main(["report", "--from", "wrong.json", "--output", f"page.{form}"]) == 2
    where = path.replace(".0", "[0]")
    assert f"error: wrong.json {NONE}{where}" in capsys.readouterr().err
    assert not (tmp_path / f"page.{form}").exists()


def test_a_curve_without_a_roc_is_told(verdicts, tmp_path, capsys):
    document = json.loads(verdicts.read_text())
    del document["curves"][0]["roc"]
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    assert main(["report", "--from", "wrong.json"]) == 2
    assert "curves[0].roc: Field required" in capsys.readouterr().err


def chosen(verdicts, *options):
    assert main(["report", "--from", str(verdicts), "--output", "chosen.json", *options]) == 0
    return json.loads(Path("chosen.json").read_text())


def test_rows_are_chosen_among_verdicts(verdicts):
    found = chosen(verdicts, "-k", "song_mnist_energyft32_auroc", "--source", "song_energy_ood")
    assert [figure["id"] for figure in found["figures"]] == ["song_mnist_energyft32_auroc"]
    assert [curve["method"] for curve in found["curves"]] == ["energy"]
    assert list(found["sources"]) == ["song_energy_ood"]
    assert found["summary"]["reproduced"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--source", "song_energy"], "no source 'song_energy'. Did you mean 'song_energy_ood'"),
        (["-k", "omniglot"], "no figure of the report matches 'omniglot'"),
        (["-k", "not"], "cannot read 'not'"),
        (["--detector", "msp"], "--detector is for what is measured"),
    ],
)
def test_a_choice_among_verdicts_that_fails_is_told(verdicts, tmp_path, capsys, options, said):
    assert main(["report", "--from", str(verdicts), *options]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_json_has_null_where_there_is_no_number_and_reads_as_such(verdicts, tmp_path):
    report = Report.from_json(verdicts.read_text())
    first = next(v for v in report.verdicts if v.tolerance)
    broken = replace(
        first, measured=float("nan"), spread=float("inf"), elsewhere=float("-inf"),
        tolerance=replace(first.tolerance, width=float("nan")),
    )  # fmt: skip
    curve = replace(report.curves[0], threshold=float("nan"), point=(float("nan"), 0.5))
    text = replace(report, verdicts=(broken,), curves=(curve,)).to_json()

    def refused(name):
        raise AssertionError(name)

    figure = json.loads(text, parse_constant=refused)["figures"][0]
    assert (figure["measured"], figure["spread"], figure["elsewhere"]) == (None, None, None)
    assert figure["tolerance"]["width"] is None
    back = Report.from_json(text)
    assert math.isnan(back.verdicts[0].measured)
    assert back.to_json() == text
    for form in ("page.html", "page.md", "page.csv", "page.json"):
        (tmp_path / "nan.json").write_text(text.replace("null", "NaN", 1))  # as earlier versions wrote it
        assert main(["report", "--from", "nan.json", "--output", form]) == 0
    assert '<td class="n" data-label="measured">nan</td>' in (tmp_path / "page.html").read_text()


def test_a_difference_exits_with_1(verdicts, tmp_path):
    text = verdicts.read_text().replace('"status": "reproduced"', '"status": "differs"')
    (tmp_path / "differs.json").write_text(text)
    assert main(["report", "--from", "differs.json"]) == 1


def test_a_broken_file_costs_the_report_what_needs_it_and_no_more(tmp_path, capsys):
    weights = tmp_path / "root" / "mnist" / "weights" / "baseline_epoch_9.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"something else")
    chosen = "oe_mnist_baseline_fashion or song_mnist_energyft32_auroc"
    arguments = ["-k", chosen, "--data-root", str(tmp_path / "root"), "--output", "broken.json"]
    assert main(["report", *arguments]) == 2
    figures = json.loads((tmp_path / "broken.json").read_text())["figures"]
    published = {figure["id"]: figure["status"] for figure in figures if figure["printed"]}
    assert published.pop("song_mnist_energyft32_auroc") == "reproduced"
    assert set(published.values()) == {"not run"}
    assert capsys.readouterr().err.count("expected sha256:277eeb51") == 1


def test_an_unknown_detector_is_told(capsys):
    assert main(["report", *ROWS, "--detector", "max_logits"]) == 2
    assert "max_logit" in capsys.readouterr().err


def test_only_the_detectors_that_were_asked_for(tmp_path):
    assert main(["report", *ROWS, "--detector", "max_entropy", "--output", "a.json"]) == 0
    figures = json.loads((tmp_path / "a.json").read_text())["figures"]
    beside = {figure["method"] for figure in figures if figure["status"] == "measured"}
    assert "max_entropy" in beside
    assert "max_logit" not in beside


def test_ctrl_c_leaves_what_was_there(verdicts, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "last.html").write_text("the last one")
    monkeypatch.setattr("energy_plugin_bench.report_command.rendered", interrupted)
    assert main(["report", "--from", str(verdicts), "--output", "last.html"]) == 130
    assert (tmp_path / "last.html").read_text() == "the last one"
    assert "What networks gave is kept" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1
