"""Every "yes" of ours on the page of features leads to a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "features.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "**" not in line]
COLUMNS = 9


def test_every_row_has_every_column() -> None:
    assert len(ROWS) > 40
    for line in ROWS:
        assert len(line.strip().strip("|").split(" | ")) == COLUMNS, line


def test_every_claim_of_ours_has_a_test() -> None:
    for line in ROWS[1:]:  # below the head
        last = line.strip().strip("|").split(" | ")[-1]
        assert re.fullmatch(r"\s*\[[^\]]+\]\(\.\./tests/[\w/]+\.py#test_\w+\)\s*", last), line


@pytest.mark.parametrize(
    "link", sorted(set(re.findall(r"\(\.\./(tests/[\w/]+\.py#test_\w+)\)", PAGE.read_text())))
)
def test_the_test_is_there(link: str) -> None:
    file, _, name = link.partition("#")
    text = (ROOT / file).read_text()
    assert re.search(rf"^\s*def {name}\(", text, flags=re.MULTILINE), link
