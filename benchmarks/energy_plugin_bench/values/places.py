"""Where a figure was read, as an address on the web."""

from __future__ import annotations

import re
from urllib.parse import quote

_FILE = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(?: \([^)]*\))?(?:@(?P<commit>[0-9a-f]{7,40}))?: ?(?P<rest>.+)",
    re.DOTALL,
)
_ISSUE = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+) (?:issue|pull request|discussion)s? #?(?P<number>\d+)")
_ARXIV = re.compile(r"arxiv\.org/(?P<path>[\w./-]*\w)|arXiv:? ?(?P<number>\d{4}\.\d{4,5})", re.IGNORECASE)
_REPOSITORY = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<commit>[0-9a-f]{7,40}))?(?=$|[ ;,(])")
_AFTER_PATH = re.compile(r"[,;]| lines? \d| \(")
_LINE = re.compile(r"\blines? (\d+)")


def link(place: str) -> str:
    """Address of a place, as exact as it is said: repository, commit, file, line; empty if it says none.

    Args:
        place: Such as `owner/name@commit:path line 12`, `owner/name issue 3` or `arXiv 2010.03759, Table 1`.
    """
    if found := _ISSUE.match(place):
        return f"https://github.com/{found['repository']}/issues/{found['number']}"
    if found := _FILE.match(place):
        return _file(found["repository"], found["commit"] or "HEAD", found["rest"])
    if found := _ARXIV.search(place):
        return f"https://arxiv.org/{found['path'] or 'abs/' + found['number']}"
    return repository(place)


def repository(text: str) -> str:
    """Address of a repository, at its commit if one is named; empty if the text begins with none."""
    found = _REPOSITORY.match(text)
    if not found:
        return ""
    at = f"/tree/{found['commit']}" if found["commit"] else ""
    return f"https://github.com/{found['repository']}{at}"


def _file(name: str, commit: str, rest: str) -> str:
    path = _AFTER_PATH.split(rest.strip(), maxsplit=1)[0].strip()
    if "." not in path.rpartition("/")[2]:
        return f"https://github.com/{name}/tree/{commit}"
    line = _LINE.search(rest)
    return f"https://github.com/{name}/blob/{commit}/{quote(path)}" + (f"#L{line[1]}" if line else "")
