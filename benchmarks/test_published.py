"""Every published value, measured again.

A test passes where it is reproduced, is skipped where not run, and is an expected failure where it differs
for a reason that the recipe states.
"""

import pytest

from energy_plugin_bench.verdicts.verdict import Verdict


def test_published(published_verdict: Verdict) -> None:
    """Fail with the figures when they differ."""
    if published_verdict.status == "differs" and published_verdict.explained:
        pytest.xfail(str(published_verdict))
    if published_verdict.status != "reproduced":
        pytest.fail(str(published_verdict), pytrace=False)
