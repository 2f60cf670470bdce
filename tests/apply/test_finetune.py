"""`energy-plugin finetune`, from the command line to the files; broken off, resumed to the same weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from energy_plugin.cli import main
from energy_plugin_bench.apply import checkpoint, finetuning, loop
from energy_plugin_bench.apply.finetune import settings_of

BACKBONE = ["--backbone", "outlier_exposure_convnet", "--option", "classes=3"]


def arguments(folder, out, *more):
    return [
        "finetune", *BACKBONE, "--data-root", str(folder), "--id", "known.npz", "--outliers", "outliers.npz",
        "--id-test", "known_test.npz", "--ood-test", "noise=outliers_test.npz", "--out", str(out), "--quiet",
        "--epochs", "6", "--batch-id", "16", "--batch-ood", "12", "--lr", "0.05", "--margins=-3,-1",
        "--device", "cpu", *more,
    ]  # fmt: skip


@pytest.fixture
def finished(archives, capsys):
    """A run that nothing interrupted."""
    assert main(arguments(archives, archives / "whole", "--json")) == 0
    return archives, json.loads(capsys.readouterr().out)


def test_it_measures_trains_saves_and_measures_again(finished, capsys):
    folder, result = finished
    assert result == json.loads((folder / "whole" / "result.json").read_text())
    assert result["after"]["accuracy"] > result["before"]["accuracy"]
    assert set(result["after"]["outliers"]["noise"]) == {"auroc", "fpr95", "images"}
    assert result["steps"] == 24
    rows = [json.loads(line) for line in (folder / "whole" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 25))
    assert rows[0]["lr"] == pytest.approx(0.05)
    tensors, told = checkpoint.load(folder / "whole" / "model.safetensors")
    assert told["backbone"] == "outlier_exposure_convnet"
    assert told["options"] == {"classes": 3}
    assert told["data"]["input_size"] == [1, 28, 28]
    assert len(tensors) == 8


def test_what_it_wrote_is_a_backbone(finished, capsys):
    folder, result = finished
    more = arguments(folder, folder / "second", "--json")
    more[more.index("--backbone") + 1] = str(folder / "whole" / "model.safetensors")
    assert main(more) == 0
    assert json.loads(capsys.readouterr().out)["before"] == result["after"]


class BrokenOffError(Exception):
    pass


def test_broken_off_and_resumed_it_comes_to_the_same_weights_log_and_figures(finished, monkeypatch, capsys):
    folder, result = finished
    saved = checkpoint.save_file

    def until_step_10(path, tensors, told):
        saved(path, tensors, told)
        if told.get("step") == 10:
            raise BrokenOffError

    monkeypatch.setattr(finetuning.checkpoint, "save_file", until_step_10)
    with pytest.raises(BrokenOffError):
        main(arguments(folder, folder / "broken", "--checkpoint-every", "5"))
    monkeypatch.undo()
    with (folder / "broken" / "log.jsonl").open("a") as file:
        file.write('{"step": 11, "loss": 1.0, "lr": 0.0}\n{"step": 12, "lo')  # steps that no checkpoint holds
    assert main(arguments(folder, folder / "broken", "--checkpoint-every", "5", "--resume", "--json")) == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("model.safetensors", "log.jsonl"):
        assert (folder / "broken" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    assert {k: again[k] for k in ("before", "after", "margins")} == {
        k: result[k] for k in ("before", "after", "margins")
    }


@pytest.mark.long
def test_killed_at_any_moment_and_resumed_it_comes_to_the_same_weights(finished):
    folder, _ = finished
    command = [sys.executable, "-m", "energy_plugin.cli"]
    command += arguments(folder, folder / "killed", "--checkpoint-every", "3", "--resume")
    path, kills = folder / "killed" / "checkpoint.safetensors", 0
    for pause in (0.0, 0.02, 0.05):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        )
        while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills
    subprocess.run(command, check=True)
    for name in ("model.safetensors", "log.jsonl"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name


def test_a_checkpoint_is_neither_overwritten_nor_mistaken_for_another_runs(finished, capsys):
    folder, _ = finished
    before = (folder / "whole" / "checkpoint.safetensors").read_bytes()
    assert main(arguments(folder, folder / "whole")) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(arguments(folder, folder / "whole", "--resume", "--seed", "1")) == 2
    assert "seed: 0 there, 1 now" in capsys.readouterr().err
    assert (folder / "whole" / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("lost", [["checkpoint"], ["checkpoint", "model", "result"], ["checkpoint", "log"]])
def test_what_is_left_of_a_run_is_not_overwritten_either(finished, capsys, lost):
    folder, _ = finished
    for path in (folder / "whole").iterdir():
        if path.stem in lost:
            path.unlink()
    before = {path: path.read_bytes() for path in (folder / "whole").iterdir()}
    assert main(arguments(folder, folder / "whole")) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    if "model" not in lost:  # --resume would begin anew, and end by replacing it
        assert main(arguments(folder, folder / "whole", "--resume")) == 2
        assert "no checkpoint.safetensors to go on from" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (folder / "whole").iterdir()} == before


def test_a_run_that_was_broken_off_before_its_first_checkpoint_begins_anew(finished, capsys):
    folder, _ = finished
    for name in ("checkpoint.safetensors", "model.safetensors", "result.json"):
        (folder / "whole" / name).unlink()
    assert main(arguments(folder, folder / "whole", "--resume")) == 0
    assert len((folder / "whole" / "log.jsonl").read_text().splitlines()) == 24


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_step_in_hand_and_resuming_loses_nothing(
    finished, monkeypatch, capsys, number, code
):
    folder, result = finished
    gradients = loop._gradients

    def in_the_tenth(*given):
        found = gradients(*given)
        if len(steps := [*steps_seen, 1]) == 10:
            signal.raise_signal(number)
        steps_seen[:] = steps
        return found

    steps_seen = []
    monkeypatch.setattr(loop, "_gradients", in_the_tenth)
    assert main(arguments(folder, folder / "broken")) == code
    monkeypatch.undo()
    assert "interrupted at step 10; --resume goes on from there" in capsys.readouterr().err
    assert checkpoint.load(folder / "broken" / "checkpoint.safetensors")[1]["step"] == 10
    assert not (folder / "broken" / "model.safetensors").exists()
    assert main(arguments(folder, folder / "broken", "--resume", "--json")) == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("model.safetensors", "log.jsonl"):
        assert (folder / "broken" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    assert again["after"] == result["after"]


def test_a_signal_at_the_last_checkpoint_is_not_forgotten(archives, monkeypatch, capsys):
    saved = checkpoint.save_file

    def with_signal(path, tensors, told):
        saved(path, tensors, told)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(finetuning.checkpoint, "save_file", with_signal)
    assert main(arguments(archives, archives / "out")) == 130
    assert "interrupted at step 24" in capsys.readouterr().err
    assert not (archives / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [("before", "before the first step"), ("after", "at step 24; --resume goes on from there")],
)
def test_a_signal_while_measuring_ends_at_once(archives, monkeypatch, capsys, place, words):
    measured = finetuning.Finetuning._measured

    def interrupted(self, when):
        if when == place:
            signal.raise_signal(signal.SIGINT)
        return measured(self, when)

    monkeypatch.setattr(finetuning.Finetuning, "_measured", interrupted)
    assert main(arguments(archives, archives / "out")) == 130
    assert f"interrupted {words}" in capsys.readouterr().err


def measured(folder, out, *more):
    """Arguments without margins: they are then measured."""
    return [a for a in arguments(folder, out, *more) if not a.startswith("--margins")]


def test_margins_are_measured_by_default(archives, capsys):
    assert main(arguments(archives, archives / "first", "--epochs", "12")) == 0
    command = measured(archives, archives / "second", "--epochs", "1", "--json")
    command[command.index("--backbone") + 1] = str(archives / "first" / "model.safetensors")
    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)["margins"]
    assert found["margin_in"] + 0.1 < found["margin_out"]
    assert "mean ID energy" in found["measured"]
    assert "hardly" not in told.err


def test_margins_are_not_measured_on_random_weights_by_oversight(archives, capsys):
    assert main(measured(archives, archives / "out")) == 2
    told = capsys.readouterr().err
    assert "random weights" in told
    assert "--random-weights" in told
    assert not (archives / "out").exists()


def test_measured_margins_that_are_near_one_another_come_with_a_warning(archives, capsys):
    # The same images on both sides, but for some that are darker.
    known = np.load(archives / "known.npz")["images"]
    np.savez(archives / "outliers.npz", images=np.concatenate([known, known // 2, known // 3]))
    for seed in "01234":  # random weights do not care which side is which
        command = measured(archives, archives / seed, "--random-weights", "--epochs", "1", "--seed", seed)
        if main(command) == 0:
            break
    told = capsys.readouterr().err
    assert "hardly tells the two kinds apart" in told
    assert "starts from random weights" not in told


def test_random_weights_with_given_margins_are_pointed_out(archives, capsys):
    assert main(arguments(archives, archives / "out", "--epochs", "1")) == 0
    assert "warning: 'outlier_exposure_convnet' starts from random weights" in capsys.readouterr().err
    plain = arguments(archives, archives / "plain", "--epochs", "1")
    place = plain.index("--outliers")
    assert main(plain[:place] + plain[place + 2 :]) == 0  # a classifier may well start there
    assert "random weights" not in capsys.readouterr().err


def test_without_outliers_it_trains_a_classifier(archives, capsys):
    plain = arguments(archives, archives / "plain", "--epochs", "12", "--lr", "0.05", "--json")
    place = plain.index("--outliers")
    assert main(plain[:place] + plain[place + 2 :]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["after"]["accuracy"] > 0.9
    assert "alpha=0.0" in result["loss"]


def test_a_part_is_held_out_where_there_is_no_test_source(photos, archives, capsys):
    command = [
        "finetune",
        *BACKBONE,
        "--id",
        str(photos),
        "--outliers",
        str(archives / "outliers.npz"),
        "--quiet",
    ]
    command += [
        "--epochs",
        "1",
        "--margins=-3,-1",
        "--out",
        str(archives / "o"),
        "--hold-out",
        "0.2",
        "--json",
    ]
    command += ["--input-size", "1,28,28"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["before"]["images"] == 3
    assert result["before"]["outliers"]["held-out outliers"]["images"] == 6
    assert checkpoint.load(archives / "o" / "model.safetensors")[1]["classes"] == ["across", "down", "square"]


def test_images_that_cannot_be_read_are_named_in_the_result(archives, broken, capsys):
    command = arguments(archives, archives / "out", "--json")
    command[command.index("--outliers") + 1] = str(broken)
    assert main(command) == 0
    told = capsys.readouterr()
    unreadable = json.loads(told.out)["unreadable"]
    assert "left out, cannot be read: cut.png" in told.err
    assert "warning: margins (-3, -1) are far off" in told.err
    assert set(unreadable) == {"cut.png", "empty.jpg", "text.jpeg", "flipped.png", "deep.png", "floats.tif"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--epochs", "-1"),
        ("--checkpoint-every", "0"),
        ("--workers", "-1"),
        ("--seed", "-1"),
        ("--batch-id", "0"),
        ("--batch-ood", "0"),
        ("--accumulate", "0"),
        ("--hold-out", "1"),
        ("--lr", "0"),
        ("--alpha", "-1"),
        ("--weight-decay", "nan"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_opened(capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        main(["finetune", "--backbone", "no", "--id", "no", "--out", "no", option, value])
    assert ended.value.code == 2
    assert f"argument {option}: expected " in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, capsys):
    (tmp_path / "afile").touch()
    for out in (tmp_path / "afile", tmp_path / "afile" / "deeper"):
        with pytest.raises(SystemExit):
            main(["finetune", "--backbone", "no", "--id", "no", "--out", str(out)])
        assert "argument --out:" in capsys.readouterr().err


def test_the_help_names_defaults_and_what_is_needed_to_measure(capsys):
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "between checkpoints (default 200)" in told
    assert "--ood-test is needed" in told


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--device", "cuda"], "torch finds no GPU; use --device cpu"),
        (["--device", "toaster"], "expected cpu, cuda"),
        (["--margins=-1,nan"], "must be below margin_out"),
        (["--margins=-1,-5", "--backbone", "none"], "must be below margin_out"),  # before it is looked for
        (["--option", "classes=2"], "classes=3|num_classes=3"),
        (["--weights", "nowhere.pt"], "nowhere.pt"),
        (["--preset", "liu2020-cifar1"], "liu2020-cifar10"),
        (["--preset", "pebal"], "segmentation"),
        (["--margins", "low,high"], "--margins=-11,-7"),
        (["--margins=-1,-3"], "must be below margin_out"),
        (["--id", "nothing.npz"], "nothing.npz"),
        (["--backbone", "outlier_exposure_convnets"], "Did you mean"),
        (["--convention", "energy_oood"], "energy_ood"),
        (["--lr", "1e20"], "diverged"),
    ],
)
def test_what_does_not_fit_is_said_without_a_traceback(archives, monkeypatch, capsys, more, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code = main(arguments(archives, archives / "out", *more))
    assert code == (3 if words == "diverged" else 2)
    assert re.search(words, capsys.readouterr().err)


def test_what_the_user_does_not_say_comes_from_the_preset(archives):
    import argparse

    from energy_plugin_bench.apply.finetune import configure

    parser = argparse.ArgumentParser()
    configure(parser)
    base = ["--backbone", "x", "--id", "y", "--out", "z"]
    chosen = settings_of(parser.parse_args([*base, "--preset", "liu2020-cifar10"]))
    published = (chosen.alpha, chosen.epochs, chosen.lr, chosen.batch_id, chosen.batch_ood)
    assert published == (0.1, 10, 0.001, 128, 256)
    assert chosen.margins == "measured"
    preset = ["--preset", "liu2020-cifar10", "--margins", "published", "--epochs", "3"]
    chosen = settings_of(parser.parse_args([*base, *preset]))
    assert chosen.margins == (-23.0, -5.0)
    assert chosen.epochs == 3


def test_the_model_file_holds_the_weights_alone(finished):
    folder, _ = finished
    assert set(load_file(folder / "whole" / "model.safetensors")) == {
        f"{layer}.{kind}" for layer in ("conv1", "conv2", "fc1", "fc2") for kind in ("weight", "bias")
    }
