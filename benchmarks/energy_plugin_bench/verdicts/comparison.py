"""Detectors beside each other: on the images of published rows, what other scores make of the same logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from energy_plugin.errors import DuplicateNameError
from energy_plugin.manager import PluginManager
from energy_plugin.records import DetectorSpec
from energy_plugin_bench.passes.cache import to_stderr
from energy_plugin_bench.values.rows import ANOMALOUS_PIXELS, CLASSIFICATION_METRICS, PublishedValue, Source
from energy_plugin_bench.verdicts.measure import detector_record, is_ours
from energy_plugin_bench.verdicts.questions import question
from energy_plugin_bench.verdicts.runner import Runner
from energy_plugin_bench.verdicts.verdict import Question, Verdict

BESIDE = ("energy", "msp", "max_logit")
"""Scores of the house that every report compares."""


def third_party(manager: PluginManager) -> dict[str, str]:
    """Detectors that other plug-ins offer, and whose they are; without names that have two owners."""
    sole = {spec.name for spec in manager.detectors()}
    return {
        offer.record.name: str(offer.plugin)
        for offer in manager.offers("detector")
        if offer.record.name in sole and not is_ours(offer.record)
    }


def scoring_pixels(
    manager: PluginManager, detectors: Iterable[str], say: Callable[[str], None] = to_stderr
) -> tuple[str, ...]:
    """Which detectors score every pixel of logits (N, C, H, W); other plug-ins' that do not are told.

    Raises:
        LookupError: No plug-in offers a detector.
    """
    owners, found = third_party(manager), []
    logits = torch.randn(1, 8, 2, 3, generator=torch.Generator().manual_seed(0))
    for name in detectors:
        spec = _of_name(manager, name, say)
        if spec is None:
            continue
        try:
            shape = tuple(spec.load()().score(logits).shape)
        except Exception as error:
            if name not in owners:
                raise
            say(f"the detector {name!r} ({owners[name]}) scores no pixels and is left out of maps: {error}")
            continue
        if shape == (1, 2, 3):
            found.append(name)
        elif name in owners:
            say(
                f"the detector {name!r} ({owners[name]}) scores no pixels and is left out of maps: "
                f"it gave {shape} for logits (1, 8, 2, 3)"
            )
    return tuple(found)


def beside(
    runner: Runner,
    rows: Iterable[tuple[Source, PublishedValue]],
    detectors: Sequence[str],
    *,
    known: Iterable[Verdict] = (),
    say: Callable[[str], None] = to_stderr,
) -> Iterator[Verdict]:
    """Measure detectors on the sets of rows that were run, from the same logits, in percent.

    A detector that cannot score logits (it wants features, or fails) is told and left out.

    Args:
        runner: Measures.
        rows: Published values.
        detectors: Names, such as `BESIDE`.
        known: Verdicts that are there already; their figures are not measured twice.
        say: Told of detectors that are left out.

    Raises:
        LookupError: No plug-in offers a detector.
    """
    detectors = [name for name in detectors if _of_name(runner.manager, name, say) is not None]
    seen = {(verdict.source, verdict.asked) for verdict in known if verdict.measured is not None}
    owners, broken = third_party(runner.manager), set()
    for source, asked in _sets(runner, rows, detectors):
        for name in detectors:
            wanted = replace(asked, method=name)
            if (source, wanted) in seen or name in broken:
                continue
            if asked.ood_set == ANOMALOUS_PIXELS and name not in runner.beside_pixels:
                continue
            seen.add((source, wanted))
            found = runner.attempt_figure(
                source, wanted, f"offered by {owners[name]}" if name in owners else ""
            )
            if found.failed and runner.broken(source, wanted):
                break  # files are at fault, no score: what needs them said so
            if found.failed and name in owners:
                broken.add(name)
                say(f"the detector {name!r} ({owners[name]}) is left out: {found.reason}")
            else:
                yield found


def _of_name(manager: PluginManager, name: str, say: Callable[[str], None]) -> DetectorSpec | None:
    """The detector of a name; None, and said, where two other plug-ins own it."""
    try:
        return detector_record(manager, name)
    except DuplicateNameError as error:
        say(f"the detector {name!r} is left out: {error.args[0]}")
        return None


def _sets(
    runner: Runner, rows: Iterable[tuple[Source, PublishedValue]], detectors: Sequence[str]
) -> Iterator[tuple[str, Question]]:
    """What is asked of the rows, whatever their detector, where images and networks are there."""
    found: dict[tuple[str, Question], None] = {}
    for source, row in rows if detectors else ():
        asked = replace(question(row), method=detectors[0], temperature=1.0)
        if row.ood_set is None or row.metric in CLASSIFICATION_METRICS or row.obstacle:
            continue
        found[source.name, asked] = None
    yield from (which for which in found if not runner.obstacles(*which))
