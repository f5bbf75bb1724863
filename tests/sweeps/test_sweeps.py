"""Sweeps: expansion, and a pool of workers that survives the death of one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from elboard.bench.config import RunSpec, parse_seeds, resolve
from elboard.bench.errors import UserError
from elboard.bench.runs import Runs
from elboard.sweeps.engines.local import run_all
from elboard.sweeps.plan import expand

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
TEXT = """
name: mine
budget: smoke
seeds: 0-1
set: {train.epochs: 2}
runs:
  - tasks: [test/blobs]
    methods: [test-linear]
    grid: {lr: [0.1, 0.2], scale: [1.0, 2.0]}
  - tasks: [test/blobs]
    methods: [test-linear]
    set: {lr: 0.1}
    seeds: [0, 2]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_expansion_drops_repetitions(file: Path) -> None:
    sweep = expand(file, paths=PLUGINS)
    assert len(sweep.runs) == 2 * 4 + 1  # lr=0.1, scale=1, seed 0 occurs twice
    assert {spec.config["train"]["epochs"] for spec in sweep.runs} == {2}
    assert {spec.config["wandb"]["group"] for spec in sweep.runs} == {"mine"}
    assert {spec.config["train"]["epochs"] for spec in expand(file, {"train.epochs": 1}, PLUGINS).runs} == {1}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget", "bugdet", "unknown field 'bugdet', did you mean 'budget'"),
        ("    grid", "    gird", "unknown field 'gird', did you mean 'grid'"),
        ("lr: [0.1, 0.2]", "lr: 0.1", "grid.lr must be a list"),
        ("lr: [0.1, 0.2]", "lrr: [0.1]", "no option 'lrr', did you mean 'lr'"),
        ("[test-linear]", "test-linear", "runs 1.methods='test-linear' is no list"),
        ("seeds: 0-1", "seeds: some", "seeds 'some' are not of the form"),
        ("runs:", "runs: [", "not valid YAML"),
    ],
)
def test_mistakes(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        expand(file, paths=PLUGINS)


@pytest.mark.parametrize(("given", "seeds"), [(3, [3]), ("0-2", [0, 1, 2]), ("1,4-5", [1, 4, 5]), ([0, "7-8"], [0, 7, 8])])
def test_seeds(given: object, seeds: list[int]) -> None:
    assert parse_seeds(given) == seeds


def test_pool_equals_one_process(file: Path, tmp_path: Path) -> None:
    runs = expand(file, paths=PLUGINS).runs[:4]
    alone = run_all(runs, tmp_path / "a", jobs=1)
    pooled = run_all(runs, tmp_path / "b", jobs=2)
    assert [o.state for o in pooled] == ["done"] * 4
    assert [o.record.metrics for o in alone] == [o.record.metrics for o in pooled]
    again = run_all(runs, tmp_path / "b", jobs=2)
    assert [o.state for o in again] == ["present"] * 4
    assert [o.record.attempt for o in again] == [o.record.attempt for o in pooled]


def test_one_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    runs = [
        resolve("test/blobs", "test-linear", budget="smoke", overrides=o, paths=PLUGINS) for o in ({"raise_at": 0}, {"explode_at": 0}, {})
    ]
    outcomes = run_all(runs, tmp_path, jobs=2)
    assert [o.state for o in outcomes] == ["failed", "failed", "done"]
    assert outcomes[0].message.startswith("bug: RuntimeError: as asked (linear.py:")
    assert outcomes[1].message.startswith("nan: ")


def test_a_killed_worker_costs_its_own_run_alone(tmp_path: Path) -> None:
    plugin = tmp_path / "suicide.py"
    text = (Path(PLUGINS[0]) / "linear.py").read_text().replace('"test-linear"', '"test-suicide"')
    plugin.write_text(
        text.replace('raise RuntimeError("as asked")', f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGKILL)})")
    )
    paths = (*PLUGINS, str(plugin))

    def one(seed: int, **overrides: object) -> RunSpec:
        return resolve("test/blobs", "test-suicide", seed=seed, budget="smoke", overrides=overrides, paths=paths)

    runs = [one(0, raise_at=1), one(1), one(2), one(3)]
    outcomes = run_all(runs, tmp_path / "runs", jobs=2)
    assert [o.state for o in outcomes] == ["failed", "done", "done", "done"]
    assert outcomes[0].record.failure["class"] == "killed" and "exit code -9" in outcomes[0].message
    assert Runs(tmp_path / "runs").done(runs[0]) is None
