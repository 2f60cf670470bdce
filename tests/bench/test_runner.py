"""Rows in, verdicts out, on a small world whose figures are known."""

import sys
from types import ModuleType

import bench_fakes
import pytest
import torch
from pixel_fakes import Own

import energy_plugin_bench
from energy_plugin import hookimpl
from energy_plugin.metrics import auroc, evaluate
from energy_plugin.records import DetectorSpec
from energy_plugin_bench.values.rows import ANOMALOUS_PIXELS
from energy_plugin_bench.verdicts.questions import measured_id
from energy_plugin_bench.verdicts.verdict import Question


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
    assert extra.id == "measured_bright_ends_middle_certainty_outlier_exposure_auroc"
    assert extra.measured == pytest.approx(100)
    assert list(runner.extras("shades", lambda name: "fpr" in name)) == []


def test_a_set_may_be_some_classes_of_an_input(world):
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
    recipe = bench_fakes.RECIPE.replace(
        '[[protocols]]\nreason = "rounding"', '[[protocols]]\nmetrics = ["error_rate"]\nreason = "r"'
    )
    found = verdicts(world(recipe=recipe))
    assert found["shades_error"].status == "reproduced"
    assert found["shades_auroc"].reason == "the recipe has no protocol for this metric and set"


def test_an_unknown_network_is_told_by_its_name(world):
    runner = world(recipe=bench_fakes.RECIPE.replace('"brightness"', '"brightnes"'))
    found = verdicts(runner)
    assert {verdict.status for verdict in found.values()} == {"not run"}
    assert "Did you mean 'brightness'" in found["shades_auroc"].reason


def test_nothing_is_random(world):
    first = verdicts(world())
    torch.manual_seed(99)
    assert verdicts(world()) == first


def test_the_sets_name_what_a_reader_must_know(world):
    recipe = bench_fakes.RECIPE.replace(
        "[inputs.nowhere]", '[sets.middle]\nnote = "chosen by eye"\n\n[inputs.nowhere]'
    )
    assert verdicts(world(recipe=recipe))["shades_auroc"].note == "chosen by eye"


def test_other_devices_are_told_and_widen_nothing(world):
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
    source = bench_fakes.SOURCE.replace("std = 1.0, draws = 5 }", "place = '4' }").replace(
        'place = "4", ', ""
    )
    plain = verdicts(world(source=source))["shades_drawn"]
    why = '\n[[explained]]\nids = ["shades_drawn"]\nreason = "another lamp"\n'
    explained = verdicts(world(recipe=bench_fakes.RECIPE + why, source=source))["shades_drawn"]
    assert (plain.status, plain.explained) == ("differs", "")
    assert (explained.status, explained.explained) == ("differs", "another lamp")
    assert str(explained).endswith("another lamp")


def with_detector(runner, name, score, **record):
    """Give a runner a stranger's detector."""
    module = ModuleType(f"stranger_{name}")
    module.Detector = type("Detector", (), {"score": lambda self, logits: score(logits)})
    sys.modules[module.__name__] = module

    class Stranger:
        @hookimpl
        def ood_detectors(self):
            return [DetectorSpec(name=name, target=f"{module.__name__}:Detector", **record)]

    runner.manager.add(Stranger(), f"stranger_{name}")
    return runner


def asked_of(method, **changes):
    known = {"network": "bright", "id_set": "ends", "ood_set": "middle", "metric": "auroc"}
    return Question(**{**known, "convention": "outlier_exposure", "method": method, **changes})


def test_a_detector_cannot_change_what_others_score(world):
    expected = world().measure("shades", asked_of("certainty")).measured
    runner = with_detector(world(), "rude", lambda logits: logits.zero_()[:, 0])
    runner.measure("shades", asked_of("rude"))
    assert runner.measure("shades", asked_of("certainty")).measured == expected


@pytest.mark.parametrize("score", [lambda logits: logits, lambda logits: logits[:5, 0], lambda logits: None])
def test_a_detector_must_give_one_score_an_image(world, score):
    runner = with_detector(world(), "odd", score)
    with pytest.raises(ValueError, match=r"the detector 'odd' gave .* expected one score an image, \(200,\)"):
        runner.measure("shades", asked_of("odd"))


