"""`pytest benchmarks`: one test a published value, and no comfort in skipping everything."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from energy_plugin_bench.verdicts.questions import question

ROOT = Path(__file__).parents[2]


def run(*arguments, code="", where=ROOT):
    """Run pytest on the benchmarks in a process of its own, after some code."""
    environment = {key: value for key, value in os.environ.items() if key != "ENERGY_PLUGIN_DATA"}
    script = f"import sys, pytest\n{code}\nsys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, str(ROOT / "benchmarks"), "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_rows_pass_are_skipped_or_fail_as_expected_with_the_reason_and_all_are_counted(tmp_path):
    output = tmp_path / "verdicts.json"
    chosen = "akamaster or dice_issue2_cifar100_svhn or song_cifar10-svhn_pretrained_errordetection"
    code, text = run("-rsx", "-k", chosen, f"--energy-output={output}")
    assert code == 0, text
    assert "5 passed, 3 skipped" in text
    assert "1 xfailed" in text
    assert "not run: needs dice/cifar100_densenet_checkpoint_100.pth.tar" in text
    assert "errordetection_tnr99: differs: published 39.61 percent, measured 39.393" in text
    assert "akamaster_resnet: 2 reproduced, 0 differs, 0 not run" in text
    assert "song_energy_ood: 3 reproduced, 1 differs, 0 not run" in text
    assert "all: 5 reproduced, 1 differs, 3 not run" in text
    assert json.loads(output.read_text())["summary"]["reproduced"] == 5


def test_a_value_that_differs_fails_with_its_figures():
    broken = "import energy_plugin_bench.verdicts.runner as r\nr.is_wrong = lambda x, y: x.argmax(1) == y"
    code, text = run("--energy-source=akamaster_resnet", "-k", "resnet20", code=broken)
    assert code == 1, text
    assert "resnet20_cifar10_akamaster_error_rate: differs: published 8.27 percent, measured 91.730" in text
    assert "all: 0 reproduced, 1 differs, 0 not run" in text


def test_a_run_in_which_nothing_was_verified_fails():
    code, text = run("--energy-source=dice_issue_2")
    assert code == 1, text
    assert "21 skipped" in text
    assert "nothing was verified" in text
    code, text = run("--energy-source=dice_issue_2", "--energy-allow-empty")
    assert code == 0, text


def test_wrong_options_are_told_without_a_traceback():
    code, text = run("--energy-source=dice")
    assert code == pytest.ExitCode.INTERRUPTED
    assert "there is no source 'dice'. Did you mean 'dice_issue_2'?" in text
    assert "Traceback" not in text


def test_the_ids_of_the_tests_are_those_of_the_rows(registry):
    code, text = run("--collect-only", "-q", "--energy-source=song_energy_ood", "-k", "song_svhn")
    assert code == 0, text
    wanted = {row.id for _, row in registry.rows() if row.id.startswith("song_svhn")}
    assert {line.partition("[")[2].rstrip("]") for line in text.splitlines() if "[" in line} == wanted


def test_rows_are_chosen_by_markers():
    code, text = run("--collect-only", "-q", "-m", "(akamaster_resnet or dice_issue_2) and not needs_data")
    assert code == 0, text
    found = {line.partition("[")[2].rstrip("]") for line in text.splitlines() if "[" in line}
    assert found == {"resnet20_cifar10_akamaster_error_rate", "resnet56_cifar10_akamaster_error_rate"}


def test_rows_are_chosen_by_data_set_whatever_characters_its_name_has(registry):
    code, text = run("--collect-only", "-q", "-m", "(notmnist and not needs_data) or FS_LostAndFound")
    assert code == 0, text
    found = {line.partition("[")[2].rstrip("]") for line in text.splitlines() if "[" in line}
    rows = list(registry.rows())
    pixels = {row.id for _, row in rows if "FS-LostAndFound" in (row.id_set, row.ood_set)}
    images = {row.id for s, row in rows if s.name == "outlier_exposure_mnist" and row.ood_set == "notmnist"}
    assert min(len(pixels), len(images)) > 5
    assert found == pixels | images


def test_what_a_row_needs(registry, carried_runner):
    from energy_plugin_bench.verdicts.needs import needs

    came = Counter()
    for source, row in registry.rows():
        found = tuple(needs(carried_runner, source, row))
        came[found] += 1
        told = carried_runner.obstacles(source.name, question(row))
        if row.obstacle or told:
            fetched = not row.obstacle and all("Fetched by --download." in reason for reason in told)
            assert found == ("needs_data", "needs_download" if fetched else "not_runnable"), row.id
        else:
            assert found == (), row.id
    assert len(came) == 3
    assert min(came.values()) > 100


SERVED = """
import energy_plugin_bench.verdicts.needs as needs
def fetched(runner, rows):
    print("FETCH", sorted(row.id for _, row in rows))
