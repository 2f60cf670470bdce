"""Archives are read without unpickling, and broken ones are told; noise is the same every time."""

import numpy as np
import pytest

from energy_plugin_bench import imagesets


def test_mnist_has_its_published_order():
    images = imagesets.mnist_test()
    assert images.images.shape == (10_000, 28, 28)
    assert images.labels[:5].tolist() == [7, 2, 1, 0, 4]
    image, label = images[0]
    assert (image.shape, label, len(images)) == ((28, 28), 7, 10_000)


def test_omniglot_holds_zeros_and_ones():
    images = imagesets.omniglot_safe5()
    assert images.images.shape == (3260, 105, 105)
    assert set(np.unique(images.images)) == {0, 1}


def test_an_archive_that_was_cut_off_is_told(tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, images=np.zeros((9, 28, 28), np.uint8), labels=np.zeros(9, np.uint8))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut.npz cannot be read as an npz archive.*Copy it again"):
        imagesets.read_archive(path)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "objects.npz"
    np.savez(path, images=np.array([{}], dtype=object), labels=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="cannot be read"):
        imagesets.read_archive(path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((9, 28, 28), np.float32), np.zeros(9)),
        (np.zeros((9, 28), np.uint8), np.zeros(9)),
        (np.zeros((9, 28, 28), np.uint8), np.zeros(8)),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path, images, labels):
    path = tmp_path / "odd.npz"
    np.savez(path, images=images, labels=labels)
    with pytest.raises(ValueError, match="expected uint8"):
        imagesets.read_archive(path)


def test_an_archive_without_labels_is_told(tmp_path):
    path = tmp_path / "bare.npz"
    np.savez(path, images=np.zeros((9, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="labels"):
        imagesets.read_archive(path)


def test_gaussian_noise_is_clipped_and_the_same_every_time():
    noise = imagesets.gaussian_noise(count=400)
    assert noise.images.dtype == np.float32
    assert (noise.images.min(), noise.images.max()) == (0, 1)
    assert (noise.images == 0).mean() == pytest.approx(0.1587, abs=0.005)  # the share below -1 sigma
    assert np.median(noise.images) == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(noise.images, imagesets.gaussian_noise(count=400).images)
    assert not np.array_equal(noise.images, imagesets.gaussian_noise(count=400, seed=1).images)


def test_bernoulli_noise_is_half_white():
    noise = imagesets.bernoulli_noise(count=400)
    assert set(np.unique(noise.images)) == {0.0, 1.0}
    assert noise.images.mean() == pytest.approx(0.5, abs=0.005)
    assert (noise.labels == -1).all()
