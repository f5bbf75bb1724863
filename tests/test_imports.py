"""Who may import whom, and what stays cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "tasks", "methods", "sweeps", "results")
FORBIDDEN = {
    "bench": {"tasks", "methods", "sweeps", "results"},
    "methods": {"tasks", "sweeps", "results"},
    "tasks": {"methods", "sweeps", "results"},
    "sweeps": {"tasks", "methods", "results"},
    "results": {"tasks", "methods", "sweeps", "torch", "pytorch_lightning"},
}


def _imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where things come from"
            names.add(node.module or "")
    return names


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_walls(package: str) -> None:
    assert _files(package)
    for file in _files(package):
        if package == "bench" and "cli" in file.relative_to(ROOT).parts:
            continue
        bad = {name for name in _imports(file) if name.removeprefix("elboard.").split(".")[0] in FORBIDDEN[package]}
        assert not bad, f"{file.relative_to(ROOT)} imports {sorted(bad)}"


def test_sweeps_have_no_import_cycle() -> None:
    """Imports within functions and for type checkers counted."""
    modules = {
        ".".join(("elboard", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file for file in _files("sweeps")
    }
    graph: dict[str, set[str]] = {}
    for name, file in modules.items():
        nodes = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names} | _imports(file)
        graph[name] = named & set(modules) - {name, "elboard.sweeps"}
    assert graph["elboard.sweeps.queue"] >= {"elboard.sweeps.plan", "elboard.sweeps.engines.local"}
    while leaves := {name for name, needs in graph.items() if not needs & set(graph)}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert not graph, f"these modules import each other: {sorted(graph)}"


@pytest.mark.parametrize("package", ("methods", "tasks"))
def test_families_do_not_import_each_other(package: str) -> None:
    shared = {"parts"} if package == "methods" else {"data", "parts"}
    for file in _files(package):
        family = file.relative_to(ROOT / package).parts[0]
        for name in _imports(file):
            parts = name.removeprefix("elboard.").split(".")
            if parts[0] == package and len(parts) > 1:
                assert parts[1] in {family, *shared}, f"{file.relative_to(ROOT)} imports {name}"


def test_bench_knows_no_kind_of_work() -> None:
    """Outside of the folder of kinds and of the functions that compute metrics it names no protocol, no facts of data and no metric."""
    from elboard.bench.kinds import catalogue

    own = catalogue(plugins=False)
    kinds = {f"elboard.bench.kinds.{file.stem}" for file in (ROOT / "bench" / "kinds").glob("[a-z]*.py")}
    names = {*own.protocols, *own.specs, *own.metrics} - {"Generator", "recall"}  # torch's, and a word
    for file in _files("bench"):
        if file.parent.name in ("kinds", "metrics"):
            continue
        assert not _imports(file) & kinds, f"{file.relative_to(ROOT)} imports a kind"
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        fields = [getattr(node, field, None) for node in nodes for field in ("id", "attr", "value")]
        said = {word for word in fields if isinstance(word, str)}
        assert not said & names, f"{file.relative_to(ROOT)} names {sorted(said & names)}"


@pytest.mark.parametrize("kind", sorted(file.stem for file in (ROOT / "bench" / "kinds").glob("[a-z]*.py")))
def test_importing_a_kind_costs_nothing(kind: str, tmp_path: Path) -> None:
    code = f"import sys, elboard.bench.kinds.{kind}; print(sorted({{'torch', 'numpy', 'yaml'}} & set(sys.modules)))"
    env = {"PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["list", "methods"], ["list", "tasks"], ["list", "papers"], ["show", "vae"], ["sweep", "quickstart", "--dry-run"]]
)
def test_listing_imports_no_torch(words: list[str], tmp_path: Path) -> None:
    code = f"import sys; from bench.cli import main; code = main({words!r}); print('torch' in sys.modules, code)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={"PATH": "", "PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.splitlines()[-1] == "False 0", done.stderr


def test_sizes() -> None:
    """No file above 400 lines, no function above 50."""
    for package in (*PACKAGES, "tests"):
        for file in _files(package):
            text = file.read_text(encoding="utf-8")
            assert len(text.splitlines()) <= 400, file
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    assert node.end_lineno - node.lineno < 50, f"{file}:{node.lineno} {node.name}"
