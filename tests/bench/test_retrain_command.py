"""The command `retrain`; with real training under the marker `long`."""

import argparse
import json
import os
from pathlib import Path

import pytest

from energy_plugin_bench.retrain import command as retrain_command
from energy_plugin_bench.retrain.command import RECIPE, configure
from energy_plugin_bench.retrain.retraining import parse_retraining
from energy_plugin_bench.retrain.song_training import Run


def command(*arguments):
    parser = argparse.ArgumentParser()
    run = configure(parser)
    return run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def runs(tmp_path):
    """Write three runs of each series, around given figures."""

    def write(**shifts):
        recipe, _ = parse_retraining(RECIPE)
        published = {8: (0.30, 99.51, 95.47, 99.76), 32: (0.31, 99.75, 97.74, 99.88)}
        names = ("error_rate", "tnr95", "tnr99", "auroc")
        entries = [
            {"outliers": logged.outliers, "seed": seed, "steps": 100, "seconds": 1.0}
            | {"losses": [value / logged.share * (1 + 0.05 * (seed - 1)) for value in logged.losses]}
            | {
                name: value + 0.05 * (seed - 1) + shifts.get(name, 0.0)
                for name, value in zip(names, published[logged.outliers], strict=True)
            }
            for logged in recipe.logged
            for seed in range(3)
        ]
        path = tmp_path / "runs.json"
        path.write_text(json.dumps({"runs": entries}), encoding="utf-8")
        return path

    return write


def test_runs_at_the_published_figures_are_reproduced(runs, capsys):
    assert command("--runs", runs(), "--no-training") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (4 + 4)
    assert lines[2].startswith(
        "song_mnist_energyft8_tnr99: reproduced: published 95.47 percent, measured 95.470, "
    )
    assert lines[2].endswith("before the fine-tuning 77.40: the tolerance tells the two apart")


def test_a_figure_elsewhere_is_exit_code_1(runs, capsys):
    assert command("--runs", runs(tnr99=-5.0), "--no-training", "--outliers", "8") == 1
    out = capsys.readouterr().out
    assert "song_mnist_energyft8_tnr99: differs" in out
    assert "energyft32" not in out


def test_nothing_judged_is_exit_code_3(tmp_path, capsys):
    assert command("--runs", tmp_path / "none.json", "--no-training") == 3
    assert "not run" in capsys.readouterr().out


def test_json_is_one_document(runs, capsys):
    assert command("--runs", runs(), "--no-training", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["runs"]) == 6
    assert document["verdicts"][0]["tolerance"]["reason"].startswith("which images")


def test_outliers_without_a_published_row_are_exit_code_2(runs, capsys):
    assert command("--runs", runs(), "--no-training", "--outliers", "8", "9") == 2
    assert "nothing is published for [9]" in capsys.readouterr().err


def test_markdown_is_a_table(runs, capsys):
    assert command("--runs", runs(), "--no-training", "--markdown", "--outliers", "32", "16") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count("|") == 6
    assert "| `song_mnist_energyft32_auroc` | 99.88 | 99.88 (sd 0.05, 3 runs) | +-" in "\n".join(lines)
    assert lines[-1].endswith("| not run: a spread needs two runs at least, there are 0 |")


def test_runs_that_are_there_are_not_trained_again(runs, capsys):
    assert command("--runs", runs(), "--data-root", "/nowhere") == 0  # neither files nor training are needed
    with pytest.raises(FileNotFoundError, match="nowhere"):
        command("--runs", runs(), "--data-root", "/nowhere", "--seeds", "0", "1", "7")


def test_training_adds_to_the_runs(tmp_path, monkeypatch, capsys):
    trained = []

    def retrain(network, split, *, outliers, seed, steps, on_step, **settings):
        on_step(1, 19.0)
        trained.append((outliers, seed, settings))
        figures = {"error_rate": 0.3, "tnr95": 99.5, "tnr99": 95.5, "auroc": 99.8}
        return Run(outliers=outliers, seed=seed, steps=steps, losses=[19.0] * 100, seconds=1.0, **figures)

    monkeypatch.setattr(retrain_command, "Assets", lambda files, root: Found())
    monkeypatch.setattr(retrain_command, "Split", Found())
    monkeypatch.setattr(retrain_command, "pretrained", lambda weights, classes: (weights, classes))
    monkeypatch.setattr(retrain_command, "retrain", retrain)
    path = tmp_path / "runs.json"
    command("--runs", path, "--outliers", "8", "--seeds", "0", "1")
    assert [entry["seed"] for entry in json.loads(path.read_text(encoding="utf-8"))["runs"]] == [0, 1]
    command("--runs", path, "--outliers", "8", "--seeds", "0", "1", "2")
    assert [seed for _, seed, _ in trained] == [0, 1, 2]
    assert trained[0][2] == {"margins": "song-mnist", "convention": "energy_ood"}
    assert "N=8 seed=2 step 1 of 100: loss 19.0000" in capsys.readouterr().err


class Found:
    def find(self, path):
        return path

    def read(self, train, test, classes):
        return (train, test, classes)


@pytest.mark.long
def test_the_published_figures_come_out_of_training(tmp_path, capsys):
    """About an hour on two cores; needs the MNIST training images under a data root."""
    root = os.environ.get("ENERGY_PLUGIN_DATA")
    if not root or not (Path(root) / "mnist/images/mnist_train.npz").is_file():
        pytest.skip("needs mnist/images/mnist_train.npz under ENERGY_PLUGIN_DATA")
    code = command("--data-root", root, "--runs", tmp_path / "runs.json")
    assert code == 0, capsys.readouterr().out