needs.fetch_for = fetched
"""


def test_what_the_chosen_values_need_is_fetched_and_seen_while_it_runs():
    chosen = ["--energy-source=dice_issue_2", "-k", "dice_issue2_cifar100_svhn", "--energy-allow-empty"]
    _, text = run(*chosen, "--energy-download", code=SERVED)
    names = ", ".join(repr(f"dice_issue2_cifar100_svhn_energy_{m}") for m in ("aupr-in", "auroc", "fpr95"))
    assert f"FETCH [{names}]" in text


@pytest.mark.parametrize(("download", "collect_only"), [(False, False), (True, True)])
def test_nothing_is_fetched_unless_it_is_wished_and_tests_run(download, collect_only):
    from energy_plugin_bench import pytest_plugin

    wishes = {"--energy-download": download}
    options = SimpleNamespace(collectonly=collect_only)
    config = SimpleNamespace(getoption=wishes.get, option=options)
    pytest_plugin.pytest_collection_finish(SimpleNamespace(config=config))  # has no items to look at


def test_slow_networks_are_long_where_they_are_computed(registry, data_root, find):
    from energy_plugin_bench.inputs.assets import Assets
    from energy_plugin_bench.verdicts.needs import needs
    from energy_plugin_bench.verdicts.runner import Runner

    source, row = find(registry, "resnet20_cifar10_akamaster_error_rate")
    live = Runner(registry, Assets(registry.files, data_root), from_images=True)
    assert list(needs(live, source, row)) == ["long"]
    assert list(needs(Runner(registry, Assets(registry.files, data_root)), source, row)) == []


def test_the_report_is_written_as_a_page_and_logits_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ENERGY_PLUGIN_HOME", str(tmp_path / "home"))
    page = tmp_path / "report.html"
    code, text = run(
        "--energy-source=outlier_exposure_mnist",
        "-k",
        "oe_mnist_baseline_fashion_mnist_fpr95",
        f"--energy-html={page}",
        "--energy-batch-size=500",
    )
    assert code == 0, text
    assert "oe_mnist_baseline_fashion_mnist_fpr95" in page.read_text()
    assert "<dt>batch_size</dt><dd>500</dd>" in page.read_text()
    assert "<svg" in page.read_text()
    assert len(list((tmp_path / "home" / "passes").iterdir())) == 2


def test_wrong_settings_are_told_before_anything_runs(tmp_path):
    code, text = run("--energy-device=toaster", "--energy-source=akamaster_resnet")
    assert code != 0
    assert "the device is 'toaster'; expected cpu, cuda" in text


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(tmp_path, pytestconfig):
    from energy_plugin_bench import pytest_plugin

    class Options:
        stash = pytest.Stash()

        def getoption(self, name, default=None):
            return str(tmp_path / "gone" / "report.html") if name == "energy_html" else default

    with pytest.raises(pytest.UsageError, match="there is no folder"):
        pytest_plugin.pytest_configure(Options())


def test_the_plugin_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pydantic', 'rich', 'safetensors', 'PIL'}"
    code = f"import sys, energy_plugin_bench.pytest_plugin; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
