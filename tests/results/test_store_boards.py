"""Groups of records that are kept in several ways at once, and boards of them whose statistics are kept."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from elboard.bench.cli.boards import leaderboard
from elboard.bench.cli.store import compact as compact_command
from elboard.bench.config import resolve
from elboard.bench.record import Record
from elboard.results import store
from elboard.results.board.build import Board, Choice, boards, read_boards
from elboard.results.board.summaries import mean_costs
from elboard.results.kept import digest
from elboard.results.places import places_of_run
from elboard.results.store import INDEX, compact, groups, load, pack
from elboard.results.store.lines import lines
from elboard.results.verify import Check, Verification, badges, write_verification
from tests.results.test_store import PLUGINS, by_hand, check, compare, keep, record_of

PATHS = tuple(map(Path, PLUGINS))


def archive(root: Path, *found: Record) -> None:
    keep(root, *found)
    pack(root, {record.key for record in found})


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
    """An archive, an index and loose records that share boards and some of their groups."""
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
    order = [(group.task, group.task_version, group.budget, group.method, group.method_version, group.group) for group in made]
    assert order == sorted(order)
    eager = {group.group: group for group in store.groups_of(load(tmp_path, shipped=False))}
    assert {group.group: (group.n, digest(group)) for group in made} == {name: (group.n, digest(group)) for name, group in eager.items()}
    compact(tmp_path)
    check(tmp_path, by_hand(found))


def test_a_trial_in_another_place_counts(tmp_path: Path) -> None:
    """The record of a key that counts may be a trial in the archive, or an indexed one."""
    failed = record_of(0.0, 1, status="failed", ended="2026-01-01")
    trial = record_of(0.5, 1, ended="2026-01-02", notes={"trial": {"number": 1}})
    keep(tmp_path, failed)
    compact(tmp_path)
    keep(tmp_path, trial)
    compact(tmp_path)
    check(tmp_path, by_hand([failed, trial]))
    assert groups(tmp_path, shipped=False) == []


def test_an_index_that_is_replaced_before_its_values_are_asked_for(tmp_path: Path) -> None:
    """All that is read of a group is of one index."""
    runs = [record_of(0.5 + seed / 10, seed, status="failed" if seed == 1 else "done") for seed in range(4)]
    pack(tmp_path, [file.parent.parent.name for file in keep(tmp_path, *runs)])
    before = groups(tmp_path, shipped=False)
    assert "_rest" not in vars(before[0].of), "what few ask for is read when it is asked for"
    pack(tmp_path, [file.parent.parent.name for file in keep(tmp_path, record_of(0.25, 51))])
    for index in (tmp_path / "archive" / INDEX).glob("*.parquet"):
        index.write_bytes(b"")
    compare(before, by_hand(runs))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """An archive of two boards with statistics kept."""
    for spec in ({}, {"budget": "lite"}):
        for i in range(2 - bool(spec)):
            found = [(0.1 + 0.01 * seed, seed + 50 * i, {"scale": 1.0 + seed % 3}) for seed in range(12)]
            archive(tmp_path, *(record_of(value, seed, spec=dict(spec), overrides=scale) for value, seed, scale in found))
    compact(tmp_path)
    shown(tmp_path)
    return tmp_path


def shown(root: Path, shipped: bool = False) -> list[Board]:
    """What the leaderboard does."""
    return read_boards(root, shipped, paths=PATHS)[1]


def test_a_board_whose_statistics_are_kept_is_the_same(many: Path) -> None:
    found, fresh = shown(many), boards(groups(many, shipped=False), "", PATHS)
    assert [len(board.rows) for board in found] == [3, 3]
    assert [row.n for board in found for row in board.rows] == [4] * 3 + [8] * 3
    for board, same in zip(found, fresh, strict=True):
        for row, other in zip(board.rows, same.rows, strict=True):
            assert (row.label, row.cells, row.ranks, row.cost) == (other.label, other.cells, other.ranks, other.cost)
            assert row.cost == mean_costs(other.of) and "wall_s" in row.cost
            assert (row.seeds, row.of.keys, row.values) == (other.seeds, other.of.keys, other.values)


def test_statistics_are_found_however_records_are_kept(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept goes by the values: another way of keeping the records, or a copy of the folder, computes nothing again."""
    shutil.rmtree(many / "archive" / INDEX)
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


def test_a_leaderboard_after_compact_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the records of the package beside, and the metrics that were computed for these later: by the commands and their defaults."""
    task = "noisy/digits-sym40"
    assert any(line.said("backfill") for line in lines(task, []))
    archive(tmp_path, *like_ours(task, 4))
    compact_command(tmp_path)
    monkeypatch.setattr("elboard.results.board.summaries._compute", lambda *words: pytest.fail("computed again"))
    said = []
    for which in ("", "noisy", task):
        leaderboard(which, top=0, out=tmp_path)
        said.append(capsys.readouterr())
    assert all("(train.epochs" in text.out and not text.err for text in said)


def test_badges_are_those_of_verifications(tmp_path: Path) -> None:
    found = [record_of(0.1 * seed, seed, overrides={"scale": scale}) for scale in (1.0, 2.0) for seed in range(3)]
    archive(tmp_path, *found)

    def verified(record: Record, ok: bool = True) -> None:
        (place,) = places_of_run(tmp_path, record.key)
        check = {"accuracy": Check(0.1, 0.1, 0.0, ok)}
        write_verification(Verification(record.key, record.attempt, place.record.digest, "recomputed", check, (), ok), place)

    def said() -> list[str]:
        made = groups(tmp_path, shipped=False)
        (board,) = boards(made, "", PATHS, Choice(), badges(tmp_path, False, made), tmp_path / INDEX)
        return [row.badge for row in sorted(board.rows, key=lambda row: row.label)]

    assert said() == ["claimed", "claimed"]
    for record in found[:2]:
        verified(record)
    assert said() == ["claimed", "claimed"]
    verified(found[2])
    assert said() == ["recomputed", "claimed"]
    verified(found[4], False)
    assert said() == ["recomputed", "disputed"]
