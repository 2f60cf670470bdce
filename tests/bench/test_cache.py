"""Passes on disk: found while everything is unchanged, never believed when damaged, never in the way."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from energy_plugin_bench.inputs.assets import cache_folder
from energy_plugin_bench.passes import cache as cache_module
from energy_plugin_bench.passes.cache import PassCache, key_of

MADE_OF = {"weights": "abc", "count": 3}
KEY = key_of(MADE_OF)
OF = key_of({"pass": 1})


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return PassCache(tmp_path / "passes", said.append)


def scored(seed=0, count=7):
    torch.manual_seed(seed)
    return {"logits": torch.randn(count, 3), "labels": torch.arange(count)}


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_what_was_kept_is_found(cache, said):
    assert cache.read(OF, KEY) is None
    cache.write(OF, KEY, scored(), MADE_OF)
    assert same(cache.read(OF, KEY), scored())
    assert cache.read(OF, key_of({**MADE_OF, "count": 4})) is None
    assert cache.read(key_of({"pass": 2}), KEY) is None
    assert said == []


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_any_dtype_and_shape_come_back(cache, dtype):
    tensors = {"map.energy": torch.randn(2, 3, 4).to(dtype), "sides": torch.zeros(1, 0, dtype=dtype)}
    cache.write(OF, KEY, tensors, {})
    found = cache.read(OF, KEY)
    assert same(found, tensors)
    assert {found[name].dtype for name in found} == {dtype}


def test_the_file_says_what_it_was_made_of(cache):
    cache.write(OF, KEY, scored(), MADE_OF)
    with safe_open(cache.file(OF, KEY), framework="pt") as stored:
        assert json.loads(stored.metadata()["made_of"]) == MADE_OF


def test_the_key_does_not_depend_on_the_order(cache):
    assert key_of(dict(reversed(MADE_OF.items()))) == KEY


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize("damage", [cut, flipped, lambda content: b"", lambda content: b"nonsense"])
def test_a_damaged_file_is_told_and_not_believed(cache, said, damage):
    cache.write(OF, KEY, scored(), MADE_OF)
    file = cache.file(OF, KEY)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.read(OF, KEY) is None
    assert len(said) == 1
    assert f"{file} is damaged" in said[0]
    assert "computed anew" in said[0]


def test_a_file_under_another_key_is_not_believed(cache, said):
    cache.write(OF, KEY, scored(), MADE_OF)
    other = key_of({"weights": "other"})
    cache.file(OF, KEY).rename(cache.file(OF, other))
    assert cache.read(OF, other) is None
    assert "damaged" in said[0]


def test_what_killed_writers_left_is_removed_after_a_day(cache):
    cache.write(OF, KEY, scored(), MADE_OF)
    old, new = (cache.folder / OF / name for name in (".a.safetensors.x.part", ".b.safetensors.y.part"))
    for left in (old, new):
        left.touch()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    cache.tidy(OF)
    assert not old.exists()
    assert new.exists()
    assert same(cache.read(OF, KEY), scored())


def test_a_full_disk_is_told_once_and_costs_nothing_else(cache, said, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.write(OF, KEY, scored(), MADE_OF)
    cache.write(OF, "another", scored(), MADE_OF)
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert "ENERGY_PLUGIN_HOME" in said[0]
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []


def test_the_last_gigabytes_of_a_disk_are_left_alone(cache, said, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=cache_module.RESERVE - 1))
    cache.write(OF, KEY, scored(), MADE_OF)
    assert cache.read(OF, KEY) is None
    assert len(said) == 1
    assert "less than 2 GB would be left free" in said[0]


def test_a_folder_that_cannot_be_made_is_told(tmp_path, said):
    (tmp_path / "file").touch()
    PassCache(tmp_path / "file" / "passes", said.append).write(OF, KEY, scored(), MADE_OF)
    assert "cannot be kept" in said[0]


WRITER = """
import sys, torch
from pathlib import Path
from energy_plugin_bench.passes.cache import PassCache
cache = PassCache(Path(sys.argv[1]))
torch.manual_seed(0)
logits = torch.randn(20_000, 10)
for turn in range(30):
    key = f"part {turn % 3}"
    cache.write("pass", key, {"logits": logits}, {})
    found = cache.read("pass", key)
    assert found is not None and torch.equal(found["logits"], logits), turn
    cache.tidy("pass")
"""


def test_two_processes_may_share_a_folder(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
    names = sorted(path.name for path in (tmp_path / "pass").iterdir())
    assert names == [f"part {part}.safetensors" for part in range(3)]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ENERGY_PLUGIN_HOME": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/energy_plugin"),
        ({"HOME": "/c"}, "/c/.cache/energy_plugin"),
    ],
)
def test_where_files_are_kept(monkeypatch, variables, expected):
    for name in ("ENERGY_PLUGIN_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
