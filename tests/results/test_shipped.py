"""The reference records that ship with the package: valid, made from committed source, small, and in agreement with their evidence."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest

from elboard.bench.evidence import LIMIT, number, of_subsets
from elboard.bench.identity import group_of
from elboard.bench.metrics.conventions import of_examples
from elboard.bench.registry import discover, find
from elboard.results.beside import all_beside, stem_of
from elboard.results.shipping import board_file
from elboard.results.store.lines import SHIPPED, boards_below, lines
from elboard.results.untrusted import read_evidence
from elboard.results.verify import verify

LEFT_OUT: list[str] = []
LINES = lines("", LEFT_OUT)
GROUPS = {group_of(line.record.identity) for line in LINES}


def test_all_are_valid_and_none_is_set_aside() -> None:
    assert LEFT_OUT == [] and len(LINES) == sum(len(file.read_bytes().splitlines()) for file in boards_below(SHIPPED)) > 250


def test_they_come_from_committed_source_and_lie_where_they_belong() -> None:
    tasks = discover("task")
    for line in LINES:
        record, spec = line.record, line.record.spec
        assert record.status == "done" and record.provenance["source"]["dirty"] is False, line
        assert line.file == board_file(record, SHIPPED)
        assert spec["task_version"] == tasks[spec["task"]].card.version, line
        assert spec["method_version"] == find("method", spec["method"]).card.version, line


def test_evidence_curves_and_pictures_are_those_of_one_run_of_a_configuration() -> None:
    groups = {(line.file, stem_of(line.record)): group_of(line.record.identity) for line in LINES}
    assert len(groups) == len(LINES), "names tell all runs apart"
    found = [
        (groups[file, stem], what.removesuffix(".jsonl"))
        for file in boards_below(SHIPPED)
        for stem, files in all_beside(file).items()
        for what in files
    ]
    assert len(set(found)) == len(found), "all belong to a record, and no configuration has two of a kind"
    assert sum(what == "npz" for _, what in found) > 0.9 * len(GROUPS)


def test_they_are_small() -> None:
    sizes = {file: file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()}
    assert sum(sizes.values()) / len(LINES) < 9 * 1024
    boards = sum(sizes.pop(file) for file in boards_below(SHIPPED))
    assert boards / len(LINES) < 6 * 1024, "a record of a run, with what is said of it"
    assert sum(sizes.values()) / len(GROUPS) < 24 * 1024, "evidence is compact, and of one run of a configuration"
    assert boards + sum(sizes.values()) < 45e6, "they stay in the repository for ever; 5,000 are meant to be there"


@pytest.mark.parametrize("task", sorted({line.record.spec["task"] for line in LINES if line.evidence}))
def test_evidence_of_each_board_fits_and_gives_the_primary_metric(task: str) -> None:
    line = next(line for line in LINES if line.record.spec["task"] == task and line.evidence)
    record, old, cls = line.record, read_evidence(line.evidence), find("task", task).load()
    new = cls.compact(old)
    assert sum(array.nbytes for array in new.values()) <= LIMIT + 1024 and set(cls.compact(new)) == set(new)
    packed = io.BytesIO()
    np.savez_compressed(packed, **new)
    assert len(packed.getvalue()) <= LIMIT + 256 * len(new), "names and headers of the arrays too"
    few, whole = of_subsets(cls, new, record.metrics), cls.score(new, record.metrics)
    (name,) = {record.primary, of_examples(record.primary, number(cls.sets, record.primary, new))} & {*few, *whole}
    assert (name in few) == (record.primary not in whole)
    again = verify(dataclasses.replace(record, metrics={**few, **record.metrics}), new)
    assert again.ok and again.proves(record.primary) and {**few, **whole}.keys() == again.checked.keys()
    for key in few:
        assert abs(again.checked[key].found - few[key]) <= 1e-9


@pytest.mark.slow
def test_their_metrics_follow_from_their_evidence() -> None:
    checked = {group_of(line.record.identity): verify(line.record, read_evidence(line.evidence)).ok for line in LINES if line.evidence}
    assert all(checked.values()) and len(checked) > 0.9 * len(GROUPS), checked
