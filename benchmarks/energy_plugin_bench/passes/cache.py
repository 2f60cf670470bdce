"""What passes of networks gave, kept on disk under a hash of everything that it depends on.

A pass is a folder, a part of it a safetensors file whose header holds, as JSON, what its tensors were made
of and the hash of their content; nothing is pickled. Files appear whole or not at all, so that processes may
share a folder and be killed at any moment. Whatever is damaged is computed anew, and said. A folder that
cannot be written to costs time, never results.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from energy_plugin_bench.atomic import replacing
from energy_plugin_bench.inputs.assets import CACHE, cache_folder

Tensors = Mapping[str, Tensor]

RESERVE = 2 << 30
"""Bytes of the disk that are left free: maps of a large set take gigabytes."""
_ABANDONED = 24 * 3600
"""Seconds after which a half-written file is one whose writer was killed."""


def to_stderr(message: str) -> None:
    """Tell people, not programs."""
    sys.stderr.write(f"{message}\n")


def key_of(made_of: Mapping[str, Any]) -> str:
    """Hash plain data, whatever the order of its keys."""
    return hashlib.sha256(_json(made_of).encode()).hexdigest()


class PassCache:
    """Tensors on disk, by pass and part.

    Args:
        folder: Where the passes are; None takes `passes` in `cache_folder()`. Made when first written to.
        say: Told what a person should know: damaged files, a full disk.
    """

    def __init__(self, folder: Path | None = None, say: Callable[[str], None] = to_stderr) -> None:
        self.folder = folder or cache_folder() / "passes"
        self.say = say
        self.writable = True

    def file(self, of: str, key: str) -> Path:
        """Where a part lies.

        Args:
            of: Key of the pass.
            key: Key of the part.
        """
        return self.folder / of / f"{key}.safetensors"

    def read(self, of: str, key: str) -> Tensors | None:
        """Tensors of a part, or None where there are none, or none that can be trusted."""
        file = self.file(of, key)
        if not file.is_file():
            return None
        try:
            return _read(file, key)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            self.say(f"{file} is damaged ({error}); it is computed anew.")
            return None

    def write(self, of: str, key: str, tensors: Tensors, made_of: Mapping[str, Any]) -> None:
        """Keep a part; on a disk that is full or forbidden it says so once and does without.

        Args:
            of: Key of the pass.
            key: Key of the part.
            tensors: By name, on the CPU.
            made_of: Everything that they depend on, as plain data; for people who look into the file.
        """
        if not self.writable:
            return
        about = {"key": key, "sha256": _digest(tensors), "made_of": _json(made_of)}
        file = self.file(of, key)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            _leave_room(file.parent)
            with replacing(file) as written:
                written.write_bytes(save(dict(tensors), about))
        except OSError as error:
            self.writable = False
            self.say(
                f"results of networks cannot be kept in {self.folder} ({error.strerror or error}); the run "
                f"goes on all the same. Free space there, or name another folder in {CACHE}."
            )

    def tidy(self, of: str) -> None:
        """Remove what killed writers left in the folder of a pass long ago."""
        for left in (self.folder / of).glob(".*.part"):
            try:
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
            except OSError:  # somebody else was faster, or owns it
                continue


def _leave_room(folder: Path) -> None:
    if shutil.disk_usage(folder).free < RESERVE:
        raise OSError(f"less than {RESERVE >> 30} GB would be left free")


def _read(file: Path, key: str) -> Tensors:
    with safe_open(file, framework="pt") as stored:
        about = stored.metadata() or {}
        # Copies: the file may be replaced while its tensors are in use.
        tensors = {name: stored.get_tensor(name).clone() for name in sorted(stored.keys())}
    if about["key"] != key:
        raise ValueError(f"it is that of {about['key'][:12]}")
    if about["sha256"] != _digest(tensors):
        raise ValueError("its content has another hash")
    return tensors


def _digest(tensors: Tensors) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
