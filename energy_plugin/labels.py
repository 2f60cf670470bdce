"""Label codes: ours, and the named conventions of other suites translated to ours and back.

A target of ours is ID `y >= 0` (the class index), OOD `y < 0` (written as `OOD` = -1), or void: one code that
takes no part in loss or metric. The losses treat *every* negative target as OOD unless it equals their
`ignore_index`, so the void code is what the two have to agree on:

    targets = labels.translate(mask, "pebal")                      # OOD -> -1, void -> VOID
    loss = EnergyRegularizedLoss(ignore_index=labels.VOID)         # VOID = -100, PyTorch's own ignore_index
    id_scores, ood_scores = metrics.split(scores, targets, void=(labels.VOID,))

Translate once, at the border (a data set's target transform, a collate function): `translate` reads values,
which on a GPU waits for the device, and a training step must not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from energy_plugin.errors import LabelError, UnknownNameError, near_misses

OOD = -1
"""What `translate` writes for an out-of-distribution sample or pixel."""

VOID = -100
"""What `translate` writes for void: the `ignore_index` of a loss, the `void` of `metrics.split`."""

NEGATIVE = "negative"
BEYOND = "beyond num_classes"

Code = int | str
"""A code, or a predicate: "negative" (y < 0), "beyond num_classes" (y >= num_classes)."""


@dataclass(frozen=True, kw_only=True)
class LabelConvention:
    """What the codes of one suite or data set mean; void is looked at first, then OOD, then ID.

    `dataclasses.replace(convention("mmsegmentation"), name="mine", ood=(254,))` makes a variant.

    Args:
        name: the name it is asked for by, and named by in messages.
        ood: codes or predicates of OOD; () where there is none.
        void: codes or predicates of void; () where there is none.
        classes: the ID codes in the order of their class indices, or None: code `c >= 0` is class `c`.
        summary: what to know before feeding one convention to another.
        source: where the codes were read.
    """

    name: str
    ood: tuple[Code, ...] = ()
    void: tuple[Code, ...] = ()
    classes: tuple[int, ...] | None = None
    summary: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        known = (NEGATIVE, BEYOND)
        for rule in (*self.ood, *self.void):
            if isinstance(rule, str) and rule not in known:
                raise ValueError(f"{self._named}: unknown predicate {rule!r}. {near_misses(rule, known)}")
        ood, void, classes = set(self.ood), set(self.void), set[Code](self.classes or ())
        twice = (ood & void) | (ood & classes) | (void & classes)
        if twice:
            raise ValueError(f"{self._named}: two meanings are given to {sorted(twice, key=str)}")

    def describe(self) -> str:
        """The codes in words, for messages and tables."""
        ids = "any y >= 0" if self.classes is None else _spelled(self.classes)
        return f"ID {ids}; OOD {_spelled(self.ood)}; void {_spelled(self.void)}"

    @property
    def _named(self) -> str:
        return f"label convention {self.name!r}"


class Labelled(Protocol):
    """What a record of a data set says of its labels: `energy_plugin.records.DatasetSpec` does."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def ood(self) -> str | tuple[int, ...]:
        """Either "negative" or the codes of OOD."""

    @property
    def void(self) -> tuple[int, ...]:
        """The codes of void."""


def convention(name: str | LabelConvention | Labelled) -> LabelConvention:
    """The convention of that name, or of a data set's record; a `LabelConvention` is handed through.

    Raises:
        UnknownNameError: no convention has the name (a LookupError; near misses are listed).
        TypeError: `name` is nothing of that kind.
    """
    if isinstance(name, LabelConvention):
        return name
    if not isinstance(name, str):
        return _of_record(name)
    if name not in CONVENTIONS:
        hint = near_misses(name, CONVENTIONS, most=len(CONVENTIONS))
        raise UnknownNameError(f"no label convention is called {name!r}. {hint}")
    return CONVENTIONS[name]


