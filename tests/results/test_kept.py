"""What is kept is what would be computed, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from elboard.bench.papers import papers
from elboard.bench.registry import discover
from elboard.results import kept as keeping
from elboard.results.claims import kept_ledger, ledger
from elboard.results.kept import clear, kept
from elboard.results.measured import Measurements
from elboard.results.stats import summarise
from elboard.results.store import groups


def test_it_is_computed_once_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def make() -> dict:
        calls.append(1)
        return {"a": [1.5, None], "n": len(calls)}

    assert kept(tmp_path, ["x", 1], make) == kept(tmp_path, ["x", 1], make) == {"a": [1.5, None], "n": 1}
    assert kept(tmp_path, ["x", 2], make)["n"] == 2
    monkeypatch.setattr(keeping, "sources", lambda: "others")
    assert kept(tmp_path, ["x", 1], make)["n"] == 3
    clear(tmp_path)
    assert kept(tmp_path, ["x", 1], make)["n"] == 4


DAMAGE: tuple[Callable[[bytes], bytes], ...] = (
    lambda said: b"",
    lambda said: said[:70],
    lambda said: said[:-1] + b"\0",
    lambda said: said[1:],
    bytes.swapcase,
)


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_or_foreign_is_computed_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    kept(tmp_path, "x", lambda: [1.5, "some"])
    (file,) = (tmp_path / keeping.FOLDER).iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert kept(tmp_path, "x", lambda: 2) == 2 and kept(tmp_path, "x", lambda: 3) == 2


def test_what_is_not_plain_comes_back_plain(tmp_path: Path) -> None:
    kept(tmp_path, "x", lambda: [summarise([1.0])])
    assert kept(tmp_path, "x", lambda: pytest.fail("computed again")) == [[1.0, 1, None, None, None, 1.0, 1.0, "none"]]


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert kept(tmp_path / "file", "x", lambda: 1) == 1


def test_kept_claims_are_those_of_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, methods, tasks = groups(None), discover("method"), discover("task")
    fresh = ledger(Measurements(found), methods, tasks)
    assert kept_ledger(found, methods, tasks, (), tmp_path) == fresh
    with monkeypatch.context() as patched:
        patched.setattr("elboard.results.claims.ledger", lambda *words: pytest.fail("computed again"))
        assert kept_ledger(groups(None), methods, tasks, (), tmp_path) == fresh
    tested = {part.task for entry in fresh for part in entry.parts if part.effect is not None}
    fewer = [group for group in found if group.task != min(tested)]
    assert kept_ledger(fewer, methods, tasks, (), tmp_path) == ledger(Measurements(fewer), methods, tasks, papers()) != fresh
