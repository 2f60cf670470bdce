"""Where a figure was read, as an address on the web."""

from __future__ import annotations

import re
from urllib.parse import quote

_NAME = r"(?P<repository>[\w.-]+/[\w.-]+)"
_COMMIT = r"@(?P<commit>[0-9a-f]{7,40})"
_FILE = re.compile(rf"{_NAME}(?: \([^)]*\))?(?:{_COMMIT})?: ?(?P<rest>.+)", re.DOTALL)
_ISSUE = re.compile(rf"{_NAME}(?: (?:issue|pull request|discussion)s? #?|#)(?P<number>\d+)")
_ARXIV = re.compile(r"arxiv\.org/(?P<path>[\w./-]*\w)|arXiv:? ?(?P<number>\d{4}\.\d{4,5})", re.IGNORECASE)
_REPOSITORY = re.compile(rf"{_NAME}(?:{_COMMIT})?(?=$| ?[;,(])")
_ADDRESS = re.compile(r"https?://[^\s<>\"']*[^\s<>\"'.,;:)]/?")
_AFTER_PATH = re.compile(r"[,;]| lines? \d| \(")
_LINE = re.compile(r"\blines? (\d+)")
_ENDING = re.compile(
    r"\S+\.(?:md|rst|txt|log|out|tex|pdf|html?|csv|tsv|json|ya?ml|toml|ipynb|py|sh)", re.IGNORECASE
)
"""A path that is one without a commit before it: "CVPR/2024: Table 3" names no repository."""


def link(place: str) -> str:
    """Address of a place, as exact as it is said: repository, commit, file, line; empty if it says none.

    Args:
        place: Such as `owner/name@commit:path line 12`, `owner/name issue 3`, `arXiv 2010.03759, Table 1`, or
            an address.
    """
    if found := _ADDRESS.match(place):
        return found[0]
    if found := _ISSUE.match(place):
        return f"https://github.com/{found['repository']}/issues/{found['number']}"
    if (found := _FILE.match(place)) and (found["commit"] or _ENDING.fullmatch(_path(found["rest"]))):
        return _file(found["repository"], found["commit"] or "HEAD", found["rest"])
    if found := _ARXIV.search(place):
        return f"https://arxiv.org/{found['path'] or 'abs/' + found['number']}"
    if (found := _REPOSITORY.match(place)) and found["commit"]:
        return repository(place)
    found = _ADDRESS.search(place)
    return found[0] if found else ""


def repository(text: str) -> str:
    """Address of a repository, at its commit if one is named; empty if the text begins with none."""
    if address := _ADDRESS.match(text):
        return address[0]
    found = _REPOSITORY.match(text)
    if not found:
        return ""
    at = f"/tree/{found['commit']}" if found["commit"] else ""
    return f"https://github.com/{found['repository']}{at}"


def _path(rest: str) -> str:
    return _AFTER_PATH.split(rest.strip(), maxsplit=1)[0].strip()


def _file(name: str, commit: str, rest: str) -> str:
    path = _path(rest)
    if "." not in path.rpartition("/")[2]:
        return f"https://github.com/{name}/tree/{commit}"
    line = _LINE.search(rest)
    return f"https://github.com/{name}/blob/{commit}/{quote(path)}" + (f"#L{line[1]}" if line else "")
