"""The pages say what the carried inputs give: `python tests/results_page.py` writes them."""

import re

import pytest
import results_page


@pytest.fixture(scope="module")
def fresh(registry, carried_runner):
    return results_page.measured(registry, carried_runner)


def verdicts(text: str) -> list[str]:
    """Lines without measured figures, whose last digit may differ between processors."""
    column, said = r"(\|[^|]*\|[^|]*)\|[^|]*(\|(?: \d+ [a-z ]+,?)+ \|)$", r"measured [\d.]+(.*up to) [\d.]+$"
    return [re.sub(said, r"\1", re.sub(column, r"\1\2", line)) for line in text.splitlines()]


def test_the_readme_counts_what_was_reproduced(fresh: str) -> None:
    assert results_page.between(results_page.README.read_text()) == results_page.counts(fresh)


def test_the_page_of_results_has_every_row_and_verdict(fresh: str) -> None:
    assert verdicts(results_page.PAGE.read_text()) == verdicts(results_page.page(fresh))
