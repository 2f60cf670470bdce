"""Finds plug-ins one by one, sets broken ones aside, looks names up, and registers at hosts.

A thin layer over pluggy. pluggy's own loader ends at the first broken plug-in and silently skips the second
owner of a name; here nothing that a plug-in does keeps another from working, and nothing is skipped silently.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Literal, Self, TypeVar, cast, overload

import pluggy

from energy_plugin import hookspecs, plugin, registration
from energy_plugin.discovery import (
    DISABLE,
    Offer,
    Plugin,
    Problem,
    Stage,
    canonical,
    clash,
    entry_points,
    set_aside,
)
from energy_plugin.errors import DuplicateNameError, UnknownNameError, near_misses
from energy_plugin.hookspecs import PROJECT
from energy_plugin.records import (
    KINDS,
    BackboneSpec,
    CommandSpec,
    DatasetSpec,
    DetectorSpec,
    HostSpec,
    LossSpec,
    PublishedSpec,
    Record,
)
from energy_plugin.registration import Registration

_log = logging.getLogger(__name__)
_R = TypeVar("_R", bound=Record)


class PluginManager:
    """Plug-ins of the group `ood_benchmark` and what they offer.

    Starts empty: `discover()` reads the entry points, `add()` takes a module or object by hand.
    """

    def __init__(self) -> None:
        self._blocked: dict[str, str] = {}
        self._offers: dict[Plugin, tuple[Record, ...]] = {}
        self._switched_off: list[Plugin] = []
        self._problems: list[Problem] = []

    def __repr__(self) -> str:
        return f"<PluginManager: {len(self._offers)} plug-ins, {len(self.problems)} problems>"

    # Finding

    def discover(self) -> Self:
        """Read the entry points of every installed distribution; call again to find what is new.

        What `OOD_BENCHMARK_DISABLE` and `block()` name is not imported.
        """
        self._problems = [fault for fault in self._problems if fault.stage != "metadata"]  # read anew below
        self.block(*os.environ.get(DISABLE, "").split(","))
        for entry, found in entry_points(self._problems):
            candidate = Plugin(
                name=entry.name,
                distribution=found.metadata["Name"],
                version=found.version,
                value=entry.value,
            )
            self._admit(candidate, entry.load)
        return self

    def add(self, obj: object, name: str = "") -> Self:
        """Take a plug-in by hand: a module or object with marked hooks; faults land in `problems`."""
        name = name or getattr(obj, "__name__", type(obj).__name__)
        self._admit(Plugin(name=name), lambda: obj)
        return self

    def block(self, *names: str) -> Self:
        """Switch plug-ins off, by name, distribution or `distribution:name`, whether loaded yet or not."""
        self._blocked |= {canonical(name): name.strip() for name in names if name.strip()}
        for known in [known for known in self._offers if known.matches(self._blocked)]:
            del self._offers[known]
            self._switched_off.append(known)
        set_aside = [
            fault for fault in self._problems if any(p.matches(self._blocked) for p in fault.plugins)
        ]
        self._switched_off += [known for fault in set_aside for known in fault.plugins]
        self._problems = [fault for fault in self._problems if fault not in set_aside]
        return self

    def _admit(self, candidate: Plugin, load: Callable[[], object]) -> None:
        if candidate in self._offers or candidate in self._switched_off:
            return
        if any(candidate in fault.plugins for fault in self._problems):
            return
        if candidate.matches(self._blocked):
            self._switched_off.append(candidate)
            return
        stage: Stage = "import"
        try:
            obj = load()
            stage = "hooks"
            alone = _enrolled(obj, candidate)
            stage = "records"
            self._offers[candidate] = tuple(_asked(alone))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code may raise anything
            self._problems.append(set_aside(candidate, stage, error))
            _log.info("%s", self._problems[-1])

    # Looking up

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plug-ins that work."""
        return tuple(sorted(self._offers, key=lambda known: known.key))

    @property
    def switched_off(self) -> tuple[Plugin, ...]:
        """The plug-ins found and not used because somebody said so."""
        return tuple(self._switched_off)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Plug-ins set aside, names with two owners, and names to switch off that nobody has."""
        clashes = [
            clash(kind, name, owners)
            for kind in KINDS
            for name, owners in self._by_name(kind).items()
            if len(owners) > 1
        ]
        return (*self._problems, *clashes, *self._idle_switches())

    def offers(self, kind: str | None = None) -> tuple[Offer, ...]:
        """Return every record with its owner, of one kind or of all, also those whose name has two owners."""
        wanted = KINDS if kind is None else (_kind(kind),)
        return tuple(
            offer for k in wanted for _, owners in sorted(self._by_name(k).items()) for offer in owners
        )

    def losses(self) -> tuple[LossSpec, ...]:
        """Return the losses by name, as all of these do without names that have two owners."""
        return self._sole(LossSpec)

    def detectors(self) -> tuple[DetectorSpec, ...]:
        """Return the detectors."""
        return self._sole(DetectorSpec)

    def backbones(self) -> tuple[BackboneSpec, ...]:
        """Return the networks."""
        return self._sole(BackboneSpec)

    def datasets(self) -> tuple[DatasetSpec, ...]:
        """Return the data sets."""
        return self._sole(DatasetSpec)

    def hosts(self) -> tuple[HostSpec, ...]:
        """Return the suites that `register` knows by name."""
        return self._sole(HostSpec)

    def published(self) -> tuple[PublishedSpec, ...]:
        """Return the folders of published values."""
        return self._sole(PublishedSpec)

    def commands(self) -> tuple[CommandSpec, ...]:
        """Return the commands."""
        return self._sole(CommandSpec)

    @overload
    def get(self, kind: Literal["loss"], name: str, *, distribution: str = "") -> LossSpec: ...
    @overload
    def get(self, kind: Literal["detector"], name: str, *, distribution: str = "") -> DetectorSpec: ...
    @overload
    def get(self, kind: Literal["backbone"], name: str, *, distribution: str = "") -> BackboneSpec: ...
    @overload
    def get(self, kind: Literal["dataset"], name: str, *, distribution: str = "") -> DatasetSpec: ...
    @overload
    def get(self, kind: Literal["host"], name: str, *, distribution: str = "") -> HostSpec: ...
    @overload
    def get(self, kind: Literal["published"], name: str, *, distribution: str = "") -> PublishedSpec: ...
    @overload
    def get(self, kind: Literal["command"], name: str, *, distribution: str = "") -> CommandSpec: ...

    def get(self, kind: str, name: str, *, distribution: str = "") -> Record:
        """Return the record of this kind and name; nothing is imported.

        `family:member` names a member of a backbone family, where no record has that whole name. Where two
        plug-ins own a name, `distribution` says whose is wanted (or `distribution:plug-in`, as in `block`).

        Raises:
            UnknownNameError: Nobody owns the name, or the kind is none; with near misses.
            DuplicateNameError: Two plug-ins own it; with both, and how to choose.
        """
        names = self._by_name(_kind(kind))
        owners = names.get(name, []) or _family(names, name)
        if distribution and owners:
            everybody, owners = owners, [o for o in owners if o.plugin.matches({canonical(distribution)})]
            if not owners:
                others = " and ".join(f"the {offer.plugin}" for offer in everybody)
                raise UnknownNameError(f"The {kind} {name!r} is none of {distribution!r}, but of {others}.")
        if len(owners) > 1:
            raise DuplicateNameError(str(clash(_kind(kind), name, owners)))
        if owners:
            return owners[0].record
        hint = self._absent()
        family = name.partition(":")[0]
        raise UnknownNameError(f"No plug-in offers the {kind} {name!r}. {near_misses(family, names)}{hint}")

    def _absent(self) -> str:
        """Say that a name may be missing because its owner is."""
        aside = sum(len(fault.plugins) for fault in self._problems)
        counts = [f"{aside} set aside"] * bool(aside) + [f"{len(self._switched_off)} switched off"] * bool(
            self._switched_off
        )
        return f" Plug-ins missing: {', '.join(counts)}; see `energy-plugin doctor`." if counts else ""

    def _by_name(self, kind: type[_R]) -> dict[str, list[Offer]]:
        names: dict[str, list[Offer]] = {}
        for owner, records in self._offers.items():
            for record in records:
                if isinstance(record, kind):
                    names.setdefault(record.name, []).append(Offer(owner, record))
        return names

    def _sole(self, kind: type[_R]) -> tuple[_R, ...]:
        names = sorted(self._by_name(kind).items())
        return tuple(cast("_R", owners[0].record) for _, owners in names if len(owners) == 1)

    def _idle_switches(self) -> Iterator[Problem]:
        everybody = [
            *self._offers,
            *self._switched_off,
            *(p for fault in self._problems for p in fault.plugins),
        ]
        for blocked, name in self._blocked.items():
            if not any(known.matches({blocked}) for known in everybody):
                yield Problem(
                    plugins=(),
                    stage="switch",
                    what=f"{name!r} was to be switched off, but no plug-in or distribution is called so.",
                    advice=near_misses(name, [known.name for known in everybody]),
                )


@functools.cache
def default_manager() -> PluginManager:
    """Return the manager of this process, which discovers on the first call (`.cache_clear()` forgets it)."""
    return PluginManager().discover()


def register(
    host: str | pluggy.PluginManager | MutableMapping[str, Any],
    *,
    kinds: Collection[str] = ("loss", "detector"),
    replace: bool = False,
) -> Registration:
    """Hand our loss and detector to a host, and return what was changed.

    Twice is once: a second call, whatever its arguments, returns the active handle of the first. A failure
    changes nothing.

    Args:
        host: The name of a suite that a plug-in knows (`energy-plugin list host`): it is imported, and no
            other. Or a pluggy manager of project `ood_benchmark`: it gets our plug-in. Or a mutable mapping
            used as registry: it gets the classes, under the names of their records.
        kinds: What a mapping gets; `("loss",)` for a registry of losses.
        replace: Whether entries of a mapping that bear one of our names may be replaced.

    Returns:
        A `Registration`: `undo()` takes the changes back, as does leaving it as a context manager.

    Raises:
        UnknownNameError: No plug-in knows a host of this name.
        HostMissingError: The host is not installed or breaks on import.
        DuplicateNameError: The mapping has one of our names already, or two plug-ins know the host.
        TypeError: `host` is none of the three.
        ValueError: The pluggy manager is of another project.
    """
    if isinstance(host, str):
        spec = default_manager().get("host", host)
        return registration.once(spec.target, lambda: cast("Registration", spec.load()()))
    if isinstance(host, pluggy.PluginManager):
        return registration.once(host, lambda: _at_pluggy(host))
    if isinstance(host, MutableMapping):
        return registration.once(host, lambda: _at_mapping(host, kinds, replace=replace))
    raise TypeError(
        f"Cannot register at {host!r}; expected the name of a suite, a pluggy manager or a mutable mapping."
    )


def _at_pluggy(host: pluggy.PluginManager) -> Registration:
    if host.project_name != PROJECT:
        raise ValueError(
            f"The pluggy manager of project {host.project_name!r} would not see hooks marked {PROJECT!r}. "
            f"Make it with pluggy.PluginManager({PROJECT!r})."
        )
    # A host that reads entry points itself has us already.
    changes = [] if host.is_registered(plugin) else [registration.plugin(host, "energy_plugin", plugin)]
    return Registration("a pluggy manager", changes)


def _at_mapping(host: MutableMapping[str, Any], kinds: Collection[str], *, replace: bool) -> Registration:
    offered: tuple[Record, ...] = (*plugin.ood_losses(), *plugin.ood_detectors())
    unknown = set(kinds) - {record.kind for record in offered}
    if unknown:
        raise ValueError(f"kinds holds {sorted(unknown)}; a mapping can get 'loss' and 'detector'.")
    wanted = [record for record in offered if record.kind in kinds]
    taken = [record.name for record in wanted if record.name in host]
    if taken and not replace:
        raise DuplicateNameError(
            f"The mapping has {', '.join(map(repr, taken))} already; replace=True replaces it until undo()."
        )
    return Registration("a mapping", [registration.item(host, r.name, r.load()) for r in wanted])


def _kind(name: str) -> type[Record]:
    for kind in KINDS:
        if kind.kind == name:
            return kind
    raise UnknownNameError(f"There is no kind {name!r}. {near_misses(name, (k.kind for k in KINDS))}")


def _enrolled(obj: object, candidate: Plugin) -> pluggy.PluginManager:
    """Return a pluggy manager with this plug-in alone, after refusing hooks that would never be called.

    One manager a plug-in: what one does to pluggy (wrappers, odd equality, no hash) cannot reach the others.
    """
    if obj is None:
        raise TypeError("the entry point names None; expected a module or object with hooks.")
    alone = pluggy.PluginManager(PROJECT)
    alone.add_hookspecs(hookspecs)
    alone.register(obj, name=candidate.key)
    hooks = [kind.hook for kind in KINDS]
    callers = alone.get_hookcallers(obj) or []
    try:
        alone.check_pending()
    except pluggy.PluginValidationError as error:
        unknown = [caller.name for caller in callers if not caller.has_spec()]
        hints = " ".join(f"{name!r}: {near_misses(name, hooks)}" for name in unknown)
        raise TypeError(f"unknown hook. {hints}") from error
    unmarked = [name for name in hooks if hasattr(obj, name) and name not in {c.name for c in callers}]
    if unmarked:
        raise TypeError(f"{', '.join(unmarked)} lacks the mark of pluggy.HookimplMarker({PROJECT!r}).")
    if not callers:
        raise TypeError(f"it implements no hook of {PROJECT!r}; known: {', '.join(hooks)}.")
    return alone


def _asked(alone: pluggy.PluginManager) -> Iterator[Record]:
    """Call every hook that the one plug-in implements, and check what comes back."""
    for kind in KINDS:
        caller = getattr(alone.hook, kind.hook)
        if not caller.get_hookimpls():
            continue
        answers = caller()
        if not answers:
            raise TypeError(f"{kind.hook} returned None; expected an iterable of records.")
        yield from _records(kind, answers)


def _family(names: Mapping[str, list[Offer]], name: str) -> list[Offer]:
    """Return the offers of the family that a name `family:member` asks, each for that member."""
    family, _, member = name.partition(":")
    return [
        Offer(owner, dataclasses.replace(record, member=member))
        for owner, record in names.get(family, ())
        if member and isinstance(record, BackboneSpec) and record.family
    ]


def _records(kind: type[Record], answers: Iterable[object]) -> Iterator[Record]:
    names = set()
    for answer in answers:
        if not isinstance(answer, Iterable) or isinstance(answer, (str, bytes)):
            raise TypeError(f"{kind.hook} returned {answer!r}; expected an iterable of records.")
        for candidate in answer:
            record = kind.of(candidate)
            if record.name in names:
                raise ValueError(f"{kind.hook} returned two records named {record.name!r}.")
            names.add(record.name)
            yield record
