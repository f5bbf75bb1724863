"""Groups whose values stay in their part: the same as all others, read when asked for, and never other numbers silently."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elboard.bench.cli.boards import leaderboard
from elboard.bench.cli.store import compact as compact_command
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.record import Record
from elboard.results import store
from elboard.results.backfill import filled
from elboard.results.board.build import Board, Choice, boards
from elboard.results.board.summaries import mean_costs
from elboard.results.places import places_of_run
from elboard.results.store import Group, compact, groups, homes, index, load, pack
from elboard.results.store.groups import Lazy
from elboard.results.store.lines import lines
from elboard.results.verify import Check, Verification, badges, write_verification
from tests.results.test_store import PLUGINS, by_hand, check, keep, plain, record_of, some

PATHS = tuple(map(Path, PLUGINS))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The parts whose values are read, one entry each time."""
    found: list[Path] = []
    counted, rows = index.Reader.counted, index.Reader.rows

    def rows_noted(self: index.Reader, sources: list[index.Source], *words: object) -> object:
        found.extend(of.part.path for of in sources)
        return rows(self, sources, *words)

    monkeypatch.setattr(index.Reader, "counted", lambda self, part, *words: found.append(part.path) or counted(self, part, *words))
    monkeypatch.setattr(index.Reader, "rows", rows_noted)
    return found


def archive(root: Path, *found: Record) -> None:
    keep(root, *found)
    pack(root, {record.key for record in found})


def lazy_in(found: list[Group]) -> list[Lazy]:
    return [group for group in found if isinstance(group, Lazy)]


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, reads: list[Path]) -> None:
    archive(tmp_path, *some())
    found = groups(tmp_path, shipped=False)
    assert len(lazy_in(found)) == len(found) > 5
    expected = {group.group: group for group in store.groups_of(some())}
    for group in found:
        same = expected[group.group]
        for name in ("task", "task_version", "budget", "method", "method_version", "spec", "notes", "failed", "n", "digest"):
            assert getattr(group, name) == getattr(same, name)
        assert list(group.metrics) == list(same.metrics) and len(group.cost) == len(same.cost) and "absent" not in group.cost
        assert all(name in group.metrics for name in same.metrics) and not group.read
    assert reads == []
    group = max(found, key=lambda group: group.n)
    assert group.seeds.dtype == np.int64 and len(reads) == 1 and group.read
    for other in found:
        if (other.task, other.task_version, other.budget) == (group.task, group.task_version, group.budget):
            assert len(other.keys) == len(other.attempts) == other.n == len(next(iter(other.metrics.values()), []))
    assert len(reads) == 1, "a part is read once, for all its groups"
    with pytest.raises(KeyError):
        group.metrics["absent"]
    assert plain(found) == plain(store.groups_of(some()))


def random_records(chance: random.Random) -> list[Record]:
    """Seeds of some configurations of a few boards: done, failed, failed and done, trials."""
    found = []
    for scale in (1.0, 2.0, 3.0, 4.0, 5.0):
        for spec in ({}, {"budget": "lite"}):
            for seed in chance.sample(range(20), chance.randint(0, 6)):
                more = {"overrides": {"scale": scale}, "spec": spec}
                for i in range(chance.choice((1, 1, 2))):
                    status = chance.choice(("done", "done", "done", "failed"))
                    notes = {"trial": {"number": seed}} if chance.random() < 0.15 else {"search": {"trials": 3}} if scale == 5.0 else {}
                    found.append(record_of(chance.random(), seed, status=status, ended=f"2026-01-0{i + 1}", notes=notes, **dict(more)))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_mixtures_are_what_the_rule_says(tmp_path: Path, seed: int) -> None:
    """Several parts of one board, and loose records that share some of their groups."""
    chance = random.Random(seed)
    found = random_records(chance)
    keys = sorted({record.key for record in found})
    chance.shuffle(keys)
    edges = sorted(chance.sample(range(len(keys)), 3)) if len(keys) > 3 else [0, 0, 0]
    first, second = set(keys[: edges[0]]), set(keys[edges[0] : edges[1]])
    for packed in (first, second):
        keep(tmp_path, *(record for record in found if record.key in packed))
        pack(tmp_path, packed)
    keep(tmp_path, *(record for record in found if record.key in keys[edges[1] : edges[2]]))
    if chance.random() < 0.5:
        compact(tmp_path)
    keep(tmp_path, *(record for record in found if record.key in keys[edges[2] :]))
    check(tmp_path, by_hand(found))
    made = groups(tmp_path, shipped=False)
    order = [(group.task, group.task_version, group.budget, *group.name) for group in made]
    assert order == sorted(order)
    eager = {group.group: group for group in store.groups_of(load(tmp_path, shipped=False))}
    assert {group.group: (group.n, group.digest) for group in made} == {name: (group.n, group.digest) for name, group in eager.items()}
    compact(tmp_path)
    check(tmp_path, by_hand(found))


