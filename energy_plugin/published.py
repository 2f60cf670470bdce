"""Published values by source and table, as plug-ins offer them: read without checking, without torch.

The files are TOML: a head ``[source]`` (`name`, `title`, ...), then ``[[tables]]``: the fields that a table's
rows share, and ``rows``, inline tables whose fields add to the table's or override them. The harness checks
them; this module only finds and shows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from energy_plugin.discovery import Plugin, told
from energy_plugin.errors import UnknownNameError, near_misses
from energy_plugin.manager import PluginManager
from energy_plugin.records import Record


@dataclass(frozen=True)
class PublishedTable:
    """A table of a source.

    Attributes:
        name: As the source calls it; where it has no name, what its rows share.
        place: Where it was read.
        rows: Its values, each with the table's fields.
    """

    name: str
    place: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class PublishedSource:
    """A source: a paper, a repository, a thread; its head and its tables."""

    name: str
    title: str
    head: Mapping[str, Any]
    tables: tuple[PublishedTable, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return sum(len(table.rows) for table in self.tables)

    @property
    def repeated(self) -> int:
        """How many of them are the same figures as another source's."""
        return sum("same_as" in row for table in self.tables for row in table.rows)


@dataclass(frozen=True)
class SetAside:
    """A plug-in whose published values are not used, none of them.

    Attributes:
        plugin: Whose they are.
        faults: Everything that is wrong.
        sources: Names of the sources that are missing, as far as they could be read.
    """

    plugin: Plugin
    faults: tuple[str, ...]
    sources: tuple[str, ...] = ()

    def __str__(self) -> str:
        many = "one fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        head = f"the published values of the {self.plugin} are set aside, {many}:"
        return "\n  ".join([head, *self.faults])


def by_owner(manager: PluginManager) -> list[tuple[Plugin, list[Record]]]:
    """Plug-ins with what they offer of published values: the house's own first, then the others by name.

    Of what two of them claim, the first keeps it.
    """
    found: dict[Plugin, list[Record]] = {}
    for plugin, record in manager.offers("published"):
        found.setdefault(plugin, []).append(record)
    return sorted(found.items(), key=lambda item: (not item[0].ours, item[0].key))


def loaded(specs: Iterable[Record]) -> tuple[list[Traversable], list[str]]:
    """Folders of a plug-in, and why others are none: its records may lead anywhere, to any error."""
    folders: list[Traversable] = []
    faults: list[str] = []
    for spec in specs:
        try:
            folders.append(spec.load().path)
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything
            faults.append(f"{spec.name!r} ({spec.target}) does not load: {told(error)}")
    return folders, faults


def read(manager: PluginManager) -> tuple[tuple[PublishedSource, ...], tuple[SetAside, ...]]:
    """Return the sources that plug-ins offer, by name, and the plug-ins whose files cannot be read."""
    found: dict[str, PublishedSource] = {}
    claimed: dict[str, str] = {}
    aside: list[SetAside] = []
    for plugin, specs in by_owner(manager):
        folders, faults = loaded(spec for spec in specs if not spec.missing())
        own = list(_sources(folders, faults))
        faults += [
            f"{file}: the source {source.name!r} stands in {claimed[source.name]} already"
            for file, source in own
            if source.name in claimed
        ]
        if faults:
            names = tuple(source.name for _, source in own if source.name not in claimed)
            aside.append(SetAside(plugin, tuple(faults), names))
            continue
        found |= {source.name: source for _, source in own}
        claimed |= {source.name: f"{file} of the {plugin}" for file, source in own}
    return tuple(found[name] for name in sorted(found)), tuple(aside)


def published(manager: PluginManager, source: str = "") -> tuple[PublishedSource, ...]:
    """Return the sources that plug-ins offer, by name; without those that cannot be read.

    Args:
        manager: Who knows them.
        source: The only one wanted; empty means all.

    Raises:
        UnknownNameError: There is no such source (a LookupError; with near misses), or it is set aside.
    """
    found, aside = read(manager)
    return one_or_all(found, aside, source)


def one_or_all(
    found: Iterable[PublishedSource], aside: Iterable[SetAside], source: str
) -> tuple[PublishedSource, ...]:
    """Return the source of this name alone; empty means all.

    Raises:
        UnknownNameError: There is none, or it is set aside.
    """
    known = {one.name: one for one in found}
    if not source:
        return tuple(known.values())
    if source not in known:
        raise UnknownNameError(absent(source, known, aside))
    return (known[source],)


def absent(source: str, known: Iterable[str], aside: Iterable[SetAside]) -> str:
    """Say why there is no source of this name: nobody has it, or whose it is cannot be read."""
    aside = list(aside)
    for one in aside:
        if source in one.sources:
            return f"the source {source!r} cannot be read: {one}"
    others = (
        f" Set aside, and not looked into: {', '.join(str(one.plugin) for one in aside)}." if aside else ""
    )
    return f"there is no source {source!r}. {near_misses(source, known)}{others}"


def unfold(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each row of a table with the fields that its table gives to all.

    `place` of a row continues the table's; the table's `name` is the row's `table`.

    Raises:
        TypeError: Its rows are no tables.
    """
    rows = table.get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(f"rows of a table are an array of tables, got {rows!r:.80}")
    shared = {"table" if key == "name" else key: value for key, value in table.items() if key != "rows"}
    prefix = shared.pop("place", "")
    for row in rows:
        fields = {**shared, **row}
        fields["place"] = f"{prefix} {fields.get('place', '')}".strip()
        yield fields


def _sources(folders: Iterable[Traversable], faults: list[str]) -> Iterator[tuple[str, PublishedSource]]:
    """Yield sources with their files; whatever cannot be read is appended to the faults."""
    for file in sorted((f for folder in folders for f in folder.iterdir()), key=lambda f: f.name):
        if not file.name.endswith(".toml"):
            continue
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            if "source" in data:
                yield file.name, _source(data)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            faults.append(f"{file.name} cannot be read: {told(error)}")


def _source(data: Mapping[str, Any]) -> PublishedSource:
    head, tables = data["source"], data.get("tables", [])
    if not isinstance(head, Mapping) or not isinstance(head["name"], str):
        raise TypeError(f"[source] is a table with a name, got {head!r:.80}")
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise TypeError(f"[[tables]] is an array of tables, got {tables!r:.80}")
    parts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for table in tables:
        parts.setdefault((_name(table), table.get("place", "")), []).extend(unfold(table))
    for row in (row for rows in parts.values() for row in rows):
        if not (isinstance(row["id"], str) and isinstance(row["value"], int | float)):
            raise TypeError(f"a row has an id, a text, and a value, a number: {row!r:.200}")
    found = tuple(PublishedTable(name, place, tuple(rows)) for (name, place), rows in parts.items())
    return PublishedSource(head["name"], head.get("title", ""), head, found)


def _name(table: Mapping[str, Any]) -> str:
    shared = [str(table[key]) for key in ("network", "id_set", "ood_set", "method") if key in table]
    return str(table.get("name") or ", ".join(shared))
