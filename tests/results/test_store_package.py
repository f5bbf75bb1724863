"""The index of the package's records that a folder of runs holds: the same answers, no file read, and never out of date."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from elboard.bench import record as records
from elboard.bench.cli.store import compact_command
from elboard.results import store
from elboard.results.badges import badges
from elboard.results.board.build import boards
from elboard.results.board.render import table
from elboard.results.store import files, groups
from elboard.results.store.homes import package
from elboard.results.store.lazy import Lazy
from elboard.results.verify import Check, Verification, write_verification
from tests.results.test_store import keep, plain

TASK = "density/digits"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few of the package's records as if there were no others; their folder may be changed."""
    folder = tmp_path / "package"
    shutil.copytree(store.SHIPPED / TASK, folder / TASK, ignore=shutil.ignore_patterns("*.npz", "*.png"))
    monkeypatch.setattr(files, "SHIPPED", folder)
    return folder


@pytest.fixture
def runs(shipped: Path, tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    compact_command(root)
    return root


def said(root: Path | None) -> tuple[list[dict], dict]:
    found = groups(root)
    return plain(found), badges(root, True, found)


def record_files(shipped: Path) -> list[Path]:
    return [file for file in sorted(shipped.rglob("*.json")) if records.is_record_file(file.name)]


def test_after_compact_no_record_of_the_package_is_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = said(None)
    assert len(expected[0]) >= 4 and {word for of_group in expected[1].values() for word in of_group.values()} == {"recomputed"}
    monkeypatch.setattr(records, "parse", lambda content, path: pytest.fail(f"{path} is read"))
    files._shipped.cache_clear()
    assert said(runs) == expected
    assert all(isinstance(group, Lazy) for group in groups(runs))


def test_what_is_asked_for_is_given_alone(runs: Path) -> None:
    assert groups(runs, shipped=False) == [] and groups(runs, pattern="ood/mnist") == []
    assert plain(groups(runs, pattern=TASK)) == plain(groups(runs, pattern="density")) == said(None)[0]


def drop(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def other(file: Path) -> None:
    """Another value of a metric, under the same name."""
    record = records.read(file)
    metrics = {name: value + 0.5 if name == "elbo" else value for name, value in record.metrics.items()}
    records.write(records.replace(record, metrics=metrics, digest=""), file)


@pytest.mark.filterwarnings("ignore:.*perhaps truncated")
@pytest.mark.parametrize("change", [drop, truncate, other])
def test_another_release_is_noticed(runs: Path, shipped: Path, change: Callable[[Path], None]) -> None:
    before = said(runs)
    change(record_files(shipped)[0])
    after = said(runs)
    assert after == said(None) != before
    compact_command(runs)
    assert said(runs) == after
    assert len([*package(runs).index.glob("*.parquet")]) == 1, "the old part is gone"


def test_a_new_verification_is_noticed(runs: Path, shipped: Path) -> None:
    file = record_files(shipped)[0]
    record = records.read(file)
    primary = {record.primary: Check(record.metrics[record.primary], 0.0, 0.0, False)}
    write_verification(Verification(record.key, record.attempt, record.digest, "rerun", primary, [], False), file)
    for _ in range(2):
        found = badges(runs)
        assert found == badges(None) and [word for of_group in found.values() for word in of_group.values()].count("disputed") == 1
        compact_command(runs)


def test_an_own_run_of_the_same_key_counts_beside_the_packages(runs: Path, shipped: Path) -> None:
    """The later attempt is the effective one, and nothing has verified it."""
    record = records.read(record_files(shipped)[0])
    keep(runs, records.replace(record, attempt="f" * 12, ended="2030-01-01T00:00:00+00:00", digest=""))
    (group,) = [group for group in groups(runs) if record.key in group.keys]
    best = records.effective([record, records.read(next(runs.glob("*/attempts/*.json")))])
    assert group.attempts[group.keys.index(record.key)] == best.attempt
    assert badges(runs)[group.group][record.key] == ("recomputed" if best.attempt == record.attempt else "claimed")
    compact_command(runs)
    assert plain(groups(runs)) == plain(groups(runs, without=set(package(runs).index.glob("*.parquet"))))


def test_a_damaged_index_costs_nothing_but_time(runs: Path) -> None:
    expected = said(None)
    for file in package(runs).index.iterdir():
        truncate(file)
    assert said(runs) == expected
    shutil.rmtree(package(runs).index)
    assert said(runs) == expected


@pytest.mark.parametrize("width", [40, 80, 119, 120, 160, 500])
def test_tables_of_known_width_look_the_same(width: int) -> None:
    from rich.console import Console

    found = boards(groups(None))

    def printed(known: int) -> str:
        console = Console(width=width, file=io.StringIO(), force_terminal=True, emoji=False)
        for board in found:
            console.print(table(board, 3, known), highlight=False, markup=False)
        return console.file.getvalue()

    assert printed(width) == printed(0)