def _of_record(record: Labelled) -> LabelConvention:
    try:
        ood: tuple[Code, ...] = (record.ood,) if isinstance(record.ood, str) else tuple(record.ood)
        return LabelConvention(name=record.name, ood=ood, void=tuple(record.void))
    except (AttributeError, TypeError) as error:
        raise TypeError(
            f"a label convention is asked for by name, as a LabelConvention or as a record with name, ood "
            f"and void; got {type(record).__name__}"
        ) from error


def count_codes(targets: Any) -> dict[int, int]:
    """How often each code occurs, in ascending order of the codes."""
    codes, counts = torch.unique(_whole_numbers(torch.as_tensor(targets)), return_counts=True)
    return dict(zip(codes.tolist(), counts.tolist(), strict=True))


def translate(
    targets: Any,
    source: str | LabelConvention | Labelled,
    *,
    num_classes: int | None = None,
    void: int = VOID,
    strict: bool = True,
) -> Tensor:
    """Targets of another convention in ours: ID `>= 0`, OOD `OOD`, void `void`.

    Args:
        targets: any shape, integer dtype or floats that are whole numbers; what `torch.as_tensor` takes.
        source: the convention they are written in, by name, as a `LabelConvention`, or a data set's record.
        num_classes: number of ID classes; "beyond num_classes" needs it, and class indices from it on are
            unknown.
        void: what to write for void. It must be neither `OOD` nor the index of a class.
        strict: False turns unknown codes into void instead of refusing them.

    Returns:
        int64 tensor of the same shape, on the same device.

    Raises:
        TypeError: bool or complex targets (which value would be OOD is not said).
        LabelError: a code that the convention does not know (the codes seen are listed with their counts), a
            code that the dtype has destroyed, a fraction or NaN, or a class seen that equals `void`.
        UnknownNameError: no convention has the name.
        ValueError: `void` is `OOD` or a class index, or `num_classes` is missing or below 1.
    """
    rules = convention(source)
    _check_options(rules, num_classes, void)
    given = torch.as_tensor(targets)
    codes = _whole_numbers(given)
    _refuse_wrapped(codes, given.dtype, rules)

    is_void = _matches(codes, rules.void, num_classes)
    is_ood = _matches(codes, rules.ood, num_classes) & ~is_void
    indices = _class_indices(codes, rules, num_classes)
    is_id = (indices >= 0) & ~is_void & ~is_ood
    unknown = ~(is_void | is_ood | is_id)
    if strict and bool(unknown.any()):
        raise LabelError(_unknown_codes(codes, unknown, rules, num_classes))
    if void >= 0 and bool((is_id & (indices == void)).any()):
        raise LabelError(
            f"class {void} occurs in the targets and would be void too: choose another void code"
        )
    return torch.where(is_id, indices, torch.where(is_ood, OOD, void))


def to_host(
    targets: Any,
    target: str | LabelConvention | Labelled,
    *,
    num_classes: int | None = None,
    void: int | None = VOID,
) -> Tensor:
    """The reverse: targets of ours in the codes of a host.

    A convention with a single ID code gets that code for every class. Of several OOD or void codes the
    first one is written; "negative" is written as -1 and "beyond num_classes" as `num_classes`.

    Args:
        targets: ours: `>= 0` ID, `void` void, any other negative OOD; any shape, whole numbers.
        target: the host's convention, by name, as a `LabelConvention`, or a data set's record.
        num_classes: number of ID classes, where the host's convention needs it.
        void: the code that is void in `targets`; None: none is.

    Returns:
        int64 tensor of the same shape.

    Raises:
        LabelError: the host has no code for a kind or class that occurs, or its code means another thing.
    """
    rules = convention(target)
    _check_options(rules, num_classes, None)
    codes = _whole_numbers(torch.as_tensor(targets))
    is_void = torch.zeros_like(codes, dtype=torch.bool) if void is None else codes == void
    is_ood = (codes < 0) & ~is_void
    result = _host_classes(codes, ~(is_void | is_ood), rules, num_classes)
    for kind, mask in (("OOD", is_ood), ("void", is_void)):
        if bool(mask.any()):
            result = torch.where(mask, _host_code(kind, rules, num_classes), result)
    return result


