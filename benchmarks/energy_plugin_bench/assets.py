"""Where files of weights and images lie, and whether they are what they should be.

A file is looked for under a data root (argument, or the variable `ENERGY_PLUGIN_DATA`), then among the
carried ones of this package. It is hashed before its first use. Nothing is downloaded and nothing is
unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from energy_plugin_bench.recipe import Asset, parse_files
from energy_plugin_bench.rows import RowsError

PACKAGE = Path(__file__).parent
CARRIED = PACKAGE / "carried"
DATA_ROOT = "ENERGY_PLUGIN_DATA"
"""Environment variable: a folder that holds `mnist/` and `cifar/`, as the file lists name them."""


class MissingAssetError(FileNotFoundError):
    """A file lies neither under the data root nor in the package."""


class CorruptAssetError(ValueError):
    """A file is not the one that the recipe names."""


class Assets:
    """The files of a registry, under one data root and in the package.

    Args:
        files: File lists, by path.
        data_root: Folder of the user's files; None takes `ENERGY_PLUGIN_DATA`, if it is set.
        carried: Folder of the package's files, with its `manifest.json`.

    Raises:
        FileNotFoundError: The data root is no folder, or holds none of the files: they are listed, with how
            to get each.
    """

    def __init__(
        self, files: Mapping[str, Asset], data_root: str | Path | None = None, *, carried: Path = CARRIED
    ) -> None:
        self.files = files
        root = data_root or os.environ.get(DATA_ROOT) or None
        self.data_root = Path(root).expanduser() if root else None
        self.carried = carried
        self.manifest = read_manifest(carried)
        self._verified: dict[str, Path] = {}
        if self.data_root is not None:
            self._check_root(self.data_root)

    def locate(self, path: str) -> Path | None:
        """Where a file of the lists lies, not yet hashed; None if it is missing."""
        for folder in (self.data_root, self.carried):
            if folder is not None and (folder / path).is_file():
                return folder / path
        return None

    def find(self, path: str) -> Path:
        """Return where a file of the lists lies, after hashing it.

        Raises:
            LookupError: No list has it.
            MissingAssetError: It lies nowhere; with how to get it.
            CorruptAssetError: It is not the file that the list names.
        """
        if path in self._verified:
            return self._verified[path]
        if path not in self.files:
            raise LookupError(f"no file list has {path!r}")
        found = self.locate(path)
        if found is None:
            raise MissingAssetError(self.missing(path))
        known = self.manifest["files"].get(path, {}) if found.is_relative_to(self.carried) else {}
        asset = self.files[path]
        verify(found, known.get("sha256", asset.sha256), known.get("size", asset.size))
        self._verified[path] = found
        return found

    def missing(self, path: str) -> str:
        """Say that a file is missing and how to get it."""
        asset = self.files[path]
        where = (
            f"under {self.data_root}" if self.data_root else f"under a data root (--data-root, {DATA_ROOT})"
        )
        return f"needs {path} {where}, {asset.size:,} bytes: {asset.get} From {asset.origin}."

    def _check_root(self, root: Path) -> None:
        if not root.is_dir():
            raise FileNotFoundError(
                f"the data root {root} is no folder; expected one that holds {_parts(self.files)}"
            )
        if not any((root / path).is_file() for path in self.files):
            wanted = "\n  ".join(
                f"{path}: {asset.get} From {asset.origin}" for path, asset in self.files.items()
            )
            raise FileNotFoundError(f"the data root {root} holds none of these files:\n  {wanted}")


def _parts(files: Iterable[str]) -> str:
    return " and ".join(sorted({f"{path.partition('/')[0]}/" for path in files}))


def verify(file: Path, sha256: str, size: int) -> None:
    """Check a file's hash.

    Raises:
        CorruptAssetError: It differs; says what was expected and what came.
    """
    came = digest(file)
    if came == sha256:
        return
    have = file.stat().st_size
    cut = f" It has {have:,} of {size:,} bytes: it was cut off." if have < size else ""
    raise CorruptAssetError(
        f"{file} is not the file that was named: expected sha256:{sha256}, got sha256:{came}.{cut} "
        "Copy it again."
    )


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the list of carried files and logits; empty where the package carries nothing."""
    file = folder / "manifest.json"
    if not file.is_file():
        return {"files": {}, "logits": {}}
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


@cache
def own() -> Assets:
    """The files of this package's own list, for data sets that are used without a recipe."""
    faults: list[str] = []
    text = (PACKAGE / "recipes" / "files.toml").read_text(encoding="utf-8")
    files = parse_files(tomllib.loads(text), "files.toml", faults)
    if faults:
        raise RowsError(faults)
    return Assets({asset.path: asset for asset in files})
