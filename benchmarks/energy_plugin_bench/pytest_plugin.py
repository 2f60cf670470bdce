"""Turns published values into tests (`pytest benchmarks`): one for each, named by its id.

Loaded in every run of this repository, so it imports nothing heavy and does nothing where no test asks for
`published_value`. A run of such tests in which nothing was verified fails: it proves nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from energy_plugin_bench.options import add_options, said

if TYPE_CHECKING:
    from energy_plugin_bench.values.rows import PublishedValue, Source
    from energy_plugin_bench.verdicts.runner import Runner
    from energy_plugin_bench.verdicts.verdict import Verdict

FIXTURE = "published_value"
_RUNNER = pytest.StashKey["Runner"]()
_VERDICTS = pytest.StashKey[dict[str, "Verdict"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, all with the prefix --energy."""
    group = parser.getgroup("energy", "published values")
    group.addoption(
        "--energy-data-root",
        metavar="DIR",
        help="folder of weights and images that rows need; what is not run says which",
    )
    group.addoption(
        "--energy-from-images", action="store_true", help="compute logits anew wherever images are there"
    )
    group.addoption("--energy-source", metavar="NAME", default="", help="rows of this source only")
    group.addoption(
        "--energy-json",
        "--energy-output",
        dest="energy_json",
        metavar="PATH",
        help="write the verdicts as JSON",
    )
    group.addoption("--energy-html", metavar="PATH", help="write the report as one HTML file")
    group.addoption(
        "--energy-allow-empty", action="store_true", help="pass even if no published value was verified"
    )
    group.addoption(
        "--energy-download",
        action="store_true",
        help="fetch what the chosen values need into the cache ($ENERGY_PLUGIN_HOME)",
    )
    add_options(group.addoption, "--energy-")


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the verdicts; refuse outputs that cannot be written before anything is computed."""
    for kind in ("json", "html"):
        path = config.getoption(f"energy_{kind}", None)
        if path and not Path(path).absolute().parent.is_dir():
            raise pytest.UsageError(
                f"--energy-{kind}={path}: there is no folder {Path(path).absolute().parent}"
            )
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
    for name, text in _markers(runner).items():
        metafunc.config.addinivalue_line("markers", f"{name}: {text}")
    metafunc.parametrize(
        FIXTURE, [pytest.param((s, row), id=row.id, marks=_marks(runner, s, row)) for s, row in chosen]
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the chosen values need, if that is wished."""
    if not session.config.getoption("--energy-download") or session.config.option.collectonly:
        return
    calls = (getattr(item, "callspec", None) for item in session.items)
    rows = [call.params[FIXTURE] for call in calls if call is not None and FIXTURE in call.params]
    if rows:
        from energy_plugin_bench.verdicts.needs import fetch_for

        capture: Any = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():  # it is seen while it runs
            fetch_for(_runner(session.config), rows)


def _markers(runner: Runner) -> dict[str, str]:
    """Markers of the tests, for `-m`, each with its meaning."""
    from energy_plugin_bench.verdicts.needs import MEANINGS

    known = runner.registry
    sets = {name for _, row in known.rows() for name in _sets(row)}
    return (
        {name: f"published values of the set {name}" for name in sorted(sets)}
        | {name: f"published values of {source.title}" for name, source in known.sources.items()}
        | MEANINGS
    )


def _sets(row: PublishedValue) -> set[str]:
    """Names of its in-distribution and OOD sets, as `-m` takes them."""
    return {re.sub(r"\W+", "_", name).strip("_") for name in (row.id_set, row.ood_set) if name is not None}


def _marks(runner: Runner, source: Source, row: PublishedValue) -> list[pytest.MarkDecorator]:
    """Markers of a row: its source, its sets, what it needs, whether it takes minutes."""
    from energy_plugin_bench.verdicts.needs import needs

    names = [source.name, *sorted(_sets(row)), *needs(runner, source, row)]
    return [getattr(pytest.mark, name) for name in names]


def _runner(config: pytest.Config) -> Runner:
    """What measures, shared by all tests: each network sees each image once."""
    if _RUNNER not in config.stash:
        from energy_plugin_bench.inputs.assets import Assets
        from energy_plugin_bench.passes.cache import PassCache
        from energy_plugin_bench.passes.computing import Computing
        from energy_plugin_bench.values import registry
        from energy_plugin_bench.verdicts.runner import Runner

        loaded = registry.load()
        config.stash[_RUNNER] = Runner(
            loaded,
            Assets(loaded.files, config.getoption("--energy-data-root")),
            from_images=config.getoption("--energy-from-images"),
            computing=Computing(**said(config.getoption, "energy_")),
            cache=None if config.getoption("energy_no_cache") else PassCache(),
        )
    return config.stash[_RUNNER]


@pytest.fixture
def published_verdict(published_value: tuple[Source, PublishedValue], pytestconfig: pytest.Config) -> Verdict:
    """The verdict on one published value; the test is skipped, with the reason, where it was not run."""
    verdict = _runner(pytestconfig).attempt(*published_value)
    pytestconfig.stash[_VERDICTS][verdict.id] = verdict
    if verdict.failed:
        pytest.fail(str(verdict), pytrace=False)
    if verdict.status == "not run":
        pytest.skip(f"not run: {verdict.reason}")
    return verdict


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the verdicts, and fail a run in which nothing was verified."""
    verdicts = session.config.stash[_VERDICTS]
    paths = {kind: session.config.getoption(f"energy_{kind}") for kind in ("json", "html")}
    for kind, path in paths.items():
        if path and verdicts:
            _write(Path(path), kind, session.config)
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


def _write(path: Path, kind: str, config: pytest.Config) -> None:
    from energy_plugin_bench.atomic import replacing
    from energy_plugin_bench.measuring import reported
    from energy_plugin_bench.report.formats import rendered

    runner, verdicts = _runner(config), tuple(config.stash[_VERDICTS].values())
    with replacing(path) as part:
        part.write_text(
            rendered(reported(runner, verdicts, with_curves=kind == "html"), kind), encoding="utf-8"
        )
