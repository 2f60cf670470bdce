"""`energy-plugin report`: one file for a reader, whatever the form, and nothing half-written."""

import csv
import io
import json

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
    assert err.endswith("report.html\n")
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<figure>") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON document"),
        ("[]", "expected verdicts as `energy-plugin reproduce --json` writes them"),
        ('{"schema": 2, "figures": [{"id": "a"}]}', "a figure lacks or has too much: 'network'"),
        (None, "No such file"),
    ],
)
def test_verdicts_that_are_none_are_told_and_nothing_is_written(tmp_path, capsys, content, said):
    if content is not None:
        (tmp_path / "verdicts.json").write_text(content)
    assert main(["report", "--from", "verdicts.json"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_difference_exits_with_1(verdicts, tmp_path):
    text = verdicts.read_text().replace('"status": "reproduced"', '"status": "differs"')
    (tmp_path / "differs.json").write_text(text)
    assert main(["report", "--from", "differs.json"]) == 1


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

    (tmp_path / "report.html").write_text("the last one")
    monkeypatch.setattr("energy_plugin_bench.report_command.rendered", interrupted)
    assert main(["report", "--from", str(verdicts)]) == 130
    assert (tmp_path / "report.html").read_text() == "the last one"
    assert "What networks gave is kept" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1
