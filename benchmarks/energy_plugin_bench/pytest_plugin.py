"""Turns published values into tests (`pytest benchmarks`): one for each, named by its id.

Loaded in every run of this repository, so it imports nothing heavy and does nothing where no test asks for
`published_value`. A run of such tests in which nothing was verified fails: it proves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from energy_plugin_bench.rows import PublishedValue, Source
    from energy_plugin_bench.runner import Runner
    from energy_plugin_bench.verdict import Verdict

FIXTURE = "published_value"
_RUNNER = pytest.StashKey["Runner"]()
_VERDICTS = pytest.StashKey[dict[str, "Verdict"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, all with the prefix --energy."""
    group = parser.getgroup("energy", "published values")
    group.addoption("--energy-data-root", metavar="DIR", help="folder with mnist/ and cifar/")
    group.addoption(
        "--energy-from-images", action="store_true", help="compute logits anew wherever images are there"
    )
    group.addoption("--energy-source", metavar="NAME", default="", help="rows of this source only")
    group.addoption("--energy-output", metavar="PATH", help="write the verdicts as JSON")
    group.addoption(
        "--energy-allow-empty", action="store_true", help="pass even if no published value was verified"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the verdicts."""
    config.stash[_VERDICTS] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each published value."""
    if FIXTURE not in metafunc.fixturenames:
        return
    try:
        runner = _runner(metafunc.config)
        chosen = runner.registry.select(source=metafunc.config.getoption("--energy-source"))
    except (LookupError, ValueError, FileNotFoundError) as error:
        raise pytest.Collector.CollectError(str(error)) from error
    metafunc.parametrize(FIXTURE, chosen, ids=[row.id for _, row in chosen])


def _runner(config: pytest.Config) -> Runner:
    """What measures, shared by all tests: each network sees each image once."""
    if _RUNNER not in config.stash:
        from energy_plugin_bench import registry
        from energy_plugin_bench.assets import Assets
        from energy_plugin_bench.runner import Runner

        loaded = registry.load()
        assets = Assets(loaded.files, config.getoption("--energy-data-root"))
        from_images = config.getoption("--energy-from-images")
        config.stash[_RUNNER] = Runner(loaded, assets, from_images=from_images)
    return config.stash[_RUNNER]


@pytest.fixture
def published_verdict(published_value: tuple[Source, PublishedValue], pytestconfig: pytest.Config) -> Verdict:
    """The verdict on one published value; the test is skipped, with the reason, where it was not run."""
    verdict = _runner(pytestconfig).verdict(*published_value)
    pytestconfig.stash[_VERDICTS][verdict.id] = verdict
    if verdict.status == "not run":
        pytest.skip(f"not run: {verdict.reason}")
    return verdict


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the verdicts, and fail a run in which nothing was verified."""
    verdicts = session.config.stash[_VERDICTS]
    output = session.config.getoption("--energy-output")
    if output and verdicts:
        _write(Path(output), verdicts)
    if exitstatus == pytest.ExitCode.OK and _is_empty(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Count the verdicts."""
    verdicts = config.stash[_VERDICTS].values()
    if not verdicts:
        return
    terminalreporter.section("published values")
    for line in _counted(verdicts):
        terminalreporter.write_line(line)
    if _is_empty(config):
        terminalreporter.write_line("nothing was verified: the run fails (--energy-allow-empty lets it pass)")


def _is_empty(config: pytest.Config) -> bool:
    verdicts = config.stash[_VERDICTS].values()
    verified = any(verdict.status != "not run" for verdict in verdicts)
    return bool(verdicts) and not verified and not config.getoption("--energy-allow-empty")


def _counted(verdicts: Collection[Verdict]) -> Iterator[str]:
    """Counts by source and verdict, then of all."""
    by_source = Counter((verdict.source, verdict.status) for verdict in verdicts)
    for source in sorted({verdict.source for verdict in verdicts}):
        yield f"{source}: {_told({status: n for (name, status), n in by_source.items() if name == source})}"
    yield f"all: {_told(Counter(verdict.status for verdict in verdicts))}"


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts.get(status, 0)} {status}" for status in ("reproduced", "differs", "not run"))


def _write(path: Path, verdicts: dict[str, Verdict]) -> None:
    from energy_plugin_bench.atomic import replacing
    from energy_plugin_bench.report import Report

    with replacing(path) as part:
        part.write_text(Report(tuple(verdicts.values())).to_json() + "\n", encoding="utf-8")
