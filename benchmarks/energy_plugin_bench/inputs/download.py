"""Fetches what recipes need into the cache: resumed, verified, never run.

A file appears under its name only when it is whole and its hash is right; until then it is `NAME.part`, where
the next attempt goes on. Archives are unpacked beside, then moved. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from energy_plugin_bench.inputs.assets import Assets, CorruptAssetError, verify
from energy_plugin_bench.values.files import Asset

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte."""
ATTEMPTS = 3
"""How often a connection that breaks is taken up again."""
PARTIAL, NOT_SATISFIABLE, SERVER_FAULT = 206, 416, 500


class DownloadError(OSError):
    """A file cannot be fetched; the message says how to go on by hand."""


@dataclass(frozen=True)
class Outcome:
    """What came of a download.

    Attributes:
        fetched: Paths that are there now.
        failed: What went wrong, by path.
    """

    fetched: tuple[str, ...]
    failed: dict[str, str]


def fetch_all(assets: Assets, paths: Iterable[str], console: Console | None = None) -> Outcome:
    """Fetch files into the cache, one after the other; what fails is told, the others go on.

    Args:
        assets: Their list, and the cache.
        paths: Which.
        console: Where progress is shown; None shows it on stderr, if that is a terminal.

    Raises:
        OSError: The cache cannot be written.
    """
    console = console or Console(stderr=True)
    fetched: list[str] = []
    failed: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        for path in paths:
            task = bars.add_task(path, total=assets.files[path].size or None)
            try:
                fetch(assets.files[path], assets.cache, _Told(bars, task))
                fetched.append(path)
            except (DownloadError, CorruptAssetError) as error:
                failed[path] = str(error)
    return Outcome(tuple(fetched), failed)


class _Told:
    """Progress of one file."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def total(self, size: int) -> None:
        """How large the server says it is."""
        self._bars.update(self._task, total=size)

    def at(self, done: int) -> None:
        """How far it is."""
        self._bars.update(self._task, completed=done)


def fetch(asset: Asset, cache: Path, told: _Told | None = None) -> Path:
    """Fetch one file, or an archive that is unpacked, into the cache.

    Raises:
        DownloadError: The server does not give it, or the archive does not hold it.
        CorruptAssetError: It came with another hash; it is deleted.
    """
    target = cache / asset.path
    if not asset.url:
        raise DownloadError(f"{asset.path} has no address: {asset.get}")
    name = Path(urlsplit(asset.url).path).name
    file = cache / "archives" / name if asset.unpack else target
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file.with_name(f".{file.name}.lock")):
        if target.exists():  # by an earlier run, or by another process meanwhile
            return target
        if not file.exists():
            _fetch_file(asset, file, told)
        if asset.unpack:
            _unpack(file, cache / asset.unpack)
            if not target.exists():
                raise DownloadError(f"{file} does not hold {asset.path}; unpack it by hand to {target}")
            file.unlink()
    return target


def _fetch_file(asset: Asset, file: Path, told: _Told | None) -> None:
    part = file.with_name(file.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with part.open("ab") as stream:
                _receive(asset.url, stream, told)
            break
        except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
            final = isinstance(error, HTTPError) and error.code < SERVER_FAULT
            if final or attempt == ATTEMPTS:
                raise DownloadError(
                    f"{asset.url} cannot be fetched: {error}. What came is kept in {part}: run it again, or "
                    f"put the file there by hand as {file}."
                ) from error
    try:
        verify(part, asset.sha256 or asset.md5, asset.size, "sha256" if asset.sha256 else "md5")
    except CorruptAssetError:
        part.unlink()
        raise
    part.replace(file)


def _receive(url: str, stream: IO[bytes], told: _Told | None) -> None:
    """Append what is still missing; begin anew where the server does not know ranges."""
    have = stream.seek(0, 2)
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - http(s), checked
    try:
        answer: HTTPResponse = urlopen(request, timeout=TIMEOUT)  # noqa: S310 - as above
    except HTTPError as error:
        if error.code == NOT_SATISFIABLE and have:
            return  # it is whole already: the hash says whether it is right
        raise
    with answer:
        if have and answer.status != PARTIAL:
            stream.truncate(0)
            have = 0
        left = answer.headers.get("Content-Length")
        if told and left:
            told.total(have + int(left))
        came = 0
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
            came += len(chunk)
            if told:
                told.at(have + came)
        if left and came < int(left):
            raise ConnectionError(f"the connection broke after {came:,} of {int(left):,} bytes")


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let a second process wait until the first is done."""
    with lock.open("ab") as stream:
        with contextlib.suppress(ImportError):  # not on Windows: there two processes get in each other's way
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a folder; what its members are called cannot lead out of it.

    Raises:
        DownloadError: It is no archive, or holds members that point elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking") as inside:
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as zipped:
                    zipped.extractall(inside)  # noqa: S202 - zipfile keeps members inside
            else:
                with tarfile.open(archive) as tarred:
                    tarred.extractall(inside, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise DownloadError(
                f"{archive} cannot be unpacked: {error}. Delete it and run it again."
            ) from error
        for entry in Path(inside).iterdir():
            if (folder / entry.name).is_dir():
                shutil.copytree(entry, folder / entry.name, dirs_exist_ok=True)
            else:
                entry.replace(folder / entry.name)
