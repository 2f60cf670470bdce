"""Every published value, measured again: a test passes where it is reproduced, is skipped where not run."""

import pytest

from energy_plugin_bench.verdict import Verdict


def test_published(published_verdict: Verdict) -> None:
    """Fail with the figures when they differ."""
    if published_verdict.status != "reproduced":
        pytest.fail(str(published_verdict), pytrace=False)
