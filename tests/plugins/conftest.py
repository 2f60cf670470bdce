"""Made-up distributions with plug-ins, as an installer would leave them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from energy_plugin.manager import default_manager

GOOD = """
import pluggy
from types import SimpleNamespace

hookimpl = pluggy.HookimplMarker("ood_benchmark")


@hookimpl
def ood_losses():
    return [SimpleNamespace(name="{name}", target="{module}:Loss")]


class Loss:
    pass
"""

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution whose one module is its plug-in; returns the module's name."""
    written = set()

    def write(
        distribution: str,
        source: str = "",
        *,
        loss: str = "",
        version: str = "1.0",
        folder: str = "site",
        entry_points: str = "",
    ) -> str:
        module = distribution.replace("-", "_")
        site = tmp_path / folder
        info = site / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        text = source or GOOD.format(name=loss or distribution, module=module)
        (site / f"{module}.py").write_text(textwrap.dedent(text))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points or f"[ood_benchmark]\n{module} = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        written.add(module)
        return module

    yield write
    for module in written:
        sys.modules.pop(module, None)


@pytest.fixture(autouse=True)
def _fresh_manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OOD_BENCHMARK_DISABLE", raising=False)
    default_manager.cache_clear()
    yield
    default_manager.cache_clear()