def test_only_groups_that_are_shared_are_read_with_others(tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    configurations = {scale: [record_of(0.1 * seed, seed, overrides={"scale": scale}) for seed in range(4)] for scale in (1.0, 2.0, 3.0)}
    archive(tmp_path, *(record for found in configurations.values() for record in found))
    loose = record_of(0.9, 7, overrides={"scale": 2.0})
    keep(tmp_path, loose)
    sizes = []
    joined = store.groups.__globals__["joined"]
    monkeypatch.setitem(store.groups.__globals__, "joined", lambda rows: sizes.append([len(one) for one in rows]) or joined(rows))
    found = groups(tmp_path, shipped=False)
    assert sizes == [[1, 4]] and len(lazy_in(found)) == 2 and len(reads) == 1
    assert [group.n for group in found if not isinstance(group, Lazy)] == [5]
    check(tmp_path, by_hand([loose, *(record for of in configurations.values() for record in of)]))


def test_a_trial_in_another_part_counts(tmp_path: Path) -> None:
    """The record of a key that counts may be a trial, though its part says nothing of finished runs of the group."""
    failed = record_of(0.0, 1, status="failed", ended="2026-01-01")
    trial = record_of(0.5, 1, ended="2026-01-02", notes={"trial": {"number": 1}})
    keep(tmp_path, failed)
    compact(tmp_path)
    keep(tmp_path, trial)
    compact(tmp_path)
    check(tmp_path, by_hand([failed, trial]))
    assert groups(tmp_path, shipped=False) == []


def test_parts_of_an_archive_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each board, as long as it is not too large: groups that several parts have are read at once."""
    found, archived = [record for record in some() if record.spec["task"] == "test/blobs"], tmp_path / "archive" / homes.FOLDER
    keep(tmp_path, *found)
    for record in found:
        if not (tmp_path / "archive" / record.key).exists():
            pack(tmp_path, [record.key])
    many, boards = len([*archived.glob("*.parquet")]), len({(r.spec["task_version"], r.spec["budget"]) for r in found})
    assert compact(tmp_path) == store.Compacted(len(found), 0, boards, many - 2)
    assert len([*archived.glob("*.parquet")]) == boards < many
    check(tmp_path, by_hand(found))
    assert compact(tmp_path) == store.Compacted(len(found), 0, boards, 0)
    assert sorted(record.attempt for record in load(tmp_path, shipped=False)) == sorted(record.attempt for record in found)
    monkeypatch.setattr(store.compaction, "HELD", 4)
    again = record_of(0.5, 40)
    keep(tmp_path, again)
    pack(tmp_path, [again.key])
    assert compact(tmp_path).parts == boards + 1
    check(tmp_path, by_hand([*found, again]))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4] + bytes(500) + path.read_bytes()[504:])


@pytest.mark.parametrize("breaks", [Path.unlink, damage, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("archived", [False, True])
def test_a_part_that_breaks_before_it_is_read_costs_nothing(tmp_path: Path, breaks: Callable[[Path], object], archived: bool) -> None:
    keep(tmp_path, *some())
    pack(tmp_path, {record.key for record in some()}) if archived else compact(tmp_path)
    found = groups(tmp_path, shipped=False)
    for path in ((tmp_path / "archive" if archived else tmp_path) / homes.FOLDER).glob("*.parquet"):
        breaks(path)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert plain(found) == plain(store.groups_of(some()))
    assert all("elboard compact" in str(warning.message) for warning in heard)


def test_a_part_that_is_replaced_before_it_is_read(tmp_path: Path) -> None:
    keep(tmp_path, *some())
    compact(tmp_path)
    found = groups(tmp_path, shipped=False)
    keep(tmp_path, record_of(0.4, 9, overrides={"scale": 16.0}))
    pack(tmp_path, {record.key for record in some()})
    compact(tmp_path)
    assert plain(found) == plain(store.groups_of(some()))


@pytest.mark.parametrize("change", ["more", "other"])
def test_runs_that_are_no_longer_the_same_are_an_error(tmp_path: Path, change: str) -> None:
    keep(tmp_path, record_of(0.5, 0), record_of(0.6, 1))
    compact(tmp_path)
    (group,) = groups(tmp_path, shipped=False)
    for path in (tmp_path / homes.FOLDER).glob("*.parquet"):
        path.unlink()
    keep(tmp_path, record_of(0.7, 2) if change == "more" else record_of(0.7, 1, ended="2026-02-01"))
    with pytest.raises(UserError, match="test-linear on test/blobs .* repeat the command") as raised:
        group.metrics["accuracy"]
    assert "\n" not in str(raised.value)


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Path]:
    """An archive of two boards, one in two parts, with statistics kept."""
    for spec in ({}, {"budget": "lite"}):
        for i in range(2 - bool(spec)):
            found = [(0.1 + 0.01 * seed, seed + 50 * i, {"scale": 1.0 + seed % 3}) for seed in range(12)]
            archive(tmp_path, *(record_of(value, seed, spec=dict(spec), overrides=scale) for value, seed, scale in found))
    compact(tmp_path)
    shown(tmp_path)
    yield tmp_path


def shown(root: Path, shipped: bool = False) -> list[Board]:
    """What the leaderboard does."""
    found = filled(groups(root, shipped), root, shipped)
    return boards(found, "", PATHS, Choice(), badges(root, shipped, found), root / homes.FOLDER)


def test_a_board_whose_statistics_are_kept_reads_nothing(many: Path, reads: list[Path]) -> None:
    found = shown(many)
    assert [len(board.rows) for board in found] == [3, 3] and reads == []
    assert [row.n for board in found for row in board.rows] == [4] * 3 + [8] * 3
    fresh = boards(groups(many, shipped=False), "", PATHS)
    assert len(reads) == 2, "once a part, and the parts of one board are one"
    for board, same in zip(found, fresh, strict=True):
        for row, other in zip(board.rows, same.rows, strict=True):
            assert (row.label, row.cells, row.ranks, row.cost) == (other.label, other.cells, other.ranks, other.cost)
            assert row.cost == mean_costs(other.of) and "wall_s" in row.cost
            assert (row.seeds, row.of.keys, row.values) == (other.seeds, other.of.keys, other.values)


def test_statistics_are_found_however_records_are_kept(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept goes by the values: another way of keeping the records, or a copy of the folder, computes nothing again."""
    for path in (many / "archive" / homes.FOLDER).glob("*.parquet"):
        path.unlink()
    monkeypatch.setattr("elboard.results.board.summaries.DEAR", 0)
    monkeypatch.setattr("elboard.results.board.summaries._compute", lambda *words: pytest.fail("computed again"))
    assert len(shown(many)) == 2
    compact(many)
    assert len(shown(many)) == 2


def like_ours(task: str, seeds: int) -> list[Record]:
    """Records on a board of the package, of a configuration that it does not have, with all that its own say."""
    ours = next(record for record in load(None) if record.spec["task"] == task)
    specs = [resolve(task, ours.spec["method"], seed=seed, overrides={"train.epochs": 7}) for seed in range(seeds)]
    fields = ({"key": spec.key, "spec": spec.resolved(), "identity": spec.identity()} for spec in specs)
    return [replace(ours, **said, attempt=f"{i:012x}", digest="") for i, said in enumerate(fields)]


def test_a_leaderboard_after_compact_reads_no_values(tmp_path: Path, reads: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """With the records of the package beside, and the metrics that were computed for these later: by the commands and their defaults."""
    task = "noisy/digits-sym40"
    assert any(line.said("backfill") for line in lines(task, []))
    archive(tmp_path, *like_ours(task, 4))
    compact_command(tmp_path)
    reads.clear()
    said = []
    for which in ("", "noisy", task):
        leaderboard(which, top=0, out=tmp_path)
        said.append(capsys.readouterr())
    assert not [path for path in reads if path.is_relative_to(tmp_path / "archive")]
    assert all("(train.epochs" in text.out and not text.err for text in said)


def test_badges_ask_no_group_for_its_keys(tmp_path: Path, reads: list[Path]) -> None:
    found = [record_of(0.1 * seed, seed, overrides={"scale": scale}) for scale in (1.0, 2.0) for seed in range(3)]
    archive(tmp_path, *found)

    def verified(record: Record, ok: bool = True) -> None:
        (place,) = places_of_run(tmp_path, record.key)
        check = {"accuracy": Check(0.1, 0.1, 0.0, ok)}
        write_verification(Verification(record.key, record.attempt, place.record.digest, "recomputed", check, (), ok), place)

    def said() -> list[str]:
        made = groups(tmp_path, shipped=False)
        (board,) = boards(made, "", PATHS, Choice(), badges(tmp_path, False, made), tmp_path / homes.FOLDER)
        return [row.badge for row in sorted(board.rows, key=lambda row: row.label)]

    assert said() == ["claimed", "claimed"]
    reads.clear()
    for record in found[:2]:
        verified(record)
    assert said() == ["claimed", "claimed"]
    verified(found[2])
    assert said() == ["recomputed", "claimed"]
    verified(found[4], False)
    assert said() == ["recomputed", "disputed"]
