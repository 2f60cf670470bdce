"""Every mistake turns verdicts, under every convention, and the page says by how much."""

import re

import pytest
import sabotage_page
import sabotages

HALF_A_DIGIT = 0.005


@pytest.fixture(scope="module")
def lines(registry):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ENERGY_PLUGIN_DATA", raising=False)
        return list(sabotages.lines(registry))


@pytest.fixture(scope="module")
def moves(registry):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ENERGY_PLUGIN_DATA", raising=False)
        return list(sabotages.moves(registry))


def test_without_a_mistake_every_row_is_reproduced(lines):
    assert {line.right.status for line in lines} == {"reproduced"}


@pytest.mark.parametrize("what", sabotages.SABOTAGES)
def test_a_mistake_turns_reproduced_into_differs(lines, what):
    found = [line for line in lines if line.what == what]
    assert {line.right.id: line.wrong.status for line in found} == {
        line.right.id: "reproduced" if line.blind else "differs" for line in found
    }
    assert any(not line.blind for line in found)  # some figure shows it


def test_every_convention_shows_every_mistake(moves):
    from energy_plugin.metrics import CONVENTIONS

    assert [moved.convention.name for moved in moves] == list(CONVENTIONS)
    for moved in moves:
        blind = moved.convention.turns_round  # the source itself undoes a flipped sign
        assert (abs(moved.flipped - moved.stated) > HALF_A_DIGIT) is not blind, moved
        assert abs(moved.swapped - moved.stated) > HALF_A_DIGIT, moved


def test_another_rule_shows_too(moves):
    for moved in moves:
        assert abs(moved.by_rule - moved.stated) > HALF_A_DIGIT, moved


def masked(text):
    """Without figures, whose last digit may differ between processors."""
    return re.sub(r"[+-]?\d+\.\d+", "#", text)


def test_the_page_says_so(lines, moves):
    assert masked(sabotage_page.PAGE.read_text()) == masked(sabotage_page.page(lines, moves))
