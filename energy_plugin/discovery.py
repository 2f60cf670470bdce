"""Who the plug-ins are: their entry points, one distribution at a time, and what can be wrong with them."""

from __future__ import annotations

import importlib
import os
import re
import traceback
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distribution, distributions
from pathlib import Path
from typing import Literal, NamedTuple

import pluggy

from energy_plugin.hookspecs import PROJECT
from energy_plugin.records import Record

DISABLE = "OOD_BENCHMARK_DISABLE"
"""Environment variable: a comma list of plug-ins or distributions that are not even imported."""

# Where errors about a plug-in are raised or passed on, never caused.
_MACHINERY = (
    "<frozen importlib",
    *(f"{folder}{os.sep}" for folder in (Path(__file__).parent, pluggy.__path__[0], importlib.__path__[0])),
)

Stage = Literal["import", "hooks", "records", "names", "switch", "metadata"]


HOUSE = frozenset(
    ["energy_plugin"]
    + [
        f"energy_plugin_{part}"
        for part in ("bench", "detectors", "oodeel", "openood", "pytorch_ood", "timm", "torch_uncertainty")
    ]
)
"""Our own plug-ins and packages, by whole names: a stranger's may begin like them."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """Who a plug-in is; `distribution` and `version` are empty for one added by hand."""

    name: str
    distribution: str = ""
    version: str = ""
    value: str = ""

    def __str__(self) -> str:
        owner = f" of {self.distribution} {self.version}" if self.distribution else ""
        return f"plug-in {self.name!r}{owner}"

    @property
    def key(self) -> str:
        """The text that names this plug-in and no other, for `block()` and the environment variable."""
        return f"{self.distribution}:{self.name}" if self.distribution else self.name

    @property
    def ours(self) -> bool:
        """Whether it is one of ours."""
        return self.name in HOUSE

    def matches(self, blocked: Collection[str]) -> bool:
        """Whether a set of canonical names holds this plug-in's name, distribution or key."""
        return any(canonical(name) in blocked for name in (self.name, self.distribution, self.key) if name)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a plug-in, or between two.

    Attributes:
        plugins: Those concerned; empty when the fault lies in what was to be switched off.
        stage: `import`, `hooks` (misspelt or ill-formed), `records` (a hook raised or returned nonsense),
            `names` (two owners of one name), `switch` (a name to switch off that nobody has), `metadata`.
        what: The fault.
        advice: What to do.
        error: The exception, where there was one.
    """

    plugins: tuple[Plugin, ...]
    stage: Stage
    what: str
    advice: str
    error: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.what} {self.advice}"


class Offer(NamedTuple):
    """A record and its owner."""

    plugin: Plugin
    record: Record


def canonical(name: str) -> str:
    """Return a name as package indexes compare them: `A_b` and `a-b` are one."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def entry_points(problems: list[Problem]) -> Iterator[tuple[EntryPoint, Distribution]]:
    """Yield the group's entry points, of each distribution once: the one that an import would take."""
    seen = set()
    for found in distributions():
        try:
            text = found.read_text("entry_points.txt") or ""
            if PROJECT not in text:  # spares the metadata of everything else
                continue
            name = found.metadata["Name"]
            first = distribution(name)  # of two folders on the path with one distribution, the first counts
            shadowed = first.locate_file("") != found.locate_file("")
            if shadowed or canonical(name) in seen:
                continue
            seen.add(canonical(name))
            entries = [entry for entry in found.entry_points if entry.group == PROJECT]
        except Exception as error:  # noqa: BLE001 - broken metadata of one distribution must not stop the rest
            what = f"The entry points at {found.locate_file('')} cannot be read: {told(error)}."
            problems.append(
                Problem(plugins=(), stage="metadata", what=what, advice="Reinstall it.", error=error)
            )
            continue
        yield from ((entry, found) for entry in entries)


def set_aside(candidate: Plugin, stage: Stage, error: BaseException) -> Problem:
    """Say which plug-in failed at what, where, and how to get rid of it."""
    doing = {
        "import": f"importing {candidate.value} failed",
        "hooks": "its hooks are wrong",
        "records": "asking it failed",
    }[stage]
    update = f"Update or uninstall {candidate.distribution}, or" if candidate.distribution else "Or"
    return Problem(
        plugins=(candidate,),
        stage=stage,
        what=f"The {candidate} is set aside: {doing}: {told(error)}",
        advice=f"{update} switch it off with {DISABLE}={candidate.name}",
        error=error,
    )


def clash(kind: type[Record], name: str, owners: Sequence[Offer]) -> Problem:
    """Say who claims one name, and how to choose."""
    homes = [offer.plugin.distribution for offer in owners]
    if "" in homes or len(set(homes)) < len(homes):
        homes = [offer.plugin.key for offer in owners]
    who = " and ".join(f"the {offer.plugin} ({offer.record.target})" for offer in owners)
    return Problem(
        plugins=tuple(offer.plugin for offer in owners),
        stage="names",
        what=f"The {kind.kind} {name!r} has {len(owners)} owners: {who}.",
        advice=(
            f"Say whose, get({kind.kind!r}, {name!r}, distribution={' or '.join(map(repr, homes))}), "
            f"or switch one off: {' or '.join(f'{DISABLE}={offer.plugin.key}' for offer in owners)}"
        ),
    )


def told(error: BaseException) -> str:
    """Return kind, message and place of an error in one line; the place is the deepest outside of ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_MACHINERY)]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
