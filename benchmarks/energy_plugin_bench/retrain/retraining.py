"""Published figures of fine-tuned networks, met again by training: recipe, verdicts, command.

A recipe (`retrained/*.toml`) names rows of a source by a pattern, the network before the fine-tuning, and
what is known of the training. What is not known is drawn anew for every seed, so a published figure is
judged as one more draw: by a prediction interval from the spread over the seeds.
"""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from energy_plugin_bench.retrain.song_training import Run
from energy_plugin_bench.values.checking import Number, RowsError, Strict, Text, check
from energy_plugin_bench.values.files import Asset, parse_files
from energy_plugin_bench.values.rows import PublishedValue
from energy_plugin_bench.verdicts.verdict import Question, Tolerance, Verdict, judged

STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5 % quantiles of Student's t by degrees of freedom; beyond 9 the last one is kept: a little too wide."""


class Logged(Strict):
    """Losses of the steps as a source printed them.

    Attributes:
        outliers: Auxiliary outliers a class in that run.
        share: What the printed values are of a step's loss.
        place: Where they were read.
        losses: One a step, from the first on.
    """

    outliers: int
    share: Number
    place: Text
    losses: tuple[Number, ...]


class Retraining(Strict):
    """How rows of one source are met by training.

    Attributes:
        source: Name of the source.
        rows: Pattern of their ids, with {outliers} and {metric}.
        before: Ids of the rows of the network before the fine-tuning, by metric.
        convention: Of the metrics.
        preset: Name in `energy_plugin.margins.PRESETS`.
        weights: Path of the asset of the network before the fine-tuning.
        train_images: Path of an asset.
        test_images: Path of an asset.
        classes: Number of classes; further labels are outliers.
        steps: Updates.
        outliers: Auxiliary outliers a class, one series of runs each.
        seeds: One run each.
        reason: Why the tolerance is what it is.
        logged: Losses that the source printed.
    """

    source: Text
    rows: Text
    before: dict[str, Text]
    convention: Text
    preset: Text
    weights: Text
    train_images: Text
    test_images: Text
    classes: int
    steps: Annotated[int, Field(strict=True, ge=1)]
    outliers: tuple[int, ...]
    seeds: tuple[int, ...]
    reason: Text
    logged: tuple[Logged, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.seeds)) < 2:
            raise ValueError("a spread needs two different seeds at least")
        return self


def parse_retraining(file: Traversable) -> tuple[Retraining, dict[str, Asset]]:
    """Read a recipe and the files it needs beyond those of the other recipes.

    Raises:
        RowsError: It has faults; all of them.
    """
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    faults: list[str] = []
    fields = {**data["retraining"], "logged": data.get("logged", [])}
    recipes = check(Retraining, fields, f"{file.name}: retraining", faults)
    files = parse_files(data, file.name, faults) if "files" in data else []
    if faults:
        raise RowsError(faults)
    return recipes[0], {asset.path: asset for asset in files}


def verdicts(
    recipe: Retraining, rows: Mapping[str, PublishedValue], runs: Iterable[Run], outliers: Iterable[int]
) -> Iterator[Verdict]:
    """Judge every row by the runs with that many outliers, then the logged losses.

    Args:
        recipe: Says which rows.
        rows: The source's rows by id.
        runs: With the recipe's number of steps; of other numbers none counts.
        outliers: The series to judge.
    """
    runs = [run for run in runs if run.steps == recipe.steps]
    for count in outliers:
        chosen = [run for run in runs if run.outliers == count]
        for metric, before in recipe.before.items():
            row = rows[recipe.rows.format(outliers=count, metric=metric)]
            yield _row_verdict(recipe, row, rows[before], chosen)
        for logged in (known for known in recipe.logged if known.outliers == count):
            yield from _loss_verdicts(recipe, logged, chosen)


