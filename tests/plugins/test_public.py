"""The public names, and what importing and listing must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import energy_plugin

HEAVY = {"torch", "numpy", "timm", "pytorch_ood", "torchvision", "rich", "pydantic", "sklearn", "matplotlib"}


def imported_by(code: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after `code`."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.partition(".")[0] for name in run.stderr.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import energy_plugin; dir(energy_plugin); energy_plugin.__version__",
        "from energy_plugin import hookimpl, register, PluginManager, Registration",
        "from energy_plugin import default_manager as m; assert m().losses(); assert not m().problems",
        "import importlib.metadata as m; [e.load() for e in m.entry_points(group='ood_benchmark')]",
        "from energy_plugin.cli import main; main(['list'])",
        "from energy_plugin.cli import main; main(['doctor'])",
        "from energy_plugin.cli import main; main(['version'])",
        "from energy_plugin.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str) -> None:
    loaded = imported_by(code)
    assert "energy_plugin" in loaded or "importlib" in code
    assert not loaded & HEAVY


def test_all_is_exactly_the_public_names() -> None:
    source = ast.parse(Path(energy_plugin.__file__).read_text())
    (checking,) = [node for node in source.body if isinstance(node, ast.If)]
    typed = {alias.name for node in checking.body for alias in node.names}  # type: ignore[attr-defined]
    assert sorted(typed) == energy_plugin.__all__ == sorted(energy_plugin.__all__)
    assert set(energy_plugin.__all__) <= set(dir(energy_plugin))
    for name in energy_plugin.__all__:
        assert getattr(energy_plugin, name) is not None
    public = {name for name in vars(energy_plugin) if not name.startswith("_")}
    modules = {name for name in public if isinstance(getattr(energy_plugin, name), ModuleType)}
    assert public - modules - {"TYPE_CHECKING", "annotations", "find_spec"} <= set(energy_plugin.__all__)


def test_every_submodule_is_reached_by_attribute() -> None:
    stems = {path.stem for path in Path(energy_plugin.__file__).parent.glob("*.py")}
    stems -= {"__init__", "__main__"}
    for stem in stems:
        assert getattr(energy_plugin, stem).__name__ == f"energy_plugin.{stem}"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="'energy_plugin' has no attribute 'EnergyLoss'"):
        _ = energy_plugin.EnergyLoss  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        from energy_plugin import nothing_of_the_kind  # noqa: F401
