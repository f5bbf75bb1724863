"""The package's records beside those of a folder of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from elboard.bench import record as records
from elboard.bench.cli.store import compact
from elboard.results import store
from elboard.results.store import groups, lines
from elboard.results.verify import Check, Verification, badges, write_verification
from tests.results.test_store import keep, plain

TASK = "density/digits"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few of the package's records as if there were no others; their folder may be changed."""
    folder = tmp_path / "package"
    (folder / TASK).parent.mkdir(parents=True)
    shutil.copy(store.SHIPPED / f"{TASK}.jsonl", folder / f"{TASK}.jsonl")
    monkeypatch.setattr(lines, "SHIPPED", folder)
    return folder


@pytest.fixture
def runs(shipped: Path, tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    compact(root)
    return root


def said(root: Path | None) -> tuple[list[dict], dict]:
    found = groups(root)
    return plain(found), badges(root, True, found)


def test_what_is_asked_for_is_given_alone(runs: Path) -> None:
    assert groups(runs, shipped=False) == [] and groups(runs, pattern="ood/mnist") == []
    assert plain(groups(runs, pattern=TASK)) == plain(groups(runs, pattern="density")) == said(None)[0]


def test_a_new_verification_is_noticed(runs: Path, shipped: Path) -> None:
    line = lines.lines(TASK, [])[0]
    record = line.record
    primary = {record.primary: Check(record.metrics[record.primary], 0.0, 0.0, False)}
    write_verification(Verification(record.key, record.attempt, record.digest, "rerun", primary, [], False), line)
    found = said(runs)[1]
    assert found == said(None)[1] and [word for of_group in found.values() for word in of_group.values()].count("disputed") == 1


def test_an_own_run_of_the_same_key_counts_beside_the_packages(runs: Path, shipped: Path) -> None:
    """The later attempt is the effective one, and nothing has verified it."""
    record = lines.lines(TASK, [])[0].record
    keep(runs, records.replace(record, attempt="f" * 12, ended="2030-01-01T00:00:00+00:00", digest=""))
    (group,) = [group for group in groups(runs) if record.key in group.keys]
    best = records.effective([record, records.read(next(runs.glob("*/attempts/*.json")))])
    assert group.attempts[group.keys.index(record.key)] == best.attempt
    assert said(runs)[1].get(group.group, {}).get(record.key, "claimed") == ("recomputed" if best.attempt == record.attempt else "claimed")
    before = plain(groups(runs))
    compact(runs)
    assert plain(groups(runs)) == before
