"""Files are found, hashed, and refused with what to do."""

import bench_fakes
import pytest

from energy_plugin_bench import registry as registries
from energy_plugin_bench.assets import DATA_ROOT, Assets, CorruptAssetError, MissingAssetError, own

FILE = "shades/bright.safetensors"


@pytest.fixture
def files(tmp_path):
    bench_fakes.write_world(tmp_path)
    return registries.read([tmp_path / "published"]).files


def test_a_file_is_found_under_the_root_that_is_given_or_in_the_environment(files, tmp_path, monkeypatch):
    root = tmp_path / "data"
    assert Assets(files, root).find(FILE) == root / FILE
    monkeypatch.setenv(DATA_ROOT, str(root))
    assert Assets(files).find(FILE) == root / FILE


def test_a_missing_file_is_told_with_how_to_get_it(files, monkeypatch):
    monkeypatch.delenv(DATA_ROOT, raising=False)
    with pytest.raises(
        MissingAssetError, match=r"needs shades/bright.safetensors .*--data-root.*Run the tests"
    ):
        Assets(files).find(FILE)


def test_a_root_that_is_no_folder_is_refused(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder; expected one that holds shades/"):
        Assets(files, tmp_path / "nowhere")


def test_a_root_without_any_of_the_files_lists_them_all(registry, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Assets(registry.files, tmp_path)
    for path, asset in registry.files.items():
        assert f"{path}: {asset.get}" in str(caught.value)


def test_a_file_with_another_hash_is_refused(files, tmp_path):
    path = tmp_path / "data" / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptAssetError, match=r"expected sha256:[0-9a-f]{64}, got sha256:[0-9a-f]{64}"):
        Assets(files, tmp_path / "data").find(FILE)


def test_a_file_that_was_cut_off_is_told_so(files, tmp_path):
    path = tmp_path / "data" / FILE
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(CorruptAssetError, match="It has 10 of 76 bytes: it was cut off"):
        Assets(files, tmp_path / "data").find(FILE)


def test_a_file_that_no_list_has_is_refused(files, tmp_path):
    with pytest.raises(LookupError, match="no file list has"):
        Assets(files, tmp_path / "data").find("../secret")


def test_the_package_knows_its_own_files(monkeypatch):
    monkeypatch.delenv(DATA_ROOT, raising=False)
    own.cache_clear()
    assert own().find("mnist/images/mnist_test.npz").is_file()
    own.cache_clear()
