"""Downloads from a server of our own: resumed after a cut, verified, unpacked within bounds."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console

from energy_plugin_bench.inputs.assets import Assets, CorruptAssetError
from energy_plugin_bench.inputs.download import DownloadError, fetch, fetch_all
from energy_plugin_bench.values.files import Asset
from energy_plugin_bench.verdicts import needs
from energy_plugin_bench.verdicts.runner import Runner


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch):
    monkeypatch.delenv("ENERGY_PLUGIN_DATA", raising=False)


CONTENT = bytes(range(256)) * 1000


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; cuts the next answers after `server.cuts` bytes each."""

    def do_GET(self):
        content = self.server.files.get(self.path)
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        if content is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked, running.cuts, running.ranges = {"/file.bin": CONTENT}, [], [], True
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def asset(server, path="net/file.bin", name="file.bin", **fields):
    url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
    return Asset(path=path, licence="ours", origin="the tests", url=url, **fields)


def sha256(content=CONTENT):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("known", [sha256(), sha256()[:8], ""])
def test_a_file_is_fetched_whole_and_asked_for_once(server, tmp_path, known):
    wanted = asset(server, sha256=known)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert fetch(wanted, tmp_path) == tmp_path / "net" / "file.bin"
    assert server.asked == [("/file.bin", None)]
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == [".file.bin.lock", "file.bin"]


def test_a_cut_is_taken_up_where_it_was(server, tmp_path):
    server.cuts = [1000, 500]
    assert fetch(asset(server, sha256=sha256()), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-", "bytes=1500-"]


def test_what_came_is_kept_for_the_next_run(server, tmp_path):
    server.cuts = [1000, 500, 250]
    with pytest.raises(DownloadError, match=r"What came is kept in .*file\.bin\.part: run it again"):
        fetch(asset(server, sha256=sha256()), tmp_path)
    assert (tmp_path / "net" / "file.bin.part").stat().st_size == 1750
    assert not (tmp_path / "net" / "file.bin").exists()
    assert fetch(asset(server, sha256=sha256()), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/file.bin", "bytes=1750-")


def test_a_server_without_ranges_sends_it_anew(server, tmp_path):
    server.ranges, server.cuts = False, [1000]
    assert fetch(asset(server, sha256=sha256()), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_verified_and_taken(server, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "file.bin.part").write_bytes(CONTENT)
    assert fetch(asset(server, sha256=sha256()), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("fields", [{"sha256": "0" * 64}, {"sha256": "00000000"}, {"md5": "0" * 32}])
def test_another_hash_is_refused_and_nothing_is_left(server, tmp_path, fields):
    with pytest.raises(CorruptAssetError, match=r"expected .*:0+, got"):
        fetch(asset(server, **fields), tmp_path)
    assert [p.name for p in (tmp_path / "net").iterdir()] == [".file.bin.lock"]


def test_a_missing_file_is_told_once(server, tmp_path):
    with pytest.raises(DownloadError, match="404"):
        fetch(asset(server, name="gone.bin"), tmp_path)
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_told(tmp_path):
    nowhere = Asset(path="x", licence="l", origin="o", url="http://127.0.0.1:9/x")
    with pytest.raises(DownloadError, match="cannot be fetched"):
        fetch(nowhere, tmp_path)


def tarred(**members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def test_archives_are_unpacked_and_parts_of_one_folder_stand_together(server, tmp_path):
    server.files = {"/a.tar.gz": tarred(set__one__1=b"1"), "/b.zip": zipped("set/two/2", b"2")}
    fetch(asset(server, "images/set/one", "a.tar.gz", unpack="images"), tmp_path)
    fetch(asset(server, "images/set/two", "b.zip", unpack="images"), tmp_path)
    assert (tmp_path / "images/set/one/1").read_bytes() == b"1"
    assert (tmp_path / "images/set/two/2").read_bytes() == b"2"
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["set"]


def test_an_archive_cannot_write_elsewhere(server, tmp_path):
    server.files = {"/evil.tar": tarred(**{"..__..__escaped": b"x"})}
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        fetch(asset(server, "images/set", "evil.tar", unpack="images"), tmp_path / "cache")
    assert not (tmp_path / "escaped").exists()


def test_an_archive_without_what_it_should_hold_is_told(server, tmp_path):
    server.files = {"/a.tar.gz": tarred(other__1=b"1")}
    with pytest.raises(DownloadError, match=r"does not hold set; unpack it by hand"):
        fetch(asset(server, "set", "a.tar.gz", unpack="."), tmp_path)


def test_one_failure_does_not_stop_the_others_and_progress_shows_sizes(server, tmp_path):
    files = {
        "bad": asset(server, "bad", sha256="0" * 64),
        "good": asset(server, "good", sha256=sha256(), size=len(CONTENT)),
    }
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    outcome = fetch_all(Assets(files, cache=tmp_path), files, console)
    assert outcome.fetched == ("good",)
    assert "expected sha256:000" in outcome.failed["bad"]
    assert "256.0/256.0 kB" in shown.getvalue()


def test_threads_that_want_one_file_get_it_once(server, tmp_path):
    wanted = asset(server, sha256=sha256())
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(wanted, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.read_bytes() for path in found} == {CONTENT}
    assert len(server.asked) == 1


def test_only_what_makes_a_row_run_is_wanted(registry, tmp_path, monkeypatch):
    monkeypatch.delenv("ENERGY_PLUGIN_DATA", raising=False)
    runner = Runner(registry, Assets(registry.files, cache=tmp_path))
    oodeel = needs.wanted(runner, registry.select(source="oodeel"))
    assert sorted(oodeel) == [
        "chenyaofo/cifar10_resnet20.pt", "cifar-10-binary.tar.gz", "svhn/test_32x32.mat",
    ]  # fmt: skip
    # ReAct needs the ImageNet images, which nobody may fetch: so its weights are not fetched either
    assert needs.wanted(runner, registry.select(source="react")) == []
    assert needs.wanted(runner, registry.select(source="scood")) == []
    assert needs.wanted(runner, registry.select(source="akamaster_resnet")) == []


def test_the_command_fetches_what_it_says_and_goes_on(server, tmp_path, monkeypatch, registry, capsys):
    from energy_plugin.cli import main

    files = dict(registry.files)
    for path in ("chenyaofo/cifar10_resnet20.pt", "cifar-10-binary.tar.gz", "svhn/test_32x32.mat"):
        port = server.server_address[1]
        files[path] = files[path].model_copy(update={"url": f"http://127.0.0.1:{port}/gone"})
    changed = Runner(registry).registry.__class__(registry.sources, registry.recipes, files)
    monkeypatch.setattr("energy_plugin_bench.values.registry.load", lambda *_: changed)
    monkeypatch.setenv("ENERGY_PLUGIN_HOME", str(tmp_path))
    assert main(["reproduce", "--source", "oodeel", "--download", "--json"]) == 3
    told = capsys.readouterr()
    assert "fetching 3 files (234 MB, 1 of unknown size) into" in told.err
    assert told.err.count("HTTP Error 404") == 3
    assert '"not run": 32' in told.out
