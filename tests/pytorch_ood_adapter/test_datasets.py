"""pytorch-ood's data sets by name, and each repair of a mask on a small copy of the raw files."""

from __future__ import annotations

import inspect
import random

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("pytorch_ood")

from pytorch_ood.dataset import audio, img, txt

from energy_plugin.errors import UnknownNameError
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.manager import default_manager
from energy_plugin_pytorch_ood import masks
from energy_plugin_pytorch_ood.catalogue import CLASSIFICATION, SEGMENTATION
from energy_plugin_pytorch_ood.datasets import load
from energy_plugin_pytorch_ood.masks import Pasted, Repaired, ToTensors

# The host opens images and leaves them to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIZE = (12, 20)  # height and width differ, so that a mask on its side is seen


def picture(path, mode="RGB", size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = (3,) if mode == "RGB" else ()
    pixels = np.random.default_rng(0).integers(0, 255, (*size, *channels), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def codes(path, *values, size=SIZE):
    """A mask of stripes, one a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.array(values, dtype=np.uint8)[np.arange(size[1]) * len(values) // size[1]]
    Image.fromarray(np.broadcast_to(stripes, size).copy()).save(path)


def trusting(monkeypatch, kind):
    """Let a set skip the hash of the archive, which the fake tree has none of."""
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)


def fishyscapes(root, monkeypatch):
    trusting(monkeypatch, img.FishyScapes)
    folder = root / "fishyscapes-3.0.0"
    picture(root / "cs" / "ulm" / "ulm_000001_000002_leftImg8bit.png")
    codes(folder / "0000_ulm_000001_000002_labels.png", 0, 255, 1, 0)
    overlay = np.zeros((*SIZE, 3), dtype=np.int16)
    overlay[:, 10:15] = 7
    np.savez(folder / "0000_ulm_000001_000002_rgb.npz", rgb=overlay)
    return {"root": str(root), "cs_root": str(root / "cs")}


def lost_and_found(root, monkeypatch):
    trusting(monkeypatch, img.LostAndFound)
    name = "04_Maurener_Weg_8_000000_000030"
    picture(root / "lostandfound" / "leftImg8bit" / "train" / "04_Maurener_Weg_8" / f"{name}_leftImg8bit.png")
    codes(root / "fishyscapes_lostandfound" / f"0000_{name}_labels.png", 0, 255, 1, 0)
    return {"root": str(root)}


def segment_me_if_you_can(root, monkeypatch):
    trusting(monkeypatch, img.SegmentMeIfYouCan)
    folder = root / "SMIYC" / "dataset_AnomalyTrack"
    for index in range(10):
        picture(folder / "images" / f"validation{index:04d}.jpg")
        codes(folder / "labels_masks" / f"validation{index:04d}_labels_semantic.png", 0, 255, 1, 0)
    return {"root": str(root), "subset": "RoadAnomaly21"}


def road_anomaly(root, monkeypatch):
    trusting(monkeypatch, img.RoadAnomaly)
    frames = root / "RoadAnomaly" / "RoadAnomaly_jpg" / "frames"
    for index in range(60):
        picture(frames / f"{index}.jpg")
        codes(frames / f"{index}.labels" / "labels_semantic.png", 0, 0, 2, 0)
    return {"root": str(root)}


def street_hazards(root, monkeypatch):
    trusting(monkeypatch, img.StreetHazards)
    # a root called "images" too: the host replaces that word wherever it stands
    base = root / "streethazards" / "test"
    picture(base / "images" / "t5" / "1.png")
    codes(base / "annotations" / "t5" / "1.png", 1, 0, 14, 13)
    return {"root": str(root), "subset": "test"}


def mvtec(root, monkeypatch):
    trusting(monkeypatch, img.MVTechAD)
    base = root / "mvtech-ad" / "bottle"
    picture(base / "test" / "broken" / "000.png")
    codes(base / "ground_truth" / "broken" / "000_mask.png", 0, 0, 255, 0)
    picture(base / "test" / "good" / "000.png")
    return {"root": str(root), "split": "test"}


TREES = {
    "FishyScapes": (fishyscapes, [0, -100, -1, 0]),
    "LostAndFound": (lost_and_found, [0, -100, -1, 0]),
    "SegmentMeIfYouCan": (segment_me_if_you_can, [0, -100, -1, 0]),
    "RoadAnomaly": (road_anomaly, [0, 0, -1, 0]),
    "StreetHazards": (street_hazards, [0, -100, -1, 12]),
    "MVTechAD": (mvtec, [0, 0, -1, 0]),
}


@pytest.mark.parametrize("name", TREES)
def test_masks_come_out_in_our_convention(name, tmp_path, monkeypatch):
    build, wanted = TREES[name]
    data = load(name, transform=ToTensors(), **build(tmp_path / "images", monkeypatch))
    image, mask = data[0]
    stripes = torch.tensor(wanted)[torch.arange(SIZE[1]) * 4 // SIZE[1]].expand(SIZE)
    assert (mask.dtype, mask.shape) == (torch.int64, SIZE)
    assert torch.equal(mask, stripes)
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (3, *SIZE))
    loss = EnergyRegularizedLoss(ignore_index=-100)(torch.randn(1, 13, *SIZE), mask[None])
    assert loss.isfinite()


def test_good_images_of_mvtec_have_an_empty_mask_of_their_own_shape(tmp_path, monkeypatch):
    data = load("MVTechAD", **mvtec(tmp_path, monkeypatch))
    image, mask = data[1]
    assert len(data) == 2
    assert (image.size, tuple(mask.shape), mask.unique().tolist()) == ((SIZE[1], SIZE[0]), SIZE, [0])


def test_a_transform_that_would_see_the_masks_before_their_repair_is_refused(tmp_path, monkeypatch):
    arguments = road_anomaly(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="give transform to Repaired"):
        Repaired(img.RoadAnomaly(**arguments, transform=lambda image, mask: (image, mask)))
    with pytest.raises(TypeError, match="none of FishyScapes"):
        Repaired([1])


def test_joint_transform_resizes_the_mask_without_new_codes():
    image = Image.new("RGB", (40, 24), (255, 0, 0))
    mask = torch.full((24, 40), -100)
    mask[:, 20:] = -1
    image, mask = ToTensors((12, 20), mean=(0.5,) * 3, std=(0.5,) * 3)(image, mask)
    assert tuple(image.shape) == (3, 12, 20)
    assert image[:, 0, 0].tolist() == [1.0, -1.0, -1.0]
    assert torch.equal(mask, torch.where(torch.arange(20) < 10, -100, -1).expand(12, 20))
    with pytest.raises(ValueError, match="3 channels"):
        ToTensors(mean=(0.5,) * 3)


def coco():
    """The host's InsertCOCO on a made-up object instead of a download."""
    from pytorch_ood.augment.img import InsertCOCO

    insert = object.__new__(InsertCOCO)
    insert.ood_rate, insert.ood_per_image, insert.ood_mask_value, insert.upscale = 1.0, 2, -1, 1.0
    insert._load_coco_annotation_dynamic = lambda: np.full((20, 20, 4), 255, dtype=np.uint8)
    return insert


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the host's use of NumPy
def test_pasted_objects_are_all_marked_and_void_stays_void():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 - the host draws from the global generator
    insert = coco()
    void = torch.zeros(60, 60, dtype=torch.int64)
    void[:9] = 255
    _, theirs = insert(Image.new("RGB", (60, 60)), void)
    assert (theirs[:9] == -1).all()  # what is repaired: void has become OOD
    before = Image.new("RGB", (60, 60))
    mask = torch.where(void == 255, -100, 255)  # a class whose index is -1 in 8 bits
    image, ours = Pasted(insert)(before, mask)
    assert (ours[:9] == -100).all()
    assert (ours == -1).sum() > 0
    changed = torch.from_numpy(np.array(image)).sum(-1) > 0
    assert torch.equal(ours == -1, changed)  # every pixel pasted is marked, of both objects
    assert np.array(before).sum() == 0
    assert (mask == -1).sum() == 0


def test_pasting_keeps_the_hosts_probability():
    insert = coco()
    insert.ood_rate = 0.0
    random.seed(0)
    image, mask = Pasted(insert)(Image.new("RGB", (60, 60)), torch.zeros(60, 60))
    assert (mask.dtype, int(mask.sum())) == (torch.int64, 0)
    assert np.array(image).sum() == 0


def test_every_set_of_the_installed_version_is_listed():
    there = {
        name for part in (img, txt, audio) for name, value in vars(part).items() if inspect.isclass(value)
    }
    assert set(CLASSIFICATION) | set(SEGMENTATION) == there
    names = {record.name: record for record in default_manager().datasets()}
    for name in there:
        record = names[f"pytorch_ood/{name}"]
        assert record.tasks == (("segmentation",) if name in SEGMENTATION else ("classification",))
        assert callable(record.load())


def test_sets_by_name_take_root_transform_and_download(tmp_path):
    make = default_manager().get("dataset", "pytorch_ood/GaussianNoise").load()
    data = make(length=3, size=(8, 8, 3), transform=lambda image: image.size)
    assert data[0] == ((8, 8), -1)
    (tmp_path / "list.txt").write_text("a.png 4\n")
    picture(tmp_path / "a.png")
    arguments = {"root": str(tmp_path), "imglist_path": str(tmp_path / "list.txt")}
    assert load("ImageListDataset", **arguments)[0][1] == 4
    assert load("ImageListDataset", ood=True, **arguments)[0][1] == -1
    with pytest.raises(RuntimeError, match="download=True"):
        load("Textures", root=str(tmp_path), download=False)
    with pytest.raises(UnknownNameError, match="Textures"):
        load("Texture")
    with pytest.raises(TypeError, match=r"no argument rot.*'root'"):
        load("Textures", rot="x")
    with pytest.raises(ValueError, match="masks say"):
        load("RoadAnomaly", ood=True, root="x")


def test_every_repair_is_needed(tmp_path, monkeypatch):
    """Where a later release mends a set, this fails and the repair can go."""
    found = {}
    for name, (build, _) in TREES.items():
        data = getattr(img, name)(**build(tmp_path / name, monkeypatch))
        found[name] = data[0][1]
    for name in ("FishyScapes", "LostAndFound", "SegmentMeIfYouCan"):
        assert 1 in found[name].unique().tolist()
    assert found["LostAndFound"].dtype == torch.int32
    assert found["RoadAnomaly"].dtype == torch.float32
    assert found["StreetHazards"].unique().tolist() == [-1, 0, 12]
    assert found["MVTechAD"].unique().tolist() == [0, 1]
    assert set(masks._READERS) == set(SEGMENTATION) == set(TREES)
