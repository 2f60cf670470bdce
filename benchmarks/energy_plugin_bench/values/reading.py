"""How recipes and shared files (TOML) are read: piece by piece, so that all faults are told at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from energy_plugin.errors import near_misses
from energy_plugin_bench.values.checking import Strict, Text, check, shown, table, tables
from energy_plugin_bench.values.networks import Input, Network, Set
from energy_plugin_bench.values.recipe import SHARED, Explained, Extra, Protocol, Recipe


@dataclass(frozen=True)
class Shared:
    """What a shared file holds, checked; what has faults of its own is there all the same, as missing."""

    networks: Mapping[str, Network] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    sets: Mapping[str, Set] = field(default_factory=dict)


def parse_recipe(
    data: Mapping[str, Any],
    label: str,
    faults: list[str],
    shared: Mapping[str, Shared] = MappingProxyType({}),
) -> list[Recipe]:
    """Turn the parsed TOML of a recipe into a `Recipe`, as `parse_source` does.

    Args:
        data: The file's content.
        label: How messages call the file.
        faults: Every fault found is appended here.
        shared: What shared files hold, by name.

    Returns:
        The recipe with its good parts, which may still contradict each other; nothing where its head has
        faults.
    """
    lists: dict[str, type[Protocol | Extra | Explained]] = {
        "protocols": Protocol, "extras": Extra, "explained": Explained,
    }  # fmt: skip
    faults += _unknown(data, ("recipe", *SHARED, *lists), label)
    parts: dict[str, Any] = {part: _named(data, part, label, faults) for part in SHARED}
    for part, model in lists.items():
        found = tables(data.get(part, []), f"{label}: {part}", faults)
        parts[part] = tuple(
            one for n, fields in found for one in check(model, fields, f"{label}: {part} {n}", faults)
        )
    head = table(data["recipe"], f"{label}: recipe", faults)
    included = _included(head, label, faults, shared)
    for part in SHARED:
        for name in included:
            parts[part] = {**getattr(shared[name], part), **parts[part]}
    if not isinstance(data["recipe"], Mapping) or not check(_Head, head, f"{label}: recipe", faults):
        return []
    made = Recipe.model_construct(source=head["source"], include=included, **parts)
    faults += [f"{label}: {fault}" for fault in made.contradictions()]
    return [made]


class _Head(Strict):
    source: Text
    include: Any = ()


def _included(
    head: Mapping[str, Any], label: str, faults: list[str], shared: Mapping[str, Shared]
) -> tuple[str, ...]:
    """Names of shared files that there are."""
    names = head.get("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        faults.append(f"{label}: recipe: include: expected an array of names, got {shown(names)}")
        return ()
    lost = [name for name in names if name not in shared]
    faults += [f"{label}: no shared file is named {name!r}. {near_misses(name, shared)}" for name in lost]
    return tuple(name for name in names if name in shared)


def _named(
    data: Mapping[str, Any], part: str, label: str, faults: list[str]
) -> dict[str, Network | Input | Set]:
    """Networks, inputs or sets by name; a faulty one as missing, so that nobody is told it is not defined."""
    found: dict[str, Network | Input | Set] = {}
    for name, written in table(data.get(part, {}), f"{label}: {part}", faults).items():
        place = f"{label}: {part}.{name}"
        fields = table(written, place, faults)
        made = check(SHARED[part], fields, place, faults) if isinstance(written, Mapping) else []
        found[name] = made[0] if made else SHARED[part](missing="it has faults")
    return found


def parse_shared(data: Mapping[str, Any], label: str, faults: list[str]) -> dict[str, Shared]:
    """Turn the parsed TOML of a shared file into its content, by its name; as `parse_source` does."""
    faults += _unknown(data, ("shared", *SHARED), label)
    parts: dict[str, Any] = {part: _named(data, part, label, faults) for part in SHARED}
    head = table(data["shared"], f"{label}: shared", faults)
    if not isinstance(data["shared"], Mapping):
        return {}
    named = check(_SharedHead, {"name": label, **head}, f"{label}: shared", faults)
    return {one.name: Shared(**parts) for one in named}


class _SharedHead(Strict):
    name: Text


def _unknown(data: Mapping[str, Any], known: Collection[str], label: str) -> Iterator[str]:
    for key in sorted(set(data) - set(known)):
        yield f"{label}: unknown table {key!r}. {near_misses(key, known)}"