def _check_options(rules: LabelConvention, num_classes: int | None, void: int | None) -> None:
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if num_classes is None and BEYOND in (*rules.ood, *rules.void):
        raise ValueError(f"{rules._named} needs num_classes: {rules.describe()}")
    if void == OOD:
        raise ValueError(f"void={OOD} is the code of OOD; keep the default {VOID} or choose another")
    if void is not None and num_classes is not None and 0 <= void < num_classes:
        raise ValueError(f"void={void} is one of the {num_classes} class indices; keep the default {VOID}")


def _whole_numbers(given: Tensor) -> Tensor:
    if given.dtype == torch.bool or given.is_complex():
        raise TypeError(
            f"targets are {given.dtype}, which does not say what is OOD. Turn them into codes and name the "
            "convention, for instance translate(is_ood.long(), 'zero_one')"
        )
    if given.is_floating_point():
        odd = given[(given != given.round()) | ~given.isfinite()]
        if odd.numel():
            raise LabelError(
                f"targets are {given.dtype} and {odd.numel()} of {given.numel()} are not whole numbers, the "
                f"first is {odd[0].item()}. Was a mask resized bilinearly (use nearest) or scaled to 0..1?"
            )
    return given.to(torch.int64)


def _refuse_wrapped(codes: Tensor, dtype: torch.dtype, rules: LabelConvention) -> None:
    """Refuse what a narrow dtype makes of a code it cannot hold: -1 is 255 in uint8, 255 is -1 in int8."""
    if dtype.is_floating_point or dtype in (torch.int64, torch.uint64):
        return
    info = torch.iinfo(dtype)
    needed = {OOD if rule == NEGATIVE else rule for rule in (*rules.ood, *rules.void)} - {BEYOND}
    for code in sorted(int(rule) for rule in needed):
        wrapped = (code - info.min) % (info.max - info.min + 1) + info.min
        if wrapped == code or wrapped in rules.void:
            continue
        count = int((codes == wrapped).sum())
        if count:
            raise LabelError(
                f"{rules._named} has the code {code}, which {dtype} cannot hold: a cast makes it {wrapped}, "
                f"and {wrapped} occurs {count} times, so the two cannot be told apart. Build the mask in a "
                f"wider dtype (int64); if {wrapped} is meant as it stands, pass targets.long() under a "
                "convention that says so"
            )


def _matches(codes: Tensor, rules: Iterable[Code], num_classes: int | None) -> Tensor:
    rules = tuple(rules)
    exact = [rule for rule in rules if isinstance(rule, int)]
    found = torch.isin(codes, torch.tensor(exact, dtype=torch.int64, device=codes.device))
    if NEGATIVE in rules:
        found = found | (codes < 0)
    if BEYOND in rules and num_classes is not None:
        found = found | (codes >= num_classes)
    return found


def _class_indices(codes: Tensor, rules: LabelConvention, num_classes: int | None) -> Tensor:
    """Class index of each ID code, a negative number for everything else."""
    indices = codes
    if rules.classes is not None:
        indices = torch.full_like(codes, -1)
        for index, code in enumerate(rules.classes):
            indices = torch.where(codes == code, index, indices)
    return indices if num_classes is None else torch.where(indices < num_classes, indices, -1)


