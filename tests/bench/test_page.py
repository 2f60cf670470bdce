"""The report as a page: whole in itself, and usable in a real browser."""

import dataclasses
import re
from itertools import product

import browser
import pytest

from energy_plugin_bench.report.curves import curve
from energy_plugin_bench.report.page import to_html
from energy_plugin_bench.report.report import Report
from energy_plugin_bench.verdicts.verdict import Question, Tolerance, Verdict

NASTY = "<script>alert('x')</script>&\"'"


def made(source, network, method="energy", **changes):
    asked = Question(network, "mnist", "noise", method, "fpr95", "outlier_exposure")
    return dataclasses.replace(
        Verdict(
            id=f"{source}_{network}_{method}", source=source, status="reproduced", asked=asked,
            unit="percent", published="9.50", place="owner/name@0123456789:a/b.txt line 7",
            measured=9.4, origin="images",
            tolerance=Tolerance(target=9.5, width=0.25, reason="three standard errors"),
        ),
        **changes,
    )  # fmt: skip


def report(more=()):
    import torch

    torch.manual_seed(0)
    verdicts = (
        made("alpha", "one"),
        made("alpha", "two", measured=10.6, status="differs", explained="another sample"),
        made("alpha", "three", measured=7.5),
        made("alpha", "one", "msp", status="measured", published="", place="", tolerance=None, measured=20.0),
        made("beta", "four", status="not run", measured=None, tolerance=None, reason="needs ImageNet"),
        made("beta", "five", status="not run", measured=None, tolerance=None, reason="needs weights"),
        *more,
    )
    scores = torch.randn(500), torch.randn(400) + 2
    return Report(
        verdicts,
        {"torch": "9", "time": "today", "device": "cpu"},
        12.0,
        {"alpha": {"title": "Title", "cite": NASTY, "repository": "owner/name@0123456", "kind": "original"}},
        (curve("alpha", verdicts[0].asked, *scores), curve("alpha", verdicts[3].asked, *scores)),
        {"weights.safetensors": "ab" * 32, "images": ""},
    )


@pytest.fixture(scope="module")
def html():
    return to_html(report())


def test_the_page_holds_what_a_reader_needs(html):
    for wanted in (
        "2 reproduced, 1 differ (1 explained), 2 not run; 1 measured",
        "three standard errors",
        "another sample",
        "needs ImageNet",
        'href="https://github.com/owner/name/blob/0123456789/a/b.txt#L7"',
        'href="https://github.com/owner/name/tree/0123456"',
        "ab" * 32,
        "<li>images<br>folder, not hashed</li>",
        "<dt>torch</dt><dd>9</dd>",
    ):
        assert wanted in html, wanted
    assert html.count("<svg") == 2


def test_the_head_counts_by_score(html):
    head = html.partition("<header>")[2].partition("</header>")[0]
    rows = re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", head)
    found = {re.sub("<.*?>", "", name): re.findall(r">(\d+)<", numbers) for name, numbers in rows}
    assert found == {"energy": ["2", "1", "2"]}  # reproduced, differs, not run


def test_what_others_wrote_is_escaped(html):
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_words_in_pictures_are_escaped():
    asked = Question(NASTY, NASTY, NASTY, NASTY, "fpr95", "outlier_exposure")
    import torch

    behind = curve("alpha", asked, torch.randn(9), torch.randn(9))
    page = to_html(dataclasses.replace(report(), curves=(behind,)))
    assert "<script>alert" not in page


def test_the_page_needs_no_other_file(html):
    assert not re.search(r'\bsrc=|url\((?!["\']?#)|@import|<link (?!rel="icon" href="data:,")', html)
    assert "default-src 'none'" in html


def test_the_same_report_gives_the_same_page(html):
    assert to_html(report()) == html


def test_a_report_without_anything_beside_verdicts_is_a_page_too():
    page = to_html(dataclasses.replace(report(), sources={}, curves=(), hashes={}, environment={}))
    assert "<svg" not in page
    assert "needs weights" in page


