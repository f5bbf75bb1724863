"""Runs of several processes on this machine: the numbers of one process, one record, a request to stop reaches all."""

from __future__ import annotations

from pathlib import Path

import pytest

from elboard.bench import stopping
from elboard.bench.config import RunSpec, resolve
from elboard.bench.record import attempts
from elboard.bench.run import execute
from elboard.sweeps.work import processes, run_one

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
TWO = {"trainer.accelerator": "cpu", "trainer.devices": "2", "trainer.strategy": "ddp"}


def spec_of(**overrides: object) -> RunSpec:
    return resolve("test/blobs", "test-linear", budget="smoke", overrides=overrides, paths=PLUGINS)


def test_two_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    two, one = spec_of(**TWO), spec_of(**{"trainer.accelerator": "cpu"})
    assert processes(two) == 2 and two.key == one.key, "how it is run is not what it is"
    seen = []
    outcome = run_one(two, tmp_path, report=seen.append)
    assert outcome.state == "done", outcome.message
    assert outcome.record.metrics == pytest.approx(execute(one, tmp_path / "one").metrics, rel=1e-4)
    assert len(attempts(tmp_path / two.key)) == 1 and (tmp_path / two.key / "log.rank1.txt").exists()
    assert [event["epoch"] for event in seen] == [0, 1, 2], "progress is seen from outside"


def test_a_failure_in_two_processes_is_one_record(tmp_path: Path) -> None:
    outcome = run_one(spec_of(**TWO, raise_at=1), tmp_path)
    assert outcome.state == "failed" and "as asked" in outcome.message
    assert len(attempts(tmp_path / outcome.spec.key)) == 1


def test_two_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    options = {"train.epochs": 4, "train.batch_size": 4, "pause": 0.03}
    spec = spec_of(**TWO, **options)

    def ask(event: dict) -> None:
        if event.get("epoch") == 0:
            stopping.request()

    try:
        stopped = run_one(spec, tmp_path, report=ask)
    finally:
        stopping.clear()
    assert stopped.state == "preempted" and not attempts(tmp_path / spec.key)
    assert (tmp_path / spec.key / "checkpoints" / "last.ckpt").exists()
    outcome = run_one(spec, tmp_path)
    assert outcome.state == "done", outcome.message
    assert outcome.record.metrics == pytest.approx(
        execute(spec_of(**{"trainer.accelerator": "cpu"}, **options), tmp_path / "one").metrics, rel=1e-3
    )


def test_options_reach_lightning(tmp_path: Path) -> None:
    spec = spec_of(**{"trainer.accelerator": "cpu", "trainer.precision": "bf16-mixed"})
    assert spec.key != spec_of(**{"trainer.accelerator": "cpu"}).key, "precision changes numbers"
    assert execute(spec, tmp_path).status == "done"
    bad = execute(spec_of(**{"trainer.accelerator": "cpu", "trainer.strategy": "xla"}), tmp_path)
    assert bad.status == "failed" and bad.failure["message"]
