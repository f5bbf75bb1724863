"""The reference records that ship with the package: valid, made from committed source, and in agreement with their evidence."""

from __future__ import annotations

import dataclasses
import io
import warnings

import numpy as np
import pytest

from elboard.bench import record as records
from elboard.bench.evidence import LIMIT, number, of_subsets
from elboard.bench.metrics.conventions import of_examples
from elboard.bench.registry import discover, find
from elboard.results.evidence import evidence_of, read_evidence, record_files
from elboard.results.store import SHIPPED, load
from elboard.results.verify import verify

FILES = list(record_files(None, shipped=True))


def test_all_are_valid_and_none_is_set_aside() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load(None)) == len(FILES) > 250


def test_they_come_from_committed_source_and_lie_where_they_belong() -> None:
    tasks, methods = discover("task"), discover("method")
    for file in FILES:
        record = records.read(file)
        spec = record.spec
        assert record.status == "done" and record.provenance["source"]["dirty"] is False, file
        assert file.relative_to(SHIPPED).as_posix() == (
            f"{spec['task']}/{spec['method']}-s{spec['seed']}-{record.key}.{record.attempt}.json"
        )
        assert spec["task_version"] == tasks[spec["task"]].card.version, file
        assert spec["method_version"] == methods[spec["method"]].card.version, file


@pytest.mark.parametrize("task", sorted({file.parent.relative_to(SHIPPED).as_posix() for file in FILES if evidence_of(file)}))
def test_evidence_of_each_board_fits_and_gives_the_primary_metric(task: str) -> None:
    file = next(file for file in FILES if file.parent == SHIPPED / task and evidence_of(file) is not None)
    record, old, cls = records.read(file), read_evidence(evidence_of(file)), find("task", task).load()
    new = cls.compact(old)
    assert sum(array.nbytes for array in new.values()) <= LIMIT + 1024 and set(cls.compact(new)) == set(new)
    packed = io.BytesIO()
    np.savez_compressed(packed, **new)
    assert len(packed.getvalue()) <= LIMIT * 1.05
    few, whole = of_subsets(cls, new, record.metrics), cls.score(new, record.metrics)
    (name,) = {record.primary, of_examples(record.primary, number(cls.sets, record.primary, new))} & {*few, *whole}
    assert (name in few) == (record.primary not in whole)
    again = verify(dataclasses.replace(record, metrics={**few, **record.metrics}), new)
    assert again.ok and again.proves(record.primary) and {**few, **whole}.keys() == again.checked.keys()
    for key in few:
        assert abs(again.checked[key].found - few[key]) <= 1e-9


@pytest.mark.slow
def test_their_metrics_follow_from_their_evidence() -> None:
    checked = 0
    for file in FILES:
        evidence = evidence_of(file)
        if evidence is not None:
            found = verify(records.read(file), read_evidence(evidence))
            assert found.ok, (file, found)
            checked += 1
    assert checked > 0.95 * len(FILES)