def of_pixels(name, method, measured, **changes):
    asked = Question("seg", name, "anomalous_pixels", method, "auroc", changes.pop("convention", "pebal"))
    return made("alpha", "seg", asked=asked, id=f"{name} {method}", measured=measured, **changes)


def lines(verdicts):
    """Cells of the table of detectors: sets, metric with convention, figures."""
    page = to_html(dataclasses.replace(report(), verdicts=tuple(verdicts)))
    table = page.partition('<section id="detectors">')[2].partition("</section>")[0]
    rows = re.findall(r"<tr[^>]*><td>seg <small>alpha</small></td>(.*?)</tr>", table)
    return [re.findall(r'<td(?: class="n( best)?")?[^>]*>(.*?)</td>', row) for row in rows]


def test_detectors_stand_beside_each_other_on_the_same_set_only():
    found = lines(
        [
            of_pixels("anomaly21", "energy", 90.0),
            of_pixels("anomaly21", "msp", 80.0),
            of_pixels("obstacle21", "msp", 70.0, status="differs"),
            of_pixels("obstacle21", "energy", 60.0),
            of_pixels("static", "energy", 99.0),  # alone: nothing to compare with
        ]
    )
    metric = ("", "AUROC <small>pebal</small>")
    assert found == [
        [("", "anomaly21 / anomalous_pixels"), metric, (" best", "90.00 ✓"), ("", "80.00 ✓")],
        [("", "obstacle21 / anomalous_pixels"), metric, ("", "60.00 ✓"), (" best", "70.00 ✗")],
    ]


def test_detectors_of_two_conventions_stand_on_two_lines():
    verdicts = [
        of_pixels("static", method, 80.0, convention=convention)
        for convention in ("pebal", "smiyc")
        for method in ("energy", "msp")
    ]
    assert [line[1][1] for line in lines(verdicts)] == [
        "AUROC <small>pebal</small>",
        "AUROC <small>smiyc</small>",
    ]


def test_a_figure_that_is_printed_twice_has_both_verdicts_and_no_number_is_not_the_best():
    found = lines(
        [
            of_pixels("static", "energy", float("nan")),
            of_pixels("static", "msp", 80.0),
            of_pixels("static", "msp", 80.0, status="differs"),
        ]
    )
    assert found[0][2:] == [("", "nan ✓"), (" best", "80.00 ✓ ✗")]


@pytest.mark.parametrize("measured", [9.5 - 1e-6, 9.5 + 1e-6, 9.5])
def test_off_by_nothing_has_no_sign(measured):
    page = to_html(Report((made("alpha", "one", measured=measured),)))
    assert '<td class="n" data-label="off by">0.000</td>' in page
    page = to_html(Report((made("alpha", "one", measured=float("nan")),)))
    assert '<td class="n" data-label="off by"></td>' in page


def test_what_a_figure_is_off_from_is_said_where_it_is_not_the_printed_one():
    cell = '<td class="n" data-label="within" data-v="0.250">{}</td>'
    page = to_html(Report((made("alpha", "one"),)))
    assert cell.format("± 0.250") in page
    meant = Tolerance(target=9.47, width=0.25, reason="the mean of five logs")
    page = to_html(Report((made("alpha", "one", tolerance=meant),)))
    assert cell.format("9.47 ± 0.250") in page


def test_an_address_is_a_link():
    page = to_html(Report((made("alpha", "one", place="https://example.org/a/"),)))
    assert '<a href="https://example.org/a/" rel="noreferrer">a</a>' in page


