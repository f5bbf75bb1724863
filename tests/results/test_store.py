"""The store: groups are the same however records are kept, and nothing is counted or left out silently."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from elboard.bench import record as records
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.identity import configuration
from elboard.bench.record import Record, effective, write
from elboard.results import store
from elboard.results.said import backfilled
from elboard.results.store import INDEX, Group, cache, compact, groups, load, pack
from elboard.results.store.groups import digest_of
from elboard.results.store.lines import lines

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
ROOT = Path(__file__).parents[2]


def record_of(accuracy: float, seed: int = 0, attempt: str = "", status: str = "done", ended: str = "2026-01-02", **more: object) -> Record:
    spec = resolve("test/blobs", "test-linear", seed=seed, budget="smoke", overrides=more.pop("overrides", {}), paths=PLUGINS)
    spec = dataclasses.replace(spec, **more.pop("spec", {}))
    done = status == "done"
    fields = {
        "metrics": {"accuracy": accuracy, **({"class_nll": 1.0} if seed % 2 else {})} if done else {},
        "primary": "accuracy" if done else "",
        "failure": {} if done else {"class": "oom", "message": "", "log": ""},
        "cost": {"wall_s": 2.0 + seed, **({"Wall_s": 1.0} if seed == 3 else {})} if done else {},
        "ended": ended,
        **more,
    }
    name = hashlib.sha256(repr((accuracy, seed, status, ended)).encode()).hexdigest()[:12]
    return Record.of(spec, attempt or name, status, **fields)


def keep(root: Path, *found: Record) -> list[Path]:
    files = [root / record.key / "attempts" / f"{record.attempt}.json" for record in found]
    for record, file in zip(found, files, strict=True):
        write(record, file)
    return files


READ = ["task", "task_version", "budget", "method", "method_version", "metrics", "cost", "failed", "identity", "spec", "keys", "attempts"]
READ += ["seeds", "notes"]  # badges were said later


def plain(found: list[Group]) -> list[dict]:
    """Groups as plain values that compare; NaN as None."""

    def value(given: object) -> object:
        if isinstance(given, np.ndarray):
            return [None if isinstance(item, float) and math.isnan(item) else item for item in given.tolist()]
        return {name: value(item) for name, item in given.items()} if isinstance(given, Mapping) else given

    return [{name: value(getattr(group, name)) for name in READ} for group in found]


def by_hand(found: list[Record]) -> list[dict]:
    """What :func:`groups` must say, by the rule in words: one record a key, no trials, the tree of the key without seeds."""
    attempts = defaultdict(list)
    for record in found:
        attempts[record.key].append(record)
    sorted_out = defaultdict(list)
    for record in map(effective, attempts.values()):
        tree = {name: value for name, value in record.identity.items() if name != "seed"}
        if "trial" not in record.notes:
            sorted_out[json.dumps(tree, sort_keys=True)].append(record)
    said = []
    for of_group in sorted_out.values():
        of_group.sort(key=lambda record: (record.status != "done", record.spec["seed"], record.key))
        done = [record for record in of_group if record.status == "done"]
        columns = {
            kind: {
                name: [getattr(record, kind).get(name) for record in done]
                for name in sorted({name for record in done for name in getattr(record, kind)})
            }
            for kind in ("metrics", "cost")
        }
        spec = of_group[0].spec
        said.append(
            {name: spec[name] for name in ("task", "task_version", "budget", "method", "method_version")}
            | {"identity": configuration(of_group[0].identity), "spec": spec}
            | {"keys": tuple(r.key for r in done), "attempts": tuple(r.attempt for r in done), **columns}
            | {"seeds": [r.spec["seed"] for r in done], "failed": len(of_group) - len(done)}
            | {"notes": {name: note for name, note in of_group[0].notes.items() if name == "search"}}
        )
    return said


def check(root: Path, expected: list[dict], pattern: str = "") -> list[Group]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compare(groups(root, shipped=False, pattern=pattern), expected)


def compare(found: list[Group], expected: list[dict]) -> list[Group]:
    assert [group.digest for group in found] == [digest_of(group) for group in found]  # also where a cache says it
    order = lambda group: json.dumps([group["task"], group["spec"]], sort_keys=True)  # noqa: E731
    assert sorted(plain(found), key=order) == sorted(expected, key=order)
    return found


def some() -> list[Record]:
    """Failed then done, done then failed, twice done, trials, a search's choice, several budgets, versions, tasks and configurations."""
    base = resolve("test/blobs", "test-linear", seed=4, budget="smoke", paths=PLUGINS)
    return [
        record_of(0.0, 0, status="failed", ended="2026-01-01"),
        record_of(0.5, 0),
        record_of(0.6, 1, ended="2026-01-01"),
        record_of(0.0, 1, status="failed", ended="2026-01-03"),
        record_of(0.7, 2, ended="2026-01-01"),
        record_of(0.8, 2, ended="2026-01-05", attempt="an-old-name"),
        record_of(0.9, 3),
        record_of(0.0, 9, status="failed"),
        record_of(0.1, 0, overrides={"scale": 2.0}, notes={"search": {"name": "s", "trials": 3}, "chosen_epoch": 3}),
        record_of(0.2, 1, overrides={"scale": 2.0}, notes={"search": {"name": "s", "trials": 3}}),
        record_of(0.3, 5, overrides={"scale": 2.0}, notes={"trial": {"number": 1}}),
        record_of(0.3, 6, overrides={"scale": 4.0}, notes={"trial": {"number": 2}}),
        record_of(0.0, 7, status="failed", overrides={"scale": 8.0}),
        record_of(0.4, 0, spec={"task_version": 7}),
        record_of(0.4, 0, spec={"budget": "lite"}),
        record_of(0.4, 0, spec={"task": "other/blobs"}),
        record_of(0.4, 4, spec={"bases": {"classifier": (base,)}}),
        record_of(0.4, 3, spec={"bases": {"classifier": (dataclasses.replace(base, seed=3),)}}),
    ]


