"""Recipes: how the rows of a source are measured, as data (TOML), and the files that recipes need.

A recipe has a head ``[recipe]``, then ``[networks.NAME]``, ``[inputs.NAME]`` (what goes through a network: a
data set and its transform), ``[sets.NAME]`` (which of an input's images), ``[[protocols]]`` (how scores
become figures, and how far a figure may lie from the published one) and ``[[extras]]`` (figures without a
published value). Whatever cannot be had says so in `missing`, with how to get it: its rows are "not run".

Networks, inputs and sets that several recipes have stand in a file with the head ``[shared]`` and are taken
in by `include`. A file list has ``[files."PATH"]``: path under a data root, hash, licence, origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from energy_plugin.errors import near_misses
from energy_plugin_bench.values.rows import CLASSIFICATION_METRICS, WITHIN, Number, Strict, Text, check

WHOLE = 64
"""Digits of a SHA-256."""
SHARED = ("networks", "inputs", "sets")
"""What a shared file may hold."""

Sha256 = Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{8,64})?$")]


class Asset(Strict):
    """A file of weights or images, or a folder of images.

    Attributes:
        path: Under a data root, and under the package's `carried` folder.
        sha256: Of the file as it lies under a data root, or of the archive that is unpacked; its first eight
            digits or more where no more was published, empty where nothing was.
        md5: Where only that was published.
        size: Bytes of the file, or of the archive; 0 if unknown.
        licence: As far as it is known: the terms.
        origin: Where it comes from: repository or package, version, what was done to it.
        get: How to get it.
        carry: Whether its terms allow the package to carry it.
        url: Where `--download` fetches it.
        unpack: What comes from `url` is an archive, unpacked into this folder of the cache; `path` is in it.
        count: How many files the folder `path` holds; 0 if unknown, or for a file.
    """

    path: Text
    sha256: Sha256 = ""
    md5: Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{32})?$")] = ""
    size: Annotated[int, Field(strict=True, ge=0)] = 0
    licence: Text
    origin: Text
    get: str = ""
    carry: bool = False
    url: str = ""
    unpack: str = ""
    count: Annotated[int, Field(strict=True, ge=0)] = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.carry and not self.hashed:
            raise ValueError("what is carried has its whole sha256")
        if self.url and not self.url.startswith(("https://", "http://")):
            raise ValueError(f"url {self.url!r} is no http(s) address")
        if self.unpack and not self.url:
            raise ValueError("only what comes from a url is unpacked")
        if not (self.url or self.get):
            raise ValueError("a file has a url, or says in 'get' how to get it")
        return self

    @property
    def hashed(self) -> bool:
        """Whether the whole SHA-256 is known, and of the file itself: what was made of it can be kept."""
        return len(self.sha256) == WHOLE and not self.unpack

    @property
    def bytes_told(self) -> str:
        """How large it is, in words."""
        return f"{self.size:,} bytes" if self.size else "size not published"


class Network(Strict):
    """A network with its weights.

    Attributes:
        backbone: Name of a `BackboneSpec`, looked up by the plug-in manager.
        options: Handed to its factory.
        weights: Path of an asset; loaded strictly. Empty: the factory brings its own.
        rename: Patterns in the names of published tensors, and what stands for them in the backbone's.
        mean_of: Networks, by name, whose figures are averaged: this is none itself.
        transform: Steps that this network wants after those of its inputs.
        mean: A channel's mean, taken off after the images are in [0, 1].
        std: A channel's spread, divided by.
        rounding: How far another device moves a logit, relative to it: the spread of the largest logit when
            convolutions round their operands to TF32 (10-bit mantissas, PyTorch's default on GPUs), as
            measured.
        classes: How many of its outputs are classes, for segmentation networks with further ones (void); 0:
            all.
        slow: It takes minutes on two cores, so its logits are carried.
        missing: Why the network cannot be run.
    """

    backbone: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str = ""
    rename: dict[str, str] = Field(default_factory=dict)
    mean_of: tuple[Text, ...] = ()
    transform: tuple[Text, ...] = ()
    mean: tuple[Number, ...] = ()
    std: tuple[Number, ...] = ()
    rounding: Annotated[Number, Field(ge=0)] = 0.0
    classes: Annotated[int, Field(strict=True, ge=0)] = 0
    slow: bool = False
    missing: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not (self.backbone or self.missing or self.mean_of):
            raise ValueError("a network needs a backbone, or says in 'missing' why it cannot be run")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}")
        return self


class Input(Strict):
    """What goes through a network once: every image of a data set, transformed.

    Attributes:
        dataset: Name of a `DatasetSpec`, looked up by the plug-in manager.
        asset: Path of an asset, handed to the data set's factory as `path`. Empty: it needs no file.
        options: Handed to the factory.
        transform: Steps, names of `energy_plugin_bench.inputs.transforms.STEPS`, in order.
        missing: Why the images cannot be had.
    """

    dataset: str = ""
    asset: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    transform: tuple[Text, ...] = ()
    missing: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not (self.dataset or self.missing):
            raise ValueError("an input needs a dataset, or says in 'missing' why it cannot be had")
        return self


class Set(Strict):
    """Which images of an input, and what is known of them beside the source's.

    Attributes:
        input: Name of an input.
        classes: Labels to take; empty takes every image.
        fresh: The images are another sample of the population that the source sampled (generated anew, or
            drawn from the same fonts), not the same images.
        published_size: How many the source had, where `fresh`; 0 if unknown, then ours counts.
        mean_of: Sets, by name, whose figures are averaged: this is none itself.
        missing: Why the set cannot be had.
        note: What a reader must know, shown with every verdict.
    """

    input: str = ""
    mean_of: tuple[Text, ...] = ()
    classes: tuple[int, ...] = ()
    fresh: bool = False
    published_size: int = 0
    missing: str = ""
    note: str = ""


class Protocol(Strict):
    """How scores become figures, for the rows that it matches; the first protocol that matches counts.

    Attributes:
        metrics: Metrics it is for; empty means all.
        ood_sets: OOD sets it is for; empty means all.
        draws: How many random draws of OOD images are averaged; 0 scores all of them once.
        size: Images a draw.
        ratio: Instead of `size`: ID images for one OOD image.
        seed: Of the draws.
        errors: How many standard errors a figure may lie from the published one, beside its rounding.
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
    errors: Number = 0.0
    devices: Annotated[int, Field(strict=True, ge=0)] = 0
    allowance: Annotated[Number, Field(ge=0)] = 0.0
    reason: Text

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.draws) != bool(self.size or self.ratio) or (self.size and self.ratio):
            raise ValueError("draws go with either a size or a ratio, and neither without draws")
        return self

    def matches(self, metric: str, ood_set: str | None) -> bool:
        """Whether figures of this metric and OOD set are measured so."""
        return (not self.metrics or metric in self.metrics) and (
            not self.ood_sets or (ood_set or "none") in self.ood_sets
        )

    def draw_size(self, n_id: int) -> int:
        """OOD images a draw, for `n_id` in-distribution images."""
        return self.size or n_id // self.ratio


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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        detecting = set(self.metrics) - set(CLASSIFICATION_METRICS)
        lacking = [name for name in ("ood_sets", "methods", "convention") if not getattr(self, name)]
        if detecting and lacking:
            raise ValueError(f"{', '.join(sorted(detecting))} needs {' and '.join(lacking)}")
        return self


