"""Faults that no single file shows: names that stand twice, recipes that do not fit their rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from energy_plugin.errors import near_misses
from energy_plugin_bench.values.files import Asset
from energy_plugin_bench.values.networks import Set
from energy_plugin_bench.values.recipe import Protocol, Recipe
from energy_plugin_bench.values.rows import WITHIN, PublishedValue, Source, written_rows

GENERATED = ("gaussian_noise", "bernoulli_noise", "blobs")
"""Data sets that make `count` images."""
FOLDERS = ("image_folder",)
"""Data sets of all images of a folder."""
WHAT = {
    "source": "the source",
    "recipe": "a recipe for the source",
    "files": "the file",
    "shared": "the name",
}


@dataclass(frozen=True)
class Written:
    """A TOML file as it was read, not yet checked.

    Attributes:
        name: Of the file.
        owner: Whose it is, in words; empty if nobody asks.
        kind: Its head.
        data: Its content.
    """

    name: str
    owner: str
    kind: str
    data: Mapping[str, Any]

    def names(self) -> Iterator[tuple[str, str, str]]:
        """Yield what it claims for itself alone: of which kind, the name, and the place in the file."""
        if self.kind == "files":
            yield from (("files", path, "") for path in _table(self.data["files"]))
            return
        name = _table(self.data[self.kind]).get("source" if self.kind == "recipe" else "name")
        if isinstance(name, str):
            yield self.kind, name, ""
        for place, fields in written_rows(self.data, self.name, []) if self.kind == "source" else ():
            if isinstance(fields.get("id"), str):
                yield "id", fields["id"], place


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@dataclass
class Known:
    """Everything that was read, good and bad.

    Attributes:
        sources: The good ones, each with its file.
        recipes: The same of recipes.
        files: The good entries of file lists.
        claimed: Files by what they claim, also where that has faults: nobody is told that it is not there.
    """

    sources: list[tuple[Written, Source]]
    recipes: list[tuple[Written, Recipe]]
    files: list[tuple[Written, Asset]]
    claimed: dict[tuple[str, str], tuple[Written, str]]

    def named(self, kind: str) -> list[str]:
        """What is claimed of a kind."""
        return [name for known, name in self.claimed if known == kind]

    def ids(self) -> dict[str, set[str]]:
        """Ids of rows by source."""
        found: dict[str, set[str]] = {}
        for (kind, name), (written, _) in self.claimed.items():
            if kind == "id":
                found.setdefault(str(_table(written.data["source"]).get("name")), set()).add(name)
        return found


Tell = Callable[[Written, str], None]


def claim(written: Written, claimed: dict[tuple[str, str], tuple[Written, str]], tell: Tell) -> None:
    """Note what a file claims; what another claimed before it is a fault of this one."""
    for kind, name, place in written.names():
        first, where = claimed.setdefault((kind, name), (written, place))
        if first is written and where == place:
            continue
        what = WHAT.get(kind, "the id")
        other = f"{first.name} of {first.owner}" if first.owner != written.owner else first.name
        here = f"{where} and {place} of {other}" if first is written else f"{other} and in {written.name}"
        tell(written, f"{written.name}: {what} {name!r} stands twice: in {here}")


def crosscheck(known: Known, tell: Tell) -> None:
    """Tell all faults between files, each with the file that has to change."""
    rows = {row.id: row for _, source in known.sources for row in source.rows}
    claimed = known.named("id")
    for written, source in known.sources:
        for row in source.rows:
            for fault in _sameness(row, rows, claimed):
                tell(written, f"{written.name}: {row.id}: same_as: {fault}")
    sources = {source.name: source for _, source in known.sources}
    paths, ids = known.named("files"), known.ids()
    files = {asset.path: asset for _, asset in known.files}
    for written, recipe in known.recipes:
        for fault in _of_recipe(recipe, ids, known.named("source"), paths):
            tell(written, f"{written.name}: {fault}")
        if recipe.source not in sources or recipe.contradictions():
            continue  # what it means by a name is not known
        for row in sources[recipe.source].rows:
            for fault in _asked(recipe, row, files):
                tell(written, f"{written.name}: {row.id}: {fault}")


def _sameness(row: PublishedValue, rows: Mapping[str, PublishedValue], ids: Sequence[str]) -> Iterator[str]:
    """Why a row is not the one that it says it is."""
    other = rows.get(row.same_as)
    if not row.same_as:
        return
    if other is None:
        if row.same_as not in ids:
            yield f"there is no row {row.same_as!r}. {near_misses(row.same_as, ids)}"
    elif other.metric != row.metric or not isclose(other.value / other.scale, row.value / row.scale):
        found = f"{other.metric} {other.value} {other.unit}, not {row.metric} {row.value} {row.unit}"
        yield f"{row.same_as} is {found}"
    elif other is row:
        yield "it names itself"
    elif other.same_as:
        yield f"{row.same_as} is itself {other.same_as}: name that"


def _of_recipe(
    recipe: Recipe, ids: Mapping[str, Collection[str]], names: Sequence[str], paths: Sequence[str]
) -> Iterator[str]:
    wanted = [n.weights for n in recipe.networks.values()] + [i.asset for i in recipe.inputs.values()]
    for path in sorted(set(wanted) - set(paths) - {""}):
        yield f"no file list has {path!r}. {near_misses(path, paths)}"
    if recipe.source not in names:
        yield f"there is no source {recipe.source!r}. {near_misses(recipe.source, names)}"
    else:
        own = ids.get(recipe.source, ())
        for name in sorted({name for one in recipe.explained for name in one.ids} - set(own)):
            yield f"explains {name!r}, no row of {recipe.source}. {near_misses(name, own)}"


def _asked(recipe: Recipe, row: PublishedValue, files: Mapping[str, Asset]) -> Iterator[str]:
    """What keeps a row, which its recipe says it can measure, from being measured or judged."""
    if row.obstacle:
        return
    id_set, asked = recipe.set_named(row.id_set), (row.network, row.id_set, row.ood_set)
    if id_set and id_set.mean_of:
        yield f"its id_set {row.id_set!r} is a mean of sets: only an ood_set may be one"
    elif row.ood_set and row.ood_set not in WITHIN and not recipe.obstacles(*asked):
        for name in dict.fromkeys(str(ood_set) for _, ood_set in recipe.parts(*asked)):
            yield from _draw(recipe, row, name, files)


def _draw(recipe: Recipe, row: PublishedValue, name: str, files: Mapping[str, Asset]) -> Iterator[str]:
    """Draws that do not fit into a set, as far as the numbers of images are known before they are read."""
    protocol, chosen = recipe.protocol(row.metric, name), recipe.set_named(name)
    if protocol is None or not protocol.draws or chosen is None:
        return
    drawn = _drawn(protocol, _count(recipe, row.id_set, files))
    judged_by_size = chosen.fresh and row.draws > 1
    sizes = {"there are": _count(recipe, name, files), "the source had": chosen.published_size}
    for whose, size in sizes.items():
        if drawn and size and drawn > size:
            yield f"a draw of {drawn} images does not fit into {name!r}, of which {whose} {size}"
        elif drawn and size and drawn == size and judged_by_size:
            yield f"a draw takes all {size} images of {name!r}, which is fresh: so its spread tells nothing"


def _drawn(protocol: Protocol, n_id: int) -> int:
    """Images a draw; 0 if unknown."""
    return protocol.draw_size(n_id) if protocol.size or n_id else 0


def _count(recipe: Recipe, name: str, files: Mapping[str, Asset]) -> int:
    """How many images a set has; 0 if that is not known without reading them."""
    chosen = recipe.set_named(name) or Set()
    source = recipe.inputs.get(recipe.input_of(name))
    if source is None or chosen.classes:
        return 0
    count = source.options.get("count")
    if source.dataset in GENERATED and isinstance(count, int):
        return count
    if source.dataset in FOLDERS and source.asset in files:
        return files[source.asset].count
    return 0
