"""Archives are read without unpickling, and broken ones are told; noise is the same every time."""

import io
import tarfile

import numpy as np
import pytest

from energy_plugin_bench.inputs import imagesets


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


def cifar_archive(path, name, before, records):
    content = records.tobytes()
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(f"folder/{name}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("name", "before"), [("test_batch.bin", 1), ("test.bin", 2)])
def test_cifar_is_read_from_its_binary_archive(tmp_path, name, before):
    records = np.random.default_rng(0).integers(0, 256, (3, before + 3072), dtype=np.uint8)
    images = imagesets.cifar_binary(cifar_archive(tmp_path / "c.tar.gz", name, before, records))
    assert images.images.shape == (3, 32, 32, 3)
    assert images.labels.tolist() == records[:, before - 1].tolist()  # of CIFAR-100 the fine label
    assert images.images[1, 0, 5].tolist() == records[1, [before + 5, before + 1029, before + 2053]].tolist()


def test_a_cifar_archive_that_was_cut_off_is_told(tmp_path):
    records = np.random.default_rng(0).integers(0, 256, (3, 3073), dtype=np.uint8)
    path = cifar_archive(tmp_path / "c.tar.gz", "test_batch.bin", 1, records)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match="holds no CIFAR test images in the binary form"):
        imagesets.cifar_binary(path)


def test_svhn_is_read_from_its_mat_file_with_ten_for_zero(tmp_path):
    matlab = pytest.importorskip("scipy.io", reason="SciPy reads the file")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    matlab.savemat(tmp_path / "s.mat", {"X": pixels, "y": np.array([[10], [3], [3], [1]])})
    images = imagesets.svhn(tmp_path / "s.mat")
    assert images.labels.tolist() == [0, 3, 3, 1]
    assert np.array_equal(images.images[2], pixels[..., 2])
    firsts = imagesets.svhn(tmp_path / "s.mat", per_digit=1)
    assert sorted(firsts.labels.tolist()) == [0, 1, 3]
    (tmp_path / "broken.mat").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no SVHN images"):
        imagesets.svhn(tmp_path / "broken.mat")


def test_noise_of_normalised_images_is_what_the_network_gets():
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    made = imagesets.gaussian_noise(50, 8, channels=3, mean=mean, std=std)
    seen = (made.images - np.array(mean)) / np.array(std)
    assert seen.min() == pytest.approx(-1, abs=1e-5)
    assert seen.max() == pytest.approx(1, abs=1e-5)
    assert abs(seen.mean()) < 0.02
    signs = (imagesets.bernoulli_noise(50, 8, channels=3, mean=mean, std=std).images - mean) / std
    assert set(np.round(np.unique(signs), 4)) == {-1.0, 1.0}


def test_blobs_are_empty_or_bright():
    pytest.importorskip("scipy.ndimage", reason="SciPy blurs")
    blobs = imagesets.blobs(4, 32).images
    assert blobs.shape == (4, 32, 32, 3)
    assert ((blobs == 0) | (blobs >= 0.75)).all()
    assert 0 < (blobs == 0).mean() < 1
