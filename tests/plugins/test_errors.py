"""Our exceptions derive from the built-ins that a caller would expect; near misses help."""

from __future__ import annotations

import pytest

from energy_plugin import errors


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (errors.DuplicateNameError, ValueError),
        (errors.LabelError, ValueError),
        (errors.NotFittedError, ValueError),
        (errors.NotFittedError, AttributeError),
        (errors.UnknownNameError, LookupError),
        (errors.ExtraMissingError, ImportError),
        (errors.HostMissingError, errors.ExtraMissingError),
        (errors.ContractError, AssertionError),
    ],
)
def test_the_tree(ours: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(ours, builtin)


def test_the_tree_in_the_docstring_is_whole() -> None:
    own = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    assert own
    for name in own:
        assert f" {name} " in str(errors.__doc__)


def test_near_misses() -> None:
    known = ["energy", "energy_regularized", "msp"]
    assert errors.near_misses("enrgy", known) == "Did you mean 'energy'?"
    assert errors.near_misses("zzz", known) == "Known: 'energy', 'energy_regularized', 'msp'."
    assert errors.near_misses("zzz", map(str, range(10)), most=2) == "Known: '0', '1' and 8 more."
    assert errors.near_misses("zzz", []) == "None is known."