def test_groups_are_what_the_rule_says(tmp_path: Path) -> None:
    found = some()
    keep(tmp_path, *found)
    listed = check(tmp_path, by_hand(found))
    assert [len(group.seeds) for group in listed if group.notes] == [2]
    assert [group.failed for group in listed if not len(group.seeds)] == [1]
    assert sorted(group.keys + group.attempts for group in listed) == sorted(
        tuple(g["keys"]) + tuple(g["attempts"]) for g in by_hand(found)
    )


def test_records_in_memory_make_the_same_groups(tmp_path: Path) -> None:
    keep(tmp_path, *some())
    assert plain(store.groups_of(some())) == plain(groups(tmp_path, shipped=False))
    later = [dataclasses.replace(line.record, metrics=backfilled(line)) for line in lines("", [])]
    assert [record.metrics for record in later] != [record.metrics for record in load(None)]
    assert plain(store.groups_of(later)) == plain(groups(None))


def test_the_group_is_a_hash_of_what_the_runs_share(tmp_path: Path) -> None:
    keep(tmp_path, *some())
    before = {group.group: group.spec for group in groups(tmp_path, shipped=False)}
    assert len(before) == len(groups(tmp_path, shipped=False))
    keep(tmp_path, record_of(0.5, 77))
    assert {group.group for group in groups(tmp_path, shipped=False)} == set(before)


@pytest.mark.parametrize("seed", range(6))
def test_the_answer_does_not_depend_on_what_is_indexed(tmp_path: Path, seed: int) -> None:
    """Records come, go and change in any order, between compactions, moves to the archive and readings."""
    chance = random.Random(seed)
    waiting, present = some(), {}
    chance.shuffle(waiting)
    packed: set[str] = set()
    while waiting:
        for record in [waiting.pop() for _ in range(min(len(waiting), chance.randint(1, 5)))]:
            present[keep(tmp_path, record)[0]] = record
        for _ in range(2):
            step = chance.choice(("compact", "remove", "pack", "touch"))
            loose = [file for file in present if file.exists()]
            if step == "compact":
                compact(tmp_path)
            elif step == "remove" and len(loose) > 3:
                gone = chance.choice(loose)
                gone.unlink()
                waiting.append(present.pop(gone)) if chance.random() < 0.5 else present.pop(gone)
            elif step == "touch" and loose:
                os.utime(chance.choice(loose))
            elif step == "pack":
                keys = {file.parent.parent.name for file in loose} - packed
                keys = {key for key in keys if chance.random() < 0.3}
                pack(tmp_path, keys)
                packed |= keys
            check(tmp_path, by_hand(list(present.values())))
    expected = by_hand(list(present.values()))
    for pattern in ("test", "other", "test/blobs", "nothing"):
        check(tmp_path, [g for g in expected if pattern in (g["task"], g["task"].split("/")[0])], pattern)
    assert sorted(r.attempt for r in load(tmp_path, shipped=False)) == sorted(r.attempt for r in present.values())


