"""Cards that are kept are those of the files, or are read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from elboard.bench import cached, registry
from elboard.bench.cached import literals

SAID = {"a": (1, [2.5, None]), "b": "\u00e9"}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one file, beside an empty cache."""
    monkeypatch.setenv("ELBOARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached, "PACKAGE", tmp_path / "package")
    (tmp_path / "package/methods").mkdir(parents=True)
    (tmp_path / "package/methods/a.py").write_text("A = 1")
    return tmp_path / "package"


def fails() -> None:
    pytest.fail("read again")


def test_they_are_read_once_and_come_back_as_they_were() -> None:
    assert literals("x", ("methods",), lambda: SAID) == SAID
    again = literals("x", ("methods",), fails)
    assert again == SAID and isinstance(again["a"], tuple)
    assert literals("y", ("methods",), lambda: 2) == 2, "another name"


def test_another_state_of_a_source_is_read(package: Path) -> None:
    literals("x", ("methods",), lambda: 1)
    os.utime(package / "methods/a.py", ns=(0, 5))  # as many bytes
    assert literals("x", ("methods",), lambda: 2) == 2
    (package / "methods/a.py").write_text("A = 10")
    os.utime(package / "methods/a.py", ns=(0, 5))
    assert literals("x", ("methods",), lambda: 3) == 3
    (package / "methods/b.py").touch()
    assert literals("x", ("methods",), lambda: 4) == 4
    (package / "other.py").touch()
    assert literals("x", ("methods",), fails) == 4


@pytest.mark.parametrize("at", [0, 40, 64, -1])
def test_what_is_damaged_is_read_again(tmp_path: Path, at: int) -> None:
    literals("x", ("methods",), lambda: SAID)
    (file,) = (tmp_path / "cache/kept").iterdir()
    said = bytearray(file.read_bytes())
    said[at] ^= 255
    file.write_bytes(said)
    assert literals("x", ("methods",), lambda: 2) == 2
    file.write_bytes(file.read_bytes()[:50])
    assert literals("x", ("methods",), lambda: 3) == 3


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert literals("x", ("methods",), lambda: 1) == 1


@pytest.mark.parametrize("kind", ["method", "task"])
def test_entries_are_those_of_the_files(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = registry._own(kind)
    monkeypatch.setattr(registry, "_words", lambda *_: fails())
    assert registry._own(kind) == fresh and len(fresh) > 50
