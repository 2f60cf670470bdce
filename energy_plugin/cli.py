"""The command line: `energy-plugin list | doctor | version`, and the commands of plug-ins.

Results go to stdout, messages to stderr. Nothing here imports torch or a host; the command of a plug-in is
imported when it runs or shows its help.

Exit codes: 0 well, 1 problems found (`doctor`), 2 wrong usage or files, 3 a command cannot run here,
130 Ctrl-C, 141 nobody reads on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from energy_plugin.discovery import Offer, Plugin, Problem, told
from energy_plugin.errors import DuplicateNameError, ExtraMissingError, near_misses
from energy_plugin.manager import PluginManager, default_manager
from energy_plugin.published import PublishedSource, SetAside, one_or_all, read
from energy_plugin.records import KINDS, Record

PROG = "energy-plugin"
WELL, PROBLEMS, USAGE, CANNOT_RUN, INTERRUPTED, CUT_OFF = 0, 1, 2, 3, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The arguments; those of the process by default.

    Raises:
        SystemExit: With 2 on wrong usage, with 0 after help (as argparse does).
    """
    if sys.stdout is None:  # closed by the shell: what is printed goes nowhere
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        code = _main(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _discard_output()
        return CUT_OFF
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except OSError as error:  # a full disk behind stdout, say
        _discard_output()
        sys.stderr.write(f"error: {error}\n")
        return USAGE
    return code


def _discard_output() -> None:
    """Let the flush at exit, which comes once more, end well."""
    with contextlib.suppress(OSError):  # a stand-in for stdout may have no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(argv: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    manager = default_manager()
    parser = _parser(manager)
    named = arguments[0] if arguments else ""
    if named and not named.startswith("-") and named not in _OWN:
        commands = {offer.record.name for offer in manager.offers("command")}
        if named not in commands:
            parser.error(f"there is no command {named!r}. {near_misses(named, {*_OWN, *commands})}")
        return _run_plugin_command(manager, named, arguments[1:])
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return WELL
    return int(options.run(manager, options))


def _parser(manager: PluginManager) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Plug-ins for out-of-distribution benchmark suites: what is there and what it does.",
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {_version('energy-plugin')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (run, summary) in _OWN.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--json", action="store_true", help="print one JSON document")
        command.set_defaults(run=run)
        if name == "list":
            kinds = [kind.kind for kind in KINDS]
            command.add_argument("kind", nargs="?", choices=kinds, help=f"only these: {', '.join(kinds)}")
            command.add_argument(
                "--published", action="store_true", help="published values, by source, table"
            )
            command.add_argument("--source", metavar="NAME", default="", help="the values of this source")
        if name == "doctor":
            command.add_argument("--load", action="store_true", help="import every target as well (slow)")
    for spec in manager.commands():
        if spec.name not in _OWN:
            # Shown in the help and never reached: `main` gives the command a parser of its own.
            commands.add_parser(spec.name, help=spec.summary.replace("%", "%%"), add_help=False)
    return parser


def _run_plugin_command(manager: PluginManager, name: str, arguments: Sequence[str]) -> int:
    try:
        spec = manager.get("command", name)
    except DuplicateNameError as error:
        return _complain(str(error), USAGE)
    try:
        configure = spec.load()
    except ExtraMissingError as error:
        return _complain(str(error), CANNOT_RUN)
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything
        owner = next(offer.plugin for offer in manager.offers("command") if offer.record is spec)
        return _complain(f"the command {name!r} of the {owner} cannot be imported: {told(error)}", CANNOT_RUN)
    parser = argparse.ArgumentParser(prog=f"{PROG} {name}", description=spec.summary)
    run = configure(parser)
    return run(parser.parse_args(arguments))


def _list(manager: PluginManager, options: argparse.Namespace) -> int:
    if options.kind not in (None, "published") and (options.published or options.source):
        given = "--source" if options.source else "--published"
        return _complain(f"{given} shows published values: leave {options.kind!r} away.", USAGE)
    if options.published or options.source:
        return _list_published(manager, options)
    offers = manager.offers(options.kind)
    if options.json:
        return _print_json({**_found(manager, offers), "problems": [_problem(p) for p in manager.problems]})
    for kind in KINDS:
        rows = [
            (o.record.name, _owner(o.plugin), _remark(o, offers))
            for o in offers
            if o.record.kind == kind.kind
        ]
        if rows:
            _print(f"{kind.kind}", *_table(rows))
    if manager.switched_off:
        _print("switched off", *_table((off.name, _owner(off)) for off in manager.switched_off))
    if manager.problems:
        _print(f"{len(manager.problems)} problem(s): see `{PROG} doctor`.")
    return WELL


def _list_published(manager: PluginManager, options: argparse.Namespace) -> int:
    """Show sources with their tables; of a single source every value."""
    try:
        found, aside = read(manager)
        sources = one_or_all(found, aside, options.source)
    except LookupError as error:
        return _complain(str(error.args[0]), USAGE)
    for one in aside:
        _complain(str(one), WELL)
    if options.json:
        return _print_json({"sources": [_published_source(source) for source in sources]})
    for source in sources:
        _print(f"{source.name}  {source.size} values  {source.title}")
        for table in source.tables:
            place = f"  ({table.place})" if table.place else ""
            _print(f"  {table.name}: {len(table.rows)}{place}")
            if options.source:
                _print(*("  " + line for line in _table(map(_published_value, table.rows))))
    same = sum(source.repeated for source in sources)
    told = f", {same} of them figures of another source (same_as)" if same else ""
    _print(f"{sum(source.size for source in sources)} values of {len(sources)} sources{told}")
    return WELL


def _published_source(source: PublishedSource) -> dict[str, Any]:
    tables = [{"name": t.name, "place": t.place, "rows": list(t.rows)} for t in source.tables]
    return {**source.head, "values": source.size, "tables": tables}


def _published_value(row: Mapping[str, Any]) -> tuple[str, ...]:
    value = f"{row['value']:.{row.get('decimals', 2)}f} {row.get('unit', '')}"
    texts = [str(row.get(key, "-")) for key in ("id_set", "ood_set", "network", "method", "metric")]
    return (*texts, value, row["id"], ", ".join(row.get("caveats", [])))


def _doctor(manager: PluginManager, options: argparse.Namespace) -> int:
    offers = manager.offers()
    unavailable = [offer for offer in offers if offer.record.missing()]
    broken = _broken_targets(offers) if options.load else []
    unread = [_unread(one) for one in read(manager)[1]]
    problems = [_problem(problem) for problem in manager.problems] + broken + unread
    code = PROBLEMS if problems else WELL
    if options.json:
        _print_json({"versions": _versions(), **_found(manager, offers), "problems": problems})
        return code
    _print("versions", *_table(_versions().items()))
    _print("plug-ins", *_table((p.name, _owner(p), _counts(p, offers)) for p in manager.plugins))
    if manager.switched_off:
        _print("switched off", *_table((off.name, _owner(off)) for off in manager.switched_off))
    if unavailable:
        _print("not available here", *_grouped(unavailable))
    for problem in problems:
        _print("problem", f"  {problem['what']}", f"  {problem['advice']}")
    if not problems:
        _print("No problem found.")
    return code


def _show_versions(_: PluginManager, options: argparse.Namespace) -> int:
    if options.json:
        return _print_json(_versions())
    sys.stdout.write(f"{_versions()['energy-plugin']}\n")
    return WELL


_OWN = {
    "list": (_list, "Show what was found: losses, detectors, hosts and the rest, with their owners."),
    "doctor": (_doctor, "Show what is broken and why, what is missing, and what to do about it."),
    "version": (_show_versions, "Show the version, with --json also those of what it runs on."),
}


def _broken_targets(offers: Iterable[Offer]) -> list[dict[str, Any]]:
    """Import every target that should be importable here, and describe those that are not."""
    broken = []
    for plugin, record in offers:
        if record.missing():
            continue
        try:
            record.load()
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything
            problem = Problem(
                plugins=(plugin,),
                stage="import",
                what=f"The {record.kind} {record.name!r} of the {plugin} does not load: {told(error)}",
                advice=f"Update {plugin.distribution}." if plugin.distribution else "Mend it.",
                error=error,
            )
            broken.append(_problem(problem))
    return broken


def _unread(aside: SetAside) -> dict[str, Any]:
    """Describe a plug-in whose published values are set aside."""
    advice = "Mend these files; `reproduce` and `report` check them field by field."
    problem = Problem(plugins=(aside.plugin,), stage="records", what=str(aside), advice=advice)
    return _problem(problem)


def _found(manager: PluginManager, offers: Iterable[Offer]) -> dict[str, Any]:
    """Return what was found, for JSON."""
    return {
        "plugins": [_plugin(plugin) for plugin in manager.plugins],
        "switched_off": [_plugin(plugin) for plugin in manager.switched_off],
        "offers": [
            {
                "kind": record.kind,
                "name": record.name,
                "owner": _plugin(plugin),
                "target": record.target,
                "tasks": list(record.tasks),
                "summary": record.summary,
                "missing": list(record.missing()),
                "extra": record.extra,
            }
            for plugin, record in offers
        ],
    }


def _plugin(plugin: Plugin) -> dict[str, str]:
    return {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version}


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "plugins": [_plugin(plugin) for plugin in problem.plugins],
        "stage": problem.stage,
        "what": problem.what,
        "advice": problem.advice,
        "error": type(problem.error).__name__ if problem.error else None,
    }


def _versions() -> dict[str, str]:
    """Return the versions that matter, read from metadata: nothing is imported."""
    python = {"python": platform.python_version()}
    return {name: _version(name) for name in ("energy-plugin", "torch", "pluggy")} | python


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _owner(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}".strip()


def _remark(offer: Offer, offers: Iterable[Offer]) -> str:
    """Return the summary, or why the thing cannot be had."""
    record = offer.record
    if sum((other.record.kind, other.record.name) == (record.kind, record.name) for other in offers) > 1:
        return "CLASH: two plug-ins own this name"
    if record.kind == "command" and record.name in _OWN:
        return "CLASH: hidden by the built-in command"
    return _lacking(record) if record.missing() else record.summary


def _lacking(record: Record) -> str:
    advice = f": {record.how_to_install()}" if record.extra else ""
    return f"needs {', '.join(record.missing())}{advice}"


def _grouped(unavailable: Iterable[Offer]) -> list[str]:
    """Return what each extra would bring."""
    groups: dict[str, list[str]] = {}
    for _, record in unavailable:
        groups.setdefault(_lacking(record), []).append(f"{record.kind} {record.name}")
    return [line for lack, names in groups.items() for line in (f"  {', '.join(names)}", f"    {lack}")]


def _counts(plugin: Plugin, offers: Iterable[Offer]) -> str:
    kinds = Counter(offer.record.kind for offer in offers if offer.plugin == plugin)
    return ", ".join(f"{kind}: {number}" for kind, number in kinds.items()) or "nothing"


def _table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Align columns; never cut anything off."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _print_json(document: object) -> int:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return WELL


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"{PROG}: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
