"""`energy-plugin reproduce`: what it prints, its exit codes, and what it leaves behind."""

import json
import os
import signal
from pathlib import Path

import pytest

from energy_plugin.cli import main
from energy_plugin_bench import command
from energy_plugin_bench.inputs.assets import DATA_ROOT
from energy_plugin_bench.verdicts.runner import Runner

ENERGY = "song_mnist_energyft32_ and not error"


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch):
    monkeypatch.delenv(DATA_ROOT, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def test_reproduced_rows_exit_with_0_and_nothing_on_stderr(capsys):
    assert main(["reproduce", "-k", ENERGY]) == 0
    out, err = capsys.readouterr()
    assert "4 reproduced, 0 differ, 0 not run" in out
    assert "energy AUROC" in out
    assert err == ""


def test_json_is_one_document(capsys):
    assert main(["reproduce", "-k", "energyft32", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    figures = {figure["id"]: figure for figure in document["figures"]}
    assert figures["song_mnist_energyft32_auroc"]["status"] == "reproduced"
    assert figures["song_mnist_energyft32_auroc"]["origin"] == "carried logits"
    assert (
        figures[
            "measured_densenet100_mnist0to7_song_energyft32_mnist_test_0to7_mnist_test_8to9_msp_energy_ood_auroc"
        ]["published"]
        is None
    )
    assert document["summary"]["not run"] == 15  # SVHN, Fashion-MNIST and CIFAR-10 were fine-tuned, too


def test_a_difference_exits_with_1(capsys, monkeypatch):
    monkeypatch.setattr("energy_plugin_bench.verdicts.runner.judged", lambda figure, allowed: "differs")
    assert main(["reproduce", "-k", ENERGY]) == 1
    assert "4 differ" in capsys.readouterr().out


def test_a_difference_that_the_recipe_explains_is_shown_and_exits_with_0(capsys):
    assert main(["reproduce", "-k", "song_cifar10-svhn_pretrained_errordetection"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "3 reproduced, 1 differ (1 explained), 0 not run" in out
    assert "1 differ: most probabilities crowd at 1" in out
    assert "errordetection_tnr99: published 39.61, measured 39.393; other devices' rounding moves it" in out


def test_nothing_verified_exits_with_3(capsys):
    assert main(["reproduce", "--source", "dice_issue_2"]) == 3
    assert (
        "21 rows not run (some for several reasons): 21: needs dice/cifar100_densenet_checkpoint"
        in " ".join(capsys.readouterr().out.split())
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "song_energy"], "there is no source 'song_energy'. Did you mean 'song_energy_ood'"),
        (["-k", "mnist fashion"], "cannot read 'mnist fashion'"),
        (["-k", "no_such_row"], "no published value matches 'no_such_row'"),
        (["--data-root", "nowhere"], "the data root nowhere is no folder"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(capsys, arguments, said):
    assert main(["reproduce", *arguments]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_a_data_root_without_the_files_lists_them(capsys, tmp_path):
    assert main(["reproduce", "--data-root", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "holds none of these files" in err
    assert "cifar/images/cifar10_test.npz" in err
    assert "torchvision: CIFAR10" in err


def test_a_file_with_another_hash_is_told_and_what_does_not_need_it_goes_on(capsys, tmp_path):
    weights = tmp_path / "mnist" / "weights" / "baseline_epoch_9.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"something else")
    output = tmp_path / "report.json"
    chosen = "oe_mnist_baseline_error_rate or oe_mnist_baseline_fashion or resnet20_cifar10_akamaster_error"
    assert main(["reproduce", "--data-root", str(tmp_path), "-k", chosen, "--output", str(output)]) == 2
    out, err = capsys.readouterr()
    assert err.count("expected sha256:277eeb51") == 1
    assert "error: oe_mnist_baseline_error_rate and 3 more: failed: the network" in err
    assert "1 reproduced, 0 differ, 4 not run" in out
    figures = {figure["id"]: figure for figure in json.loads(output.read_text())["figures"]}
    assert figures["resnet20_cifar10_akamaster_error_rate"]["status"] == "reproduced"
    assert figures["oe_mnist_baseline_error_rate"]["failed"] is True
    assert "Copy it again" in figures["oe_mnist_baseline_error_rate"]["reason"]


def test_the_output_is_written(tmp_path, capsys):
    for name, start in (("report.json", "{"), ("report.md", "| source |")):
        assert main(["reproduce", "-k", ENERGY, "--output", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().startswith(start)
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md"}
    assert "reproduced" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gone/report.json", "."])
def test_an_output_that_cannot_be_written_is_told_before_anything_is_computed(
    tmp_path, capsys, monkeypatch, name
):
    monkeypatch.setattr(command, "measured", lambda *_: pytest.fail("computed all the same"))
    assert main(["reproduce", "--output", str(tmp_path / name)]) == 2
    assert "--output" in capsys.readouterr().err


def test_an_ending_that_is_no_format_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "measured", lambda *_: pytest.fail("computed all the same"))
    assert main(["reproduce", "--output", str(tmp_path / "report.pdf")]) == 2
    assert "report.pdf: expected an ending of .html, .htm, .md, .json, .csv" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_half_written(tmp_path, capsys, monkeypatch):
    verdict, done = Runner.verdict, []

    def interrupted(self, source, row):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(row)
        return verdict(self, source, row)

    monkeypatch.setattr(Runner, "verdict", interrupted)
    (tmp_path / "report.json").write_text("the last one")
    assert main(["reproduce", "-k", ENERGY, "--output", str(tmp_path / "report.json")]) == 130
    out, err = capsys.readouterr()
    assert "interrupted: nothing was written" in err
    assert out == ""
    assert (tmp_path / "report.json").read_text() == "the last one"
    assert len(list(tmp_path.iterdir())) == 1


EXPLAINED = "song_mnist_pretrained_errordetection_tnr99"


def test_a_difference_that_the_recipe_explains_was_verified(capsys):
    assert main(["reproduce", "-k", EXPLAINED]) == 0
    assert "0 reproduced, 1 differ" in capsys.readouterr().out


def test_what_plug_ins_print_does_not_get_into_the_document(capsys, monkeypatch):
    verdict = Runner.verdict

    def chatty(self, source, row):
        print("hello from a plug-in")
        return verdict(self, source, row)

    monkeypatch.setattr(Runner, "verdict", chatty)
    assert main(["reproduce", "-k", ENERGY, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["figures"]
    assert "hello from a plug-in" in err


def test_a_signal_that_ends_the_run_leaves_nothing_half_written(tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Runner, "verdict", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    output = str(tmp_path / "report.json")
    assert main(["reproduce", "-k", ENERGY, "--output", output]) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_failed_and_temperatures_are_in_a_report_that_is_read_again(tmp_path, capsys):
    (tmp_path / "mnist" / "weights").mkdir(parents=True)
    (tmp_path / "mnist" / "weights" / "baseline_epoch_9.safetensors").write_bytes(b"something else")
    chosen = ["--data-root", str(tmp_path), "-k", "oe_mnist_baseline_error_rate"]
    output = tmp_path / "verdicts.json"
    assert main(["reproduce", *chosen, "--output", str(output)]) == 2
    data = json.loads(output.read_text())
    data["figures"][0]["temperature"] = 2.0
    output.write_text(json.dumps(data))
    again = tmp_path / "again.json"
    assert main(["report", "--from", str(output), "--output", str(again)]) == 2
    (figure,) = json.loads(again.read_text())["figures"]
    assert (figure["failed"], figure["temperature"]) == (True, 2.0)


def test_a_full_disk_under_the_output_is_told_with_its_name(tmp_path, capsys, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["reproduce", "-k", ENERGY, "--output", str(tmp_path / "report.json")]) == 2
    err = capsys.readouterr().err
    assert f"--output {tmp_path / 'report.json'} cannot be written: No space left on device" in err
    assert list(tmp_path.iterdir()) == []


def test_markdown_goes_to_stdout(capsys):
    assert main(["reproduce", "-k", ENERGY, "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| source | reproduced | differ | not run |")


def test_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    assert "3 nothing could be verified" in " ".join(capsys.readouterr().out.split())
