"""Logits that were computed before, kept on disk under a hash of everything that they depend on.

A file is a safetensors file whose header holds, as JSON, what its logits were made of and the hash of its
content; nothing is pickled. Files appear whole or not at all, so that processes may share a folder and be
killed at any moment. Whatever is damaged is computed anew, and said. A folder that cannot be written to costs
time, never results.
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

from energy_plugin_bench.assets import CACHE, cache_folder
from energy_plugin_bench.atomic import replacing

_ABANDONED = 24 * 3600
"""Seconds after which a half-written file is one whose writer was killed."""
_ATTEMPTS = 3
"""At writing a file whose folder another process may remove meanwhile."""


def to_stderr(message: str) -> None:
    """Tell people, not programs."""
    sys.stderr.write(f"{message}\n")


def key_of(made_of: Mapping[str, Any]) -> str:
    """Hash plain data, whatever the order of its keys."""
    return hashlib.sha256(_json(made_of).encode()).hexdigest()


class LogitsCache:
    """Logits and labels on disk, by key: whole passes, and parts of those that are under way.

    Args:
        folder: Where the files are; None takes `logits` in `cache_folder()`. Made when first written to.
        say: Told what a person should know: damaged files, a full disk.
    """

    def __init__(self, folder: Path | None = None, say: Callable[[str], None] = to_stderr) -> None:
        self.folder = folder or cache_folder() / "logits"
        self.say = say
        self.writable = True

    def file(self, key: str, of: str = "") -> Path:
        """Where a pass lies, or a part of one that is called `of`."""
        return (self.folder / f"{of}.parts" if of else self.folder) / f"{key}.safetensors"

    def read(self, key: str, of: str = "") -> tuple[Tensor, Tensor] | None:
        """Logits and labels, or None where there are none, or none that can be trusted."""
        file = self.file(key, of)
        if not file.is_file():
            return None
        try:
            return _read(file, key)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            self.say(f"{file} is damaged ({error}); its logits are computed anew.")
            return None

    def write(
        self, key: str, logits: Tensor, labels: Tensor, made_of: Mapping[str, Any], of: str = ""
    ) -> None:
        """Keep logits (N, C) and labels (N,). If that fails it is said once, and no further is tried."""
        if not self.writable:
            return
        tensors = {"logits": logits.contiguous(), "labels": labels.contiguous()}
        about = {"key": key, "sha256": _digest(tensors), "made_of": _json(made_of)}
        try:
            self._put(self.file(key, of), save(tensors, about))
        except OSError as error:
            self.writable = False
            self.say(
                f"logits cannot be kept in {self.folder} ({error.strerror or error}); the run goes on "
                f"all the same. Free space there, or name another folder in {CACHE}."
            )

    def _put(self, file: Path, content: bytes) -> None:
        for attempt in range(_ATTEMPTS):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with replacing(file) as written:
                    written.write_bytes(content)
            except (
                FileNotFoundError
            ):  # another process finished this pass and removed the folder of its parts
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def finish(self, of: str) -> None:
        """Remove the parts of a pass that is whole, and what killed writers left long ago."""
        shutil.rmtree(self.folder / f"{of}.parts", ignore_errors=True)
        for left in self.folder.glob(".*.part"):
            try:
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
            except OSError:  # somebody else was faster, or owns it
                continue


def _read(file: Path, key: str) -> tuple[Tensor, Tensor]:
    with safe_open(file, framework="pt") as stored:
        about = stored.metadata() or {}
        # Copies: the file may be replaced while its tensors are in use.
        tensors = {name: stored.get_tensor(name).clone() for name in ("logits", "labels")}
    if about["key"] != key:
        raise ValueError(f"it is that of {about['key'][:12]}")
    if about["sha256"] != _digest(tensors):
        raise ValueError("its content has another hash")
    return tensors["logits"], tensors["labels"]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
