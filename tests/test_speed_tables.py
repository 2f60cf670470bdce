"""The tables of the README and of docs/speed.md are those of the latest results."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables():
    return runpy.run_path(str(ROOT / "benchmarks" / "speed" / "tables.py"))


@pytest.fixture(scope="module")
def document(tables):
    return json.loads(tables["latest"]().read_text())


def test_the_pages_show_the_latest_results(tables, document):
    for path, block in ((tables["README"], tables["short"]), (tables["PAGE"], tables["whole"])):
        text = path.read_text()
        assert tables["with_block"](text, block(document)) == text, "run `python benchmarks/speed/tables.py`"


def test_a_missed_goal_and_an_unmeasured_one_say_so(tables):
    outcome = {"goal": 1, "case": "c", "against": "peer", "measured": 0.5, "target": 0.4, "note": "n"}
    assert tables["shown"](outcome) == ["1", "c", "peer", "0.5", "<= 0.4", "missed", "n"]
    assert tables["shown"](outcome | {"measured": 0.4})[5] == "met"
    assert tables["shown"](outcome | {"measured": None})[3:6] == ["unmeasured", "-", "-"]


def test_every_goal_is_in_the_table(document):
    assert {outcome["goal"] for outcome in document["outcomes"]} == set(range(1, 16))
