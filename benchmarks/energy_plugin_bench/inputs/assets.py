"""Where files of weights and images lie, and whether they are what they should be.

A file is looked for under a data root (argument, or the variable `ENERGY_PLUGIN_DATA`), then in the cache
(`ENERGY_PLUGIN_HOME`, see `cache_folder`), then among the carried ones of this package. It is hashed before
its first use; of a folder of images the files are counted. Nothing is downloaded here (`download` does that
when it is asked to) and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from energy_plugin_bench.values.checking import RowsError
from energy_plugin_bench.values.files import Asset, parse_files

PACKAGE = Path(__file__).parents[1]
CARRIED = PACKAGE / "carried"
DATA_ROOT = "ENERGY_PLUGIN_DATA"
"""Environment variable: a folder that holds `mnist/` and `cifar/`, as the file lists name them."""


CACHE = "ENERGY_PLUGIN_HOME"
"""Environment variable: the folder of what was downloaded."""


def cache_folder() -> Path:
    """Where downloads lie: `ENERGY_PLUGIN_HOME`, else `energy_plugin` below the user's cache folder."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "energy_plugin"


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
        cache: Folder of downloads; None takes that of the user.

    Raises:
        FileNotFoundError: The data root is no folder, or holds none of the files: they are listed, with how
            to get each.
    """

    def __init__(
        self,
        files: Mapping[str, Asset],
        data_root: str | Path | None = None,
        *,
        carried: Path = CARRIED,
        cache: Path | None = None,
    ) -> None:
        self.files = files
        root = data_root or os.environ.get(DATA_ROOT) or None
        self.data_root = Path(root).expanduser() if root else None
        self.carried = carried
        self.cache = cache if cache is not None else cache_folder()
        self.manifest = read_manifest(carried)
        self._verified: dict[str, Path] = {}
        self._computed: dict[str, str] = {}
        if self.data_root is not None:
            self._check_root(self.data_root)

    def locate(self, path: str) -> Path | None:
        """Where a file or folder of the lists lies, not yet verified; None if it is missing."""
        for folder in (self.data_root, self.cache, self.carried):
            if folder is not None and (folder / path).exists():
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
        if found.is_dir():
            count_files(found, asset.count)
        elif asset.md5 and not asset.sha256:
            verify(found, asset.md5, asset.size, "md5")
        else:
            verify(found, known.get("sha256", asset.sha256), known.get("size", asset.size))
        self._verified[path] = found
        return found

    def identity(self, path: str) -> str:
        """SHA-256 of a file as it lies here: the listed one, or computed where none or a part was published.

        Empty for a folder and for what is not there.
        """
        asset = self.files[path]
        if asset.hashed:
            return asset.sha256
        found = self.locate(path)
        if found is None or not found.is_file():
            return ""
        if path not in self._computed:
            self._computed[path] = digest(found)
        return self._computed[path]

    def missing(self, path: str) -> str:
        """Say that a file is missing and how to get it."""
        asset = self.files[path]
        where = (
            f"under {self.data_root}" if self.data_root else f"under a data root (--data-root, {DATA_ROOT})"
        )
        fetch = "Fetched by --download." if asset.url else ""
        how = " ".join(part for part in (asset.get, fetch) if part)
        return f"needs {path} {where}, {asset.bytes_told}: {how} From {asset.origin}. Terms: {asset.licence}."

    def _check_root(self, root: Path) -> None:
        if not root.is_dir():
            raise FileNotFoundError(
                f"the data root {root} is no folder; expected one that holds {_parts(self.files)}"
            )
        if not any((root / path).exists() for path in self.files):
            wanted = "\n  ".join(_wanted(self.files))
            raise FileNotFoundError(f"the data root {root} holds none of these files:\n  {wanted}")


def _parts(files: Mapping[str, Asset]) -> str:
    """Folders of what a user puts there, in words."""
    own = [path for path, asset in files.items() if not asset.url]
    return " or ".join(sorted({f"{path.partition('/')[0]}/" for path in own}))


def _wanted(files: Mapping[str, Asset]) -> Iterator[str]:
    """What a user puts under a data root, a line for files that are got alike, and how much is fetched."""
    alike: dict[tuple[str, str], list[str]] = {}
    for path, asset in files.items():
        if not asset.url:
            alike.setdefault((asset.get, asset.origin), []).append(path)
    for (how, origin), paths in alike.items():
        yield f"{', '.join(paths)}: {how} From {origin}"
    fetched = sum(bool(asset.url) for asset in files.values())
    if fetched:
        yield f"{fetched} further files have an address: --download fetches them into {cache_folder()}"


def verify(file: Path, expected: str, size: int, kind: Literal["sha256", "md5"] = "sha256") -> None:
    """Check a file's hash against the expected one, or the first digits of it.

    Raises:
        CorruptAssetError: It differs; says what was expected and what came.
    """
    came = digest(file, kind)
    if came.startswith(expected):
        return
    have = file.stat().st_size
    cut = f" It has {have:,} of {size:,} bytes: it was cut off." if have < size else ""
    raise CorruptAssetError(
        f"{file} is not the file that was named: expected {kind}:{expected}, got {kind}:{came}.{cut} "
        "Copy it again."
    )


def count_files(folder: Path, expected: int) -> None:
    """Check that a folder holds as many files as it should, in all its subfolders.

    Raises:
        CorruptAssetError: It holds more or fewer.
    """
    if not expected:
        return
    came = sum(1 for file in folder.rglob("*") if file.is_file())
    if came != expected:
        raise CorruptAssetError(
            f"{folder} holds {came:,} files, expected {expected:,}: it is not the set that was named, or "
            "parts of it are missing. Unpack it again."
        )


def digest(file: Path, kind: Literal["sha256", "md5"] = "sha256") -> str:
    """SHA-256 (or MD5) of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


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
