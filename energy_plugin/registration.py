"""What a registration changed in a host, and how it is taken back.

An adapter builds a `Registration` from changes and does nothing else:

    Registration("some_suite", [attribute(some_suite.losses, "EnergyLoss", OurLoss)])
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final, Self

import pluggy


class _Absent:
    """Stands for "there was nothing"."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()


class Change(ABC):
    """One thing put into a host: where, under which key, what was there before and what after.

    Attributes:
        owner: The object that is changed.
        key: Attribute name, mapping key or plug-in name.
        before: What was there, or `ABSENT`.
        after: What is put there.
    """

    def __init__(self, owner: Any, key: Any, after: object) -> None:
        self.owner = owner
        self.key = key
        self.after = after
        self.before: object = self.read()

    @abstractmethod
    def read(self) -> object:
        """Return what is there now, or `ABSENT`."""

    @abstractmethod
    def write(self, value: object) -> None:
        """Put `value` there; `ABSENT` takes away what is there."""

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    def in_place(self) -> bool:
        """Whether what is there now is still ours."""
        return self.read() is self.after

    def _words(self, where: str) -> str:
        if self.before is ABSENT:
            return f"{where} added"
        return f"{where} replaced"


class _Attribute(Change):
    def read(self) -> object:
        # The object's own attributes only: `getattr` would see a parent class or run a lazy `__getattr__`.
        return vars(self.owner).get(self.key, ABSENT)

    def write(self, value: object) -> None:
        if value is ABSENT:
            delattr(self.owner, self.key)
        else:
            setattr(self.owner, self.key, value)

    def __str__(self) -> str:
        owner = getattr(self.owner, "__name__", type(self.owner).__name__)
        return self._words(f"{owner}.{self.key}")


class _Item(Change):
    def read(self) -> object:
        return self.owner.get(self.key, ABSENT)  # unlike [...], does not fill a defaultdict

    def write(self, value: object) -> None:
        if value is ABSENT:
            del self.owner[self.key]
        else:
            self.owner[self.key] = value

    def __str__(self) -> str:
        return self._words(f"[{self.key!r}]")


class _Plugin(Change):
    def read(self) -> object:
        found = self.owner.get_plugin(self.key)
        return ABSENT if found is None else found

    def write(self, value: object) -> None:
        if self.owner.get_plugin(self.key) is not None:
            self.owner.unregister(name=self.key)
        if value is not ABSENT:
            self.owner.register(value, name=self.key)

    def __str__(self) -> str:
        return self._words(f"plug-in {self.key!r}")


def attribute(owner: object, name: str, value: object) -> Change:
    """Return the change that sets an attribute of a module, class or object."""
    return _Attribute(owner, name, value)


def item(mapping: MutableMapping[Any, Any], key: object, value: object) -> Change:
    """Return the change that puts `value` into a mapping."""
    return _Item(mapping, key, value)


def plugin(manager: pluggy.PluginManager, name: str, value: object) -> Change:
    """Return the change that registers a plug-in at a pluggy manager."""
    return _Plugin(manager, name, value)


class Registration:
    """The changes made in one host; made on construction, all or none.

    As a context manager it takes them back on leaving, once every `register` of the same host that was
    answered with this handle has been left.

    Args:
        host: What the changes were made in, for people.
        changes: From `attribute`, `item` and `plugin`.
    """

    def __init__(self, host: str, changes: Iterable[Change]) -> None:
        self.host = host
        self.changes: tuple[Change, ...] = tuple(changes)
        self.active = True
        self._holders = 1
        done: list[Change] = []
        try:
            for change in self.changes:
                change.write(change.after)
                done.append(change)
        except BaseException:
            self._take_back(done)
            self.active = False
            raise

    def undo(self) -> tuple[Change, ...]:
        """Restore what is still ours, and return the changes left alone because somebody has replaced them.

        A second call does nothing.
        """
        if not self.active:
            return ()
        self.active = False
        return self._take_back(self.changes)

    @staticmethod
    def _take_back(changes: Iterable[Change]) -> tuple[Change, ...]:
        foreign = []
        for change in reversed(tuple(changes)):
            if change.in_place:
                change.write(change.before)
            else:
                foreign.append(change)
        return tuple(foreign)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holders -= 1
        if self._holders <= 0:
            self.undo()

    def __repr__(self) -> str:
        what = "; ".join(str(change) for change in self.changes) or "nothing to change"
        return f"<Registration at {self.host}{'' if self.active else ', undone'}: {what}>"


# A host's modules exist once in a process, so the handles to them do too, whichever manager asks. The lock
# makes two threads that register at once get one handle instead of a wrapper around a wrapper.
_handles: list[tuple[object, Registration]] = []
_lock = threading.RLock()


def once(subject: object, make: Callable[[], Registration]) -> Registration:
    """Return the active registration at `subject`, or `make` one.

    Args:
        subject: A text (compared by value) or the object that is changed (compared by identity).
        make: Makes the changes; called only when no handle is active.

    Raises:
        TypeError: `make` returned something else than a Registration.
    """
    with _lock:
        _handles[:] = [(known, handle) for known, handle in _handles if handle.active]
        for known, handle in _handles:
            if known is subject or (isinstance(subject, str) and isinstance(known, str) and known == subject):
                handle._holders += 1
                return handle
        made = make()
        if not isinstance(made, Registration):
            raise TypeError(f"Registering at {subject!r} returned {made!r}; expected a Registration.")
        _handles.append((subject, made))
        return made
