"""The manager: found one by one, broken ones set aside, names looked up, clashes told with both owners."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace

import pluggy
import pytest

from energy_plugin import hookimpl
from energy_plugin.discovery import DISABLE, Plugin
from energy_plugin.errors import DuplicateNameError, UnknownNameError
from energy_plugin.manager import PluginManager, default_manager
from energy_plugin.records import KINDS, LossSpec

Install = Callable[..., str]

MARK = """import pluggy
from types import SimpleNamespace as S
@pluggy.HookimplMarker('ood_benchmark')
"""
BROKEN = {
    "raises-import-error": (
        "import no_such_module",
        "import",
        "ModuleNotFoundError: No module named 'no_such",
    ),
    "exits-on-import": ("raise SystemExit(3)", "import", "SystemExit: 3"),
    "breaks-on-import": ("1 / 0", "import", "ZeroDivisionError: division by zero"),
    "hook-raises": (
        f"{MARK}def ood_losses():\n    raise RuntimeError('boom')",
        "records",
        "RuntimeError: boom",
    ),
    "late-raise": (
        f"{MARK}def ood_losses():\n    yield S(name='half', target='json:dumps')\n    raise KeyError('late')",
        "records",
        "KeyError: 'late'",
    ),
    "misspelt": (
        f"{MARK}def ood_loses():\n    return []",
        "hooks",
        "unknown hook. 'ood_loses': Did you mean 'ood_losses'",
    ),
    "unmarked": ("def ood_losses():\n    return []", "hooks", "ood_losses lacks the mark"),
    "takes-arguments": (
        f"{MARK}def ood_losses(config):\n    return []",
        "hooks",
        "{'config'} are declared",
    ),
    "empty": ("", "hooks", "implements no hook"),
    "returns-none": (
        f"{MARK}def ood_losses():\n    pass",
        "records",
        "ood_losses returned None",
    ),
    "returns-number": (
        f"{MARK}def ood_losses():\n    return 42",
        "records",
        "ood_losses returned 42; expected an iterable",
    ),
    "returns-text": (
        f"{MARK}def ood_losses():\n    return 'loss'",
        "records",
        "ood_losses returned 'loss'",
    ),
    "returns-texts": (
        f"{MARK}def ood_losses():\n    return ['loss']",
        "records",
        "'loss' is no loss record: it lacks name, target",
    ),
    "one-name-twice": (
        f"{MARK}def ood_losses():\n    return 2 * [S(name='a', target='json:dumps')]",
        "records",
        "two records named 'a'",
    ),
}


@pytest.mark.parametrize("distribution", BROKEN)
def test_a_broken_plugin_is_set_aside_and_the_rest_goes_on(install: Install, distribution: str) -> None:
    source, stage, told = BROKEN[distribution]
    install("good-one", loss="good")
    module = install(distribution, source or "x = 1", version="2.3")
    manager = PluginManager().discover()

    assert manager.get("loss", "good").target == "good_one:Loss"
    assert manager.get("loss", "energy_regularized")
    (problem,) = [p for p in manager.problems if p.stage != "switch"]
    assert [p.distribution for p in problem.plugins] == [distribution]
    assert problem.stage == stage
    for part in (f"plug-in {module!r} of {distribution} 2.3", told, f"{DISABLE}={module}"):
        assert part in str(problem)
    assert "half" not in {spec.name for spec in manager.losses()}  # nothing of it stays
    assert module not in {plugin.name for plugin in manager.plugins}


def test_all_broken_ones_at_once(install: Install) -> None:
    for distribution, (source, _, _) in BROKEN.items():
        install(distribution, source or "x = 1")
    manager = PluginManager().discover()
    assert {p.plugins[0].distribution for p in manager.problems} == set(BROKEN)
    assert manager.get("detector", "energy")


def test_two_owners_of_a_name_are_both_named_when_it_is_asked_for(install: Install) -> None:
    install("claims-ours", loss="energy_regularized", version="9.9")
    install("good-one", loss="good")
    manager = PluginManager().discover()
    with pytest.raises(DuplicateNameError) as caught:
        manager.get("loss", "energy_regularized")
    for part in (
        "has 2 owners",
        f"plug-in 'energy_plugin' of energy-plugin {version('energy-plugin')}",
        "plug-in 'claims_ours' of claims-ours 9.9",
        f"{DISABLE}=claims-ours:claims_ours",
    ):
        assert part in str(caught.value)
    assert [p.stage for p in manager.problems] == ["names"]
    assert [spec.name for spec in manager.losses()] == ["good"]
    assert manager.get("loss", "good")
    assert manager.get("detector", "energy")
    assert len([offer for offer in manager.offers("loss") if offer.record.name == "energy_regularized"]) == 2

    assert "distribution='claims-ours' or 'energy-plugin')" in str(caught.value)
    for owner, target in (
        ("energy-plugin", "energy_plugin.loss:EnergyRegularizedLoss"),
        ("claims_ours", "claims_ours:Loss"),
        ("claims-ours:claims_ours", "claims_ours:Loss"),
    ):
        assert manager.get("loss", "energy_regularized", distribution=owner).target == target
    with pytest.raises(UnknownNameError, match="is none of 'good-one', but of the plug-in 'claims_ours'"):
        manager.get("loss", "energy_regularized", distribution="good-one")
    with pytest.raises(UnknownNameError, match="No plug-in offers the loss 'energy_regularised'"):
        manager.get("loss", "energy_regularised", distribution="good-one")

    manager.block("claims-ours")
    assert manager.get("loss", "energy_regularized").target == "energy_plugin.loss:EnergyRegularizedLoss"
    assert manager.problems == ()


def test_one_name_of_two_kinds_is_no_clash() -> None:
    plugin = SimpleNamespace(ood_losses=hookimpl(lambda: [LossSpec(name="energy", target="json:dumps")]))
    manager = PluginManager().discover().add(plugin, "mine")
    assert manager.problems == ()
    assert manager.get("loss", "energy").target == "json:dumps"


def test_two_plugins_of_one_distribution_are_told_apart_by_their_keys(install: Install) -> None:
    entries = "[ood_benchmark]\nmine = one_dist\nyours = one_dist\n"
    install("one-dist", loss="twice", entry_points=entries)
    manager = PluginManager().discover()
    with pytest.raises(DuplicateNameError, match="distribution='one-dist:mine' or 'one-dist:yours'"):
        manager.get("loss", "twice")
    with pytest.raises(DuplicateNameError, match="has 2 owners"):
        manager.get("loss", "twice", distribution="one-dist")
    assert manager.get("loss", "twice", distribution="one-dist:yours").target == "one_dist:Loss"


def test_our_distributions_name_switches_off_all_of_ours_and_a_key_the_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = {plugin.key for plugin in PluginManager().discover().plugins}
    monkeypatch.setenv(DISABLE, "energy-plugin:energy_plugin")
    (off,) = PluginManager().discover().switched_off
    assert off.key == "energy-plugin:energy_plugin"
    monkeypatch.setenv(DISABLE, "energy_plugin")
    manager = PluginManager().discover()
    assert {plugin.key for plugin in manager.switched_off} == {
        key for key in ours if key.startswith("energy-plugin:")
    }
    assert len(manager.switched_off) > 3


def test_one_entry_point_name_of_two_distributions_is_no_clash(install: Install) -> None:
    entry = "[ood_benchmark]\nsame = {}\n"
    install("first-dist", loss="first", entry_points=entry.format("first_dist"))
    install("second-dist", loss="second", entry_points=entry.format("second_dist"))
    manager = PluginManager().discover()
    assert manager.problems == ()
    assert manager.get("loss", "first")
    assert manager.get("loss", "second")


@pytest.mark.parametrize("switch", ["raises_import_error", "raises-import-error", "Raises.Import_Error"])
@pytest.mark.parametrize("how", ["environment", "block"])
def test_switched_off_before_anything_is_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch, switch: str, how: str
) -> None:
    module = install("raises-import-error", "import sys\nsys.was_imported = True")
    manager = PluginManager()
    if how == "environment":
        monkeypatch.setenv(DISABLE, f" {switch} , energy_plugin_timm,")
    else:
        manager.block(switch, "energy_plugin_timm")
    manager.discover()
    assert module not in sys.modules
    assert not hasattr(sys, "was_imported")
    assert manager.problems == ()
    assert {p.name for p in manager.switched_off} == {module, "energy_plugin_timm"}
    assert "timm" not in {spec.name for spec in manager.hosts()}


def test_a_distribution_and_a_key_switch_off_too(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = "[ood_benchmark]\none = several\ntwo = several:other\n"
    source = """
        import pluggy
        from types import SimpleNamespace as S
        mark = pluggy.HookimplMarker("ood_benchmark")

        @mark
        def ood_losses():
            return [S(name="one", target="json:dumps")]

        other = S(ood_losses=mark(lambda: [S(name="two", target="json:dumps")]))
    """
    install("several", source, entry_points=entry)
    monkeypatch.setenv(DISABLE, "several:one")
    assert {s.name for s in PluginManager().discover().losses()} == {"two", "energy_regularized"}
    monkeypatch.setenv(DISABLE, "several")
    assert {s.name for s in PluginManager().discover().losses()} == {"energy_regularized"}


def test_a_switch_that_nobody_answers_to_is_told_with_near_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLE, "energy_plugin_tim")
    (problem,) = PluginManager().discover().problems
    assert problem.stage == "switch"
    assert "'energy_plugin_tim' was to be switched off" in str(problem)
    assert "'energy_plugin_timm'" in problem.advice


def test_blocking_later_drops_what_was_there(install: Install) -> None:
    install("good-one", loss="good")
    install("breaks-on-import", "1 / 0")
    manager = PluginManager().discover().block("good-one", "breaks-on-import")
    assert "good" not in {spec.name for spec in manager.losses()}
    assert manager.problems == ()
    assert {p.distribution for p in manager.switched_off} == {"good-one", "breaks-on-import"}
    assert manager.discover().problems == ()  # and it stays so
    assert len(manager.switched_off) == 2


def test_discovering_again_finds_what_is_new_and_doubles_nothing(install: Install) -> None:
    install("breaks-on-import", "1 / 0")
    manager = PluginManager().discover()
    plugins = manager.plugins
    install("good-one", loss="good")
    manager.discover()
    assert len(manager.plugins) == len(plugins) + 1
    assert len(manager.problems) == 1


def test_unknown_names_and_kinds_get_near_misses(install: Install) -> None:
    install("breaks-on-import", "1 / 0")
    manager = PluginManager().discover().block("energy_plugin_timm")
    with pytest.raises(UnknownNameError) as caught:
        manager.get("loss", "energy_regularised")
    for part in (
        "the loss 'energy_regularised'",
        "Did you mean 'energy_regularized'",
        "1 set aside",
        "1 switched off",
    ):
        assert part in str(caught.value)
    with pytest.raises(LookupError, match=r"no kind 'losses'.*'loss'"):
        manager.get("losses", "energy_regularized")  # type: ignore[call-overload]


def test_every_kind_has_its_method_and_its_hook() -> None:
    methods = ["losses", "detectors", "backbones", "datasets", "hosts", "published", "commands"]
    assert [kind.hook for kind in KINDS] == [f"ood_{method}" for method in methods]
    plugin = SimpleNamespace()
    for kind in KINDS:
        record = kind(name=f"the-{kind.kind}", target="json:dumps")
        setattr(plugin, kind.hook, hookimpl(lambda record=record: [record]))
    manager = PluginManager().add(plugin, "mine")
    for kind, method in zip(KINDS, methods, strict=True):
        (found,) = getattr(manager, method)()
        assert type(found) is kind
        assert manager.get(kind.kind, f"the-{kind.kind}") is found  # type: ignore[call-overload]
    assert len(manager.offers()) == len(KINDS)
    assert manager.plugins == (Plugin(name="mine"),)


def test_a_plugin_by_hand_may_be_broken_too() -> None:
    typo = SimpleNamespace(ood_loses=hookimpl(lambda: ()))
    manager = PluginManager().add(typo, "typo").add(None, "none")
    assert [p.plugins[0].name for p in manager.problems] == ["typo", "none"]
    assert repr(manager) == "<PluginManager: 0 plug-ins, 2 problems>"


def test_other_plugins_do_not_see_a_hook_call() -> None:
    calls = []
    first = SimpleNamespace(ood_losses=hookimpl(lambda: calls.append("first") or []))
    second = SimpleNamespace(ood_losses=hookimpl(lambda: calls.append("second") or []))
    PluginManager().add(first, "first").add(second, "second")
    assert calls == ["first", "second"]


def test_the_default_manager_discovers_once(install: Install) -> None:
    manager = default_manager()
    assert default_manager() is manager
    assert manager.get("detector", "energy").higher_is == "ood"


def test_a_plain_pluggy_host_sees_our_records() -> None:
    """What a host does that has never heard of us: pluggy and the names of the hooks."""
    spec = pluggy.HookspecMarker("ood_benchmark")
    host = pluggy.PluginManager("ood_benchmark")
    host.add_hookspecs(SimpleNamespace(ood_losses=spec(lambda: None), ood_detectors=spec(lambda: None)))
    host.load_setuptools_entrypoints("ood_benchmark", "energy_plugin")
    names = [record.name for records in host.hook.ood_losses() for record in records]
    assert names == ["energy_regularized"]
