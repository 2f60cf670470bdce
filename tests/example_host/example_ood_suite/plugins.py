"""Finds losses and detectors in plug-ins, and carries on without those that are broken."""

import importlib
from collections import Counter
from importlib.metadata import entry_points
from types import SimpleNamespace

import pluggy

GROUP = "ood_benchmark"
KINDS = ("losses", "detectors", "backbones", "datasets", "hosts", "published", "commands")
HOOKS = [f"ood_{kind}" for kind in KINDS]


class Plugins:
    """What was found (`offers`: hook, owner, record) and what is wrong (`failures`)."""

    def __init__(self):
        self.offers = []
        self.failures = []
        for entry in entry_points(group=GROUP):
            owner = f"{entry.dist.name} {entry.dist.version}"
            try:
                self.offers += [(hook, owner, record) for hook, record in ask(entry)]
            except Exception as error:  # noqa: BLE001 - a stranger's plug-in may raise anything
                self.failures.append(f"{entry.name} ({owner}): {type(error).__name__}: {error}")
        names = Counter((hook, record.name) for hook, _, record in self.offers)
        for (hook, name), count in names.items():
            if count > 1:
                owners = " and ".join(o for h, o, record in self.offers if (h, record.name) == (hook, name))
                self.failures.append(f"{name} is claimed by {owners}")

    def get(self, hook, name, distribution=""):
        """Import what a record names; where two plug-ins own the name, the distribution must be said."""
        found = [
            record
            for offered, owner, record in self.offers
            if (offered, record.name) == (hook, name) and owner.startswith(distribution)
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found)} plug-ins offer {name!r}. " + "; ".join(self.failures))
        module, _, attribute = found[0].target.partition(":")
        return getattr(importlib.import_module(module), attribute), found[0]


def ask(entry):
    """Load one plug-in, alone, and yield what its hooks return."""
    manager = pluggy.PluginManager(GROUP)
    spec = pluggy.HookspecMarker(GROUP)
    manager.add_hookspecs(SimpleNamespace(**{hook: spec(lambda: None) for hook in HOOKS}))
    manager.register(entry.load(), entry.name)
    manager.check_pending()
    for hook in HOOKS:
        for records in getattr(manager.hook, hook)():
            for record in records:
                if not (isinstance(record.name, str) and ":" in record.target):
                    raise ValueError(f"{hook} returned {record!r}")
                yield hook, record
