"""All published values, recipes and file lists that plug-ins offer, checked together."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import Any

from energy_plugin.discovery import Plugin
from energy_plugin.manager import PluginManager, default_manager
from energy_plugin.published import SetAside, absent, by_owner, loaded
from energy_plugin_bench.values.checking import RowsError
from energy_plugin_bench.values.crosscheck import Known, Written, claim, crosscheck
from energy_plugin_bench.values.expression import matcher
from energy_plugin_bench.values.files import Asset, parse_files
from energy_plugin_bench.values.reading import Shared, parse_recipe, parse_shared
from energy_plugin_bench.values.recipe import Recipe
from energy_plugin_bench.values.rows import PublishedValue, Source, parse_source

KINDS = ("source", "recipe", "files", "shared")
_OWN = "energy_plugin_bench"
"""The plug-in whose faults are ours."""


@dataclass(frozen=True)
class Registry:
    """Sources and recipes by the source's name, files by path; and whose could not be read."""

    sources: Mapping[str, Source]
    recipes: Mapping[str, Recipe]
    files: Mapping[str, Asset]
    aside: tuple[SetAside, ...] = ()

    def rows(self) -> Iterator[tuple[Source, PublishedValue]]:
        """Every row with its source, in the order of the files."""
        for source in self.sources.values():
            for row in source.rows:
                yield source, row

    def select(self, *, source: str = "", expression: str = "") -> list[tuple[Source, PublishedValue]]:
        """Rows of a source whose id matches an expression.

        Args:
            source: Name of a source; empty means all.
            expression: Parts of ids joined by `and`, `or`, `not` and brackets; empty means all.

        Raises:
            LookupError: There is no such source, with near misses; or it is set aside, and why.
            ValueError: The expression is none.
        """
        if source and source not in self.sources:
            raise LookupError(absent(source, self.sources, self.aside))
        chosen = matcher(expression)
        return [(s, row) for s, row in self.rows() if source in ("", s.name) and chosen(row.id)]


@dataclass
class _Part:
    """What one plug-in offers: files as they were read, the faults of each alone, and what is well."""

    plugin: Plugin
    own: bool = False
    written: list[Written] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sources: list[tuple[Written, Source]] = field(default_factory=list)
    files: list[tuple[Written, Asset]] = field(default_factory=list)
    shared: dict[str, Shared] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Whose it is, in words."""
        return str(self.plugin)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, good or bad."""
        return tuple(name for one in self.written for kind, name, _ in one.names() if kind == "source")


def load(manager: PluginManager | None = None) -> Registry:
    """Read every folder that plug-ins offer through `ood_published`.

    A plug-in whose files have faults is set aside as a whole, and named on stderr with all of them. What two
    plug-ins claim, the first keeps: this package, then the others by their names.

    Raises:
        RowsError: Files of this package have faults; all faults of all files.
    """
    parts: list[_Part] = []
    aside: list[SetAside] = []
    for plugin, specs in by_owner(manager or default_manager()):
        folders, faults = loaded(specs)
        parts.append(_part(folders, plugin, faults, own=plugin.name == _OWN))
    parts.sort(key=lambda part: not part.own)
    while True:
        known, faults_of = _together(parts)
        wrong = next((part for part in parts if faults_of[part.owner]), None)
        if wrong is None:
            break
        if wrong.own:
            raise RowsError(faults_of[wrong.owner])
        # One at a time: what it claimed, others may claim now; what it shared, they lack now.
        parts.remove(wrong)
        aside.append(SetAside(wrong.plugin, tuple(faults_of[wrong.owner]), wrong.names))
    for one in aside if os.environ.get("RANK", "0") == "0" else ():  # of several processes, one says it
        sys.stderr.write(f"{one}\n")
    return _registry(known, aside)


def read(folders: Iterable[Traversable]) -> Registry:
    """Read the TOML files of these folders.

    Raises:
        RowsError: Files with faults; all faults of all files.
    """
    part = _part(folders, Plugin(name=""))
    known, faults = _together([part])
    if faults[part.owner]:
        raise RowsError(faults[part.owner])
    return _registry(known, ())


def _registry(known: Known, aside: Sequence[SetAside]) -> Registry:
    return Registry(
        sources={source.name: source for _, source in known.sources},
        recipes={recipe.source: recipe for _, recipe in known.recipes},
        files={asset.path: asset for _, asset in known.files},
        aside=tuple(aside),
    )


def _part(
    folders: Iterable[Traversable], plugin: Plugin, faults: Iterable[str] = (), *, own: bool = False
) -> _Part:
    """Read folders of one plug-in; recipes wait until everybody's shared files are known."""
    part = _Part(plugin, own, faults=list(faults))
    for file in sorted((f for folder in folders for f in folder.iterdir()), key=lambda f: f.name):
        if not file.name.endswith(".toml"):
            continue
        data = _parsed(file, part.faults)
        kinds = [kind for kind in KINDS if kind in data]
        if len(kinds) != 1:
            if data:
                part.faults.append(
                    f"{file.name}: expected one of the heads {', '.join(KINDS)}, not {sorted(data)}"
                )
            continue
        written = Written(file.name, part.owner, kinds[0], data)
        part.written.append(written)
        if kinds == ["source"]:
            part.sources += [(written, one) for one in parse_source(data, file.name, part.faults)]
        elif kinds == ["shared"]:
            part.shared |= parse_shared(data, file.name, part.faults)
        elif kinds == ["files"]:
            beside = sorted(set(data) - {"files"})
            part.faults += [f"{file.name}: unknown table {key!r}" for key in beside]
            part.files += [(written, one) for one in parse_files(data, file.name, part.faults)]
    return part


def _parsed(file: Traversable, faults: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{file.name}: not a TOML file: {error}")
    except OSError as error:
        faults.append(f"{file.name}: cannot be read: {error.strerror}")
    return {}


def _together(parts: Sequence[_Part]) -> tuple[Known, dict[str, list[str]]]:
    """Check parts against each other: what is well, and all faults by owner."""
    faults = {part.owner: list(part.faults) for part in parts}
    known = Known(
        sources=[one for part in parts for one in part.sources],
        recipes=[],
        files=[one for part in parts for one in part.files],
        claimed={},
    )
    shared: dict[str, Shared] = {}
    for part in parts:
        shared = part.shared | shared

    def tell(written: Written, fault: str) -> None:
        faults[written.owner].append(fault)

    for written in (written for part in parts for written in part.written):
        claim(written, known.claimed, tell)
        if written.kind == "recipe":
            found = parse_recipe(written.data, written.name, faults[written.owner], shared)
            known.recipes += [(written, recipe) for recipe in found]
    crosscheck(known, tell)
    return known, faults


__all__ = ["KINDS", "Registry", "load", "matcher", "read"]
