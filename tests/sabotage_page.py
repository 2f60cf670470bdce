"""docs/sabotage.md: what becomes of reproduced figures when something is done wrongly; run it to write it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from sabotages import FEW_POSITIVES, Line, Moved, lines, moves

from energy_plugin_bench.inputs.assets import DATA_ROOT
from energy_plugin_bench.values import registry as registries

PAGE = Path(__file__).parents[1] / "docs" / "sabotage.md"

_HEAD = """\
# What a mistake does to a figure

A verdict that cannot turn is worth nothing. Here each mistake is made on purpose, on the inputs that the
package carries, and rows that are reproduced otherwise are judged again. "Differs" is what must come out.
Where a figure cannot show a mistake the reason stands beside it, and another figure of the list shows it.
The page is generated and checked: `python tests/sabotage_page.py`.

Figures are in percent. "Within" is the row's tolerance.
"""

_CONVENTIONS = f"""
## Every convention

The energy of one network (`baseline_epoch_9`, MNIST test against notMNIST) as FPR95 under each convention of
`energy_plugin.metrics`, and what three mistakes make of it. Taken are {FEW_POSITIVES} images of the
convention's positive kind and all 10,000 of the other: on many positives the rules for the threshold agree. A
figure printed with two digits shows a move of 0.005.
"""


def page(shown: Iterable[Line], moved: Iterable[Moved]) -> str:
    """Return the whole page."""
    text = [_HEAD]
    for what, group in groupby(shown, key=lambda line: line.what):
        text += [
            f"**{what[0].upper()}{what[1:]}**\n",
            "| row | published | measured | with the mistake | moved by | within | verdict |",
            "|---|---:|---:|---:|---:|---:|---|",
            *map(_row, group),
            "",
        ]
    text += [_CONVENTIONS.strip() + "\n", *_table(moved)]
    return "\n".join(text) + "\n"


def _row(line: Line) -> str:
    right, wrong = line.right, line.wrong
    verdict = f"{wrong.status}: {line.blind}" if line.blind else wrong.status
    figures = f"{right.measured:.3f} | {wrong.measured:.3f} | {wrong.measured - right.measured:+.3f}"
    return f"| {right.id} | {right.published} | {figures} | {right.tolerance.width:.3f} | {verdict} |"


def _table(moved: Iterable[Moved]) -> list[str]:
    head = [
        "| convention | positive | rule | FPR95 | sign flipped | positive swapped | another rule |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    return head + [
        f"| {m.convention.name} | {m.convention.positive} | {m.convention.fpr_rule} | {m.stated:.2f} | "
        f"{m.flipped:.2f}{' (turned round by the source itself)' if m.convention.turns_round else ''} | "
        f"{m.swapped:.2f} | {m.by_rule:.2f} ({m.rule}) |"
        for m in moved
    ]


def main() -> None:
    os.environ.pop(DATA_ROOT, None)
    registry = registries.load()
    PAGE.write_text(page(lines(registry), moves(registry)), encoding="utf-8")


if __name__ == "__main__":
    main()
