"""Places as addresses."""

import pytest

from energy_plugin_bench.values.places import link, repository

HUB = "https://github.com/"


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("o/n@0123456:a/b.log line 160", f"{HUB}o/n/blob/0123456/a/b.log#L160"),
        ("o/n@0123456: My File.ipynb, output of cell 4", f"{HUB}o/n/blob/0123456/My%20File.ipynb"),
        ("o/n@0123456:a/b.txt lines 3-5; the same in c.txt", f"{HUB}o/n/blob/0123456/a/b.txt#L3"),
        ("o/n (branch x)@0123456789:r/c.csv", f"{HUB}o/n/blob/0123456789/r/c.csv"),
        ("o/n:README.md (text of the page), table 1", f"{HUB}o/n/blob/HEAD/README.md"),
        ("o/n@0123456: file in each remark", f"{HUB}o/n/tree/0123456"),
        ('o/n issue #2 (2022-08-26), table "x"', f"{HUB}o/n/issues/2"),
        ("o/n issue 22", f"{HUB}o/n/issues/22"),
        ("paper arXiv 2411.03829, Table 1", "https://arxiv.org/abs/2411.03829"),
        ("arxiv.org/html/2605.29773v1, abstract", "https://arxiv.org/html/2605.29773v1"),
        ("o/n@0123456", f"{HUB}o/n/tree/0123456"),
        ("https://example.org/a/b.html#t3", "https://example.org/a/b.html#t3"),
        ("https://example.org/a/b.html, table 3", "https://example.org/a/b.html"),
        ("http://example.org/ (a blog)", "http://example.org/"),
        ("a blog (https://example.org/a), table 3", "https://example.org/a"),
        ("o/n#12, table 3", f"{HUB}o/n/issues/12"),
        ("o/n: logs/a.txt line 3", f"{HUB}o/n/blob/HEAD/logs/a.txt#L3"),
        ("CVPR/2024: Table 3", ""),
        ("CVPR/2024: version 1.0", ""),
        ("CVPR/2024 (oral): page 3.5", ""),
        ("and/or table: page 3", ""),
        ("and/or, page 3", ""),
        ("o/n", ""),
        ("javascript:alert(1)", ""),
        ("paper, Table 1 (Markdown copy)", ""),
        ("public note on the paper, repository not identified", ""),
    ],
)
def test_as_exact_as_the_place_is_said(place, address):
    assert link(place) == address


def test_every_place_of_the_package_that_names_a_commit_has_an_address(registry):
    named = [row.place for _, row in registry.rows() if "@" in row.place]
    assert named
    assert [place for place in named if not link(place).startswith(HUB)] == []


def test_repositories():
    assert repository("o/n@0123456 (the tables were later removed)") == f"{HUB}o/n/tree/0123456"
    assert repository("o/n") == f"{HUB}o/n"
    assert repository("https://example.org/o/n") == "https://example.org/o/n"
    assert repository("none read") == ""
    assert repository("and/or something else") == ""
