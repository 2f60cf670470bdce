"""Which images a step sees."""

from __future__ import annotations

from itertools import chain

import pytest

from energy_plugin_bench.apply.draws import Draws, mixed


def test_an_epoch_sees_every_id_sample_once_in_nearly_equal_steps():
    draws = Draws(count_id=103, count_ood=7, batch_id=20, batch_ood=40, seed=1)
    assert draws.steps_per_epoch == 6
    steps = [draws.at(step)[0] for step in range(6)]
    assert sorted(chain(*steps)) == list(range(103))
    assert {len(step) for step in steps} == {17, 18}
    assert sorted(chain(*(draws.at(step)[0] for step in range(6, 12)))) == list(range(103))
    assert steps != [draws.at(step)[0] for step in range(6, 12)]


def test_outliers_are_gone_through_evenly_without_a_gap():
    draws = Draws(count_id=10, count_ood=7, batch_id=5, batch_ood=3, seed=1)
    stream = list(chain(*(draws.at(step)[1] for step in range(14))))
    for cycle in range(6):
        assert sorted(stream[7 * cycle : 7 * cycle + 7]) == list(range(7))
    many = Draws(count_id=10, count_ood=3, batch_id=5, batch_ood=8)
    assert len(many.at(4)[1]) == 8


def test_a_step_is_a_function_of_seed_and_number():
    first, second = (Draws(count_id=50, count_ood=9, batch_id=7, batch_ood=4, seed=s) for s in (1, 2))
    again = Draws(count_id=50, count_ood=9, batch_id=7, batch_ood=4, seed=1)
    for step in range(30):
        first.at(step)
    assert first.at(17) == again.at(17)
    assert first.at(17) != second.at(17)


def test_without_outliers_there_are_none():
    assert Draws(count_id=5, count_ood=0, batch_id=2, batch_ood=3).at(1)[1] == []
    with pytest.raises(ValueError, match="positive"):
        Draws(count_id=0, count_ood=0, batch_id=2, batch_ood=3)


def test_seeds_of_several_numbers_differ():
    assert len({mixed(a, b, c) for a in range(5) for b in range(5) for c in range(5)}) == 125
    assert mixed(1, 2) >= 0
