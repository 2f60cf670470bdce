"""Code of pages that needs packages which the suite does not: blocks marked `py`, run section by section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def code(page: str, heading: str, number: int = 0) -> dict[str, Any]:
    """Run the so-manyth block below a heading and return its names."""
    section = (DOCS / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = re.findall(r"^```py\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)[number]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, f"{page}, {heading}, {number}", "exec"), names)
    return names
