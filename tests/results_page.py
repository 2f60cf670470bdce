"""docs/results.md and the README's counts, from the carried inputs; run it to write them."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

from energy_plugin_bench.inputs.assets import CACHE, DATA_ROOT, Assets
from energy_plugin_bench.report.report import Report, scores_table, to_markdown
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.registry import Registry
from energy_plugin_bench.verdicts.runner import Runner
from energy_plugin_bench.verdicts.verdict import ALSO, Verdict

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
    """Return the Markdown of every verdict: in full where something ran, a line for each other source."""
    found: dict[str, list[Verdict]] = {}
    for name in registry.sources:
        source = registry.sources[name]
        found[name] = [*(runner.verdict(source, row) for row in source.rows), *runner.extras(name)]
    ran = {name for name, verdicts in found.items() if any(v.status != "not run" for v in verdicts)}
    whole = to_markdown(Report(tuple(v for name in found if name in ran for v in found[name])))
    scores = scores_table(Report(tuple(v for verdicts in found.values() for v in verdicts)))
    others = {name: verdicts for name, verdicts in found.items() if name not in ran}
    table, _, rest = whole.split("\n\n", 2)  # the scores of the sources that ran are not all
    several = sum(map(len, others.values()))
    table += f"\n| {len(others)} further sources | 0 | 0 | {several} |"
    return "\n\n".join([table, "\n".join(scores), rest.rstrip("\n"), _not_run(others)]) + "\n"


def _not_run(others: dict[str, list[Verdict]]) -> str:
    """Return a line for each source of which nothing ran, with its two commonest reasons in short."""
    lines = [
        "## Sources of which nothing was run here",
        "",
        "Each row has its own reason, with sizes and terms: `energy-plugin reproduce --source NAME --all`.",
        "",
        "| source | rows | why |",
        "|---|---:|---|",
    ]
    for name, verdicts in others.items():
        reasons = Counter(_short(verdict.reason) for verdict in verdicts)
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(2))
        rest = sum(reasons.values()) - sum(count for _, count in reasons.most_common(2))
        more = f"; others ({rest})" if rest else ""
        lines.append(f"| {name} | {len(verdicts)} | {told}{more} |")
    return "\n".join(lines)


def _short(reason: str) -> str:
    """Return the first reason without sizes and terms, and how many others there are."""
    first, *others = reason.removeprefix("no recipe: ").split(ALSO)
    first = first.partition(" under a data root")[0]
    return f"{first} and {len(others)} more" if others else first


def counts(markdown: str) -> str:
    """Return the first two tables: verdicts by source and by score."""
    return "\n\n".join(markdown.split("\n\n")[:2]) + "\n"


def page(markdown: str) -> str:
    """Return the whole page."""
    return _HEAD + markdown


def between(readme: str) -> str:
    """Return what stands between the README's marks."""
    return readme.split(BEGIN)[1].split(END)[0]


def main() -> None:
    os.environ.pop(DATA_ROOT, None)
    os.environ[CACHE] = tempfile.mkdtemp()
    registry = registries.load()
    markdown = measured(registry, Runner(registry, Assets(registry.files)))
    PAGE.write_text(page(markdown))
    text = README.read_text()
    README.write_text(text.replace(BEGIN + between(text), BEGIN + counts(markdown)))


if __name__ == "__main__":
    main()