def test_shipped_records_are_grouped_as_they_are_loaded() -> None:
    shipped = load(None)
    assert len(shipped) == sum(len(file.read_text().splitlines()) for file in store.SHIPPED.glob("*/*.jsonl")) > 100
    found = groups(None)
    assert sum(len(group.keys) for group in found) == sum(len(g["keys"]) for g in by_hand(shipped))
    for pattern in ("noisy", "noisy/digits-sym40"):
        assert plain(groups(None, pattern=pattern)) == plain(
            [group for group in found if pattern in (group.task, group.task.split("/")[0])]
        )
    assert groups(None, pattern="../records") == groups(None, pattern="/") == []


def test_nothing_is_read_twice_that_has_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, *some())
    assert compact(tmp_path) == (len(some()), len(some()))
    read = []
    parse = records.parse
    monkeypatch.setattr(records, "parse", lambda content, path: read.append(path) or parse(content, path))
    check(tmp_path, by_hand(some()))
    assert read == [] and compact(tmp_path) == (len(some()), 0)
    (new,) = keep(tmp_path, record_of(0.5, 50))
    groups(tmp_path, shipped=False)
    assert read == [new]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not parquet at all"),
        lambda path: path.write_bytes(path.read_bytes()[:4] + bytes(2000) + path.read_bytes()[2004:]),
        lambda path: path.rename(path.with_name("other%2Ftask@1.0.0.parquet")),
    ],
)
@pytest.mark.parametrize("archived", [False, True])
def test_a_damaged_part_costs_a_warning_and_no_record(tmp_path: Path, damage: Callable[[Path], object], archived: bool) -> None:
    found = [record for record in some() if record.spec["task"] == "test/blobs"]
    keep(tmp_path, *found)
    home = tmp_path / "archive" if archived else tmp_path
    pack(tmp_path, {record.key for record in found}) if archived else compact(tmp_path)
    parts = sorted((home / INDEX).glob("*.parquet"))
    damage(max(parts, key=lambda path: path.stat().st_size))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        listed = groups(tmp_path, shipped=False)
    assert len(heard) == 1 and "elboard compact" in str(heard[0].message) and "\n" not in str(heard[0].message)
    assert sum(len(group.keys) for group in listed) == sum(len(g["keys"]) for g in by_hand(found))
    compact(tmp_path)
    check(tmp_path, by_hand(found))


def test_the_index_can_be_deleted(tmp_path: Path) -> None:
    keep(tmp_path, *some())
    pack(tmp_path, [some()[0].key])
    compact(tmp_path)
    for home in (tmp_path, tmp_path / "archive"):
        shutil.rmtree(home / INDEX)
    check(tmp_path, by_hand(some()))
    compact(tmp_path)
    check(tmp_path, by_hand(some()))


@pytest.mark.parametrize("name", ["it's", "a[1]*", "a ü %"])
def test_whatever_the_folder_is_called_and_what_else_lies_there(tmp_path: Path, name: str) -> None:
    keep(tmp_path / name, *some())
    compact(tmp_path / name)
    (tmp_path / name / INDEX / "0.parquet").write_bytes(b"PAR1 of something else")
    check(tmp_path / name, by_hand(some()))


