"""Expressions that choose ids, as pytest's ``-k`` reads them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

Match = Callable[[str], bool]
_TOKEN = re.compile(r"[()]|[^\s()]+")
_WORD = re.compile(r"[\w.+:/=*?-]+")
_JOINING = ("and", "or", "not")


def matcher(expression: str) -> Match:
    """Compile an expression such as ``mnist and not (omniglot or fashion)``.

    `not` binds closer than `and`, `and` closer than `or`, and brackets closest. Every other word is part of
    an id, in capital letters or small; one with `*` or `?` is a shell pattern of a whole id. An empty
    expression matches everything.

    Raises:
        ValueError: A word or a bracket is missing, or two words stand side by side.
    """
    tokens = _TOKEN.findall(expression)
    if not tokens:
        return lambda _: True
    return _Reader(tokens, expression).whole()


class _Reader:
    def __init__(self, tokens: list[str], expression: str) -> None:
        self._tokens, self._expression, self._at = tokens, expression, 0

    def whole(self) -> Match:
        found = self._either()
        if self._at < len(self._tokens):
            raise self._error(f"before {self._next!r}, `and` or `or` is missing")
        return found

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> bool:
        if self._next not in wanted:
            return False
        self._at += 1
        return True

    def _either(self) -> Match:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return lambda name: any(part(name) for part in parts)

    def _both(self) -> Match:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return lambda name: all(part(name) for part in parts)

    def _one(self) -> Match:
        if self._take("not"):
            holds = self._one()
            return lambda name: not holds(name)
        if self._take("("):
            inner = self._either()
            if not self._take(")"):
                raise self._error("a bracket is not closed")
            return inner
        word = self._next
        if word in ("", ")", *_JOINING):
            raise self._error(
                f"a part of an id is missing before {word!r}" if word else "something is missing at the end"
            )
        if not _WORD.fullmatch(word):
            raise self._error(f"{word!r} is no part of an id")
        self._at += 1
        word = word.casefold()
        if set(word) & set("*?"):
            return lambda name: fnmatch.fnmatchcase(name.casefold(), word)
        return lambda name: word in name.casefold()

    def _error(self, what: str) -> ValueError:
        return ValueError(
            f"cannot read {self._expression!r}: {what}. Join parts of ids by `and`, `or`, `not` and brackets"
        )
