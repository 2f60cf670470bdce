"""docs/results.md and the README's counts, from the carried inputs; run it to write them."""

from __future__ import annotations

import os
from pathlib import Path

from energy_plugin_bench import registry as registries
from energy_plugin_bench.assets import DATA_ROOT, Assets
from energy_plugin_bench.registry import Registry
from energy_plugin_bench.report import Report, to_markdown
from energy_plugin_bench.runner import Runner

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"

_HEAD = """\
# Published against measured

What `energy-plugin reproduce` gives on the inputs that the package carries. "Reproduced" means within a
tolerance that follows from the source's own spread, the number of draws and the printed digits; `--json`
has it beside every value, with its reason and the place where the value was read. "Measured" stands where
nobody published a value. The page is generated: `python tests/results_page.py`.

"""


def measured(registry: Registry, runner: Runner) -> str:
    """Return the Markdown of every verdict."""
    found = []
    for name in registry.sources:
        source = registry.sources[name]
        found += [runner.verdict(source, row) for row in source.rows]
        found += runner.extras(name)
    return to_markdown(Report(tuple(found)))


def counts(markdown: str) -> str:
    """Return the first table: verdicts by source."""
    return markdown.split("\n\n")[0] + "\n"


def page(markdown: str) -> str:
    """Return the whole page."""
    return _HEAD + markdown


def between(readme: str) -> str:
    """Return what stands between the README's marks."""
    return readme.split(BEGIN)[1].split(END)[0]


def main() -> None:
    os.environ.pop(DATA_ROOT, None)
    registry = registries.load()
    markdown = measured(registry, Runner(registry, Assets(registry.files)))
    PAGE.write_text(page(markdown))
    text = README.read_text()
    README.write_text(text.replace(BEGIN + between(text), BEGIN + counts(markdown)))


if __name__ == "__main__":
    main()
