"""Claims: one holder at a time, dead ones taken over, nothing lost in between."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from elboard.sweeps import claims


def dead_pid() -> int:
    """The number of a process that has ended."""
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    return process.pid


def rewrite(folder: Path, **changed: object) -> None:
    file = folder / claims.NAME
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / claims.NAME, (then, then))


def test_one_holder(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "first")
    assert claim.holds() and claims.take(tmp_path) is None and claims.alive(tmp_path)
    assert claims.read(tmp_path)["owner"] == "first" and claims.read(tmp_path)["age"] < claims.LEASE
    claim.release()
    assert not claims.alive(tmp_path) and claims.take(tmp_path, "second").dead is None
    assert [path.name for path in tmp_path.iterdir()] == [claims.NAME], "nothing is left behind"


def test_a_dead_process_of_this_host_loses_its_claim_at_once(tmp_path: Path) -> None:
    old = claims.take(tmp_path)
    rewrite(tmp_path, pid=dead_pid())
    new = claims.take(tmp_path)
    assert new is not None and new.dead["token"] == old.token
    assert not old.holds()
    old.release()  # of one that was taken over: leaves the new owner's
    assert new.holds()


def test_another_host_is_dead_when_its_heartbeat_is_older_than_the_lease(tmp_path: Path) -> None:
    claims.take(tmp_path)
    rewrite(tmp_path, host="elsewhere", pid=dead_pid())
    assert claims.take(tmp_path, lease=60) is None
    age(tmp_path, 61)
    assert not claims.alive(tmp_path, lease=60) and claims.take(tmp_path, lease=60).dead["host"] == "elsewhere"


def test_a_heartbeat_keeps_a_claim_alive_and_releases_it(tmp_path: Path) -> None:
    claim = claims.take(tmp_path)
    rewrite(tmp_path, host="elsewhere")
    age(tmp_path, 1000)
    with claims.heartbeat(claim, every=0.02):
        end = time.monotonic() + 60
        while not claims.alive(tmp_path, lease=60):
            assert time.monotonic() < end, "no beat"
            time.sleep(0.02)
    assert not (tmp_path / claims.NAME).exists()


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_claim_that_was_cut_off_in_writing_counts_by_its_age(tmp_path: Path, text: str) -> None:
    (tmp_path / claims.NAME).write_text(text)
    assert claims.take(tmp_path) is None
    age(tmp_path, claims.LEASE + 1)
    assert claims.take(tmp_path) is not None


def _race(folder: Path, ready: Any, wins: Any, over: Any) -> None:
    ready.wait(60)
    wins.put(claims.take(folder) is not None)
    over.wait(60)  # a winner that ends is dead, and its claim free again


@pytest.mark.parametrize("dead", ["", "all", "cut-off"])
def test_of_many_takers_one_wins(tmp_path: Path, dead: str) -> None:
    context = multiprocessing.get_context("fork")
    for round_ in range(5):
        folder = tmp_path / str(round_)
        if dead:
            claims.take(folder)
            rewrite(folder, pid=dead_pid()) if dead == "all" else (folder / claims.NAME).write_text("{")
            age(folder, claims.LEASE + 1)
        ready, wins, over = context.Barrier(8), context.Queue(), context.Event()
        processes = [context.Process(target=_race, args=(folder, ready, wins, over)) for _ in range(8)]
        for process in processes:
            process.start()
        won = [wins.get(timeout=60) for _ in processes]
        over.set()
        for process in processes:
            process.join()
        assert sum(won) == 1
        assert [path.name for path in folder.iterdir()] == [claims.NAME], "nothing is left behind"


def test_a_late_taker_of_a_dead_claim_leaves_the_new_one(tmp_path: Path) -> None:
    claims.take(tmp_path)
    rewrite(tmp_path, pid=dead_pid())
    old = claims.read(tmp_path)
    new = claims.take(tmp_path)
    assert not claims._take_over(tmp_path, old, json.dumps({"token": "late"}), claims.LEASE)
    assert new.holds() and [path.name for path in tmp_path.iterdir()] == [claims.NAME]


def test_a_taker_that_died_at_it_holds_nobody_up_for_longer_than_a_lease(tmp_path: Path) -> None:
    claims.take(tmp_path)
    rewrite(tmp_path, pid=dead_pid())
    heir = tmp_path / f".{claims.NAME}.{claims.read(tmp_path)['token']}"
    heir.touch()
    assert claims.take(tmp_path) is None and heir.exists()
    os.utime(heir, (0, 0))
    assert claims.take(tmp_path) is None and not heir.exists()
    assert claims.take(tmp_path) is not None


def test_a_claim_that_a_full_disk_cut_off_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(claims.os, "fdopen", full)
        with pytest.raises(OSError, match="No space"):
            claims.take(tmp_path)
    assert claims.take(tmp_path) is not None


def test_who_may_only_read_sees_that_a_run_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claims.take(tmp_path)
    assert claim is not None

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(claims, "open", refused, raising=False)
    assert claims.alive(tmp_path) and claims.read(tmp_path)["age"] < claims.LEASE


def test_a_claim_from_the_future_and_one_of_an_odd_token_are_said_and_taken_over(tmp_path: Path) -> None:
    claims.take(tmp_path)
    rewrite(tmp_path, host="elsewhere")
    age(tmp_path, -10 * claims.LEASE)
    with pytest.warns(UserWarning, match="heartbeat is in the future; it is taken for dead"):
        assert not claims.alive(tmp_path)
    with pytest.warns(UserWarning, match="in the future"):
        assert claims.take(tmp_path) is not None
    for token in ("../../x", ["a"], "x" * 5000, 7):
        rewrite(tmp_path, host="elsewhere", token=token)
        age(tmp_path, claims.LEASE + 1)
        with pytest.warns(UserWarning, match="the token is none"):
            assert claims.take(tmp_path).holds()
    for pid in ("x", -1, 10**30, None, True):
        rewrite(tmp_path, pid=pid)
        assert claims.alive(tmp_path), "until its lease is over"
    assert [path.name for path in tmp_path.iterdir()] == [claims.NAME]
