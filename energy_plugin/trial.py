"""Made-up plug-ins, good and bad, installed for as long as a check of a host's lookup takes."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from energy_plugin.hookspecs import PROJECT

GOOD = "contract_trial_good"
CLAIMED = "contract_trial_claimed"
ABSENT = "contract_trial_absent"

CLAIMANTS = ("contract_trial_first", "contract_trial_second")
"""The distributions that both own `CLAIMED`."""

_HEAD = f"""
import pluggy
from types import SimpleNamespace

hookimpl = pluggy.HookimplMarker({PROJECT!r})


class Score:
    def score(self, logits):
        return -logits.logsumexp(1)
"""

_OFFERS = """
@hookimpl
def ood_detectors():
    return [SimpleNamespace(name=name, target=f"{{__name__}}:Score", higher_is="ood") for name in {names!r}]
"""

_SOURCES = {
    "contract_trial_first": _HEAD + _OFFERS.format(names=(GOOD, CLAIMED)),
    "contract_trial_second": _HEAD + _OFFERS.format(names=(CLAIMED,)),
    "contract_trial_import": "import a_module_that_is_not_there",
    "contract_trial_hook": f"{_HEAD}\n@hookimpl\ndef ood_detectors():\n    raise RuntimeError('no luck')\n",
    "contract_trial_nothing": f"{_HEAD}\n@hookimpl\ndef ood_losses():\n    return []\n",
}
"""Each the plug-in of a distribution: two good ones with one name in common, two broken, one without any."""


@contextmanager
def installed() -> Iterator[None]:
    """Put the distributions on the path, first of all that are there, and take them away again."""
    with tempfile.TemporaryDirectory() as folder:
        for module, source in _SOURCES.items():
            info = Path(folder, f"{module}-1.0.dist-info")
            info.mkdir()
            Path(folder, f"{module}.py").write_text(source, encoding="utf-8")
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[{PROJECT}]\n{module} = {module}\n")
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(folder)
            for module in _SOURCES:
                sys.modules.pop(module, None)
            importlib.invalidate_caches()
