"""Inherited pieces are not typed again: the share of code lines in six-line runs that recur in a sibling file stays below 10 %."""

from __future__ import annotations

import io
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = 6


def code_lines(text: str) -> list[tuple[int, str]]:
    """Numbered lines without comments, docstrings, imports and blank lines."""
    skipped: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and token.line.lstrip().startswith(('"""', 'r"""')):
            skipped |= set(range(token.start[0], token.end[0] + 1))
        elif token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            skipped.add(token.start[0])
    lines = enumerate(text.splitlines(), 1)
    return [(n, line.strip()) for n, line in lines if n not in skipped and line.strip() and not line.startswith(("import ", "from "))]


def repeated_share(files: dict[str, str]) -> float:
    """Share of code lines that lie in a run of six which occurs in another of ``files`` too."""
    seen: dict[tuple[str, ...], set[str]] = defaultdict(set)
    lines = {name: code_lines(text) for name, text in files.items()}
    for name, rows in lines.items():
        for i in range(len(rows) - RUN + 1):
            seen[tuple(text for _, text in rows[i : i + RUN])].add(name)
    total = repeated = 0
    for rows in lines.values():
        marked: set[int] = set()
        for i in range(len(rows) - RUN + 1):
            if len(seen[tuple(text for _, text in rows[i : i + RUN])]) > 1:
                marked |= set(range(i, i + RUN))
        total, repeated = total + len(rows), repeated + len(marked)
    return repeated / max(1, total)


@pytest.mark.parametrize("package", ["methods", "tasks"])
def test_share(package: str) -> None:
    files = {str(file): file.read_text(encoding="utf-8") for file in (ROOT / package).rglob("*.py")}
    assert len(files) > 5
    assert repeated_share(files) < 0.10


def test_the_measure_sees_copies() -> None:
    body = "\n".join(f"x{i} = {i}" for i in range(10))
    assert repeated_share({"a": body, "b": body}) == 1.0
    assert repeated_share({"a": body, "b": body.replace("x", "y")}) == 0.0
    assert repeated_share({"a": '"""doc\n' + body + '"""', "b": body}) == 0.0