def at_temperature(world, temperature, method="msp"):
    row = f'id = "shades_auroc", place = "2", method = "{method}", temperature = {temperature},'
    source = bench_fakes.SOURCE.replace('id = "shades_auroc", place = "2",', row)
    runner = world(source=source, recipe=bench_fakes.RECIPE.replace('"certainty"', '"msp"'))
    runner.manager.add(energy_plugin_bench)
    return runner, verdicts(runner)["shades_auroc"]


def test_a_score_is_taken_at_the_temperature_of_the_row(world):
    runner, verdict = at_temperature(world, 0.01)
    cold = verdict.measured
    recipe = runner.registry.recipes["shades"]
    logits = [runner.passes(recipe, "bright", name).logits for name in ("ends", "middle")]
    sides = [-torch.softmax(side / 0.01, 1).amax(1) for side in logits]
    assert cold == pytest.approx(100 * auroc(*sides))
    assert cold != at_temperature(world, 1.0)[1].measured
    assert measured_id(asked_of("msp", temperature=0.5)) != measured_id(asked_of("msp"))


def test_a_score_without_a_temperature_is_not_run_at_one(world):
    _, verdict = at_temperature(world, 2.0, "max_logit")
    assert verdict.status == "not run"
    assert verdict.reason == "the score 'max_logit' takes no temperature; the row's is 2"


def test_an_energy_without_a_stated_temperature_is_not_run(world):
    runner = world()
    runner.manager.add(Own())
    assert runner.obstacles("shades", asked_of("energy", temperature=None)) == (
        "the source does not state the temperature",
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "aupr_out", "convention": "ninco"}, "the convention 'ninco' computes no AUPR"),
        ({"convention": "muad"}, "the convention 'muad' takes means over images of pixels"),
    ],
)
def test_what_a_convention_cannot_say_is_not_run(world, changes, said):
    (told,) = world().obstacles("shades", asked_of("certainty", **changes))
    assert said in told


def test_images_without_classes_have_no_errors(world):
    runner = world()
    logits = runner.passes(runner.registry.recipes["shades"], "bright", "ends")
    logits.labels.fill_(-1)
    with pytest.raises(ValueError, match="'ends' have labels below 0"):
        runner.verdict(*next((s, row) for s, row in runner.registry.rows() if row.id == "shades_error"))


def test_what_fails_is_tried_once_and_told_of_every_row_that_needs_it(world, monkeypatch):
    calls = []

    def broken(self, x):
        calls.append(len(x))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(bench_fakes.Brightness, "forward", broken)
    runner = world()
    found = {row.id: runner.attempt(source, row) for source, row in runner.registry.rows()}
    assert len(calls) == 1
    assert found["shades_none"].reason == "needs pictures that nobody has"
    failed = [verdict for verdict in found.values() if verdict.failed]
    assert [verdict.id for verdict in failed] == [
        "shades_error",
        "shades_auroc",
        "shades_fpr95",
        "shades_drawn",
    ]
    assert {verdict.status for verdict in failed} == {"not run"}
    assert failed[0].reason == "failed: the network 'bright' on 'ends': RuntimeError: out of memory"
    (extra,) = runner.extras("shades")
    assert extra.failed


def test_a_detector_that_ends_the_process_ends_one_row(world):
    def ended(logits):
        raise SystemExit(0)

    runner = with_detector(
        world(source=bench_fakes.SOURCE.replace('"certainty"', '"leaving"')), "leaving", ended
    )
    verdict = {row.id: runner.attempt(source, row) for source, row in runner.registry.rows()}
    assert verdict["shades_auroc"].failed
    assert verdict["shades_error"].status == "reproduced"


def test_a_name_that_two_plug_ins_own_is_told_and_others_go_on(world):
    runner = with_detector(world(), "certainty", lambda logits: logits[:, 0])
    found = verdicts(runner)
    assert found["shades_error"].status == "reproduced"
    assert found["shades_auroc"].status == "not run"
    assert "stranger_certainty" in found["shades_auroc"].reason


def test_figures_of_two_in_distribution_sets_or_conventions_have_ids_of_their_own():
    ids = {
        measured_id(asked_of("msp", **changes))
        for changes in (
            {}, {"id_set": "other"}, {"ood_set": "other"}, {"convention": "energy_ood"}, {"metric": "fpr95"},
            {"ood_set": ANOMALOUS_PIXELS}, {"ood_set": ANOMALOUS_PIXELS, "id_set": "other"},
        )
    }  # fmt: skip
    assert len(ids) == 7
