"""What a method's or a task's file says of itself: docstring and options, read without importing it."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from dataclasses import MISSING
from functools import cache
from pathlib import Path

from elboard.bench.registry import Entry
from elboard.bench.source import text_of, tree


def paragraphs(file: Path) -> list[tuple[str, str]]:
    """The module docstring after its first line as ("text" | "formula", paragraph); indented paragraphs are formulas."""
    text = (ast.get_docstring(tree(file)) or "").partition("\n")[2]
    parts = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if not block.strip():
            continue
        formula = all(line.startswith("    ") for line in block.splitlines() if line.strip())
        parts.append(("formula", textwrap.dedent(block)) if formula else ("text", " ".join(block.split())))
    return parts


def first_line(file: Path) -> str:
    """The first line of the module docstring."""
    return (ast.get_docstring(tree(file)) or "").partition("\n")[0]


@cache
def _comments(file: Path) -> dict[str, str]:
    """Comments behind the fields of the classes called Config in ``file``, by field: where a default comes from."""
    lines = text_of(file).splitlines()
    found = {}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    found[item.target.id] = lines[item.end_lineno - 1].partition("  # ")[2].strip()
    return found


def options(entry: Entry) -> list[dict[str, str]]:
    """Options as ``{"name", "kind", "default", "comment"}``; those that the file itself declares come first."""
    own = _comments(entry.file)
    rows = []
    for name, column in entry.config_class().__dataclass_fields__.items():
        default = column.default_factory() if column.default_factory is not MISSING else column.default
        text = "required" if default is MISSING else json.dumps(default)
        rows.append({"name": name, "kind": str(column.metadata["kind"]), "default": text, "comment": own.get(name, ""), "own": name in own})
    return sorted(rows, key=lambda row: not row["own"])


def shown_path(entry: Entry) -> str:
    """The path of its file as users see it: from the top-level package on, its name alone outside the package."""
    if entry.module.startswith("elboard_plugin_"):
        return entry.file.name
    return entry.module.replace(".", "/") + ".py"
