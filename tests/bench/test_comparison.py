"""Detectors beside each other, a third party's among them, on the images of published rows."""

import sys
import types

import pytest
import torch

import energy_plugin_bench
from energy_plugin import hookimpl
from energy_plugin.records import DetectorSpec
from energy_plugin_bench.verdicts.comparison import BESIDE, beside, third_party


class Bright:
    """The first logit, as an outlier score."""

    def score(self, logits):
        return logits[:, 0]


class Hungry:
    """Wants what there is not."""

    def score(self, logits):
        raise ValueError("needs features")


class Stranger:
    @hookimpl
    def ood_detectors(self):
        return [
            DetectorSpec(name="bright_logit", target="strange_detectors:Bright"),
            DetectorSpec(name="hungry", target="strange_detectors:Hungry"),
        ]


@pytest.fixture
def runner(world, monkeypatch):
    module = types.ModuleType("strange_detectors")
    module.Bright, module.Hungry = Bright, Hungry
    monkeypatch.setitem(sys.modules, "strange_detectors", module)
    found = world()
    found.manager.add(energy_plugin_bench).add(Stranger(), "stranger")
    return found


def measured(runner, detectors, say=None, known=()):
    rows = list(runner.registry.rows())
    return {v.id: v for v in beside(runner, rows, detectors, known=known, say=say or pytest.fail)}


def test_other_plug_ins_detectors_are_known_by_their_owner(runner):
    found = third_party(runner.manager)
    assert set(found) == {"bright_logit", "hungry", "certainty"}
    assert found["hungry"] == "plug-in 'stranger'"


def test_every_set_that_runs_is_measured_with_every_detector(runner):
    found = measured(runner, ("msp", "bright_logit"))
    assert set(found) == {
        "measured_bright_ends_middle_msp_outlier_exposure_auroc",
        "measured_bright_ends_middle_msp_outlier_exposure_fpr95",
        "measured_bright_ends_all_msp_outlier_exposure_auroc",
        "measured_bright_ends_middle_bright_logit_outlier_exposure_auroc",
        "measured_bright_ends_middle_bright_logit_outlier_exposure_fpr95",
        "measured_bright_ends_all_bright_logit_outlier_exposure_auroc",
    }
    assert {v.status for v in found.values()} == {"measured"}
    # In-distribution images are the brightest, so as an outlier score the first logit is all wrong.
    assert found["measured_bright_ends_middle_bright_logit_outlier_exposure_auroc"].measured == 0.0
    assert found["measured_bright_ends_middle_msp_outlier_exposure_auroc"].measured == 100.0
    assert "stranger" in found["measured_bright_ends_middle_bright_logit_outlier_exposure_auroc"].note
    assert (
        found["measured_bright_ends_all_msp_outlier_exposure_auroc"].draws == 20
    )  # as the protocol of the row says


def test_the_network_sees_every_image_once(runner, monkeypatch):
    import bench_fakes

    seen = []
    forward = bench_fakes.Brightness.forward
    monkeypatch.setattr(
        bench_fakes.Brightness, "forward", lambda self, x: (seen.append(len(x)), forward(self, x))[1]
    )
    known = [runner.verdict(source, row) for source, row in runner.registry.rows()]
    measured(runner, ("msp", "bright_logit", "max_logit"), known=known)
    assert sum(seen) == 200 + 200 + 400


def test_what_is_known_is_not_measured_again(runner):
    known = [runner.verdict(source, row) for source, row in runner.registry.rows()]
    assert measured(runner, ("certainty",), known=known) == {}


def test_a_detector_that_fails_is_left_out_and_told_once(runner):
    said = []
    found = measured(runner, ("hungry", "msp"), said.append)
    assert {v.asked.method for v in found.values()} == {"msp"}
    assert len(said) == 1
    assert "'hungry'" in said[0]
    assert "needs features" in said[0]


def test_a_failure_of_the_house_is_told_as_a_figure_s_and_others_go_on(runner, monkeypatch):
    monkeypatch.setattr("energy_plugin_bench.verdicts.detectors.MaxSoftmax.score", Hungry.score)
    found = measured(runner, ("msp", "max_logit"))
    failed = [verdict for verdict in found.values() if verdict.failed]
    assert {verdict.asked.method for verdict in failed} == {"msp"}
    assert len(failed) == 3
    assert all("needs features" in verdict.reason for verdict in failed)
    assert sum(verdict.status == "measured" for verdict in found.values()) == 3


def test_where_files_are_at_fault_no_detector_is_blamed(runner, monkeypatch):
    import bench_fakes

    monkeypatch.setattr(bench_fakes.Brightness, "forward", Hungry.score)
    assert measured(runner, ("msp", "bright_logit")) == {}


def test_an_unknown_detector_is_told(runner):
    with pytest.raises(LookupError, match="max_logit"):
        measured(runner, ("max_logits",))


def test_detectors_are_compared_at_temperature_one_whatever_the_row_states(world, monkeypatch):
    import bench_fakes

    expected = world()
    expected.manager.add(energy_plugin_bench)
    plain = measured(expected, ("msp", "max_logit"))
    cold = bench_fakes.SOURCE.replace(
        'id = "shades_auroc", place = "2",', 'id = "shades_auroc", place = "2", temperature = 0.5,'
    )
    runner = world(source=cold)
    runner.manager.add(energy_plugin_bench)
    found = measured(runner, ("msp", "max_logit"))
    assert {name: v.measured for name, v in found.items()} == {n: v.measured for n, v in plain.items()}


class Rival:
    """Takes names that others have, too."""

    @hookimpl
    def ood_detectors(self):
        return [DetectorSpec(name=n, target="strange_detectors:Bright") for n in ("msp", "bright_logit")]


def test_of_a_name_that_others_took_ours_is_measured_and_theirs_are_left_out_and_told(runner):
    expected = measured(runner, ("msp",))
    runner.manager.add(Rival(), "energy_plugin_extra")
    said = []
    assert not {"msp", "bright_logit"} & set(third_party(runner.manager))
    found = measured(runner, ("msp", "bright_logit"), said.append)
    assert {name: v.measured for name, v in found.items()} == {n: v.measured for n, v in expected.items()}
    assert len(said) == 1
    assert "'bright_logit' is left out" in said[0]
    assert "energy_plugin_extra" in said[0]


def test_a_stranger_whose_name_begins_like_ours_is_a_stranger(runner):
    class Extra:
        @hookimpl
        def ood_detectors(self):
            return [DetectorSpec(name="another", target="strange_detectors:Bright")]

    runner.manager.add(Extra(), "energy_plugin_extra")
    assert "another" in third_party(runner.manager)


def test_the_house_compares_energy_with_its_rivals(carried_runner):
    assert BESIDE == ("energy", "msp", "max_logit")
    for name in BESIDE:
        scores = carried_runner.manager.get("detector", name).load()().score(torch.randn(3, 4))
        assert scores.shape == (3,)
