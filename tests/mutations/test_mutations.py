"""Each ``NNN.patch`` breaks the method of paper NNN: a sign, a dropped term. The test that its first line names must see it.

# fails: tests/identities/test_vae_family.py::test_x
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source, without records, to be broken and mended."""
    folder = tmp_path_factory.mktemp("mutations")
    ignored = shutil.ignore_patterns("__pycache__", "records", "*.patch")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    tests = sorted({named(patch) for patch in PATCHES.values()})
    assert outcome(tests, folder) == 0, "a test that mutations name does not pass as it is"
    return folder


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def outcome(tests: list[str], folder: Path) -> int:
    """pytest's exit code: 0 passed, 1 failed, others are mistakes in a test's name."""
    return run([sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests], folder).returncode


def test_each_paper_with_a_method_has_a_mutation() -> None:
    papers = {entry.card.paper for entry in discover("method").values() if entry.card.paper}
    assert papers <= set(PATCHES), "tests/mutations/NNN.patch"
    for patch in PATCHES.values():
        file, _, test = named(patch).partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{patch.name} names a test that is not there"


@pytest.mark.mutations
@pytest.mark.parametrize("paper", PATCHES)
def test_a_mutation_is_seen(paper: str, copy: Path) -> None:
    patch, test = PATCHES[paper], named(PATCHES[paper])
    applied = run(["git", "apply", "-C1", str(patch)], copy)
    assert applied.returncode == 0, f"{patch.name} does not apply any more: {' '.join(applied.stderr.split())}"
    try:
        assert outcome([test], copy) == 1, f"{patch.name} changes the method and {test} does not see it"
    finally:
        assert run(["git", "apply", "-C1", "-R", str(patch)], copy).returncode == 0
