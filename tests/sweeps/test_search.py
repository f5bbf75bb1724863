"""Searches: trials on the shared folder that any worker may take up, the choice by validation, the runs with what was chosen."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuning import PLUGINS, RANDOM, RATES, files, history, plan, run, write

from elboard.bench.cli import main
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.record import attempts, now
from elboard.bench.run import execute
from elboard.sweeps.engines.local import run_all
from elboard.sweeps.plan import Plan, expand, load, plan_of
from elboard.sweeps.work import run_one

ROOT = Path(__file__).parents[2]


# --- from the file to the choice ---------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_finds_the_better_rate_and_runs_it_on_fresh_seeds(tmp_path: Path, sampler: str) -> None:
    p = plan(tmp_path, f"sampler: {sampler}, trials: 14, space: {{{RATES}, scale: {{float: [0.5, 2]}}}}")
    outcomes = run(p)
    found = history(p)
    assert found.over and found.count("done") == 14
    values = [trial.value for trial in found.trials]
    best = values.index(max(values))
    assert found.trials[best].parameters["lr"] > 1e-3 > min(trial.parameters["lr"] for trial in found.trials)
    assert [(o.state, o.spec.seed) for o in outcomes] == [("done", 0), ("done", 1)]
    for outcome in outcomes:
        said = outcome.record.notes["search"]
        assert (
            {name: outcome.spec.config["method"][name] for name in ("lr", "scale")} == said["parameters"] == found.trials[best].parameters
        )
        assert (said["number"], said["value"], said["metric"]) == (best, values[best], "accuracy")
        assert (said["sampler"], said["trials"], said["done"], said["pruned"], said["failed"]) == (sampler, 14, 14, 0, 0)
        assert said["wall_s"] == pytest.approx(sum(attempts(p.root / t.key)[0].cost["wall_s"] for t in found.trials), abs=1e-2)
        assert "origin" not in outcome.record.spec
    trial = attempts(p.root / found.trials[3].key)[0]
    assert trial.notes["trial"] == {"search": found.search.id, "number": 3} and trial.spec["seed"] == 1000


def test_where_validation_and_test_disagree_validation_chooses(tmp_path: Path) -> None:
    text = (Path(PLUGINS) / "blobs.py").read_text().replace('"test/blobs"', '"test/mirror"')
    wrong = text.replace("return self._part(2)", 'return {**(test := self._part(2)), "y": (test["y"] + 1) % 3}')
    assert wrong != text
    (tmp_path / "mirror.py").write_text(wrong)
    words = "sampler: random, trials: 6, space: {lr: {log: [1.e-3, 1.0]}}"
    p = plan(tmp_path, words, task="test/mirror", paths=(PLUGINS, str(tmp_path / "mirror.py")), options="train.epochs: 6")
    run(p)
    found = history(p)
    of_test = [attempts(p.root / trial.key)[0].metrics["accuracy"] for trial in found.trials]
    of_valid = [trial.value for trial in found.trials]
    best = found.best()
    assert best.value == max(of_valid) > 0.6
    assert of_test[best.number] < max(of_test), "it is not the best on the test set"


def test_what_a_run_is_for_does_not_enter_its_key(tmp_path: Path) -> None:
    p = plan(tmp_path, RANDOM)
    run(p)
    (first, _) = history(p).final()
    plain = RunSpec.from_dict({**first.to_dict(), "origin": {}})
    assert plain.key == first.key and plain == first and not plain.origin
    assert RunSpec.from_dict(first.to_dict()).origin == first.origin
    assert run_one(plain, p.root).state == "present"
    other = plan(tmp_path, RANDOM, home="other")
    execute(plain, other.root)
    assert [outcome.state for outcome in run(other)] == ["present", "done"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_outcomes_come_in_the_order_in_which_runs_were_named_whichever_ended_first(tmp_path: Path, jobs: int) -> None:
    p = plan(tmp_path, RANDOM)
    search = p.searches[0]
    slow, fast, done = (search.spec({"lr": 0.05, "train.epochs": epochs}, seed) for seed, epochs in ((5, 200), (6, 1), (7, 1)))
    execute(done, p.root)
    ended: list[RunSpec] = []

    def watch(spec: RunSpec, event: dict) -> None:
        if event["event"] == "end":
            ended.append(spec)

    outcomes = run_all([], p.root, jobs=jobs, watch=watch, extend=lambda so_far: None if so_far else [slow, fast, done])
    assert [(o.spec, o.state) for o in outcomes] == [(slow, "done"), (fast, "done"), (done, "present")]
    assert jobs == 1 or ended.index(fast) < ended.index(slow)


# --- interrupted, repeated, shared -----------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("moment", ["end", "epoch"])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(tmp_path: Path, sampler: str, moment: str) -> None:
    words = f"sampler: {sampler}, trials: 14, parallel: 3, space: {{{RATES}, scale: {{float: [0.5, 2]}}}}"
    undisturbed, disturbed = plan(tmp_path, words, home="a"), plan(tmp_path, words, home="b")
    run(undisturbed)

    def interrupt(after: int) -> Callable[[RunSpec, dict], None]:
        def watch(spec: RunSpec, event: dict) -> None:
            if event["event"] == moment and spec.origin.get("trial", {}).get("number") == after:
                raise KeyboardInterrupt

        return watch

    for after in (2, 11):
        with pytest.raises(KeyboardInterrupt):
            run(disturbed, watch=interrupt(after))
    outcomes = run(disturbed)
    assert files(disturbed) == files(undisturbed) and len(files(disturbed)) == 14
    assert [o.record.metrics for o in outcomes] == [attempts(undisturbed.root / o.spec.key)[0].metrics for o in outcomes]


def test_a_search_that_is_over_runs_nothing_new(tmp_path: Path) -> None:
    p = plan(tmp_path, RANDOM)
    run(p)
    before = sorted(p.root.rglob("*.json"))
    again = plan(tmp_path, RANDOM)
    assert again.id == p.id and not again.unfinished()
    assert [outcome.state for outcome in run(again)] == ["present", "present"]
    assert sorted(p.root.rglob("*.json")) == before
    more = plan(tmp_path, RANDOM.replace("trials: 6", "trials: 8"))
    assert len(more.unfinished()) == 2 and more.id != p.id
    run(more)
    assert files(p).items() <= files(more).items() and len(files(more)) == 8


def test_a_search_says_that_what_it_chose_had_been_run_before(tmp_path: Path) -> None:
    p = plan(tmp_path, "sampler: random, trials: 2, space: {lr: [0.01]}")
    chosen = history(p).search.spec({"lr": 0.01}, 0)
    assert run_one(chosen, p.root).state == "done"
    run(p)
    found = history(p)
    assert [spec.seed for spec in found.unnamed()] == [0] and "1 of its runs had been run before" in str(found)
    ended = now()
    while now() == ended:  # records tell the time in seconds, and of two in one second the id decides
        time.sleep(0.05)
    assert [outcome.state for outcome in run(p, force=True)] == ["done", "done"]
    assert not history(p).unnamed() and "before" not in str(history(p))


def test_four_trials_at_a_time_by_two_workers(tmp_path: Path) -> None:
    p = plan(tmp_path, f"sampler: tpe, trials: 12, parallel: 4, space: {{{RATES}, scale: {{float: [0.5, 2]}}}}")
    widths, running, most = [], set(), []

    def watch(spec: RunSpec, event: dict) -> None:
        if event["event"] == "stage" and event["stage"] == "load":
            widths.append(len(history(p).open()))
            running.add(spec.key)
            most.append(len(running))
        elif event["event"] == "end":
            running.discard(spec.key)

    outcomes = run(p, jobs=2, watch=watch)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    assert max(widths) == 4 and max(most) <= 2 and history(p).count("done") == 12
    assert {len(attempts(p.root / trial.key)) for trial in history(p).trials} == {1}


def _share(p: Plan, ended: multiprocessing.Queue, together: Any) -> None:
    """Carry out ``p`` in the company of another process: neither begins its second and third run before the other does."""
    turns = iter(range(3))

    def watch(spec: RunSpec, event: dict) -> None:
        if event["event"] == "stage" and event["stage"] == "load" and next(turns, None) is not None:
            together.wait(60)
        elif event["event"] == "end":
            ended.put(os.getpid())

    outcomes = run(p, watch=watch)
    sys.exit(0 if [outcome.state for outcome in outcomes].count("failed") == 0 else 1)


def test_processes_that_know_nothing_of_each_other_share_a_search(tmp_path: Path) -> None:
    p = plan(tmp_path, f"sampler: tpe, trials: 12, parallel: 3, space: {{{RATES}, scale: {{float: [0.5, 2]}}}}", options="pause: 0.01")
    context = multiprocessing.get_context("fork")
    ended, together = context.Queue(), context.Barrier(2)
    processes = [context.Process(target=_share, args=(p, ended, together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert history(p).count("done") == 12 and not p.unfinished()
    keys = [*(trial.key for trial in history(p).trials), *(spec.key for spec in history(p).final())]
    assert {len(attempts(p.root / key)) for key in keys} == {1}
    told = Counter(ended.get(timeout=60) for _ in range(14))
    assert min(told[process.pid] for process in processes) >= 3, "both have run some"


def test_a_worker_of_a_cluster_carries_a_search_through(tmp_path: Path) -> None:
    p = plan(tmp_path, RANDOM)
    assert load(p.save()) == p and len(p.unfinished()) == 6
    command = [sys.executable, "-m", "elboard.sweeps.queue", str(p.folder / "plan.json"), "cpus=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count(": done") == 8, done.stderr
    assert history(p).count("done") == 6 and not p.unfinished()


# --- failures ----------------------------------------------------------------------------------------------------


def test_failed_trials_do_not_stop_a_search(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = "sampler: tpe, trials: 16, space: {raise_at: [null, 0], explode_at: [null, 1]}"
    file = write(tmp_path, words)
    assert main(["sweep", str(file), "--path", PLUGINS, "--out", str(tmp_path / "runs"), "--jobs", "1"]) == 0
    p = plan(tmp_path, words)
    found = history(p)
    assert found.count("failed") + found.count("done") == 16 and {"nan", "bug"} == {t.why for t in found.trials if t.state == "failed"}
    assert found.best().parameters == {"raise_at": None, "explode_at": None}
    assert len({trial.key for trial in found.trials}) == 4, "equal parameters share a run"
    assert f"16 of 16 trials ({found.count('done')} done, {found.count('failed')} failed)" in capsys.readouterr().out
    assert p.forgiven == {}, "a search that has led to a choice stands"


def test_a_search_without_a_completed_trial_fails_and_may_be_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = write(tmp_path, f"sampler: random, trials: 2, space: {{raise_at: [0], {RATES}}}")
    words = ["sweep", str(file), "--path", PLUGINS, "--out", str(tmp_path / "runs"), "--jobs", "1"]
    assert main(words) == 1
    assert "2 of 2 trials (2 failed)" in (said := capsys.readouterr().out) and "none was completed" in said
    p = plan_of(expand(file, paths=(PLUGINS,)), tmp_path / "runs")
    assert sum(map(len, p.forgiven.values())) == 2 and len(p.unfinished()) == 2


def test_a_folder_that_cannot_be_written_ends_the_search_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = write(tmp_path, RANDOM)
    (tmp_path / "runs" / "sweeps").mkdir(parents=True)
    (tmp_path / "runs" / "sweeps" / "searches").write_text("in the way")
    assert main(["sweep", str(file), "--path", PLUGINS, "--out", str(tmp_path / "runs"), "--jobs", "1"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_trial_whose_folder_cannot_be_written_does_not_go_round_for_ever(tmp_path: Path) -> None:
    p = plan(tmp_path, RANDOM)
    found = history(p)
    found.extend()
    (p.root / found.trials[1].key).write_text("in the way")
    assert run(p) == [] and history(p).count("running") >= 1


def test_trials_of_a_post_hoc_method_share_their_base(tmp_path: Path) -> None:
    text = (Path(PLUGINS) / "linear.py").read_text()
    text = text.replace('name="test-linear"', 'name="test-scaled", bases={"classifier": {"method": "test-linear"}}')
    text = text.replace("    def loss(", "    def fit(self, data, training):\n        self.head = self.base.head\n\n    def loss(")
    (tmp_path / "scaled.py").write_text(text)
    words = "sampler: random, trials: 3, space: {scale: {float: [0.1, 2]}}"
    p = plan(tmp_path, words, method="test-scaled", paths=(PLUGINS, str(tmp_path / "scaled.py")))
    assert [outcome.state for outcome in run(p, jobs=2) if outcome.spec.method == "test-scaled"] == ["done", "done"]
    bases = {trial.spec.starts_from()[0].key for trial in history(p).trials}
    assert len(bases) == 1 and len(attempts(p.root / bases.pop())) == 1
    failing = plan(tmp_path, words, method="test-scaled", paths=p.searches[0].paths, options="base.raise_at: 0")
    assert all(outcome.state == "failed" for outcome in run(failing))
    assert history(failing).over and history(failing).count("failed") == 3


# --- mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"smapler: tpe, space: {{{RATES}}}", "unknown key 'smapler' in search, did you mean 'sampler'"),
        (f"sampler: tpee, space: {{{RATES}}}", "no search.sampler 'tpee': did you mean 'tpe'"),
        (f"prune: asah, space: {{{RATES}}}", "no search.prune 'asah': did you mean 'asha'"),
        (f"trials: 0, space: {{{RATES}}}", "search.trials=0 is not a whole number of at least 1"),
        (f"trial_seed: 1, space: {{{RATES}}}", "seed 1 is the trials' own"),
        ("trials: 3", "search.space is a mapping"),
        ("space: {lr: {lgo: [1, 2]}}", "search.space.lr: no kind 'lgo', did you mean 'log'"),
        ("space: {lr: {log: [0, 1]}}", "search.space.lr={'log': .0, 1.} is neither a list of values nor log, float or int"),
        ("space: {lr: {float: [2, 1]}}", "is neither a list"),
        ("space: {lr: {int: [1, 2.5]}}", "is neither a list"),
        ("space: {lr: 0.1}", "is neither a list"),
        ("space: {lrr: [0.1]}", "no option 'lrr', did you mean 'lr'"),
        ("space: {explode_at: {float: [0, 1]}}", "explode_at=0.0 is no int"),
        ("space: {optimizer: [adam, {a: 1}]}", "optimizer={'a': 1} is no adam . adamw . sgd"),
        ("space: {task.n: {int: [10, 20]}}", "options of the method, of train, of base and bases can be searched"),
        ("prune: asha, space: {train.epochs: {int: [1, 20]}}", "train.epochs cannot be searched"),
    ],
)
def test_mistakes(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        expand(write(tmp_path, words), paths=(PLUGINS,))


def test_contradictions(tmp_path: Path) -> None:
    file = write(tmp_path, f"prune: asha, space: {{{RATES}}}", options="train.validate_every: 0")
    with pytest.raises(UserError, match="asha needs validations while a trial trains"):
        expand(file, paths=(PLUGINS,))
    file = write(tmp_path, RANDOM, options="lr: 0.1")
    assert len(expand(file, paths=(PLUGINS,)).searches) == 1, "what is searched wins over what is set for all"
    with pytest.raises(UserError, match="lr is searched, and set by the grid or the command line too"):
        expand(file, {"method.lr": 0.1}, (PLUGINS,))
    file.write_text(file.read_text().replace("search:", "grid: {scale: [1.0, 2.0]}, search:"))
    assert len({search.id for search in expand(file, paths=(PLUGINS,)).searches}) == 2, "one search for each point of a grid"


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert len(expand(write(tmp_path, RANDOM), paths=(PLUGINS,)).searches) == 1
    assert main(["sweep", str(write(tmp_path, f"space: {{{RATES}}}")), "--path", PLUGINS, "--dry-run"]) == 2
    assert "sampler tpe needs Optuna: pip install 'elboard[search]'" in capsys.readouterr().err


def test_the_plan_and_the_status_tell_of_searches(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    p = plan(tmp_path, RANDOM)
    p.save()
    words = ["sweep", str(tmp_path / "tuned.yaml"), "--path", PLUGINS, "--out", str(p.root), "--dry-run"]
    assert main(words) == 0
    assert "1 searches with 6 trials, then 2 runs" in (said := capsys.readouterr().out) and "estimate: unknown for 8 runs\n" in said
    assert not (p.root / "sweeps" / "searches").exists(), "a plan changes nothing"
    run(p)
    assert main(words) == 0 and "with accuracy" in capsys.readouterr().out
    assert main(["status", p.id, "--json", "--out", str(p.root)]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["runs"], status["done"], status["left"]) == (8, 8, 0) and "6 of 6 trials (6 done)" in status["searches"][0]
