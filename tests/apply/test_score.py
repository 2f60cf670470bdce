"""`energy-plugin score`: every file of a folder comes out with a score and a decision, or a reason."""

from __future__ import annotations

import csv
import io
import json
import math
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from energy_plugin.cli import main
from energy_plugin.detector import EnergyDetector
from energy_plugin_bench.apply import images, scoring
from energy_plugin_bench.apply.sheet import CELL, COLUMNS, contact_sheet
from energy_plugin_bench.networks.convnet import OutlierExposureConvNet

NETWORK = ["--backbone", "outlier_exposure_convnet", "--option", "classes=3", "--input-size", "1,28,28"]


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(4)
    torch.save({"state_dict": OutlierExposureConvNet(3).state_dict()}, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def score(source, out, *more):
    return main(
        ["score", str(source), *NETWORK, "--out", str(out), "--device", "cpu", "--quiet", *map(str, more)]
    )


def table(out):
    return list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))


def test_scores_are_the_energies_and_decisions_follow_the_threshold(
    photos, archives, weights, tmp_path, capsys
):
    out = tmp_path / "out"
    known = archives / "known.npz"
    assert score(photos, out, "--weights", weights, "--id", known, "--tpr", "0.9", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((out / "scores.json").read_text())
    network = OutlierExposureConvNet(3).eval()
    network.load_state_dict(torch.load(weights, weights_only=True)["state_dict"])

    def energies(arrays):
        with torch.no_grad():
            return -network(torch.from_numpy(np.stack(arrays)).unsqueeze(1) / 255).logsumexp(1)

    fitted = energies(np.load(known)["images"]).sort().values[math.ceil(0.9 * 60) - 1]
    assert document["threshold"] == pytest.approx(fitted.item(), abs=1e-5)
    assert (document["tpr"], document["id_images"]) == (0.9, 60)
    files = sorted(photos.glob("*/*.png"))
    expected = energies([np.asarray(Image.open(file)) for file in files])
    rows = table(out)
    assert [row["image"] for row in rows] == [file.relative_to(photos).as_posix() for file in files]
    for row, energy in zip(rows, expected.tolist(), strict=True):
        assert float(row["score"]) == pytest.approx(energy, abs=1e-5)
        assert row["decision"] == ("OOD" if float(row["score"]) > document["threshold"] else "ID")
    assert document["counts"]["ID"] + document["counts"]["OOD"] == 15


def test_no_file_is_lost_without_a_word(broken, photos, weights, tmp_path, capsys):
    (broken / "notes.txt").write_text("x")
    assert score(broken, tmp_path / "out", "--weights", weights, "--threshold=-1") == 0
    told = capsys.readouterr()
    rows = {row["image"]: row for row in table(tmp_path / "out")}
    assert set(rows) == {file.name for file in broken.iterdir()} - {"notes.txt"}
    for name, row in rows.items():
        assert (row["decision"] == "unreadable") == (name != "good.png")
        assert bool(row["error"]) == (name != "good.png")
        assert (f"cannot be read: {name}" in told.err) == (name != "good.png")
    assert "passed over, no image by its ending: notes.txt" in told.err
    assert "7 images" in told.out
    assert "6 unreadable" in told.out


def test_a_folder_without_one_readable_image_is_reported_and_not_well(broken, weights, tmp_path, capsys):
    (broken / "good.png").unlink()
    assert score(broken, tmp_path / "out", "--weights", weights, "--threshold=-1") == 3
    assert {row["decision"] for row in table(tmp_path / "out")} == {"unreadable"}
    assert not (tmp_path / "out" / "sheet.png").exists()


def test_unreadable_id_images_are_reported_and_not_counted(broken, photos, weights, tmp_path, capsys):
    assert score(photos, tmp_path / "out", "--weights", weights, "--id", broken) == 0
    assert "cannot be read: cut.png" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["id_images"] == 1


def test_random_weights_are_refused_unless_wished(photos, tmp_path, capsys):
    assert score(photos, tmp_path / "out", "--threshold=-1") == 2
    assert "random weights" in capsys.readouterr().err
    assert score(photos, tmp_path / "out", "--threshold=-1", "--random-weights") == 0


def test_a_file_of_finetune_brings_classes_and_preprocessing(photos, archives, tmp_path, capsys):
    command = [
        "finetune",
        *NETWORK,
        "--id",
        str(photos),
        "--outliers",
        str(archives / "outliers.npz"),
        "--quiet",
    ]
    command += ["--epochs", "2", "--margins=-3,-1", "--out", str(tmp_path / "run"), "--hold-out", "0.2"]
    assert main(command) == 0
    model = tmp_path / "run" / "model.safetensors"
    command = [
        "score",
        str(photos),
        "--backbone",
        str(model),
        "--id",
        str(photos),
        "--out",
        str(tmp_path / "s"),
    ]
    assert main([*command, "--quiet"]) == 0
    assert {row["predicted"] for row in table(tmp_path / "s")} <= {"across", "down", "square"}


def test_a_checkpoint_a_folder_and_a_file_that_is_not_there_are_no_backbones(
    photos, archives, tmp_path, capsys
):
    def complaint(backbone):
        command = ["score", str(photos), "--threshold=-1", "--out", str(tmp_path / "s"), "--quiet"]
        assert main([*command, "--backbone", str(backbone)]) == 2
        return capsys.readouterr().err

    command = ["finetune", *NETWORK, "--id", str(archives / "known.npz"), "--quiet", "--epochs", "1"]
    command += ["--ood-test", str(archives / "outliers.npz"), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    capsys.readouterr()
    assert "is a checkpoint" in (told := complaint(tmp_path / "run" / "checkpoint.safetensors"))
    assert "take model.safetensors" in told
    assert "is a folder; give the file in it" in complaint(tmp_path / "run")
    for missing in ("runs/nope/model.safetensors", "nope.pt", "runs/nope"):
        assert f"no such file: {missing}" in complaint(missing)
    assert "Did you mean" in complaint("cifar_resnets")


def test_a_single_image_is_not_taken_for_an_archive(photos, weights, tmp_path, capsys):
    assert score(photos / "down" / "0.png", tmp_path / "s", "--weights", weights, "--threshold=-1") == 2
    told = capsys.readouterr().err
    assert f"is a single image; give its folder: {photos / 'down'}" in told
    assert "pickle" not in told


def test_a_device_that_is_not_there_is_said_to_be_missing(photos, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    more = ("--weights", weights, "--threshold=-1", "--device", "cuda")
    assert score(photos, tmp_path / "s", *more) == 2
    assert "the device is 'cuda' and torch finds no GPU; use --device cpu." in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_without_a_traceback(photos, weights, tmp_path, monkeypatch, capsys, number, code):
    before = signal.signal(number, signal.default_int_handler)  # no fault here is to end the test process
    try:
        monkeypatch.setattr(scoring, "judge", lambda *_: signal.raise_signal(number))
        assert score(photos, tmp_path / "s", "--weights", weights, "--threshold=-1") == code
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "energy-plugin: interrupted\n"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--batch", "0"),
        ("--sheet", "-1"),
        ("--tpr", "95"),
        ("--tpr", "0"),
        ("--temperature", "0"),
        ("--threshold", "nan"),
        ("--workers", "0"),
        ("--input-size", "3,0,8"),
        ("--std", "0"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_opened(capsys, option, value):
    decision = [] if option == "--threshold" else ["--id", "no"]
    with pytest.raises(SystemExit) as ended:
        main(["score", "no", "--backbone", "no", "--out", "no", *decision, f"{option}={value}"])
    assert ended.value.code == 2
    assert f"argument {option}: expected " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "no plain tensors"), (b"PK\x03\x04 broken", "no plain tensors")],
)
def test_weights_that_are_none_are_said_to_be_none(photos, tmp_path, capsys, content, words):
    (tmp_path / "w.pt").write_bytes(content)
    assert score(photos, tmp_path / "out", "--threshold=-1", "--weights", tmp_path / "w.pt") == 2
    assert words in capsys.readouterr().err


def test_weights_of_another_network_are_refused(photos, tmp_path, capsys):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    assert score(photos, tmp_path / "out", "--threshold=-1", "--weights", tmp_path / "w.pt") == 2
    assert "OutlierExposureConvNet" in capsys.readouterr().err


def test_weights_with_code_in_them_are_not_run(photos, tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    torch.save({"a": Trap()}, tmp_path / "w.pt")
    assert score(photos, tmp_path / "out", "--threshold=-1", "--weights", tmp_path / "w.pt") == 2
    assert not (tmp_path / "sprung").exists()


@pytest.fixture
def judged(photos):
    source = images.of_folder(photos)
    logits = torch.arange(45.0).view(15, 3)
    logits[4] = torch.nan
    detector = EnergyDetector()
    detector.threshold = -20.0
    return source, scoring.judge(source, [(list(range(14)), logits[:14])], detector, ("a", "b"))


def test_a_score_that_is_no_number_is_ood_and_last(judged):
    _, entries = judged
    assert (entries[4].decision, entries[4].score) == ("OOD", None)
    assert scoring.ranked(entries)[-1] == 4
    assert entries[14].decision == "unreadable"
    assert 14 not in scoring.ranked(entries)
    assert {entry.predicted for entry in entries[5:14]} == {"2"}
    assert scoring.counts(entries) == {"ID": 8, "OOD": 6, "unreadable": 1}


def test_the_sheet_shows_the_extremes_and_none_twice(judged):
    source, entries = judged
    opened = []
    watched = images.Images(
        **{**vars(source), "open": lambda position: opened.append(position) or source.open(position)}
    )
    picture = Image.open(io.BytesIO(contact_sheet(watched, entries, -20.0, each=4)))
    assert opened == [13, 12, 11, 10, 4, 0, 1, 2]
    assert picture.width > COLUMNS * CELL
    opened.clear()
    contact_sheet(watched, entries, -20.0, each=12)
    assert sorted(opened) == list(range(14))


def test_the_sheet_survives_files_that_went_away(judged):
    source, entries = judged

    def gone(position):
        raise FileNotFoundError

    assert contact_sheet(images.Images(**{**vars(source), "open": gone}), entries, -20.0)
