"""The same verdicts for people and for programs."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from energy_plugin_bench.report.page import to_html
from energy_plugin_bench.report.report import Report, to_markdown, to_terminal
from energy_plugin_bench.verdicts.verdict import ALSO, Question, Tolerance, Verdict

ASKED = Question("net", "mnist", "noise", "msp", "fpr95", "outlier_exposure")
GOOD = Verdict(
    id="a_fpr95", source="a", status="reproduced", asked=ASKED, unit="percent", published="16.64",
    measured=17.3, tolerance=Tolerance(target=16.7, width=1.25, reason="draws"),
)  # fmt: skip
AUROC = replace(
    GOOD,
    id="a_auroc",
    asked=replace(ASKED, metric="auroc"),
    published="96.04",
    measured=96.0,
    status="differs",
)
EXTRA = replace(
    GOOD, id="measured", asked=replace(ASKED, method="energy"), published="", measured=9.94,
    status="measured", tolerance=None,
)  # fmt: skip
MISSING = replace(
    GOOD, id="b", source="b", status="not run", measured=None, tolerance=None, reason="no weights"
)


@pytest.fixture
def report():
    return Report(
        (GOOD, AUROC, EXTRA, MISSING, replace(MISSING, id="b2", reason=f"no weights{ALSO}no images")),
        seconds=12.3,
    )


def printed(report, width=80, **options):
    stream = io.StringIO()
    to_terminal(report, Console(file=stream, width=width), **options)
    return stream.getvalue()


def test_the_terminal_shows_figures_verdicts_and_reasons(report):
    text = printed(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "net on mnist" in text
    line = next(line for line in text.splitlines() if "msp FPR95" in line)
    assert line.split() == ["noise", "msp", "FPR95", "16.64", "17.30", "16.70", "±", "1.250", "reproduced"]
    assert "differs" in text
    assert next(line for line in text.splitlines() if "energy FPR95" in line).split()[-1] == "measured"
    assert "2 rows not run (some for several reasons):\n  2: no weights\n  1: no images\n" in text
    assert "1 reproduced, 1 differ, 2 not run; 1 measured without a published value. 12 s" in text


ENERGY = replace(GOOD, id="energy", asked=replace(ASKED, method="energy"))
WRONG = replace(GOOD, id="wrong", asked=Question("net", "mnist", None, "argmax", "error_rate", None))
IDLE = replace(MISSING, id="odin", asked=replace(ASKED, method="odin"))


def test_counts_by_score_say_how_many_energy_figures_hold(report):
    report = Report((*report.verdicts, ENERGY, WRONG, IDLE))
    text = printed(report)
    assert "energy: 1 reproduced, 0 differ, 0 not run\nmsp: 1 reproduced, 1 differ, 2 not run\n" in text
    assert "error rate: 1 reproduced, 0 differ, 0 not run\n" in text
    assert "odin" not in text
    document = json.loads(report.to_json())
    assert list(document["scores"]) == ["energy", "msp", "error rate", "odin"]
    assert document["scores"]["msp"] == {"reproduced": 1, "differs": 1, "not run": 2}
    head = to_markdown(report).split("\n\n")[1].splitlines()
    assert head[2:] == [
        "| energy | 1 | 0 | 0 |",
        "| msp | 1 | 1 | 2 |",
        "| error rate | 1 | 0 | 0 |",
        "| 1 other | 0 | 0 | 1 |",
    ]


def test_everything_lists_the_rows_that_were_not_run(report):
    text = printed(report, everything=True)
    assert "b: not run: no weights" in text
    assert "b2: not run: no weights; also no images" in text


def test_json_is_one_document_with_every_figure(report):
    document = json.loads(report.to_json())
    assert document["summary"] == {"reproduced": 1, "differs": 1, "not run": 2, "measured": 1}
    assert [figure["id"] for figure in document["figures"]] == ["a_fpr95", "a_auroc", "measured", "b", "b2"]
    assert document["figures"][0]["tolerance"]["width"] == 1.25
    assert {"torch", "python", "device", "time"} <= set(document["environment"])


def test_markdown_has_a_line_for_each_network_set_and_score(report):
    text = to_markdown(report)
    assert "| a | 1 | 1 | 0 |" in text
    assert "**a**: FPR95 / AUROC, percent, convention outlier_exposure\n" in text
    assert "| net | mnist / noise | msp | 16.64 / 96.04 | 17.30 / 96.00 | 1 reproduced, 1 differs |" in text
    assert "| net | mnist / noise | energy | - | 9.94 | 1 measured |" in text
    assert "**b**: 2 rows not run (some for several reasons):\n\n- 2: no weights\n- 1: no images\n" in text


def test_short_markdown_leaves_out_what_nobody_published(report):
    text = to_markdown(report, short=True)
    assert "| net | mnist / noise | msp |" in text
    assert "energy" not in text
    assert "no weights" not in text


def test_figures_of_one_set_stand_together(report):
    other = replace(GOOD, id="other", asked=replace(ASKED, ood_set="other"))
    text = printed(Report((GOOD, other, EXTRA)))
    sets = [line.split()[0] for line in text.splitlines() if "FPR95" in line]
    assert sets == ["noise", "energy", "other"]


PIXELS = [
    replace(GOOD, id=f"pixels_{name}", asked=replace(ASKED, id_set=name, ood_set="anomalous_pixels"))
    for name in ("roadanomaly21", "roadobstacle21")
]
PIXELS += [replace(v, id=f"{v.id}_energy", asked=replace(v.asked, method="energy")) for v in PIXELS]


def test_pixels_of_different_sets_are_told_apart_in_every_form():
    report = Report(tuple(PIXELS))
    text = printed(report)
    assert text.count("net on roadanomaly21") == text.count("net on roadobstacle21") == 1
    markdown = to_markdown(report)
    for name in ("roadanomaly21", "roadobstacle21"):
        assert f"| net | {name} / anomalous_pixels | msp | 16.64 | 17.30 | 1 reproduced |" in markdown
        assert f"<td>{name} / anomalous_pixels</td>" in to_html(report)
    skipped = [replace(MISSING, id=v.id, asked=v.asked) for v in PIXELS]
    assert "net, roadobstacle21 / anomalous_pixels" in to_html(Report(tuple(skipped)))


def test_conventions_are_said_where_one_set_has_several():
    other = replace(GOOD, id="other", asked=replace(ASKED, convention="energy_ood"))
    text = printed(Report((GOOD, other)))
    assert "(energy_ood)" in " ".join(text.split())
    assert "convention" not in text
    assert "<td>mnist / noise (energy_ood)</td>" in to_html(Report((GOOD, other)))
    assert "(outlier_exposure)" not in printed(Report((GOOD,)))
    markdown = to_markdown(Report((GOOD, other)))
    assert "FPR95, percent, convention energy_ood\n" in markdown
    assert "FPR95, percent, convention outlier_exposure\n" in markdown


def test_a_line_holds_no_metric_twice():
    again = replace(GOOD, id="again", published="17.00")
    markdown = to_markdown(Report((GOOD, again, AUROC)))
    assert "| msp | 16.64 / 96.04 | 17.30 / 96.00 |" in markdown
    assert "| msp | 17.00 | 17.30 |" in markdown


def test_a_bar_in_a_name_opens_no_cell():
    odd = replace(GOOD, asked=replace(ASKED, network="a|b"))
    assert "| a\\|b | mnist / noise | msp |" in to_markdown(Report((odd,)))


def test_the_unit_stands_beside_figures():
    fraction = replace(GOOD, id="f", unit="fraction", published="0.1664", measured=0.173)
    assert "FPR95, fraction" in to_markdown(Report((fraction,)))
    assert "FPR95 (fraction)" in printed(Report((fraction,)), width=100)


@pytest.mark.parametrize(
    ("published", "target", "width", "within"),
    [
        ("12.8215", 12.8215, 0.00005, ["±", "0.00005"]),
        ("12.8", 12.8, 0.05, ["12.80", "±", "0.050"]),
        ("0.128215", 0.128216, 5e-7, ["0.128216", "±", "0.0000005"]),
    ],
)
def test_figures_have_the_digits_that_were_published(published, target, width, within):
    digits = len(published.partition(".")[2])
    verdict = replace(
        GOOD, published=published, measured=target + width / 2,
        tolerance=Tolerance(target=target, width=width, reason="rounding"),
    )  # fmt: skip
    words = printed(Report((verdict,)), width=140).split()
    at = words.index(published)
    assert words[at + 1] == f"{target + width / 2:.{max(2, digits)}f}"
    assert words[at + 2 : at + 2 + len(within)] == within
    assert f"measured {target + width / 2:.{max(2, digits) + 1}f}" in " ".join(
        printed(Report((replace(verdict, status="differs"),)), width=140).split()
    )


@pytest.mark.parametrize("digits", [2, 4, 6])
def test_80_columns_keep_sets_numbers_and_verdicts_whole(digits):
    verdict = replace(
        GOOD, published=f"{12.8215:.{digits}f}", measured=12.8216,
        asked=replace(ASKED, ood_set="a_set_of_forty_letters_and_two_more_here", method="a_long_detector"),
        tolerance=Tolerance(target=12.9, width=0.01, reason="rounding"), unit="fraction",
    )  # fmt: skip
    text = printed(Report((verdict, replace(verdict, id="more", status="measured"))))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for wanted in ("a_set_of_fo", verdict.published, f"{12.8216:.{digits}f}", f"{12.9:.{digits}f}"):
        assert wanted in text, wanted
    assert [line.split()[-1] for line in text.splitlines() if verdict.published in line] == [
        "reproduced",
        "measured",
    ]
    table = text.splitlines()[2:]
    end = table[0].index("figure")
    assert end - 2 >= 12
    assert verdict.asked.ood_set in "".join(line[:end].strip() for line in table)
    figures = "".join(line[end : table[0].index("published")].strip() for line in table)
    assert "a_long_detectorFPR95(fraction)" in figures.replace(" ", "")


def test_brackets_in_names_are_no_markup():
    asked = Question("net[/bold]8", "[red]id", "[/]ood", "[b]odin", "[i]fpr", "[x]y")
    verdict = replace(GOOD, source="a[/red]", id="[/]", asked=asked)
    text = printed(Report((verdict, replace(verdict, status="differs", explained="[/]"))), width=200)
    for name in ("a[/red]", "net[/bold]8 on [red]id", "[/]ood", "[b]odin [i]fpr", "differ: [/]"):
        assert name in text, name
    missing = replace(MISSING, source="a[/red]", reason="[/] no")
    assert "1: [/] no" in printed(Report((missing,)), everything=False)
