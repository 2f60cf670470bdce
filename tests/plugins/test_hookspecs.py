"""The hooks: one for each kind of record, signature and docstring and nothing else."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from energy_plugin import hookspecs
from energy_plugin.records import KINDS


def test_one_hook_for_each_kind() -> None:
    found = {name for name in vars(hookspecs) if name.startswith("ood_")}
    assert found == {kind.hook for kind in KINDS}
    for kind in KINDS:
        signature = inspect.signature(getattr(hookspecs, kind.hook))
        assert not signature.parameters
        assert signature.return_annotation == f"Iterable[{kind.__name__}]"


def test_nothing_but_signature_and_docstring() -> None:
    functions = [
        node
        for node in ast.parse(Path(hookspecs.__file__).read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(functions) == len(KINDS)
    for function in functions:
        assert ast.get_docstring(function)
        assert len(function.body) == 1


def test_the_name_of_the_contract() -> None:
    assert hookspecs.PROJECT == "ood_benchmark"
    assert hookspecs.hookimpl.project_name == hookspecs.hookspec.project_name == "ood_benchmark"