@pytest.fixture(scope="module")
def chromium():
    if browser.lacking():
        pytest.skip(browser.NEEDS)
    with browser.Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def file(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture
def opened(chromium, file):
    chromium.look(1200)
    chromium.open(file)
    chromium.until("document.documentElement.dataset.ready")
    return chromium


def shown(opened):
    """Ids of the networks whose figures can be seen."""
    return opened.run(
        """return Array.from(document.querySelectorAll("main [data-status]"))
        .filter((node) => node.checkVisibility({contentVisibilityAuto: false}))
        .map((node) => (node.cells ? node.cells[0] : node).textContent.match(/one|two|three|four|five/)[0])"""
    )


def write(opened, words):
    opened.run(
        "const box = document.getElementById('filter'); box.value = arguments[0];"
        "box.dispatchEvent(new Event('input'))",
        words,
    )
    opened.until(f"document.documentElement.dataset.filtered === {words!r}")


@pytest.mark.parametrize(("width", "dark"), [*product((1200, 390), (False, True))])
def test_it_loads_without_a_complaint_or_a_request(chromium, file, width, dark):
    chromium.look(width, dark=dark)
    chromium.requests()
    chromium.open(file)
    chromium.until("document.documentElement.dataset.ready")
    assert chromium.complaints() == []
    asked = [address for address in chromium.requests() if not address.startswith(("data:", "chrome:"))]
    assert asked == [file.resolve().as_uri()]
    assert chromium.run("return document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out
    background = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is not dark


def test_the_browser_would_tell_of_a_complaint(chromium, file, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(file.read_text().replace('"use strict";', '"use strict"; nonsense();'))
    chromium.open(broken)
    assert any("nonsense" in said for said in chromium.complaints())


def test_not_run_rows_are_folded_away(opened):
    assert shown(opened) == ["one", "three", "two"]


def test_the_filter_filters_and_opens_what_it_found(opened):
    write(opened, "imagenet")
    assert shown(opened) == ["four"]
    assert opened.run("return document.getElementById('found').value") == "1 of 6 figures"
    assert opened.run("return document.getElementById('source-alpha').hidden")
    assert opened.run("return document.querySelector('[data-section=source-alpha]').hidden")
    assert not opened.run("return document.querySelector('[data-section=source-beta]').hidden")
    assert not opened.run("return document.querySelector('.idle').hidden")
    write(opened, "alpha differs")
    assert shown(opened) == ["two"]
    assert opened.run("return document.querySelector('.idle').hidden")
    write(opened, "alpha nowhere")
    assert shown(opened) == []
    write(opened, "")
    assert shown(opened) == ["one", "three", "two"]


def choose(opened, score):
    opened.run(
        "const box = document.getElementById('score'); box.value = arguments[0];"
        "box.dispatchEvent(new Event('change'))",
        score,
    )


@pytest.fixture(scope="module")
def confusing(tmp_path_factory):
    """A page whose sources, ids and small print hold words that are scores, too."""
    named = "energy_ood"
    page = to_html(
        report(
            [
                made(named, "five", "energy"),
                made(named, "energy_five", "msp", id="energy_network", measured=9.1, status="differs"),
                made(named, "five", "msp", id=f"{named}_five_msp", note="beside energy", measured=9.3),
                made(named, "five", "energy only", id="weird", measured=9.2, status="differs"),
            ]
        )
    )
    path = tmp_path_factory.mktemp("page") / "confusing.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture
def chosen(chromium, confusing):
    chromium.look(1200)
    chromium.open(confusing)
    chromium.until("document.documentElement.dataset.ready")
    return chromium


def scores(opened):
    """What can be seen of the source energy_ood, by figure."""
    return opened.run(
        """return Array.from(document.querySelectorAll("#source-energy_ood tr[data-status]"))
        .filter((node) => node.checkVisibility({contentVisibilityAuto: false}))
        .map((node) => node.cells[2].textContent)"""
    )


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("energy reproduced", ["energy FPR95"]),  # not the source's name, the id or the small print
        ("energy differs", []),  # nor the network's: the name of a score is that score
        ("energy_f differs", ["msp FPR95"]),
        ("score:energy", ["energy FPR95"]),
        ("score:energy_only", ["energy only FPR95"]),
        ("msp reproduced", ["msp FPR95"]),
        ("energy_ood reproduced", ["energy FPR95", "msp FPR95"]),
        ("source:y_oo differs", ["msp FPR95", "energy only FPR95"]),
        ("source:alpha", []),
        ("energy_ood_five_msp", ["msp FPR95"]),
        ("id:five_msp", ["msp FPR95"]),
    ],
)
def test_words_match_what_is_seen(chosen, words, found):
    write(chosen, words)
    assert scores(chosen) == found


def test_a_score_is_chosen_from_a_list_or_by_its_counts(chosen):
    choose(chosen, "energy only")
    assert scores(chosen) == ["energy only FPR95"]
    assert chosen.run("return document.getElementById('found').value") == "1 of 10 figures"
    write(chosen, "reproduced")
    assert scores(chosen) == []
    write(chosen, "")
    choose(chosen, "")
    assert len(scores(chosen)) == 4
    chosen.run("document.querySelector('[data-choose=msp]').click()")
    assert scores(chosen) == ["msp FPR95", "msp FPR95"]
    assert chosen.run("return document.getElementById('score').value") == "msp"


def test_detectors_beside_each_other_stay_where_one_of_them_is_chosen(chosen):
    lines = "document.querySelectorAll('.pivot tbody tr:not([hidden])').length"
    write(chosen, "score:energy_only")
    assert chosen.run(f"return {lines}") == 1
    write(chosen, "source:alpha score:msp")
    assert chosen.run(f"return {lines}") == 1
    write(chosen, "score:max_logit")
    assert chosen.run(f"return {lines}") == 0


def test_a_tick_leaves_out_a_verdict(opened):
    opened.run("document.querySelector('.bar [data-status=reproduced]').click()")
    assert shown(opened) == ["two"]
    opened.run("document.querySelector('.bar [data-status=reproduced]').click()")


def test_the_table_sorts_by_value_both_ways(opened):
    head = "#source-alpha table.figures th:nth-child(6)"
    rows = "document.querySelectorAll('#source-alpha > table tbody tr')"
    order = f"return Array.from({rows}, row => row.cells[5].textContent)"
    opened.run(f"document.querySelector('{head} button').click()")
    assert opened.run(order) == ["-2.000", "-0.100", "+1.100"]  # as text -0.100 stands first
    assert opened.run(f"return document.querySelector('{head}').ariaSort") == "ascending"
    opened.run(f"document.querySelector('{head} button').click()")
    assert opened.run(order) == ["+1.100", "-0.100", "-2.000"]
    assert opened.run(f"return document.querySelector('{head}').ariaSort") == "descending"


def test_words_sort_as_words(opened):
    opened.run("document.querySelector('#source-alpha table.figures th button').click()")
    assert shown(opened) == ["one", "three", "two"]


def test_five_thousand_rows_are_still_usable(chromium, tmp_path):
    many = [
        made(f"source{n % 40}", "four", status="not run", measured=None, tolerance=None, id=f"row {n}",
             reason=f"needs file {n % 13}")
        for n in range(5000)
    ]  # fmt: skip
    file = tmp_path / "many.html"
    file.write_text(to_html(report(many)), encoding="utf-8")
    chromium.look(1200)
    chromium.open(file)
    chromium.until("document.documentElement.dataset.ready")
    spent = chromium.run(
        """const box = document.getElementById('filter'), start = performance.now(); box.value = 'row 4711';
        box.dispatchEvent(new Event('input')); return start"""
    )
    chromium.until("document.getElementById('found').value.startsWith('1 of 5006')")
    seconds = (chromium.run("return performance.now()") - spent) / 1000
    assert seconds < 10  # a tenth of that here; a hang is what this is about
    assert chromium.run("return document.body.scrollHeight") < 30_000
