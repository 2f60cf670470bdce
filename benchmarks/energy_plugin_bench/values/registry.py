"""All published values, recipes and file lists that plug-ins offer, checked together."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from energy_plugin.errors import near_misses
from energy_plugin.manager import PluginManager, default_manager
from energy_plugin_bench.values.recipe import SHARED, Asset, Recipe, parse_files, parse_recipe
from energy_plugin_bench.values.rows import PublishedValue, RowsError, Source, parse_source

KINDS = ("source", "recipe", "files", "shared")


@dataclass(frozen=True)
class Registry:
    """Sources and recipes by the source's name, files by path."""

    sources: Mapping[str, Source]
    recipes: Mapping[str, Recipe]
    files: Mapping[str, Asset]

    def rows(self) -> Iterator[tuple[Source, PublishedValue]]:
        """Every row with its source, in the order of the files."""
        for source in self.sources.values():
            for row in source.rows:
                yield source, row

    def select(self, *, source: str = "", expression: str = "") -> list[tuple[Source, PublishedValue]]:
        """Rows of a source whose id matches an expression.

        Args:
            source: Name of a source; empty means all.
            expression: Parts of ids joined by `and`, `or`, `not`, or a shell pattern; empty means all.

        Raises:
            LookupError: There is no such source; with near misses.
            ValueError: The expression is none.
        """
        if source and source not in self.sources:
            raise LookupError(f"there is no source {source!r}. {near_misses(source, self.sources)}")
        chosen = matcher(expression)
        return [(s, row) for s, row in self.rows() if source in ("", s.name) and chosen(row.id)]


def load(manager: PluginManager | None = None) -> Registry:
    """Read every folder that plug-ins offer through `ood_published`.

    Raises:
        RowsError: Files with faults; all faults of all files.
    """
    manager = manager or default_manager()
    return read(spec.load().path for spec in manager.published())


def read(folders: Iterable[Traversable]) -> Registry:
    """Read the TOML files of these folders.

    Raises:
        RowsError: Files with faults; all faults of all files.
    """
    sources: list[Source] = []
    recipes: list[Recipe] = []
    files: list[Asset] = []
    faults: list[str] = []
    written: list[tuple[str, Mapping[str, Any]]] = []
    shared: dict[str, Mapping[str, Any]] = {}
    for file in sorted((f for folder in folders for f in folder.iterdir()), key=lambda f: f.name):
        if not file.name.endswith(".toml"):
            continue
        data = _parsed(file, faults)
        kinds = [kind for kind in KINDS if kind in data]
        if len(kinds) != 1:
            if data:
                faults.append(
                    f"{file.name}: expected one of the heads {', '.join(KINDS)}, not {sorted(data)}"
                )
        elif kinds == ["source"]:
            sources += parse_source(data, file.name, faults)
        elif kinds == ["recipe"]:
            written.append((file.name, data))
        elif kinds == ["shared"]:
            shared[str(data["shared"].get("name", file.name))] = data
            unknown = sorted(set(data) - {"shared", *SHARED})
            faults += [f"{file.name}: unknown table {key!r}" for key in unknown]
        else:
            files += parse_files(data, file.name, faults)
    for label, recipe in written:
        recipes += parse_recipe(recipe, label, faults, shared)
    faults += _crosscheck(sources, recipes, files)
    if faults:
        raise RowsError(faults)
    return Registry(
        sources={source.name: source for source in sources},
        recipes={recipe.source: recipe for recipe in recipes},
        files={asset.path: asset for asset in files},
    )


def _parsed(file: Traversable, faults: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{file.name}: not a TOML file: {error}")
        return {}


def _crosscheck(sources: list[Source], recipes: list[Recipe], files: list[Asset]) -> Iterator[str]:
    """Faults that no single file shows."""
    yield from _twice("the source", (source.name for source in sources))
    yield from _twice("the id", (row.id for source in sources for row in source.rows))
    yield from _twice("a recipe for the source", (recipe.source for recipe in recipes))
    yield from _twice("the file", (asset.path for asset in files))
    yield from _sameness([row for source in sources for row in source.rows])
    known = {asset.path for asset in files}
    for recipe in recipes:
        wanted = [n.weights for n in recipe.networks.values()] + [i.asset for i in recipe.inputs.values()]
        for path in sorted(set(wanted) - known - {""}):
            yield f"recipe of {recipe.source}: no file list has {path!r}. {near_misses(path, known)}"
        rows = next((source.rows for source in sources if source.name == recipe.source), None)
        if rows is None:
            yield f"recipe of {recipe.source}: there is no such source"
            continue
        ids = {row.id for row in rows}
        for name in sorted({name for known in recipe.explained for name in known.ids} - ids):
            yield f"recipe of {recipe.source}: explains {name!r}, no row of it. {near_misses(name, ids)}"


def _sameness(rows: list[PublishedValue]) -> Iterator[str]:
    """Rows that say they are another one, and are not."""
    known = {row.id: row for row in rows}
    for row in rows:
        other = known.get(row.same_as)
        if not row.same_as:
            continue
        if other is None:
            yield f"{row.id}: same_as: there is no row {row.same_as!r}. {near_misses(row.same_as, known)}"
        elif (other.value, other.metric) != (row.value, row.metric):
            found = f"{other.metric} {other.value}, not {row.metric} {row.value}"
            yield f"{row.id}: same_as: {row.same_as} is {found}"
        elif other.same_as:
            yield f"{row.id}: same_as: {row.same_as} is itself {other.same_as}: name that"


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {name!r} stands {count} times"


def matcher(expression: str) -> Callable[[str], bool]:
    """Compile an expression such as ``mnist and not omniglot or fashion``.

    `not` binds closer than `and`, `and` closer than `or`; a term is part of an id, or a shell pattern of a
    whole one. An empty expression matches everything.

    Raises:
        ValueError: A term is missing, or two stand without a word between them.
    """
    if not expression.strip():
        return lambda _: True
    alternatives = [
        [_term(term, expression) for term in re.split(r"\band\b", part)]
        for part in re.split(r"\bor\b", expression)
    ]
    return lambda name: any(all(holds(name) for holds in terms) for terms in alternatives)


def _term(text: str, expression: str) -> Callable[[str], bool]:
    words = text.split()
    if len(words) == 2 and words[0] == "not":
        holds = _term(words[1], expression)
        return lambda name: not holds(name)
    if len(words) != 1 or words == ["not"]:
        raise ValueError(f"cannot read {text.strip()!r} in {expression!r}; join parts of ids by and, or, not")
    pattern = words[0] if set(words[0]) & set("*?[") else f"*{words[0]}*"
    return lambda name: fnmatch.fnmatchcase(name, pattern)
