"""Each ``NNN.patch`` breaks the method of paper NNN: a sign, a dropped term. The test that its first line names must see it.

# fails: tests/identities/test_vae_family.py::test_x
"""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elboard.bench.registry import discover

ROOT = Path(__file__).parents[2]
PATCHES = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.patch"))}
COPIED = ("elboard", "bench", "methods", "tasks", "sweeps", "results", "tests", "pyproject.toml")


def named(patch: Path) -> str:
    """The test that must fail, by the patch's first line."""
    first = patch.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# fails: tests/"), f"{patch.name}: its first line does not say which test fails"
    return first.removeprefix("# fails: ")


Outcome = Callable[[list[str]], int]


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source, without records, to be broken and mended; compiled so that a change is seen by what is written and not by when."""
    folder = tmp_path_factory.mktemp("mutations")
    ignored = shutil.ignore_patterns("__pycache__", "records", "*.patch")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    return folder


@pytest.fixture(scope="session")
def outcome(copy: Path) -> Iterator[Outcome]:
    """pytest's exit code for tests in the copy: 0 passed, 1 failed, others are mistakes in a test's name."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, str(Path(__file__).with_name("warm.py"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=copy) as warm:

        def ask(tests: list[str]) -> int:
            print(json.dumps({"folder": str(copy), "tests": tests}), file=warm.stdin, flush=True)
            return int(warm.stdout.readline())

        yield ask
        warm.stdin.close()


def apply(patch: Path, copy: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)}
    return subprocess.run(["git", "apply", "-C1", *words, str(patch)], cwd=copy, env=environment, capture_output=True, text=True)


def test_each_paper_with_a_method_has_a_mutation() -> None:
    papers = {entry.card.paper for entry in discover("method").values() if entry.card.paper}
    assert papers <= set(PATCHES), "tests/mutations/NNN.patch"
    for patch in PATCHES.values():
        file, _, test = named(patch).partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{patch.name} names a test that is not there"


@pytest.mark.mutations
@pytest.mark.parametrize("paper", PATCHES)
def test_a_mutation_is_seen(paper: str, copy: Path, outcome: Outcome) -> None:
    patch, test = PATCHES[paper], named(PATCHES[paper])
    assert outcome([test]) == 0, f"{test} does not pass as it is"
    applied = apply(patch, copy)
    assert applied.returncode == 0, f"{patch.name} does not apply any more: {' '.join(applied.stderr.split())}"
    try:
        assert outcome([test]) == 1, f"{patch.name} changes the method and {test} does not see it"
    finally:
        assert apply(patch, copy, "-R").returncode == 0
