"""Logits on disk: found while everything is unchanged, never believed when damaged, never in the way."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from energy_plugin_bench.assets import cache_folder
from energy_plugin_bench.cache import LogitsCache, key_of

MADE_OF = {"weights": "abc", "count": 3}
KEY = key_of(MADE_OF)


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return LogitsCache(tmp_path / "logits", said.append)


def scored(seed=0, count=7):
    torch.manual_seed(seed)
    return torch.randn(count, 3), torch.arange(count)


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_was_kept_is_found(cache, said):
    assert cache.read(KEY) is None
    cache.write(KEY, *scored(), MADE_OF)
    assert same(cache.read(KEY), scored())
    assert cache.read(key_of({**MADE_OF, "count": 4})) is None
    assert said == []


def test_the_file_says_what_it_was_made_of(cache):
    cache.write(KEY, *scored(), MADE_OF)
    with safe_open(cache.file(KEY), framework="pt") as stored:
        assert json.loads(stored.metadata()["made_of"]) == MADE_OF


def test_the_key_does_not_depend_on_the_order(cache):
    assert key_of(dict(reversed(MADE_OF.items()))) == KEY


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize("damage", [cut, flipped, lambda content: b"", lambda content: b"nonsense"])
def test_a_damaged_file_is_told_and_not_believed(cache, said, damage):
    cache.write(KEY, *scored(), MADE_OF)
    file = cache.file(KEY)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.read(KEY) is None
    assert len(said) == 1
    assert f"{file} is damaged" in said[0]
    assert "computed anew" in said[0]


def test_a_file_under_another_key_is_not_believed(cache, said):
    cache.write(KEY, *scored(), MADE_OF)
    other = key_of({"weights": "other"})
    cache.file(KEY).rename(cache.file(other))
    assert cache.read(other) is None
    assert "damaged" in said[0]


def test_parts_lie_apart_and_go_when_the_pass_is_whole(cache):
    cache.write(KEY, *scored(), MADE_OF, "pass")
    assert cache.read(KEY) is None
    assert same(cache.read(KEY, "pass"), scored())
    cache.write(KEY, *scored(), MADE_OF)
    cache.finish("pass")
    assert cache.read(KEY, "pass") is None
    assert [path.name for path in cache.folder.iterdir()] == [cache.file(KEY).name]


def test_what_killed_writers_left_is_removed_after_a_day(cache):
    cache.write(KEY, *scored(), MADE_OF)
    old, new = (cache.folder / name for name in (".a.safetensors.x.part", ".b.safetensors.y.part"))
    for left in (old, new):
        left.touch()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    cache.finish(KEY)
    assert not old.exists()
    assert new.exists()


def test_a_full_disk_is_told_once_and_costs_nothing_else(cache, said, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.write(KEY, *scored(), MADE_OF, "pass")
    cache.write(KEY, *scored(), MADE_OF)
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert "ENERGY_PLUGIN_HOME" in said[0]
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path, said):
    (tmp_path / "file").touch()
    LogitsCache(tmp_path / "file" / "logits", said.append).write(KEY, *scored(), MADE_OF)
    assert "cannot be kept" in said[0]


def test_the_folder_of_parts_may_vanish_under_a_writer(cache, said, monkeypatch):
    import energy_plugin_bench.cache as module

    replacing, calls = module.replacing, []

    def vanishing(file):
        calls.append(file)
        if len(calls) == 1:
            file.parent.rmdir()
        return replacing(file)

    monkeypatch.setattr(module, "replacing", vanishing)
    cache.write(KEY, *scored(), MADE_OF, "pass")
    assert same(cache.read(KEY, "pass"), scored())
    assert (len(calls), said) == (2, [])


WRITER = """
import sys, torch
from pathlib import Path
from energy_plugin_bench.cache import LogitsCache, key_of
cache = LogitsCache(Path(sys.argv[1]))
key = key_of({"weights": "abc", "count": 3})
torch.manual_seed(0)
logits, labels = torch.randn(20_000, 10), torch.arange(20_000)
for turn in range(30):
    cache.write(key_of({"part": turn % 3}), logits, labels, {}, "pass")
    cache.write(key, logits, labels, {})
    found = cache.read(key)
    assert found is not None and torch.equal(found[0], logits), turn
    cache.finish("pass")
"""


def test_two_processes_may_share_a_folder(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.safetensors"]


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