def test_an_index_that_is_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader takes the new one: no warning, and each record once."""
    keep(tmp_path, *some())
    compact(tmp_path)
    new, rows = record_of(0.5, 50), cache._Rows
    keep(tmp_path, new)

    def late(*words: object) -> object:
        monkeypatch.setattr(cache, "_Rows", rows)
        compact(tmp_path)
        return rows(*words)

    monkeypatch.setattr(cache, "_Rows", late)
    check(tmp_path, by_hand([*some(), new]))


@pytest.mark.parametrize("state", ["loose", "compacted", "archived"])
def test_what_is_no_valid_record_is_told_and_not_counted(tmp_path: Path, state: str) -> None:
    good, *bad = keep(tmp_path, *(record_of(0.5, seed) for seed in range(8)))
    bad[0].write_text(bad[0].read_text()[:200])
    bad[1].write_text("[1, 2]")
    bad[2].write_text(bad[2].read_text().replace('"schema": 3', '"schema": 4'))
    for file in bad[3:]:
        file.write_text(file.read_text().replace('"accuracy": 0.5', '"accuracy": 0.9'))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if state != "loose":
            compact(tmp_path)
        if state == "archived":
            pack(tmp_path, [file.parent.parent.name for file in (good, *bad)])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        (group,) = groups(tmp_path, shipped=False)
        told = [str(warning.message) for warning in heard]
        heard.clear()
        assert len(load(tmp_path, shipped=False)) == 1 and [str(warning.message) for warning in heard] == told
    assert group.seeds.tolist() == [0] and len(told) == 6 and told[5] == "... and 2 more are left out"
    expected = ("truncated", "not a record", "schema 4 is not the known 3", "does not match its digest")
    assert all(any(words in line for words in expected) and line.endswith("it is left out") for line in told[:5])


def test_a_changed_record_is_noticed_though_it_is_indexed(tmp_path: Path) -> None:
    (file,) = keep(tmp_path, record_of(0.5))
    compact(tmp_path)
    file.write_text(file.read_text().replace('"accuracy": 0.5', '"accuracy": 0.9'))
    with pytest.warns(UserWarning, match="does not match its digest"):
        assert groups(tmp_path, shipped=False) == []


def test_a_move_that_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, *some())
    pack(tmp_path, [some()[-1].key])
    with monkeypatch.context() as patched:
        patched.setattr(store, "_compact", lambda *words: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack(tmp_path, [some()[0].key])
    check(tmp_path, by_hand(some()))
    compact(tmp_path)
    check(tmp_path, by_hand(some()))


def test_an_archived_run_that_is_run_again(tmp_path: Path) -> None:
    keep(tmp_path, *some())
    pack(tmp_path, {record.key for record in some()})
    again = record_of(0.95, 0, ended="2026-02-01")
    keep(tmp_path, again)
    check(tmp_path, by_hand([*some(), again]))
    with pytest.raises(UserError, match="is in the archive already"):
        pack(tmp_path, [again.key])


def test_what_cannot_be_archived(tmp_path: Path) -> None:
    (file,) = keep(tmp_path, record_of(0.5))
    for key in ("", ".", "..", "missing", f"../{tmp_path.name}/{file.parent.parent.name}"):
        with pytest.raises(UserError, match="no run with a record"):
            pack(tmp_path, [key])
    (file.parent.parent / "claim").touch()
    with pytest.raises(UserError, match="is being run"):
        pack(tmp_path, [file.parent.parent.name])
    assert file.exists() and not (tmp_path / "archive").exists()
    with pytest.raises(UserError, match="no such folder of runs"):
        compact(tmp_path / "missing")


def test_two_compactions_at_once_count_records_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows less ends last: what it does not know is read from files."""
    keep(tmp_path, *some()[1:])
    write_index = cache.write

    def meanwhile(*words: object) -> None:
        monkeypatch.setattr(cache, "write", write_index)
        keep(tmp_path, some()[0])
        compact(tmp_path)
        write_index(*words)

    monkeypatch.setattr(cache, "write", meanwhile)
    compact(tmp_path)
    check(tmp_path, by_hand(some()))
    assert compact(tmp_path) == (len(some()), 1)
    check(tmp_path, by_hand(some()))
    assert len([*(tmp_path / INDEX).glob("*.parquet")]) == 1


def test_without_an_index_duckdb_is_not_imported(tmp_path: Path) -> None:
    keep(tmp_path, *some())
    code = "import sys; from pathlib import Path; from results.store import groups; groups(Path(sys.argv[1]), shipped=False)"
    code += "; print({'duckdb', 'torch'} & {*sys.modules})"
    for expected, work in (("set()", lambda: None), ("{'duckdb'}", lambda: compact(tmp_path))):
        work()
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True)
        assert done.stdout.strip() == expected


def test_drafts_of_writers_that_died_go(tmp_path: Path) -> None:
    keep(tmp_path, *some())
    compact(tmp_path)
    old, new = (tmp_path / INDEX / f".cache.{'0123456789abcdef'[i:][:8]}.tmp" for i in range(2))
    for draft in (old, new):
        draft.write_text("")
    os.utime(old, (0, 0))
    keep(tmp_path, record_of(0.5, 50))
    compact(tmp_path)
    assert not old.exists() and new.exists()
