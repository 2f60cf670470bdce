"""`energy-plugin evaluate` on a folder of generated images and a tiny network."""

from __future__ import annotations

import json
import signal
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from energy_plugin.cli import main
from energy_plugin.labels import LabelConvention
from energy_plugin.segmentation import SCORES, evaluate
from energy_plugin_bench.inputs.pairs import folders


class Tiny(nn.Conv2d):
    """Three classes and a void output."""

    def __init__(self, outputs=4, stride=1):
        super().__init__(3, outputs, 1, stride=stride)


def classifier():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))


@pytest.fixture
def place(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in range(3):
        pixels = generator.integers(0, 150, (24, 32, 3), dtype=np.uint8)
        mask = np.zeros((24, 32), dtype=np.uint8)
        mask[4:10, 5 + name : 20], mask[-4:] = 9, 255
        pixels[mask == 9] += 80
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    torch.manual_seed(0)
    save_file(Tiny().state_dict(), tmp_path / "tiny.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


MODULE = "network_of_the_user"
NETWORK = ["--network", f"{MODULE}:Tiny", "--weights", "tiny.safetensors"]
CODES = ["--ood", "9", "--void", "255"]


@pytest.fixture
def tiny(monkeypatch):
    """The command looks its network up by module and name, and puts the working folder on the path."""
    monkeypatch.setitem(sys.modules, MODULE, types.SimpleNamespace(Tiny=Tiny, classifier=classifier))
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(capsys, *arguments):
    code = main(["evaluate", *arguments])
    return code, capsys.readouterr()


def test_figures_are_those_of_the_evaluator(place, tiny, capsys):
    names = ["--detector", "energy", "--detector", "msp", "--convention", "fishyscapes-server"]
    code, shown = run(
        capsys, "images", "masks", *CODES, *NETWORK, "--classes", "3", *names, "--json", "--per-image"
    )
    assert code == 0
    found = {entry["detector"]: entry for entry in json.loads(shown.out)}
    model = Tiny()
    model.load_state_dict(load_file(place / "tiny.safetensors"))
    codes = LabelConvention(name="given", classes=(0,), ood=(9,), void=(255,))
    wanted = evaluate(
        folders("images", "masks", codes=codes), dict(SCORES), network=lambda images: model(images)[:, :3]
    )
    for name in ("energy", "msp"):
        figures = wanted[name].figures["fishyscapes-server"]
        came = found[name]["figures"]["fishyscapes-server"]
        assert came["aupr_out"] == pytest.approx(figures.aupr_out, abs=1e-9)
        assert came["fpr95_ood"] == pytest.approx(figures.fpr95, abs=1e-9)
        assert len(found[name]["images"]) == 3


def test_the_table_and_the_pictures(place, tiny, capsys):
    code, shown = run(
        capsys, "images", "masks", *CODES, *NETWORK, "--map-dir", "maps", "--per-image",
        "--convention", "pebal", "--mean", "0.5", "0.5", "0.5", "--std", "1", "1", "1",
        "--size", "16x20", "--temperature", "2",
    )  # fmt: skip
    assert code == 0
    header, row, *rest = shown.out.splitlines()
    assert header.split()[:4] == ["detector", "convention", "AP", "FPR95"]
    assert row.split()[:2] == ["energy", "pebal"]
    assert len([line for line in rest if line.split()[:1] in (["0"], ["1"], ["2"])]) == 3
    assert sorted(path.name for path in (place / "maps").iterdir()) == [
        "000_0_energy.png", "001_1_energy.png", "002_2_energy.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images", "masks", *NETWORK], "say what the codes of the masks mean"),
        (
            ["images", "masks", *NETWORK, *CODES, "--codes", "fishyscapes"],
            "say what the codes of the masks mean",
        ),
        (["images", "masks", "--codes", "fishyscapes", *NETWORK], "does not know 9"),
        (["images", "masks", "--ood", "9", *NETWORK], "--void for what is left out"),
        (["images", *CODES, *NETWORK], "give a folder of masks"),
        (["images", "mask", *CODES, *NETWORK], "is no folder"),
        (["images", "masks", *CODES, "--network", "enett"], "'enet'"),
        (["images", "masks", *CODES, *NETWORK, "--detector", "energi"], "'energy'"),
        (["images", "masks", *CODES, *NETWORK, "--size", "16"], "such as 512x1024"),
        (["images", "masks", *CODES, *NETWORK, "--option", "outputs"], "KEY=VALUE"),
        (["images", "masks", *CODES, *NETWORK, "--option", "outputs=5"], "does not fit Tiny"),
        (["images", "masks", *CODES, *NETWORK, "--mean", "1"], "give --std as well"),
        (["images", "masks", *CODES, *NETWORK, "--std", "1"], "give --mean as well"),
        (["images", "masks", *CODES, *NETWORK, "--classes", "9"], "9 classes are asked for"),
        (["images", "masks", *CODES, *NETWORK, "--device", "cuda"], "no GPU; use --device cpu"),
        (["images", "masks", *CODES, "--network", "enet"], "random weights, whose figures mean nothing"),
        (["images", "masks", *CODES, "--network", "timm:test_resnet"], "is for classification; expected"),
        (["images", "masks", *CODES, "--network", "torchvision:resnet18"], "is for classification; expected"),
        (["images", "masks", *CODES, "--network", f"{MODULE}:Tny"], f"the module {MODULE!r} has no 'Tny'"),
        (["images", "masks", *CODES, "--network", "no.such:Net"], "nor is there a module 'no.such'"),
        (["images", "masks", *CODES, "--network", f"{MODULE}:classifier"], "expected B x C x H x W"),
    ],
)
def test_wrong_usage_says_what_to_do(place, tiny, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, shown = run(capsys, *arguments)
    assert code == 2
    assert message in shown.err
    assert "strict=False" not in shown.err
    assert not shown.out


def test_low_resolution_logits_and_an_option(place, tiny, capsys):
    save_file(Tiny(stride=2).state_dict(), "tiny.safetensors")
    code, shown = run(capsys, "images", "masks", *CODES, *NETWORK, "--option", "stride=2")
    assert code == 0, shown.err


def test_random_weights_are_evaluated_where_that_is_meant(place, tiny, capsys):
    code, _ = run(capsys, "images", "masks", *CODES, "--network", f"{MODULE}:Tiny")
    assert code == 0  # a function of the user brings its own
    enet = ["--network", "enet", "--option", "classes=4", "--size", "16x16"]
    code, shown = run(capsys, "images", "masks", *CODES, *enet, "--random-weights")
    assert code == 0, shown.err


def test_what_a_users_module_lacks_is_not_taken_for_the_module(place, capsys, monkeypatch):
    (place / "needs_more.py").write_text("import not_installed_anywhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, shown = run(capsys, "images", "masks", *CODES, "--network", "needs_more:Net")
    assert code == 2
    assert "No module named 'not_installed_anywhere'" in shown.err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--classes", "0"),
        ("--classes", "-1"),
        ("--std", "0"),
        ("--temperature", "0"),
        ("--map-dir", "tiny.safetensors"),
    ],
)
def test_an_argument_out_of_range_is_refused_by_its_name(place, capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "images", "masks", *CODES, "--network", "enet", f"{option}={value}"])
    assert ended.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err


def test_the_help_says_which_figures_are_in_per_cent(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "The table is in per cent; --json gives fractions." in told


def test_ctrl_c_ends_without_a_traceback(place, tiny, capsys, monkeypatch):
    monkeypatch.setattr(Tiny, "forward", lambda *_: signal.raise_signal(signal.SIGINT))
    code, shown = run(capsys, "images", "masks", *CODES, *NETWORK)
    assert (code, shown.err) == (130, "interrupted\n")