class Explained(Strict):
    """Rows that are known to differ from what the recipe measures; their verdict is "differs" all the same.

    Attributes:
        ids: Of the rows.
        reason: Why they differ, as far as it is known.
    """

    ids: tuple[Text, ...]
    reason: Text


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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name, chosen in self.sets.items():
            absent = [part for part in chosen.mean_of if part not in self.sets and part not in self.inputs]
            if absent:
                raise ValueError(f"set {name!r} is a mean of {absent[0]!r}, which is not defined")
            if not (chosen.missing or chosen.mean_of) and (chosen.input or name) not in self.inputs:
                raise ValueError(
                    f"set {name!r} takes the input {chosen.input or name!r}, which is not defined"
                )
        for name, network in self.networks.items():
            absent = [part for part in network.mean_of if part not in self.networks]
            if absent:
                raise ValueError(f"network {name!r} is a mean of {absent[0]!r}, which is not defined")
        return self

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


def parse_recipe(
    data: Mapping[str, Any],
    label: str,
    faults: list[str],
    shared: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[Recipe]:
    """Turn the parsed TOML of a recipe into one or, with faults, none; as `parse_source` does.

    Args:
        data: The file's content.
        label: How messages call the file.
        faults: Every fault found is appended here.
        shared: Contents of the shared files, by name.
    """
    head = {key: value for key, value in data.items() if key != "recipe"}
    for name in data["recipe"].get("include", ()):
        if name not in shared:
            faults.append(f"{label}: no shared file is named {name!r}. {near_misses(name, shared)}")
            continue
        for part in SHARED:
            head[part] = {**shared[name].get(part, {}), **head.get(part, {})}
    return check(Recipe, {**data["recipe"], **head}, f"{label}: recipe", faults)


def parse_files(data: Mapping[str, Any], label: str, faults: list[str]) -> list[Asset]:
    """Turn the parsed TOML of a file list into assets; faults are appended, as in `parse_source`."""
    return [
        asset
        for path, fields in data["files"].items()
        for asset in check(Asset, {"path": path, **fields}, f"{label}: {path}", faults)
    ]
