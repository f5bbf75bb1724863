"""Asynchronous successive halving: which trials are given up, when, and what is left of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tuning import RANDOM, RATES, epochs, files, history, plan, run

from elboard.bench import stopping
from elboard.bench.record import attempts
from elboard.bench.run import execute
from elboard.bench.stopping import Pruned
from elboard.sweeps import claims, trials
from elboard.sweeps.work import run_one


@pytest.mark.parametrize(
    ("train", "grace", "expected"),
    [((27, 1), 0, [3, 9]), ((9, 1), 0, [1, 3]), ((10, 4), 0, [4, 8]), ((100, 1), 20, [20, 60]), ((1, 1), 0, []), ((27, 0), 0, [])],
)
def test_rungs(train: tuple[int, int], grace: int, expected: list[int]) -> None:
    assert trials.rungs({"epochs": train[0], "validate_every": train[1]}, grace) == expected


def test_pruning_ends_bad_trials_and_spares_the_best(tmp_path: Path) -> None:
    words = f"sampler: random, trials: 12, seed: 1, space: {{{RATES}}}"
    whole = plan(tmp_path, words, home="whole", options="train.epochs: 9")
    pruned = plan(tmp_path, f"{words}, prune: asha", home="pruned", options="train.epochs: 9")
    run(whole)
    outcomes = run(pruned)
    found = history(pruned)
    assert found.count("pruned") >= 4 and found.count("pruned") + found.count("done") == 12
    assert epochs(whole) == 12 * 9 and epochs(pruned) < 0.7 * epochs(whole)
    assert found.best().value >= history(whole).best().value - 0.05
    assert [(len((pruned.root / o.spec.key / "curves.jsonl").read_text().splitlines()), o.state) for o in outcomes] == [(9, "done")] * 2
    for trial in found.trials:
        if trial.state == "pruned":
            assert trial.epochs in (1, 3) and not attempts(pruned.root / trial.key)
            assert trial.value == trials.value_at(pruned.root / trial.key, trial.epochs - 1, "accuracy")
            assert "given up after" in (pruned.root / trial.key / "log.txt").read_text()
            assert run_one(trial.spec, pruned.root).state == "pruned", "it stays so"
    before = files(pruned)
    assert [o.state for o in run(plan(tmp_path, f"{words}, prune: asha", home="pruned", options="train.epochs: 9"))] == ["present"] * 2
    assert files(pruned) == before


def test_the_rule_of_successive_halving(tmp_path: Path) -> None:
    """A trial goes on if it is among the best third of those seen at the rung, or the best of them."""
    p = plan(tmp_path, RANDOM.replace("trials: 6", "trials: 9") + ", prune: asha", options="train.epochs: 9")
    found = history(p)
    found.extend()
    keys = [trial.key for trial in found.trials]

    def arrive(number: int, value: float) -> bool:
        folder = p.root / keys[number]
        folder.mkdir(exist_ok=True)
        judge = trials.judged(found.trials[number].spec, p.root, lambda event: None)
        (folder / "curves.jsonl").write_text(json.dumps({"epoch": 0, "valid/accuracy": value}) + "\n{\n")
        try:
            judge({"event": "epoch", "epoch": 0})
        except Pruned:
            return False
        return True

    nan = float("nan")
    arrivals = [(0.3, True), (0.2, False), (0.4, True), (0.4, True), (nan, False), (0.35, False), (0.5, True), (0.41, True), (0.41, True)]
    assert [arrive(number, value) for number, (value, _) in enumerate(arrivals)] == [kept for _, kept in arrivals]
    assert json.loads(files(p)["pruned-4.json"])["value"] is None
    trials.judged(found.trials[0].spec, p.root, lambda event: None)({"event": "epoch", "epoch": 0})  # resumed: not judged again


def test_a_pruned_trial_that_was_preempted_before_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    p = plan(tmp_path, f"{RANDOM}, prune: asha", options="train.epochs: 9")
    history(p).extend()
    spec = history(p).trials[0].spec

    def stop(event: dict) -> None:
        if event.get("epoch") == 1:
            stopping.request()

    try:
        assert run_one(spec, p.root, report=stop).state == "preempted"
    finally:
        stopping.clear()
    assert (p.root / spec.key / "checkpoints" / "last.ckpt").exists()
    assert run_one(spec, p.root).record.metrics == execute(spec, tmp_path / "undisturbed").metrics


def test_all_processes_of_a_pruned_trial_leave(tmp_path: Path) -> None:
    options = "train.epochs: 9, train.batch_size: 4, pause: 0.01, trainer.devices: '2', trainer.strategy: ddp"
    p = plan(tmp_path, f"{RANDOM}, prune: asha", options=options)
    found = history(p)
    found.extend()
    better, trial = found.trials[:2]
    (p.root / better.key).mkdir()
    (p.root / better.key / "curves.jsonl").write_text(json.dumps({"epoch": 0, "valid/accuracy": 1.0}) + "\n")
    outcome = run_one(trial.spec, p.root)
    assert outcome.state == "pruned" and "not among the best 1 of 2 trials" in outcome.message
    assert not attempts(p.root / trial.key) and not (p.root / trial.key / "checkpoints" / "last.ckpt").exists()
    assert not claims.alive(p.root / trial.key)
