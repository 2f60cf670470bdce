"""What all models of values and recipes stand on: strict fields, rules between them, all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from energy_plugin.errors import near_misses

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Text = Annotated[str, Field(strict=True, min_length=1)]
Rule = Callable[[Any], Iterator[str]]
"""Yields what contradicts itself in a model."""
_M = TypeVar("_M", bound=BaseModel)


class RowsError(ValueError):
    """Files of rows, recipes or assets with faults, all of them in `faults`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        many = "one fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n  ".join([f"{many} in the published values:", *self.faults]))


class ContradictionError(ValueError):
    """Fields that are well by themselves and contradict each other; all of it in `faults`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class Strict(BaseModel):
    """A frozen model that refuses fields it does not know.

    Attributes:
        rules: What must hold between its fields.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _ruled(self) -> Self:
        faults = self.contradictions()
        if faults:
            raise ContradictionError(faults)
        return self

    def contradictions(self) -> list[str]:
        """What breaks a rule: nothing, unless the model was made without validation."""
        return [fault for rule in self.rules for fault in rule(self)]


def check(model: type[_M], fields: Mapping[str, Any], place: str, faults: list[str]) -> list[_M]:
    """Validate fields against a model: the model alone, or nothing and its faults appended, one line each."""
    try:
        return [model.model_validate(fields)]
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults += [f"{place}: {text}" for fault in found for text in _told(model, fault)]
        bad = {str(fault["loc"][0]) for fault in found if fault["loc"]}
        if bad and issubclass(model, Strict):
            faults += [f"{place}: {text}" for text in _beside(model, fields, bad)]
        return []


def _told(model: type[BaseModel], fault: Mapping[str, Any]) -> list[str]:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return [f"unknown field {path!r}. {near_misses(path, model.model_fields)}"]
    if fault["type"] == "missing":
        return [f"field {path!r} is missing"]
    cause = fault.get("ctx", {}).get("error")
    before = f"{path}: " if path else ""
    if isinstance(cause, ContradictionError):
        return [f"{before}{text}" for text in cause.faults]
    message = str(fault["msg"]).removeprefix("Value error, ")
    return [before + message + ("" if fault["type"] == "value_error" else f", got {shown(fault['input'])}")]


def _beside(model: type[Strict], fields: Mapping[str, Any], bad: set[str]) -> Iterator[str]:
    """What the fields that are well by themselves contradict: pydantic asks only where all are well."""
    known = {name: value for name, value in fields.items() if name in model.model_fields and name not in bad}
    made = model.model_construct(**known)
    for name in bad:
        made.__dict__.pop(name, None)  # a default in its place would speak for what is not known
    for rule in model.rules:
        try:
            yield from list(rule(made))
        except AttributeError:  # it asks for a field that has a fault of its own
            continue


def table(value: object, place: str, faults: list[str]) -> dict[str, Any]:
    """A table of TOML; an empty one, and a fault, where it is something else."""
    if isinstance(value, Mapping):
        return dict(value)
    faults.append(f"{place}: expected a table, got {shown(value)}")
    return {}


def tables(
    value: object, place: str, faults: list[str], each: str = ""
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number, from 1, and content of the tables of an array; a fault for whatever is none.

    Args:
        value: What came.
        place: Of the array.
        faults: What is found is appended here.
        each: How one of its tables is called, before its number; empty as the array.
    """
    if not isinstance(value, list):
        faults.append(f"{place}: expected an array of tables, got {shown(value)}")
        return
    for number, one in enumerate(value, start=1):
        if isinstance(one, Mapping):
            yield number, dict(one)
        else:
            faults.append(f"{each or place} {number}: expected a table, got {shown(one)}")


def shown(value: object, *, most: int = 80) -> str:
    """A value in a message, cut short."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
