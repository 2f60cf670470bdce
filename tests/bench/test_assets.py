"""Files are found, hashed, and refused with what to do."""

import bench_fakes
import pytest

from energy_plugin_bench.inputs.assets import (
    DATA_ROOT,
    Assets,
    CorruptAssetError,
    MissingAssetError,
    cache_folder,
    own,
)
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.files import Asset


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch):
    monkeypatch.delenv("ENERGY_PLUGIN_DATA", raising=False)


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


def test_a_root_without_any_of_the_files_lists_what_a_user_puts_there(registry, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Assets(registry.files, tmp_path)
    text = str(caught.value)
    fetched = [path for path, asset in registry.files.items() if asset.url]
    for path, asset in registry.files.items():
        assert (path in text and asset.get in text) == (path not in fetched), path
    assert f"{len(fetched)} further files have an address: --download fetches them" in text
    assert len(text.splitlines()) < 50


def test_a_folder_of_images_alone_makes_a_root(registry, tmp_path):
    (tmp_path / "imagenet" / "val").mkdir(parents=True)
    assert Assets(registry.files, tmp_path).locate("imagenet/val") == tmp_path / "imagenet" / "val"


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


def listed(tmp_path, **fields):
    """Assets with one entry of these fields, found in the cache."""
    asset = Asset(path="thing", licence="ours", origin="the tests", get="Run them.", **fields)
    return Assets({"thing": asset}, cache=tmp_path)


def test_the_cache_is_looked_at_after_the_data_root(files, tmp_path):
    cached = tmp_path / "cache" / FILE
    cached.parent.mkdir(parents=True)
    cached.write_bytes((tmp_path / "data" / FILE).read_bytes())
    assert Assets(files, tmp_path / "data", cache=tmp_path / "cache").find(FILE) == tmp_path / "data" / FILE
    assert Assets(files, cache=tmp_path / "cache").find(FILE) == cached


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ENERGY_PLUGIN_HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home"
    monkeypatch.delenv("ENERGY_PLUGIN_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "energy_plugin"


@pytest.mark.parametrize("fields", [{"md5": "900150983cd24fb0d6963f7d28e17f72"}, {"sha256": "ba7816bf"}, {}])
def test_a_file_is_held_against_what_was_published_of_its_hash(tmp_path, fields):
    (tmp_path / "thing").write_bytes(b"abc")
    assert listed(tmp_path, **fields).find("thing") == tmp_path / "thing"
    (tmp_path / "thing").write_bytes(b"abd")
    if fields:
        with pytest.raises(CorruptAssetError, match=f"expected {next(iter(fields))}:"):
            listed(tmp_path, **fields).find("thing")


def test_a_folder_with_a_missing_image_is_refused(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "thing" / name).parent.mkdir(parents=True)
        (tmp_path / "thing" / name).touch()
    assert listed(tmp_path, count=2).find("thing") == tmp_path / "thing"
    with pytest.raises(CorruptAssetError, match="holds 2 files, expected 3"):
        listed(tmp_path, count=3).find("thing")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"carry": True, "sha256": "ba7816bf", "get": "x"}, "has its whole sha256"),
        ({"url": "ftp://x/y"}, "no http"),
        ({"unpack": ".", "get": "x"}, "only what comes from a url is unpacked"),
        ({}, "or says in 'get' how to get it"),
    ],
)
def test_entries_that_contradict_themselves_are_faults(fields, said):
    with pytest.raises(ValueError, match=said):
        Asset(path="thing", licence="ours", origin="the tests", **fields)


def test_a_file_whose_hash_was_not_published_is_known_by_what_it_is(tmp_path):
    (tmp_path / "thing").write_bytes(b"abc")
    whole = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for fields in ({}, {"sha256": "ba7816bf"}, {"sha256": whole}):
        assert listed(tmp_path, **fields).identity("thing") == whole
    (tmp_path / "thing").unlink()
    assert listed(tmp_path).identity("thing") == ""
    (tmp_path / "thing").mkdir()
    assert listed(tmp_path, count=3).identity("thing") == ""
