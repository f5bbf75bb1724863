"""Every method has tests of what must hold exactly; the modules here say of which in a literal ``IDENTITIES = {method: (tests, ...)}``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from elboard.bench.registry import discover
from elboard.bench.source import literal, tree

MODULES = sorted(file for file in Path(__file__).parent.glob("test_*.py") if file != Path(__file__))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_what_a_module_claims_is_there(file: Path) -> None:
    claimed = literal(file, "IDENTITIES") or {}  # none where it tests what methods share
    tests = {node.name for node in tree(file).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert set(claimed) <= set(discover("method"))
    assert all(names and set(names) <= tests for names in claimed.values())


def test_every_method_has_identities() -> None:
    assert set(discover("method")) == {name for file in MODULES for name in literal(file, "IDENTITIES") or {}}
