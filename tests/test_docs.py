"""What the pages say holds: their code runs, their links lead somewhere, the changelog knows the version."""

import re
import tomllib
from pathlib import Path

import pytest

import energy_plugin
from energy_plugin import default_manager
from energy_plugin.records import KINDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


WITH_CODE = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_CODE, ids=names(WITH_CODE))
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "example"}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, block {number + 1}", "exec"), namespace)
    expected = re.findall(r"print\(.*\)  # ([\[{'a-z].*)$", page.read_text(), flags=re.MULTILINE)
    shown = capsys.readouterr().out
    for line in (line for line in expected if line[0] in "[{"):
        assert line in shown.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_toml_of_a_page_is_toml(page: Path) -> None:
    for block in blocks(page, "toml"):
        tomllib.loads(block)


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=names([*PAGES, ROOT / "CONTRIBUTING.md"])
)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_page_on_plug_ins_names_every_hook_and_record() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    for kind in KINDS:
        assert f"`{kind.hook}` | `{kind.__name__}`" in text


def test_the_readme_names_every_host_that_can_be_registered() -> None:
    text = (ROOT / "README.md").read_text()
    for spec in default_manager().hosts():
        assert f'"{spec.name}"' in text


def test_the_changelog_and_the_citation_know_the_version() -> None:
    assert f"version: {energy_plugin.__version__}" in (ROOT / "CITATION.cff").read_text()
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{energy_plugin.__version__}]" in changelog
