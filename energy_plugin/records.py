"""What plug-ins return from their hooks: small frozen records that name a thing and say where it lies.

A record costs nothing to make: its `target` is a dotted path, imported on `load()` and not before. Hosts read
attributes only, so a plug-in may return any object that has them (`Record.of` turns it into one of these).
"""

from __future__ import annotations

import functools
import importlib
import operator
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from energy_plugin.errors import ExtraMissingError, HostMissingError, near_misses

TASKS = ("classification", "segmentation")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_COMMAND = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every kind has in common.

    Attributes:
        name: How the thing is asked for: text without white space, owned by one plug-in within its kind.
        target: `module:attribute`, imported by `load()`.
        tasks: `classification` (logits B x C) and/or `segmentation` (logits B x C x spatial).
        summary: One line for people.
        requires: Importable modules that the target needs beyond its own distribution.
        extra: What to hand to `pip install` when one of them is missing, such as `energy-plugin[timm]`;
            several requirements are parted by white space.
    """

    kind: ClassVar[str] = "record"
    hook: ClassVar[str] = ""

    name: str
    target: str
    tasks: tuple[str, ...] = TASKS
    summary: str = ""
    requires: tuple[str, ...] = ()
    extra: str = ""

    def __post_init__(self) -> None:
        for field in ("name", "target", "summary", "extra"):
            if not isinstance(getattr(self, field), str):
                raise TypeError(f"{self._label}: {field} is {getattr(self, field)!r}; expected text.")
        if not self.name or len(self.name.split()) != 1 or self.name != self.name.strip():
            raise ValueError(f"{self._label}: a name is text without white space, got {self.name!r}.")
        if not _TARGET.fullmatch(self.target):
            raise ValueError(f"{self._label}: target {self.target!r} is not of the form 'module:attribute'.")
        for field in ("tasks", "requires"):
            object.__setattr__(self, field, _texts(getattr(self, field), f"{self._label}: {field}"))
        for task in self.tasks:
            if task not in TASKS:
                raise ValueError(f"{self._label}: unknown task {task!r}. {near_misses(task, TASKS)}")

    @classmethod
    def of(cls, candidate: object) -> Self:
        """Return `candidate` as a record of this kind.

        Args:
            candidate: A record of this kind, returned as it is, or any object with its attributes.

        Raises:
            TypeError: An attribute without a default is missing or has the wrong kind.
            ValueError: An attribute has a wrong value.
        """
        if isinstance(candidate, cls):
            return candidate
        if isinstance(candidate, Record):
            raise TypeError(
                f"{candidate._label} came from {cls.hook}; expected a {cls.__name__} (use {candidate.hook})."
            )
        values = {field.name: getattr(candidate, field.name, MISSING) for field in fields(cls)}
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        lacking = [name for name in needed if values[name] is MISSING]
        if lacking:
            raise TypeError(
                f"{_shown(candidate)} is no {cls.kind} record: it lacks {', '.join(lacking)}. "
                f"Return {cls.__name__} objects, or any with the attributes {', '.join(values)}."
            )
        return cls(**{name: value for name, value in values.items() if value is not MISSING})

    def missing(self) -> tuple[str, ...]:
        """Return the modules among `requires` that are not installed; nothing is imported to find out."""
        return tuple(module for module in self.requires if not _installed(module))

    def load(self) -> Any:
        """Import and return the target.

        Raises:
            ExtraMissingError: A required module is not installed, or the import fails and `extra` may help.
            ImportError: The target's module cannot be imported.
            AttributeError: The module has no such attribute.
        """
        missing = self.missing()
        if missing:
            raise self._missing_error(f"needs {', '.join(map(repr, missing))}, not installed")
        module_name, _, path = self.target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            if not self.extra:
                raise
            raise self._missing_error(f"cannot be imported: {error}") from error
        try:
            return operator.attrgetter(path)(module)
        except AttributeError as error:
            raise AttributeError(
                f"{self._label}: module {module_name!r} has no {path!r}. {near_misses(path, dir(module))}"
            ) from error

    @property
    def _label(self) -> str:
        return f"{self.kind} {self.name!r}"

    def _missing_error(self, what: str) -> ExtraMissingError:
        return ExtraMissingError(f"{self._label} {what}. {self._advice()}")

    def _advice(self) -> str:
        if not self.extra:
            return "Its record names no extra to install: see its documentation."
        return f"Install it with: {self.how_to_install()}"

    def how_to_install(self) -> str:
        """Return the command that brings what is missing; empty where the record names nothing."""
        return f"python -m pip install {' '.join(map(repr, self.extra.split()))}" if self.extra else ""


@dataclass(frozen=True, kw_only=True)
class LossSpec(Record):
    """A loss: `load()` gives a factory of `loss(logits, targets)`, targets >= 0 ID and < 0 OOD."""

    kind = "loss"
    hook = "ood_losses"


@dataclass(frozen=True, kw_only=True)
class DetectorSpec(Record):
    """A detector: `load()` gives a factory of objects with `score(logits)`.

    Attributes:
        higher_is: `ood` when a higher score means more out-of-distribution, `id` when it means less.
    """

    kind = "detector"
    hook = "ood_detectors"

    higher_is: Literal["ood", "id"] = "ood"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.higher_is not in ("ood", "id"):
            raise ValueError(f"{self._label}: higher_is is {self.higher_is!r}; expected 'ood' or 'id'.")


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(Record):
    """A network: `load()` gives a callable that takes options by keyword and returns a `torch.nn.Module`.

    The network may say in an attribute `data_config` what images it expects: a mapping with some of
    `input_size` (C, H, W), `mean`, `std` (of a channel, pixels in [0, 1]), `interpolation`, `crop_pct`,
    `crop_mode`.

    Attributes:
        family: Whether the record stands for many networks, asked for as `name:member`: the target then takes
            the member first, and says itself which members there are. So a plug-in offers every network of a
            library without naming, or importing, any.
        member: Which network of a family this is; filled in by the lookup.
    """

    kind = "backbone"
    hook = "ood_backbones"

    family: bool = False
    member: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family and ":" in self.name:
            raise ValueError(
                f"{self._label}: the name of a family holds no colon: the member comes after it."
            )
        if self.member and not self.family:
            raise ValueError(f"{self._label}: it has the member {self.member!r}, but is no family.")

    def load(self) -> Callable[..., Any]:
        """Import the factory; that of a family already knows the member, where there is one."""
        found = cast("Callable[..., Any]", super().load())
        return functools.partial(found, self.member) if self.member else found


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Record):
    """A data set: `load()` gives a callable that returns it.

    Attributes:
        ood: Which of its label codes mean out-of-distribution: `negative`, or the codes themselves.
        void: Label codes that count as neither.
    """

    kind = "dataset"
    hook = "ood_datasets"

    ood: Literal["negative"] | tuple[int, ...] = "negative"
    void: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ood != "negative":
            object.__setattr__(self, "ood", _codes(self.ood, f"{self._label}: ood"))
        object.__setattr__(self, "void", _codes(self.void, f"{self._label}: void"))
        both = set(self.void) & set(self.ood if self.ood != "negative" else ())
        if both:
            raise ValueError(f"{self._label}: the codes {sorted(both)} are both ood and void.")


@dataclass(frozen=True, kw_only=True)
class HostSpec(Record):
    """A suite that `energy_plugin.register(name)` can serve.

    `load()` imports the host and gives a callable without arguments; calling it makes the change and returns
    an `energy_plugin.Registration`.

    Attributes:
        apart: Whether the host needs an environment of its own, since it breaks beside what others here need.
    """

    kind = "host"
    hook = "ood_hosts"

    apart: bool = False

    def how_to_install(self) -> str:
        """Return the command, and that it is for an environment of its own, where it is."""
        command = super().how_to_install()
        return f"{command}, in an environment of its own" if command and self.apart else command

    def load(self) -> Any:
        """Import the host, then the bridge to it.

        Raises:
            HostMissingError: The host is not installed, breaks on import (some do with other exceptions than
                ImportError), or lacks what the bridge imports from it.
        """
        for module in self.requires:
            if not _installed(module):
                continue  # reported by Record.load
            try:
                importlib.import_module(module)
            except Exception as error:
                what = f"breaks on import of {module!r}: {type(error).__name__}: {error}"
                raise self._missing_error(what) from error
        return super().load()

    def _missing_error(self, what: str) -> HostMissingError:
        versions = ", ".join(found for module in self.requires if (found := _version(module)))
        installed = f" (installed: {versions})" if versions else ""
        return HostMissingError(f"{self._label} {what}{installed}. {self._advice()}")


@dataclass(frozen=True)
class Folder:
    """A folder of data files, inside a package (possibly zipped) or on disk."""

    path: Traversable


@dataclass(frozen=True, kw_only=True)
class PublishedSpec(Record):
    """Published values: `load()` gives a `Folder` whose `path` holds `*.toml` files, one a source."""

    kind = "published"
    hook = "ood_published"

    def load(self) -> Folder:
        """Import the target (a path, a Traversable, or an object with `path`) and return it as a folder.

        Raises:
            TypeError: The target is no folder.
        """
        found = super().load()
        found = getattr(found, "path", found)
        path = Path(found) if isinstance(found, str) else found
        if not isinstance(path, Traversable) or not path.is_dir():
            raise TypeError(f"{self._label}: target {self.target!r} is {_shown(found)}; expected a folder.")
        return Folder(path)


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Record):
    """A command of `energy-plugin`, imported only when it runs or shows its help.

    `load()` gives `configure(parser)`: it adds arguments to an `argparse.ArgumentParser` and returns the
    function that takes the parsed `argparse.Namespace` and returns the exit code.
    """

    kind = "command"
    hook = "ood_commands"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _COMMAND.fullmatch(self.name):
            raise ValueError(
                f"{self._label}: {self.name!r} is no command: lower-case letters, digits, hyphens."
            )

    def load(self) -> Callable[..., Callable[..., int]]:
        """Import and return `configure`."""
        return cast("Callable[..., Callable[..., int]]", super().load())


KINDS: tuple[type[Record], ...] = (
    LossSpec, DetectorSpec, BackboneSpec, DatasetSpec, HostSpec, PublishedSpec, CommandSpec,
)  # fmt: skip


def _installed(module: str) -> bool:
    """Whether the module's top-level package is there; deeper parts cannot be seen without importing it."""
    try:
        return find_spec(module.partition(".")[0]) is not None
    except ValueError:  # imported by somebody who left no __spec__
        return True


def _version(module: str) -> str:
    """Return `distribution version` of an installed module, or nothing; slow, for error messages."""
    from importlib.metadata import packages_distributions, version  # only errors need it

    owners = packages_distributions().get(module.partition(".")[0], [])
    return ", ".join(f"{owner} {version(owner)}" for owner in sorted(set(owners)))


def _texts(value: object, label: str) -> tuple[str, ...]:
    if isinstance(value, (tuple, list, set, frozenset)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TypeError(f"{label} is {value!r}; expected a tuple of texts.")


def _codes(value: object, label: str) -> tuple[int, ...]:
    if isinstance(value, (tuple, list, set, frozenset)) and all(
        isinstance(item, int) and not isinstance(item, bool) for item in value
    ):
        return tuple(value)
    raise TypeError(f"{label} is {value!r}; expected a tuple of whole numbers.")


def _shown(value: object, *, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
