"""Published values by source and table, as plug-ins offer them: read without checking, without torch.

The files are TOML: a head ``[source]`` (`name`, `title`, ...), then ``[[tables]]``: the fields that a table's
rows share, and ``rows``, inline tables whose fields add to the table's or override them. The harness checks
them; this module only finds and shows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from energy_plugin.errors import UnknownNameError, near_misses
from energy_plugin.manager import PluginManager


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


def published(manager: PluginManager, source: str = "") -> tuple[PublishedSource, ...]:
    """Return the sources that plug-ins offer, by name.

    Args:
        manager: Who knows them.
        source: The only one wanted; empty means all.

    Raises:
        UnknownNameError: There is no such source (a LookupError; with near misses).
        ValueError: A file is no TOML, or has no tables where they belong.
    """
    found = {known.name: known for known in _sources(manager)}
    if source and source not in found:
        raise UnknownNameError(f"there is no source {source!r}. {near_misses(source, found)}")
    return (found[source],) if source else tuple(found[name] for name in sorted(found))


def unfold(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each row of a table with the fields that its table gives to all.

    `place` of a row continues the table's; the table's `name` is the row's `table`.
    """
    shared = {"table" if key == "name" else key: value for key, value in table.items() if key != "rows"}
    prefix = shared.pop("place", "")
    for row in table.get("rows", []):
        fields = {**shared, **row}
        fields["place"] = f"{prefix} {fields.get('place', '')}".strip()
        yield fields


def _sources(manager: PluginManager) -> Iterator[PublishedSource]:
    for spec in manager.published():
        if spec.missing():
            continue
        for file in spec.load().path.iterdir():
            if not file.name.endswith(".toml"):
                continue
            try:
                data = tomllib.loads(file.read_text(encoding="utf-8"))
                if "source" in data:
                    yield _source(data)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{file.name} of {spec.name!r} cannot be read: {error!r}") from error


def _source(data: Mapping[str, Any]) -> PublishedSource:
    head = data["source"]
    parts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for table in data.get("tables", []):
        parts.setdefault((_name(table), table.get("place", "")), []).extend(unfold(table))
    tables = tuple(PublishedTable(name, place, tuple(rows)) for (name, place), rows in parts.items())
    return PublishedSource(head["name"], head.get("title", ""), head, tables)


def _name(table: Mapping[str, Any]) -> str:
    shared = [str(table[key]) for key in ("network", "id_set", "ood_set", "method") if key in table]
    return str(table.get("name") or ", ".join(shared))