def interval(values: list[float], *, source_error: float = 0.0, rounding: float = 0.0) -> float:
    """Half the 95 % prediction interval of one further value, with what blurs the source's.

    Args:
        values: At least two, of runs that differ in what is not known of the source's.
        source_error: Standard error of the source's figure.
        rounding: Half of its last printed digit.
    """
    freedom = len(values) - 1
    spread = statistics.stdev(values)
    error = math.sqrt(spread**2 * (1 + 1 / len(values)) + source_error**2)
    return STUDENT[min(freedom, max(STUDENT))] * error + rounding


def _row_verdict(recipe: Retraining, row: PublishedValue, before: PublishedValue, runs: list[Run]) -> Verdict:
    told: dict[str, Any] = {
        "id": row.id,
        "source": recipe.source,
        "asked": Question(row.network, row.id_set, row.ood_set, row.method, row.metric, row.convention),
        "unit": row.unit,
        "published": row.printed,
        "place": row.place,
    }
    values = [float(getattr(run, row.metric)) for run in runs]
    if len(values) < 2:
        return Verdict(status="not run", reason=_too_few(len(values)), **told)
    rounding = 0.5 * 10.0**-row.decimals
    source_error = (row.std + rounding) / math.sqrt(row.draws) if row.std is not None and row.draws else 0.0
    width = interval(values, source_error=source_error, rounding=rounding)
    allowed = Tolerance(target=row.value, width=width, reason=recipe.reason)
    mean = statistics.fmean(values)
    note = f"before the fine-tuning {before.printed}: {_told_apart(before, allowed)}"
    return Verdict(
        status=judged(mean, allowed),
        measured=mean,
        spread=statistics.stdev(values),
        draws=len(values),
        tolerance=allowed,
        origin=_origin(runs),
        note=note,
        **told,
    )


def _told_apart(before: PublishedValue, allowed: Tolerance) -> str:
    if judged(before.value, allowed) == "differs":
        return "the tolerance tells the two apart"
    return "within the tolerance, so this row alone shows no effect of the training"


WINDOWS = ((1, 1), (1, 10), (11, 50), (51, 100))
"""Steps, from and to, over which losses are averaged for the comparison: single ones hang on their batch."""


def _loss_verdicts(recipe: Retraining, logged: Logged, runs: list[Run]) -> Iterator[Verdict]:
    for first, last in WINDOWS:
        if last > len(logged.losses):
            continue
        window = slice(first - 1, last)
        network = recipe.rows.format(outliers=logged.outliers, metric="network")
        metric = f"training loss, steps {first} to {last}"
        told: dict[str, Any] = {
            "id": recipe.rows.format(outliers=logged.outliers, metric=f"loss_{first}_to_{last}"),
            "source": recipe.source,
            "asked": Question(network, recipe.train_images, None, "training", metric, None),
            "unit": f"{logged.share:g} * loss",
            "place": logged.place,
        }
        published = statistics.fmean(logged.losses[window])
        values = [logged.share * statistics.fmean(run.losses[window]) for run in runs]
        if len(values) < 2:
            yield Verdict(
                status="not run", published=f"{published:.4f}", reason=_too_few(len(values)), **told
            )
            continue
        allowed = Tolerance(target=published, width=interval(values, rounding=0.5e-4), reason=recipe.reason)
        mean = statistics.fmean(values)
        yield Verdict(
            status=judged(mean, allowed),
            published=f"{published:.4f}",
            measured=mean,
            spread=statistics.stdev(values),
            draws=len(values),
            tolerance=allowed,
            origin=_origin(runs),
            **told,
        )


def _too_few(count: int) -> str:
    return f"a spread needs two runs at least, there {'is' if count == 1 else 'are'} {count}"


def _origin(runs: list[Run]) -> str:
    seeds = ", ".join(str(run.seed) for run in runs)
    return f"{runs[0].steps} steps of fine-tuning with EnergyRegularizedLoss, seeds {seeds}"
