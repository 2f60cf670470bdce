"""Verdicts on published figures that are met by training."""

import math
import statistics

import pytest

from energy_plugin_bench.retrain.command import RECIPE
from energy_plugin_bench.retrain.retraining import interval, parse_retraining, verdicts
from energy_plugin_bench.retrain.song_training import Run
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.checking import RowsError


@pytest.fixture(scope="module")
def recipe():
    return parse_retraining(RECIPE)[0]


@pytest.fixture(scope="module")
def rows():
    return {row.id: row for row in registries.load().sources["song_energy_ood"].rows}


def runs_like(recipe, figures, outliers=8, steps=100):
    """Runs around the published figures: one below, one at, one above."""
    logged = next(known for known in recipe.logged if known.outliers == outliers)
    return [
        Run(
            outliers=outliers,
            seed=seed,
            steps=steps,
            losses=[(1 + 0.1 * off) * value / logged.share for value in logged.losses],
            seconds=1.0,
            **{name: value + off * width for name, (value, width) in figures.items()},
        )
        for seed, off in enumerate((-1, 0, 1))
    ]


NEAR = {"error_rate": (0.3, 0.02), "tnr95": (99.5, 0.1), "tnr99": (95.3, 0.5), "auroc": (99.76, 0.02)}


def judged(recipe, rows, runs, outliers=(8,)):
    return {verdict.id: verdict for verdict in verdicts(recipe, rows, runs, outliers)}


def test_the_recipe_names_rows_that_exist(recipe, rows):
    for count in recipe.outliers:
        for metric, before in recipe.before.items():
            assert rows[recipe.rows.format(outliers=count, metric=metric)].metric == metric
            assert rows[before].metric == metric
    assert [len(known.losses) for known in recipe.logged] == [100, 100]


def test_the_interval_is_that_of_one_further_draw():
    values = [1.0, 2.0, 3.0]
    assert interval(values) == pytest.approx(4.303 * math.sqrt(1 + 1 / 3))
    assert interval(values, rounding=0.5) == pytest.approx(interval(values) + 0.5)
    assert interval(values, source_error=2.0) == pytest.approx(4.303 * math.sqrt(4 / 3 + 4))
    assert interval([1.0] * 30 + [2.0]) == pytest.approx(
        2.262 * statistics.stdev([1.0] * 30 + [2.0]) * math.sqrt(1 + 1 / 31)
    )


def test_figures_around_the_published_ones_are_reproduced(recipe, rows):
    found = judged(recipe, rows, runs_like(recipe, NEAR))
    assert {verdict.status for verdict in found.values()} == {"reproduced"}
    tnr99 = found["song_mnist_energyft8_tnr99"]
    assert (tnr99.published, tnr99.draws) == ("95.47", 3)
    assert tnr99.measured == pytest.approx(95.3)
    error = (0.18 + 0.005) / math.sqrt(5)
    assert tnr99.tolerance.width == pytest.approx(
        interval([94.8, 95.3, 95.8], source_error=error, rounding=0.005)
    )
    assert "prediction interval" in tnr99.tolerance.reason
    assert tnr99.note == "before the fine-tuning 77.40: the tolerance tells the two apart"
    assert "seeds 0, 1, 2" in tnr99.origin


def test_figures_elsewhere_differ(recipe, rows):
    found = judged(recipe, rows, runs_like(recipe, NEAR | {"tnr99": (90.0, 0.5)}))
    assert found["song_mnist_energyft8_tnr99"].status == "differs"
    assert found["song_mnist_energyft8_auroc"].status == "reproduced"


def test_a_tolerance_that_shows_nothing_says_so(recipe, rows):
    found = judged(recipe, rows, runs_like(recipe, NEAR | {"auroc": (99.7, 0.5)}))
    note = found["song_mnist_energyft8_auroc"].note
    assert note.startswith(
        "before the fine-tuning 99.08: within the tolerance, so this row alone shows no effect"
    )


def test_losses_are_compared_over_windows(recipe, rows):
    found = judged(recipe, rows, runs_like(recipe, NEAR))
    first = found["song_mnist_energyft8_loss_1_to_1"]
    assert (first.published, first.unit) == ("3.8686", "0.2 * loss")
    assert first.measured == pytest.approx(3.8686)
    tenth = found["song_mnist_energyft8_loss_1_to_10"]
    assert float(tenth.published) == pytest.approx(statistics.fmean(recipe.logged[0].losses[:10]), abs=1e-4)
    assert sum(name.rpartition("loss_")[1] != "" for name in found) == 4
    shifted = [
        Run(**run.to_dict() | {"losses": [value + 5 for value in run.losses]})
        for run in runs_like(recipe, NEAR)
    ]
    assert judged(recipe, rows, shifted)["song_mnist_energyft8_loss_51_to_100"].status == "differs"


def test_without_two_runs_of_the_right_length_nothing_is_judged(recipe, rows):
    short = runs_like(recipe, NEAR, steps=99)
    found = judged(recipe, rows, [*short, *runs_like(recipe, NEAR)[:1]])
    assert {verdict.status for verdict in found.values()} == {"not run"}
    assert "two runs at least, there is 1" in found["song_mnist_energyft8_auroc"].reason
    assert {v.status for v in judged(recipe, rows, runs_like(recipe, NEAR), outliers=(32,)).values()} == {
        "not run"
    }


def test_a_faulty_recipe_lists_every_fault(tmp_path):
    text = RECIPE.read_text(encoding="utf-8").replace("seeds = [0, 1, 2]", "seeds = [1, 1]")
    path = tmp_path / "faulty.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RowsError, match="two different seeds"):
        parse_retraining(path)
    path.write_text(text.replace("classes = 8", 'classes = "eight"\ncolour = 3'), encoding="utf-8")
    with pytest.raises(RowsError, match=r"(?s)classes.*colour|colour.*classes"):
        parse_retraining(path)
