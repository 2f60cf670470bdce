"""Code of the page on frameworks, section by section; it needs packages that the suite does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "frameworks.md"


def code(heading: str, number: int = 0) -> dict[str, Any]:
    """Run the so-manyth block below a heading and return its names."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = re.findall(r"^```py\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)[number]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, f"{PAGE.name}, {heading}, {number}", "exec"), names)
    return names
