"""Images with masks from folders, archives, lists and arrays."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from energy_plugin.errors import LabelError
from energy_plugin.manager import default_manager
from energy_plugin_bench.inputs.pairs import Arrays, Pairs, archive, folders, listed

HEIGHT, WIDTH = 6, 10
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def codes(*values):
    """A mask of vertical stripes."""
    return np.broadcast_to(
        np.repeat(np.array(values, dtype=np.uint8), WIDTH // len(values)), (HEIGHT, WIDTH)
    ).copy()


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def tree(tmp_path):
    """Three images in three formats, one of them under another format's extension; masks beside them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name, suffix, kind in (("2", "jpg", "PNG"), ("10", "png", "JPEG"), ("a", "webp", "WEBP")):
        (tmp_path / "images" / f"{name}.{suffix}").write_bytes(encoded(PIXELS, kind))
        (tmp_path / "masks" / f"{name}_label.png").write_bytes(encoded(codes(0, 255, 1, 0, 0)))
    return tmp_path


def test_folders_are_paired_by_name_and_opened_by_content(tree):
    data = folders(tree / "images", tree / "masks", codes="fishyscapes", mask_suffix="_label")
    assert data.names == ("2", "10", "a")
    image, mask = data[0]
    assert torch.equal(image, torch.from_numpy(PIXELS).permute(2, 0, 1) / 255)
    assert mask.dtype == torch.int64
    assert mask[0].tolist() == [0, 0, -100, -100, -1, -1, 0, 0, 0, 0]
    assert data[1][0].shape == (3, HEIGHT, WIDTH)  # a JPEG called .png


def test_an_archive_gives_the_same_in_workers_too(tree):
    with zipfile.ZipFile(tree / "set.zip", "w") as target:
        for path in sorted(tree.rglob("*.*")):
            if path.suffix != ".zip":
                target.write(path, path.relative_to(tree))
    data = archive(tree / "set.zip", codes="fishyscapes", mask_suffix="_label")
    plain = folders(tree / "images", tree / "masks", codes="fishyscapes", mask_suffix="_label")
    assert data.names == plain.names
    loaded = list(DataLoader(data, num_workers=2))
    for (image, mask), (wanted, wanted_mask) in zip(loaded, plain, strict=True):
        assert torch.equal(image[0], wanted)
        assert torch.equal(mask[0], wanted_mask)
    with pytest.raises(FileNotFoundError, match="no folder 'frames'"):
        archive(tree / "set.zip", images="frames")


def test_a_list_names_pairs(tree):
    lines = "# image mask\nimages/2.jpg masks/2_label.png\n\nimages/a.webp masks/a_label.png\n"
    (tree / "list.txt").write_text(lines)
    data = listed(tree / "list.txt", codes="fishyscapes")
    assert data.names == ("images/2.jpg", "images/a.webp")
    assert data[0][1].unique().tolist() == [-100, -1, 0]
    (tree / "list.txt").write_text("images/3.jpg masks/2_label.png\n")
    with pytest.raises(FileNotFoundError, match=r"images/3\.jpg"):
        listed(tree / "list.txt")
    (tree / "list.txt").write_text("images/2.jpg\n")
    with pytest.raises(ValueError, match="not an image and a mask"):
        listed(tree / "list.txt")


def test_arrays_are_pairs(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS[None], masks=codes(0, 254, 255, 7, 0)[None])
    image, mask = Arrays(tmp_path / "a.npz", codes="pebal")[0]
    assert torch.equal(image, torch.from_numpy(PIXELS).permute(2, 0, 1) / 255)
    assert mask.unique().tolist() == [-100, -1, 0, 7]
    np.savez(tmp_path / "a.npz", images=PIXELS[None])
    with pytest.raises(ValueError, match="no masks"):
        Arrays(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=PIXELS[None], masks=codes(0, 1)[None, :3])
    with pytest.raises(ValueError, match=r"expected uint8 \(N, H, W, 3\)"):
        Arrays(tmp_path / "a.npz")


def one(image=PIXELS, mask=None, **options):
    return Pairs(["x"], lambda _: (encoded(image), encoded(codes(0, 1) if mask is None else mask)), **options)


def test_the_resizer_is_part_of_the_data():
    image = np.random.default_rng(1).integers(0, 256, (270, 480, 3), dtype=np.uint8)
    mask = np.zeros((270, 480), dtype=np.uint8)
    mask[:, 250:] = 255
    pillow, narrow = (
        one(image, mask, codes="mvtec_ad", size=(192, 384), resizer=resizer)[0]
        for resizer in ("pillow", "16-bit")
    )
    wanted = Image.fromarray(image).resize((384, 192), Image.Resampling.BILINEAR)
    assert torch.equal(pillow[0], torch.from_numpy(np.array(wanted)).permute(2, 0, 1) / 255)
    steps = ((pillow[0] - narrow[0]).abs() * 255).round()
    assert 0 < steps.count_nonzero() < 0.1 * steps.numel()
    assert steps.max() <= 2  # noise: the hardest image to resize
    assert pillow[1].shape == (192, 384)
    assert pillow[1].unique().tolist() == [-1, 0]


def test_a_joint_transform_comes_last():
    data = one(codes="zero_one", transform=lambda image, mask: (image.flip(-1), mask.flip(-1)))
    assert data[0][1][0, 0] == -1
    assert torch.equal(data[0][0], one(codes="zero_one")[0][0].flip(-1))


def test_wrong_files_are_named(tree):
    with pytest.raises(FileNotFoundError, match=r"3 of 3 images have no mask: 10, 2, a .*'2_label'"):
        folders(tree / "images", tree / "masks")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        folders(tree / "image", tree / "masks")
    (tree / "images" / "2.png").write_bytes(b"")
    with pytest.raises(ValueError, match="have one name, '2'"):
        folders(tree / "images", tree / "masks", mask_suffix="_label")
    with pytest.raises(ValueError, match=r"unknown resizer 'pilow'.*'pillow'"):
        one(resizer="pilow")
    with pytest.raises(ValueError, match="image 'x' is no image"):
        Pairs(["x"], lambda _: (b"abc", b""))[0]
    with pytest.raises(ValueError, match="expected one channel"):
        one(mask=PIXELS)[0]
    with pytest.raises(ValueError, match=r"has \(10, 6\) pixels, its mask \(10, 3\)"):
        one(mask=codes(0, 1)[:3])[0]
    with pytest.raises(LabelError, match=r"does not know 1 \(30 x\)"):
        one(codes="mvtec_ad")[0]


def test_all_kinds_are_offered_by_name():
    for name in ("image_mask_folders", "image_mask_archive", "image_mask_list", "image_mask_arrays"):
        record = default_manager().get("dataset", name)
        assert record.void == (-100,)
        assert callable(record.load())


def test_a_loader_may_hand_them_to_other_processes(tmp_path):
    import pickle

    for name, content in {"images": PIXELS, "masks": codes(0, 1)}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encoded(content))
    data = folders(tmp_path / "images", tmp_path / "masks")
    image, mask = pickle.loads(pickle.dumps(data))[0]
    assert torch.equal(image, data[0][0])
    assert torch.equal(mask, data[0][1])
