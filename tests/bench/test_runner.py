"""Rows in, verdicts out, on a small world whose figures are known."""

import pytest
import torch

from energy_plugin.metrics import evaluate


def verdicts(runner):
    return {row.id: runner.verdict(source, row) for source, row in runner.registry.rows()}


def test_each_row_gets_its_verdict(world):
    found = verdicts(world())
    assert {name: verdict.status for name, verdict in found.items()} == {
        "shades_error": "reproduced",
        "shades_auroc": "reproduced",
        "shades_fpr95": "differs",
        "shades_drawn": "reproduced",
        "shades_none": "not run",
    }
    assert found["shades_none"].reason == "needs pictures that nobody has"
    assert found["shades_none"].measured is None
    assert found["shades_fpr95"].measured == 0.0
    assert found["shades_error"].origin == "images"


def test_a_detector_whose_high_scores_mean_id_is_turned_round(world):
    runner = world()
    recipe = runner.registry.recipes["shades"]
    ends, everything = (runner.passes(recipe, "bright", name).logits.amax(dim=1) for name in ("ends", "all"))
    expected = evaluate(-ends, -everything, "outlier_exposure")
    drawn = verdicts(runner)["shades_drawn"]
    assert drawn.measured == pytest.approx(100 * expected.auroc, abs=1.5)
    assert drawn.draws == 20
    assert drawn.spread > 0


def test_figures_without_a_published_value_are_measured_and_no_more(world):
    runner = world()
    (extra,) = runner.extras("shades")
    assert (extra.status, extra.published, extra.tolerance) == ("measured", "", None)
    assert extra.id == "measured_bright_middle_certainty_auroc"
    assert extra.measured == pytest.approx(100)
    assert list(runner.extras("shades", lambda name: "fpr" in name)) == []


def test_a_set_may_be_some_classes_of_an_input(world):
    import bench_fakes

    recipe = bench_fakes.RECIPE.replace(
        "[inputs.nowhere]", '[sets.bright_ones]\ninput = "all"\nclasses = [0]\n\n[inputs.nowhere]'
    )
    runner = world(
        recipe=recipe, source=bench_fakes.SOURCE.replace('ood_set = "middle"', 'ood_set = "bright_ones"')
    )
    chosen = runner._taken(runner.registry.recipes["shades"], "bright", "bright_ones")
    assert set(chosen.labels.tolist()) == {0}
    assert (chosen.logits[:, 0] > chosen.logits[:, 1]).all()
    assert 150 < len(chosen.labels) < 250


def test_error_detection_takes_wrong_images_as_the_outliers(world):
    import bench_fakes

    source = bench_fakes.SOURCE.replace('ood_set = "middle"', 'ood_set = "error_detection"')
    runner = world(source=source)
    recipe = runner.registry.recipes["shades"]
    known = runner.passes(recipe, "bright", "ends")
    known.labels[:20] = 1  # wrong by decree
    scores = -known.logits.amax(dim=1)
    verdict = verdicts(runner)["shades_auroc"]
    assert verdict.measured == pytest.approx(
        100 * evaluate(scores[20:], scores[:20], "outlier_exposure").auroc
    )


def test_a_source_without_a_recipe_is_not_run(world):
    runner = world()
    runner.registry.recipes.clear()
    assert {verdict.reason for verdict in verdicts(runner).values()} == {
        "no recipe is written for this source yet"
    }
    assert list(runner.extras("shades")) == []


def test_a_metric_without_a_protocol_is_not_run(world):
    import bench_fakes

    recipe = bench_fakes.RECIPE.replace(
        '[[protocols]]\nreason = "rounding"', '[[protocols]]\nmetrics = ["error_rate"]\nreason = "r"'
    )
    found = verdicts(world(recipe=recipe))
    assert found["shades_error"].status == "reproduced"
    assert found["shades_auroc"].reason == "the recipe has no protocol for this metric and set"


def test_an_unknown_network_is_told_by_its_name(world):
    import bench_fakes

    runner = world(recipe=bench_fakes.RECIPE.replace('"brightness"', '"brightnes"'))
    with pytest.raises(LookupError, match="Did you mean 'brightness'"):
        verdicts(runner)


def test_nothing_is_random(world):
    first = verdicts(world())
    torch.manual_seed(99)
    assert verdicts(world()) == first


def test_the_sets_name_what_a_reader_must_know(world):
    import bench_fakes

    recipe = bench_fakes.RECIPE.replace(
        "[inputs.nowhere]", '[sets.middle]\nnote = "chosen by eye"\n\n[inputs.nowhere]'
    )
    assert verdicts(world(recipe=recipe))["shades_auroc"].note == "chosen by eye"


def test_other_devices_are_told_and_widen_nothing(world):
    import bench_fakes

    played = bench_fakes.RECIPE.replace("draws = 20\nsize = 100\nerrors = 3.0", "devices = 3")
    source = bench_fakes.SOURCE.replace("std = 1.0, draws = 5 }", "place = '4' }").replace(
        'place = "4", ', ""
    )
    exact = verdicts(world(recipe=played, source=source))["shades_drawn"]
    rounding = played.replace('backbone = "brightness"', 'backbone = "brightness"\nrounding = 0.05')
    moved = verdicts(world(recipe=rounding, source=source))["shades_drawn"]
    assert exact.tolerance.width == moved.tolerance.width == pytest.approx(0.005)
    assert moved.elsewhere > 0.05
    assert exact.elsewhere == 0
    assert moved.measured == exact.measured


def test_a_difference_that_the_recipe_explains_differs_all_the_same(world):
    import bench_fakes

    source = bench_fakes.SOURCE.replace("std = 1.0, draws = 5 }", "place = '4' }").replace(
        'place = "4", ', ""
    )
    plain = verdicts(world(source=source))["shades_drawn"]
    why = '\n[[explained]]\nids = ["shades_drawn"]\nreason = "another lamp"\n'
    explained = verdicts(world(recipe=bench_fakes.RECIPE + why, source=source))["shades_drawn"]
    assert (plain.status, plain.explained) == ("differs", "")
    assert (explained.status, explained.explained) == ("differs", "another lamp")
    assert str(explained).endswith("another lamp")
