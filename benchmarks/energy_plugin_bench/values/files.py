"""Files that recipes need, as data: a list has ``[files."PATH"]`` with hash, licence and origin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PureWindowsPath
from typing import Annotated, Any

from pydantic import Field

from energy_plugin_bench.values.checking import Strict, Text, check, table

WHOLE = 64
"""Digits of a SHA-256."""

Sha256 = Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{8,64})?$")]


def _carried(asset: Asset) -> Iterator[str]:
    if asset.carry and not asset.hashed:
        yield "what is carried has its whole sha256"


def _within(asset: Asset) -> Iterator[str]:
    """Lists come from strangers: no path leads out of a data root or of the cache."""
    for path in (asset.path, asset.unpack):
        if PureWindowsPath(path).anchor or ".." in re.split(r"[/\\]", path):  # its anchors hold POSIX's
            yield f"the path {path!r} leads out of the data root; expected one below it"


def _addressed(asset: Asset) -> Iterator[str]:
    if asset.url and not asset.url.startswith(("https://", "http://")):
        yield f"url {asset.url!r} is no http(s) address"
    if asset.unpack and not asset.url:
        yield "only what comes from a url is unpacked"
    if not (asset.url or asset.get):
        yield "a file has a url, or says in 'get' how to get it"


class Asset(Strict):
    """A file of weights or images, or a folder of images.

    Attributes:
        path: Under a data root, and under the package's `carried` folder.
        sha256: Of the file as it lies under a data root, or of the archive that is unpacked; its first eight
            digits or more where no more was published, empty where nothing was.
        md5: Where only that was published.
        size: Bytes of the file, or of the archive; 0 if unknown.
        licence: As far as it is known: the terms.
        origin: Where it comes from: repository or package, version, what was done to it.
        get: How to get it.
        carry: Whether its terms allow the package to carry it.
        url: Where `--download` fetches it.
        unpack: What comes from `url` is an archive, unpacked into this folder of the cache; `path` is in it.
        count: How many files the folder `path` holds; 0 if unknown, or for a file.
    """

    path: Text
    sha256: Sha256 = ""
    md5: Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{32})?$")] = ""
    size: Annotated[int, Field(strict=True, ge=0)] = 0
    licence: Text
    origin: Text
    get: str = ""
    carry: bool = False
    url: str = ""
    unpack: str = ""
    count: Annotated[int, Field(strict=True, ge=0)] = 0

    rules = (_carried, _within, _addressed)

    @property
    def hashed(self) -> bool:
        """Whether the whole SHA-256 is known, and of the file itself: what was made of it can be kept."""
        return len(self.sha256) == WHOLE and not self.unpack

    @property
    def bytes_told(self) -> str:
        """How large it is, in words."""
        return f"{self.size:,} bytes" if self.size else "size not published"


def parse_files(data: Mapping[str, Any], label: str, faults: list[str]) -> list[Asset]:
    """Turn the parsed TOML of a file list into assets; faults are appended, as in `parse_source`."""
    found: list[Asset] = []
    for path, written in table(data["files"], f"{label}: files", faults).items():
        place = f"{label}: {path}"
        fields = table(written, place, faults)
        if "path" in fields:
            faults.append(f"{place}: unknown field 'path': it is the table's name")
        if isinstance(written, Mapping):
            found += check(Asset, {**fields, "path": path}, place, faults)
    return found
