"""Results as tables: whole in docs/speed.md, short in the README.

`python benchmarks/speed/tables.py` writes both; `tests/test_speed_tables.py` holds the pages
against the latest results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
README, PAGE = ROOT / "README.md", ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- speed: begin -->\n", "<!-- speed: end -->\n"

HEADS = ["#", "case", "against", "measured", "target", "", "note"]
EAGER, SMALL, MEMORY = "loss eager ", "loss auto ", "peak memory "


def latest() -> Path:
    """Return the newest results of a whole run."""
    return max(path for path in RESULTS.glob("*.json") if not path.stem.endswith("-quick"))


def shown(outcome: Mapping[str, Any]) -> list[str]:
    """Return an outcome as the cells of a table."""
    measured, target = outcome["measured"], outcome["target"]
    if measured is None:
        return [
            str(outcome["goal"]),
            outcome["case"],
            outcome["against"],
            "unmeasured",
            "-",
            "-",
            outcome["note"],
        ]
    met = "met" if measured <= target else "missed"
    numbers = [f"{measured:.3g}", f"<= {target:g}", met]
    return [str(outcome["goal"]), outcome["case"], outcome["against"], *numbers, outcome["note"]]


def conditions(where: Mapping[str, Any]) -> str:
    """Return one line on the machine."""
    card = where["gpu"] or "no GPU: GPU goals unmeasured"
    return (
        f"{where['date']}: {where['cpu']} ({where['capability']}, {where['cores']} cores, load "
        f"{where['load'][0]}), {where['threads']} thread, {card}, torch {where['torch']}, Python "
        f"{where['python']}, allocator: {where['allocator']}; medians of process time, paired."
    )


def whole(document: Mapping[str, Any]) -> str:
    """Return every goal as a Markdown table, and the machine."""
    rows = [shown(outcome) for outcome in document["outcomes"]]
    return f"{_table(HEADS, rows)}\n{conditions(document['machine'])}\n"


def short(document: Mapping[str, Any]) -> str:
    """Return the loss on a CPU, by shape: its time and its memory as parts of the peers'."""
    figures = {(found["case"], found["against"]): found for found in document["outcomes"]}
    rows = []
    for case in dict.fromkeys(case for case, _ in figures if case.startswith((SMALL, EAGER))):
        shape = case.removeprefix(EAGER).removeprefix(SMALL)
        memory = figures.get((MEMORY + shape, "the logits (N)"))
        times = [f"{figures[case, peer]['measured']:.2f}" for peer in ("pytorch-ood", "F.cross_entropy")]
        held = f"{memory['measured']:.1f} N ({memory['note']})" if memory else "-"
        rows.append([shape, *times, held])
    heads = ["logits", "time / pytorch-ood", "time / F.cross_entropy alone", "memory beyond the logits (N)"]
    return f"{_table(heads, rows)}\n{conditions(document['machine'])}\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def with_block(text: str, block: str) -> str:
    """Return a page with what stands between its marks replaced."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + block + END + rest.split(END)[1]


def main() -> None:
    """Write both pages."""
    document = json.loads(latest().read_text())
    README.write_text(with_block(README.read_text(), short(document)))
    PAGE.write_text(with_block(PAGE.read_text(), whole(document)))


if __name__ == "__main__":
    main()
