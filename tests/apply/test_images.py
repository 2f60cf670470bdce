"""Sources of images: folders, archives, data sets; what cannot be read is named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from energy_plugin.manager import PluginManager
from energy_plugin_bench.apply import images
from energy_plugin_bench.apply.images import UnreadableImageError


def as_array(image, place):
    return np.asarray(image)


def test_a_folder_gives_its_images_in_order_with_their_folders_as_classes(photos):
    found = images.of_folder(photos)
    assert found.classes == ("across", "down", "square")
    assert found.names[0] == "across/0.png"
    assert found.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert found.passed_over == ("notes.txt",)
    kept, arrays = found.read([0, 7], as_array)
    assert kept == [0, 1]
    assert arrays[0].shape == (28, 28)
    assert not found.unreadable


def test_images_directly_in_the_folder_have_no_class(broken):
    assert set(images.of_folder(broken).labels.tolist()) == {images.UNLABELLED}


def test_every_file_that_cannot_be_read_is_named_with_the_reason_and_the_rest_is_read(broken):
    found = images.of_folder(broken)
    kept, arrays = found.read(range(len(found)), as_array)
    assert [found.names[place] for place in kept] == ["good.png"]
    assert len(arrays) == 1
    assert set(found.unreadable) == set(found.names) - {"good.png"}
    assert "empty" in found.unreadable["empty.jpg"]
    assert "UnidentifiedImageError" in found.unreadable["text.jpeg"]
    assert "8 bits" in found.unreadable["deep.png"]
    assert "8 bits" in found.unreadable["floats.tif"]


def test_a_part_reports_unreadable_files_with_the_whole(broken):
    whole = images.of_folder(broken)
    position = whole.names.index("cut.png")
    part = whole.only(np.asarray([position]))
    assert part.names == ["cut.png"]
    assert part.read([0], as_array) == ([], [])
    assert set(whole.unreadable) == {"cut.png"}


def test_an_archive_gives_images_and_labels(archives):
    found = images.of_archive(archives / "known.npz")
    assert len(found) == 60
    assert found.labels.tolist() == np.repeat(np.arange(3), 20).tolist()
    assert images.of_archive(archives / "outliers.npz").labels.tolist() == [images.UNLABELLED] * 30


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((2, 4, 4), np.float32)}, "float32"),
        ({"images": np.zeros((2, 4), np.uint8)}, r"shape \(2, 4\)"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(3, int)}, "2 images"),
        ({"pictures": np.zeros((2, 4, 4), np.uint8)}, "'images'"),
    ],
)
def test_an_archive_of_another_form_is_refused_with_what_came(tmp_path, arrays, words):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        images.of_archive(tmp_path / "odd.npz")


def test_an_archive_is_never_unpickled_nor_is_the_user_advised_to(tmp_path):
    np.savez(tmp_path / "odd.npz", images=np.asarray([object()], dtype=object))
    with pytest.raises(ValueError, match="Python objects") as odd:
        images.of_archive(tmp_path / "odd.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match="is no npz archive") as text:
        images.of_archive(tmp_path / "text.npz")
    assert "allow_pickle" not in f"{odd.value} {text.value}"


def test_a_source_is_looked_for_here_then_under_the_data_root_then_among_data_sets(archives, monkeypatch):
    manager = PluginManager()
    assert len(images.find("known.npz", manager=manager, data_root=archives)) == 60
    with pytest.raises(FileNotFoundError, match="no --data-root"):
        images.find("known.npz", manager=manager)
    (archives / "nothing").mkdir()
    with pytest.raises(ValueError, match="none of them an image"):
        images.find("nothing", manager=manager, data_root=archives)


class Pairs:
    classes = ("a", "b")

    def __len__(self):
        return 3

    def __getitem__(self, position):
        return np.full((3, 5, 6), position / 2, np.float32), position % 2


def test_a_data_set_of_pairs_gives_images_channels_first_or_last():
    found = images.of_pairs("pairs", Pairs())
    assert found.labels.tolist() == [0, 1, 0]
    image = found.open(2)
    assert image.size == (6, 5)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(TypeError, match="map-style"):
        images.of_pairs("nothing", object())


def test_arrays_that_are_no_images_are_refused():
    with pytest.raises(UnreadableImageError, match="int64"):
        images.as_image(np.zeros((4, 4), np.int64))
    assert images.as_image(np.zeros((4, 4, 1), np.uint8)).mode == "L"
    picture = Image.new("RGB", (2, 2))
    assert images.as_image(picture) is picture
