"""How far a figure may lie from the published one, by hand."""

import json
import math

import pytest

from energy_plugin_bench.report.reading import _Figure
from energy_plugin_bench.values.networks import Set
from energy_plugin_bench.values.recipe import Protocol
from energy_plugin_bench.values.rows import PublishedValue
from energy_plugin_bench.verdicts.measure import Figure
from energy_plugin_bench.verdicts.verdict import Question, Tolerance, Verdict, judged, tolerance

DRAWN = Protocol(draws=10, size=2000, errors=3.0, reason="three standard errors")
WHOLE = Protocol(errors=3.0, reason="three standard errors")


def row(**changes):
    fields = {
        "id": "r", "place": "p", "id_set": "a", "ood_set": "b", "network": "n", "method": "msp",
        "metric": "fpr95", "convention": "outlier_exposure", "value": 16.64, "std": 0.71, "draws": 10,
        "unit": "percent",
    }  # fmt: skip
    return PublishedValue(**{**fields, **changes})


def width(published, protocol, figure):
    return tolerance(published, protocol, figure, Set()).width


def test_without_a_spread_only_rounding_counts():
    assert width(row(std=None, draws=0), WHOLE, Figure(0.1664)) == pytest.approx(0.005)
    assert width(
        row(std=None, draws=0, unit="fraction", value=0.1664, decimals=4), WHOLE, Figure(0.1664)
    ) == (pytest.approx(0.00005, abs=1e-8))


def test_rounding_takes_exactly_half_a_digit():
    allowed = tolerance(row(std=None, draws=0, value=8.27), WHOLE, Figure(0), Set())
    assert judged(8.275, allowed) == "reproduced"
    assert judged(8.265, allowed) == "reproduced"
    assert judged(8.2751, allowed) == "differs"
    assert judged(8.2649, allowed) == "differs"


def test_other_devices_add_nothing():
    assert width(row(std=None, draws=0), WHOLE, Figure(0.1664, device=0.002)) == pytest.approx(0.005)


def test_an_allowance_of_the_protocol_is_added():
    protocol = Protocol(allowance=0.002, reason="other builds")
    assert width(row(std=None, draws=0), protocol, Figure(0.1664)) == pytest.approx(0.205)


def test_two_means_of_ten_draws():
    spread = 0.715 * math.sqrt(10 / 9)  # upper end of the rounded spread, unbiased
    expected = 3 * spread * math.sqrt(1 / 10 + 1 / 10) + 0.005
    assert width(row(), DRAWN, Figure(0.17, draws=10, drawn=2000, n_ood=10_000)) == pytest.approx(expected)


def test_a_whole_set_has_no_draw_error_of_its_own():
    spread = 0.715 * math.sqrt(10 / 9)
    assert width(row(), WHOLE, Figure(0.17, n_ood=10_000)) == pytest.approx(
        3 * spread / math.sqrt(10) + 0.005
    )


def test_another_sample_adds_the_variance_of_both_sets():
    figure = Figure(0.17, draws=10, drawn=2000, n_ood=10_000)
    spread = 0.715 * math.sqrt(10 / 9)
    expected = 3 * spread * math.sqrt(0.2 + 2000 / 18_000 + 2000 / 8000) + 0.005
    allowed = tolerance(row(), DRAWN, figure, Set(fresh=True, published_size=20_000, note="other fonts"))
    assert allowed.width == pytest.approx(expected)
    assert "other fonts" in allowed.reason


def test_repeated_logs_give_target_and_draws():
    repeats = {"logs": 10, "mean": 77.112, "minimum": 76.89, "maximum": 77.4}
    published = row(value=77.4, std=0.14, draws=5, repeats=repeats)
    allowed = tolerance(published, WHOLE, Figure(0.77156), Set())
    assert allowed.target == 77.112
    assert allowed.width == pytest.approx(3 * 0.145 * math.sqrt(5 / 4) / math.sqrt(50) + 0.005)
    assert "10 times" in allowed.reason


def test_a_spread_of_one_draw_is_none():
    assert width(row(draws=1), WHOLE, Figure(0.17)) == pytest.approx(0.005)


ASKED = Question("n", "a", "b", "msp", "fpr95", "outlier_exposure")


def test_a_verdict_says_figures_and_reason():
    allowed = Tolerance(target=16.64, width=1.0, reason="because")
    verdict = Verdict(
        id="r", source="s", status="differs", asked=ASKED, unit="percent", published="16.64", measured=18.0,
        tolerance=allowed,
    )  # fmt: skip
    assert str(verdict) == (
        "r: differs: published 16.64 percent, measured 18.000, expected 16.640 +- 1.000 (because)"
    )
    data = json.loads(json.dumps(verdict.to_dict()))
    assert data["network"] == "n"
    assert data["published"] == 16.64
    assert data["tolerance"] == {"target": 16.64, "width": 1.0, "reason": "because"}


def test_a_row_that_was_not_run_says_why():
    verdict = Verdict(id="r", source="s", status="not run", asked=ASKED, unit="percent", reason="no images")
    assert str(verdict) == "r: not run: no images"


@pytest.mark.parametrize("published_size", [0, 2000])
def test_a_draw_of_a_whole_set_that_is_sampled_anew_says_nothing_of_others(published_size):
    figure = Figure(0.16, spread=0.007, draws=10, drawn=2000, n_ood=4000 if published_size else 2000)
    with pytest.raises(ValueError, match="a draw takes 2000 of 2000 images"):
        tolerance(row(), DRAWN, figure, Set(fresh=True, published_size=published_size))


def test_a_report_that_is_read_again_may_hold_all_that_a_verdict_says():
    asked = Question("n", "a", "b", "msp", "fpr95", "energy_ood")
    said = Verdict(id="r", source="s", status="not run", asked=asked, unit="percent").to_dict()
    assert set(said) - set(_Figure.model_fields) == {"published"}  # made of what was printed
