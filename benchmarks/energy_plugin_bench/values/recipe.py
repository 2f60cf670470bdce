"""Recipes: how the rows of a source are measured, as data (TOML), and the files that recipes need.

A recipe has a head ``[recipe]``, then ``[networks.NAME]``, ``[inputs.NAME]`` (what goes through a network: a
data set and its transform), ``[sets.NAME]`` (which of an input's images), ``[[protocols]]`` (how scores
become figures, and how far a figure may lie from the published one) and ``[[extras]]`` (figures without a
published value). Whatever cannot be had says so in `missing`, with how to get it: its rows are "not run".

Networks, inputs and sets that several recipes have stand in a file with the head ``[shared]`` and are taken
in by `include`. A file list has ``[files."PATH"]``: path under a data root, hash, licence, origin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from energy_plugin.errors import near_misses
from energy_plugin_bench.values.checking import Number, Strict, Text
from energy_plugin_bench.values.networks import Input, Network, Set
from energy_plugin_bench.values.rows import (
    CLASSIFICATION_METRICS,
    DESCRIBED_ONLY,
    METRICS,
    WITHIN,
    conventions,
    unmeasurable,
)

SHARED: Mapping[str, type[Network | Input | Set]] = MappingProxyType(
    {"networks": Network, "inputs": Input, "sets": Set}
)
"""What a shared file may hold."""
MOST_ERRORS = 10
"""Standard errors beyond which a protocol would reproduce anything."""
_PATTERN = frozenset("*?[")
"""What makes a name a shell pattern."""


def _drawn(protocol: Protocol) -> Iterator[str]:
    if bool(protocol.draws) != bool(protocol.size or protocol.ratio) or (protocol.size and protocol.ratio):
        yield "draws go with either a size or a ratio, and neither without draws"


def _known_metrics(chosen: Protocol | Extra) -> Iterator[str]:
    for metric in chosen.metrics:
        if metric not in METRICS:
            yield f"unknown metric {metric!r}. {near_misses(metric, METRICS)}"


class Protocol(Strict):
    """How scores become figures, for the rows that it matches; the first protocol that matches counts.

    Attributes:
        metrics: Metrics it is for; empty means all.
        ood_sets: OOD sets it is for; empty means all.
        draws: How many random draws of OOD images are averaged; 0 scores all of them once.
        size: Images a draw.
        ratio: Instead of `size`: ID images for one OOD image.
        seed: Of the draws.
        errors: How many standard errors a figure may lie from the published one, beside its rounding; at
            most `MOST_ERRORS`.
        devices: How many other devices are played, see `verdicts.measure.on_another_device`: the verdict says
            how far they move the figure; its tolerance is none the wider.
        allowance: Of segmentation: how far a figure moves on other builds of the libraries, a fraction, as
            measured.
        reason: Why the tolerance is what it is.
    """

    metrics: tuple[Text, ...] = ()
    ood_sets: tuple[Text, ...] = ()
    draws: Annotated[int, Field(strict=True, ge=0)] = 0
    size: Annotated[int, Field(strict=True, ge=0)] = 0
    ratio: Annotated[int, Field(strict=True, ge=0)] = 0
    seed: int = 0
    errors: Annotated[Number, Field(gt=0, le=MOST_ERRORS)] = 0.0  # unsaid; what is said is more
    devices: Annotated[int, Field(strict=True, ge=0)] = 0
    allowance: Annotated[Number, Field(ge=0)] = 0.0
    reason: Text

    rules = (_drawn, _known_metrics)

    def matches(self, metric: str, ood_set: str | None) -> bool:
        """Whether figures of this metric and OOD set are measured so."""
        return (not self.metrics or metric in self.metrics) and (
            not self.ood_sets or (ood_set or "none") in self.ood_sets
        )

    def draw_size(self, n_id: int) -> int:
        """OOD images a draw, for `n_id` in-distribution images."""
        return self.size or n_id // self.ratio


def _asked_whole(extra: Extra) -> Iterator[str]:
    detecting = set(extra.metrics) - set(CLASSIFICATION_METRICS)
    lacking = [name for name in ("ood_sets", "methods", "convention") if not getattr(extra, name)]
    if detecting and lacking:
        yield f"{', '.join(sorted(detecting))} needs {' and '.join(lacking)}"


def _answerable(extra: Extra) -> Iterator[str]:
    known = conventions()[0]
    if extra.convention and extra.convention not in known:
        yield f"unknown convention {extra.convention!r}. {near_misses(extra.convention, known)}"
    for metric in extra.metrics:
        if metric in DESCRIBED_ONLY:
            yield f"the harness does not measure the {METRICS[metric]}"
        reasons = [unmeasurable(metric, extra.convention, ood_set) for ood_set in extra.ood_sets]
        yield from dict.fromkeys(f"{metric}: {reason}" for reason in reasons if reason)


class Extra(Strict):
    """Figures to measure that nobody published, for every network named.

    Errors of classification need no OOD sets, methods and convention; all other metrics do.
    """

    networks: tuple[Text, ...]
    id_set: Text
    ood_sets: tuple[Text, ...] = ()
    methods: tuple[Text, ...] = ()
    metrics: tuple[Text, ...]
    convention: str = ""
    note: str = ""

    rules = (_known_metrics, _asked_whole, _answerable)


class Explained(Strict):
    """Rows that are known to differ from what the recipe measures; their verdict is "differs" all the same.

    Attributes:
        ids: Of the rows.
        reason: Why they differ, as far as it is known.
    """

    ids: tuple[Text, ...]
    reason: Text


def _sets_defined(recipe: Recipe) -> Iterator[str]:
    for name, chosen in recipe.sets.items():
        for part in dict.fromkeys(chosen.mean_of):
            if part not in recipe.sets and part not in recipe.inputs:
                yield f"set {name!r} is a mean of {part!r}, which is not defined"
            elif any(other.mean_of for other in _meant_within(recipe, name, part)):
                yield f"set {name!r} is a mean of {part!r}, a mean itself: name what that is of"
        wanted = chosen.input or name
        if not (chosen.missing or chosen.mean_of) and wanted not in recipe.inputs:
            yield f"set {name!r} takes the input {wanted!r}, which is not defined"


def _meant_within(recipe: Recipe, name: str, part: str) -> Iterator[Set]:
    """The sets that a part of a mean can be: beside an in-distribution set, `ID_SET/PART` goes before."""
    id_set = name.rpartition("/")[0]
    for other, chosen in recipe.sets.items():
        beside = other == f"{id_set}/{part}" if id_set else other.endswith(f"/{part}")
        if other == part or beside:
            yield chosen


def _networks_defined(recipe: Recipe) -> Iterator[str]:
    for name, network in recipe.networks.items():
        for part in dict.fromkeys(network.mean_of):
            if part not in recipe.networks:
                yield f"network {name!r} is a mean of {part!r}, which is not defined"
            elif recipe.networks[part].mean_of:
                yield f"network {name!r} is a mean of {part!r}, a mean itself: name what that is of"
        if _PATTERN & set(name) and not network.missing:
            yield f"network {name!r} is a shell pattern, which only one with 'missing' may have as its name"


class Recipe(Strict):
    """How the rows of one source are measured.

    Attributes:
        source: Its name.
        include: Names of shared files, whose networks, inputs and sets are taken in; its own go before.
        networks: By the name that rows use; that of a network which cannot be run may be a shell pattern.
        inputs: By name.
        sets: By the name that rows use; an input that they name needs no set. A set or input called
            `ID_SET/NAME` is what NAME means beside that in-distribution set.
        protocols: The first that matches a row counts.
        extras: What to measure beside the rows.
        explained: Which rows are known to differ, and why.
    """

    source: Text
    include: tuple[Text, ...] = ()
    networks: dict[str, Network] = Field(default_factory=dict)
    inputs: dict[str, Input] = Field(default_factory=dict)
    sets: dict[str, Set] = Field(default_factory=dict)
    protocols: tuple[Protocol, ...] = ()
    extras: tuple[Extra, ...] = ()
    explained: tuple[Explained, ...] = ()

    rules = (_sets_defined, _networks_defined)

    def network(self, name: str) -> Network | None:
        """The network of this name, or what a pattern says of it."""
        if name in self.networks:
            return self.networks[name]
        return next((known for pattern, known in self.networks.items() if fnmatchcase(name, pattern)), None)

    def meant(self, id_set: str, name: str) -> str:
        """What a set's name means beside an in-distribution set: `id_set/name` where that is known."""
        whole = f"{id_set}/{name}"
        return whole if whole in self.sets or whole in self.inputs else name

    def set_named(self, name: str) -> Set | None:
        """The set of this name; an input is a set of all its images."""
        if name in self.sets:
            return self.sets[name]
        return Set(input=name) if name in self.inputs else None

    def input_of(self, name: str) -> str:
        """Name of the input that a set takes."""
        return (self.sets[name].input if name in self.sets else "") or name

    def protocol(self, metric: str, ood_set: str | None) -> Protocol | None:
        """The first protocol that matches."""
        return next((known for known in self.protocols if known.matches(metric, ood_set)), None)

    def explanation(self, row: str) -> str:
        """Why the row of this id is known to differ; empty if it is not."""
        return next((known.reason for known in self.explained if row in known.ids), "")

    def parts(self, network: str, id_set: str, ood_set: str | None) -> list[tuple[str, str | None]]:
        """Networks and OOD sets whose figures are averaged; the two themselves where there is no mean."""
        meant = self.meant(id_set, ood_set) if ood_set else ood_set
        chosen, outliers = self.network(network), self.set_named(meant or "")
        return [
            (one, other)
            for one in (chosen.mean_of if chosen else ()) or (network,)
            for other in (outliers.mean_of if outliers else ()) or (meant,)
        ]

    def obstacles(self, network: str, id_set: str, ood_set: str | None) -> tuple[str, ...]:
        """Why figures of this network and these sets cannot be measured; empty if they can."""
        reasons: list[str] = []
        for name, outliers in self.parts(network, id_set, ood_set):
            chosen = self.network(name)
            reasons += [chosen.missing if chosen else f"the recipe does not know the network {name!r}"]
            names = [one for one in (id_set, outliers) if one is not None and one not in WITHIN]
            reasons += [self._set_obstacle(one) for one in names]
        return tuple(dict.fromkeys(reason for reason in reasons if reason))

    def _set_obstacle(self, name: str) -> str:
        chosen = self.set_named(name)
        if chosen is None:
            return f"the recipe does not know the set {name!r}"
        return chosen.missing or self.inputs[self.input_of(name)].missing

    def needs(self, id_set: str, ood_set: str | None) -> tuple[str, ...]:
        """Names of the inputs that two sets take."""
        names = [name for name in (id_set, ood_set) if name is not None and name not in WITHIN]
        return tuple(dict.fromkeys(self.input_of(name) for name in names))
