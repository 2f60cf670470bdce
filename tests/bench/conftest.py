"""The package's own rows and files, and a small world beside them."""

from __future__ import annotations

import os
from pathlib import Path

import bench_fakes
import pytest

from energy_plugin.manager import PluginManager
from energy_plugin_bench.inputs.assets import CACHE, DATA_ROOT, Assets
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.verdicts.runner import Runner


@pytest.fixture(scope="session", autouse=True)
def _no_downloads(tmp_path_factory):
    """Nothing that somebody downloaded before changes what these tests see."""
    patch = pytest.MonkeyPatch()
    patch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def registry():
    return registries.load()


@pytest.fixture(scope="session")
def carried_runner(registry):
    """A runner on what the package carries, whatever the environment says."""
    kept = os.environ.pop(DATA_ROOT, None)
    try:
        return Runner(registry, Assets(registry.files))
    finally:
        if kept is not None:
            os.environ[DATA_ROOT] = kept


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The user's data, where there are any."""
    if not os.environ.get(DATA_ROOT):
        pytest.skip(f"needs a data root: {DATA_ROOT} is not set")
    return Path(os.environ[DATA_ROOT])


@pytest.fixture
def world(tmp_path):
    """A function that makes a runner of the small world, on changed texts if they are given."""

    def make(**changes) -> Runner:
        options = {
            key: changes.pop(key)
            for key in ("from_images", "carried", "progress", "cache", "computing")
            if key in changes
        }
        root = bench_fakes.write_world(tmp_path, **changes)
        manager = PluginManager().add(bench_fakes.Plugin(tmp_path / "published"))
        loaded = registries.load(manager)
        assets = Assets(loaded.files, root, carried=options.pop("carried", tmp_path / "carried"))
        return Runner(loaded, assets, manager=manager, **options)

    return make


def row_of(registry, name):
    """The source and row of an id."""
    return next((source, row) for source, row in registry.rows() if row.id == name)


@pytest.fixture(scope="session")
def find():
    return row_of


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """No test reads or writes what the user's runs have kept."""
    monkeypatch.setenv("ENERGY_PLUGIN_HOME", str(tmp_path_factory.mktemp("home")))