def _host_classes(codes: Tensor, is_id: Tensor, rules: LabelConvention, num_classes: int | None) -> Tensor:
    limit = num_classes if rules.classes is None else len(rules.classes)
    if rules.classes is not None and limit == 1:
        return torch.full_like(codes, rules.classes[0])
    beyond = codes[is_id & (codes >= limit)] if limit is not None else codes[:0]
    if beyond.numel():
        raise LabelError(f"class {int(beyond[0])} occurs, but {rules._named} has {limit} classes")
    if rules.classes is not None:
        return torch.tensor(rules.classes, dtype=torch.int64, device=codes.device)[codes.clamp(min=0)]
    taken = codes[is_id & _matches(codes, (*rules.ood, *rules.void), num_classes)]
    if taken.numel():
        raise LabelError(f"class {int(taken[0])} is no class in {rules._named}: {rules.describe()}")
    return codes


def _host_code(kind: str, rules: LabelConvention, num_classes: int | None) -> int:
    for rule in rules.ood if kind == "OOD" else rules.void:
        code = {NEGATIVE: OOD, BEYOND: num_classes}[rule] if isinstance(rule, str) else rule
        if code is not None and (kind == "void" or code not in rules.void):
            return code
    raise LabelError(
        f"{kind} targets occur, but {rules._named} has no code for them: {rules.describe()}. "
        "Leave them out before the hand-over"
    )


def _spelled(rules: tuple[Code, ...]) -> str:
    words = {NEGATIVE: "any y < 0", BEYOND: "any y >= num_classes"}
    numbers = [rule for rule in rules if isinstance(rule, int)]
    spelled = [str(number) for number in numbers]
    if len(numbers) > 3 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        spelled = [f"{numbers[0]}..{numbers[-1]}"]
    return ", ".join([*spelled, *(words[rule] for rule in rules if isinstance(rule, str))]) or "none"


_HINTS: Mapping[int, str] = MappingProxyType(
    {
        -100: "-100 is PyTorch's ignore_index (conventions 'torch', 'energy_plugin').",
        -1: "-1 is OOD in 'pytorch_ood' and 'openood', and void in 'cityscapes'.",
        254: "254 is OOD in 'pebal'.",
        255: "255 is void in most segmentation masks, and what -1 becomes in uint8.",
    }
)


def _unknown_codes(codes: Tensor, unknown: Tensor, rules: LabelConvention, num_classes: int | None) -> str:
    strangers = count_codes(codes[unknown])
    limit = "" if num_classes is None else f" (with num_classes={num_classes})"
    return " ".join(
        [
            f"{rules._named} does not know {_counted(strangers)}.",
            f"Codes seen: {_counted(count_codes(codes))}.",
            f"It knows{limit}: {rules.describe()}.",
            *(hint for code, hint in _HINTS.items() if code in strangers),
            "Name another convention, write a LabelConvention, or pass strict=False to make them void.",
        ]
    )


def _counted(counts: Mapping[int, int], most: int = 20) -> str:
    shown = ", ".join(f"{code} ({count} x)" for code, count in list(counts.items())[:most])
    return shown if len(counts) <= most else f"{shown} and {len(counts) - most} further codes"


def _load() -> Mapping[str, LabelConvention]:
    text = files("energy_plugin").joinpath("label_conventions.toml").read_text(encoding="utf-8")
    return MappingProxyType({name: _entry(name, entry) for name, entry in tomllib.loads(text).items()})


def _entry(name: str, entry: Mapping[str, Any]) -> LabelConvention:
    classes = [code for code in _expanded(entry.get("classes", ())) if isinstance(code, int)]
    return LabelConvention(
        name=name,
        ood=_expanded(entry.get("ood", ())),
        void=_expanded(entry.get("void", ())),
        classes=tuple(classes) or None,
        summary=entry["summary"],
        source=entry.get("source", ""),
    )


def _expanded(rules: Iterable[Code]) -> tuple[Code, ...]:
    expanded: list[Code] = []
    for rule in rules:
        first, dots, last = str(rule).partition("..")
        expanded.extend(range(int(first), int(last) + 1) if dots else [rule])
    return tuple(expanded)


CONVENTIONS: Mapping[str, LabelConvention] = _load()
"""The named conventions, read-only; `energy_plugin/label_conventions.toml` is their source."""
