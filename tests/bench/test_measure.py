"""From logits to figures: orientation, draws, and what another device does."""

import bench_fakes
import numpy as np
import pytest
import torch

from energy_plugin.manager import PluginManager, default_manager
from energy_plugin.metrics import evaluate
from energy_plugin_bench.values.recipe import Protocol
from energy_plugin_bench.verdicts.measure import (
    is_wrong,
    measured,
    on_another_device,
    outlier_scores,
    with_devices,
)

LOGITS = torch.tensor([[4.0, 0.0, 0.0], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize("method", ["msp", "energy"])
def test_an_unsure_sample_has_the_higher_score(method):
    sure, unsure = outlier_scores(default_manager(), method, LOGITS)
    assert unsure > sure


def test_a_detector_whose_high_scores_mean_id_is_turned_round(tmp_path):
    manager = PluginManager().add(bench_fakes.Plugin(tmp_path))
    raw = bench_fakes.Certainty().score(LOGITS)
    assert outlier_scores(manager, "certainty", LOGITS).tolist() == (-raw).tolist()


def test_msp_is_the_negative_largest_probability():
    assert outlier_scores(default_manager(), "msp", LOGITS).tolist() == pytest.approx(
        [-0.9647, -1 / 3], abs=1e-4
    )


def test_an_unknown_method_is_told_with_near_misses():
    with pytest.raises(LookupError, match="energy"):
        outlier_scores(default_manager(), "energie", LOGITS)


def test_wrong_is_where_the_largest_logit_is_elsewhere():
    assert is_wrong(LOGITS, torch.tensor([1, 0])).tolist() == [True, False]


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(500, generator=generator), torch.randn(300, generator=generator) + 1


def test_without_draws_every_score_counts_once(scores):
    figures = measured(*scores, "energy_ood", Protocol(reason="r"))
    expected = evaluate(*scores, "energy_ood")
    assert figures["auroc"].value == expected.auroc
    assert figures["tnr95"].value == 1 - expected.fpr95
    assert figures["aupr"].value == expected.aupr_in
    assert (figures["auroc"].draws, figures["auroc"].spread) == (0, 0)


def test_draws_are_without_replacement_and_the_same_every_time(scores):
    protocol = Protocol(draws=5, size=300, reason="r")
    whole = measured(*scores, "energy_ood", protocol)["auroc"]
    assert whole.value == pytest.approx(evaluate(*scores, "energy_ood").auroc)
    assert whole.spread == pytest.approx(0)
    half = Protocol(draws=5, size=150, reason="r")
    assert measured(*scores, "energy_ood", half) == measured(*scores, "energy_ood", half)
    other = measured(*scores, "energy_ood", half.model_copy(update={"seed": 1}))
    assert other["auroc"].value != measured(*scores, "energy_ood", half)["auroc"].value


def test_mean_and_population_spread_over_the_draws(scores):
    figure = measured(*scores, "outlier_exposure", Protocol(draws=4, size=100, seed=3, reason="r"))["fpr95"]
    generator = np.random.default_rng(3)
    single = [
        evaluate(
            scores[0], scores[1][torch.from_numpy(generator.permutation(300)[:100])], "outlier_exposure"
        ).fpr95
        for _ in range(4)
    ]
    assert figure.value == pytest.approx(np.mean(single))
    assert figure.spread == pytest.approx(np.std(single))
    assert (figure.draws, figure.drawn, figure.n_ood) == (4, 100, 300)


def test_a_ratio_follows_the_number_of_id_images(scores):
    assert measured(*scores, "energy_ood", Protocol(draws=1, ratio=5, reason="r"))["aupr"].drawn == 100


def test_a_draw_that_does_not_fit_is_refused(scores):
    with pytest.raises(ValueError, match="a draw of 301 OOD images does not fit into a set of 300"):
        measured(*scores, "energy_ood", Protocol(draws=1, size=301, reason="r"))
    with pytest.raises(ValueError, match="the protocol draws no OOD image for 500 ID images"):
        measured(*scores, "energy_ood", Protocol(draws=1, ratio=50_000, reason="r"))


def test_another_device_moves_logits_a_little_and_keeps_every_row_whole():
    torch.manual_seed(0)
    logits = torch.randn(1000, 8) * 5
    moved = on_another_device(logits, 1e-3, seed=1)
    order = [(logits[0] - value).abs().argmin().item() for value in moved[0]]
    share = (moved / logits[:, order]) - 1
    assert sorted(order) == list(range(8))
    assert share.std().item() == pytest.approx(1e-3, rel=0.05)
    assert torch.equal(moved, on_another_device(logits, 1e-3, seed=1))
    assert not torch.equal(moved, on_another_device(logits, 1e-3, seed=2))


def test_the_largest_move_counts(scores):
    ours = measured(*scores, "energy_ood", Protocol(reason="r"))
    others = [
        measured(scores[0] + move, scores[1], "energy_ood", Protocol(reason="r")) for move in (0.1, -0.2)
    ]
    together = with_devices(ours, others)["auroc"]
    assert together.value == ours["auroc"].value
    assert together.device == max(abs(other["auroc"].value - together.value) for other in others)
    assert with_devices(ours, [])["auroc"].device is None


def test_the_number_of_threads_is_left_as_it_was(scores):
    before = torch.get_num_threads()
    measured(*scores, "energy_ood", Protocol(reason="r"))
    assert torch.get_num_threads() == before
