"""Sweeps tell the truth about themselves: whatever anybody's code does to a process, whoever ends it, and however."""

from __future__ import annotations

import json
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elboard.bench import record as records
from elboard.bench.cli import main
from elboard.bench.config import resolve
from elboard.bench.runs import Runs
from elboard.sweeps.capacity import Capacity
from elboard.sweeps.engines.local import Pool, run_all
from elboard.sweeps.work import Outcomes, Resources

PLUGINS = Path(__file__).parents[1] / "plugins"
METHOD = (PLUGINS / "linear.py").read_text()
INIT = "        super().__init__(config, spec, bases)\n"
BUILD = "    def prepare(self, data):\n"
CLEAN = """
        import os, threading
        assert torch.get_default_dtype() == torch.float32, "type"
        assert os.umask(0o22) == 0o22, "umask"
        assert not os.getcwd().endswith("elsewhere"), "folder"
        assert F.cross_entropy.__name__ == "cross_entropy", "patched"
        assert not [thread for thread in threading.enumerate() if thread.name == "stays"], "thread"
        if self.seed == 0:
            torch.set_default_dtype(torch.float64)
        elif self.seed == 1:
            os.umask(0o77)
        elif self.seed == 2:
            os.makedirs("elsewhere", exist_ok=True)
            os.chdir("elsewhere")
        elif self.seed == 3:
            before = F.cross_entropy
            F.cross_entropy = lambda *of, **more: before(*of, **more)
        elif self.seed == 4:
            threading.Thread(target=threading.Event().wait, name="stays").start()

    def loss(self, batch):
"""


def command(folder: Path, *words: str) -> list[str]:
    where = ["--path", str(folder), "--path", str(PLUGINS / "blobs.py"), "--out", str(folder / "runs")]
    return ["run", "test/blobs", "test-linear", "--budget", "smoke", *where, *words]


def write(folder: Path, method: str) -> Path:
    (folder / "method.py").write_text(method)
    return folder


def states(folder: Path) -> list[str]:
    found = [records.read(file) for file in (folder / "runs").glob("*/attempts/*.json")]
    return sorted(record.failure.get("message", record.status) for record in found)


@pytest.mark.parametrize(("jobs", "seeds"), [("1", "0-5"), ("1", "4-5"), ("2", "0-5")])
def test_a_run_that_changes_its_process_changes_no_other(jobs: str, seeds: str, tmp_path: Path) -> None:
    """With one job the first change ends the work in the command's own process, which a thread that stays must not keep from ending."""
    write(tmp_path, METHOD.replace("    def loss(self, batch):\n", BUILD + CLEAN.lstrip("\n")))
    words = [*command(tmp_path)[:-1], "runs", "--seeds", seeds, "--jobs", jobs, "train.epochs=1"]  # a relative folder
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = [sys.executable, "-m", "elboard", *words]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment)
    own = [state for state in states(tmp_path) if "Double and Float" in state]  # of the run that changes the type before it is trained
    assert done.returncode == len(own) == (seeds == "0-5"), done.stderr
    assert sorted({*states(tmp_path)} - {*own}) == ["done"] and len(states(tmp_path)) == (6 if own else 2)


@pytest.mark.parametrize("text", ["raise OSError", "return chr(0xd800)", "return 3"])
def test_an_exception_whose_text_cannot_be_printed_is_a_failure_as_any(text: str, tmp_path: Path) -> None:
    own = f"class Own(Exception):\n    def __str__(self):\n        {text}\n\n\nclass Linear("
    write(tmp_path, METHOD.replace("class Linear(", own).replace(INIT, f"{INIT}        raise Own\n"))
    assert main([*command(tmp_path), "--seeds", "0-1"]) == 1
    found = [records.read(file).failure for file in (tmp_path / "runs").glob("*/attempts/*.json")]
    assert [of["class"] for of in found] == ["bug"] * 2 and all(of["message"].startswith("Own: ") for of in found)


def test_a_worker_that_is_told_to_end_leaves_its_run_undone_and_the_sweep_says_so(tmp_path: Path) -> None:
    words = "set: {train.epochs: 40, train.batch_size: 16, pause: 0.05}\nruns: [{tasks: [test/blobs], methods: [test-linear]}]\n"
    (tmp_path / "slow.yaml").write_text(f"budget: smoke\nseeds: 0-3\n{words}")
    words = ["sweep", str(tmp_path / "slow.yaml"), "--path", str(PLUGINS), "--out", str(tmp_path / "runs"), "--jobs", "2"]
    parent = subprocess.Popen([sys.executable, "-m", "elboard", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + 200
    while not (begun := [file for file in (tmp_path / "runs").glob("*/curves.jsonl") if file.stat().st_size]):
        assert time.monotonic() < end and parent.poll() is None
        time.sleep(0.1)
    os.kill(json.loads((begun[0].parent / "claim").read_text())["pid"], signal.SIGTERM)
    out = parent.communicate(timeout=300)[0]
    assert parent.returncode == 1 and "3 runs done now, 0 done before, 0 failed, 1 left undone: the same command goes on" in out, out
    done = subprocess.run([sys.executable, "-m", "elboard", *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "1 runs done now, 3 done before, 0 failed\n" in done.stdout


def pool_of(root: Path, at_first_end: Callable[[Pool], None], seeds: int = 6) -> dict[str, Any]:
    """Outcomes of runs in two workers; ``at_first_end`` is called when the first run ends, whose worker is idle then."""
    specs = [
        resolve("test/blobs", "test-linear", seed=seed, budget="smoke", overrides={"train.epochs": 1}, paths=(str(PLUGINS),))
        for seed in range(seeds)
    ]

    def watch(spec: Any, event: dict) -> None:
        if event["event"] == "end" and len(outcomes) == 1:
            at_first_end(pool)

    outcomes = Outcomes(specs, Runs(root), False, watch, lambda of: None)
    pool = Pool(outcomes, "none", Capacity(2, {}), lambda spec: Resources())
    pool.run()
    return outcomes


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_idle_worker_that_ends_is_replaced(number: signal.Signals, tmp_path: Path) -> None:
    def end(pool: Pool) -> None:
        idle = [worker for worker in pool.workers if worker.spec is None]
        assert idle
        for worker in idle:
            os.kill(worker.process.pid, number)

    found = pool_of(tmp_path, end)
    assert [outcome.state for outcome in found.values()] == ["done"] * 6
    assert len(list(tmp_path.glob("*/attempts/*.json"))) == 6, "it cost no run an attempt"


def test_a_fork_server_that_dies_is_replaced(tmp_path: Path) -> None:
    def end(pool: Pool) -> None:
        os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        for worker in [worker for worker in pool.workers if worker.spec is None]:
            worker.served = 1000  # so that another is started

    found = pool_of(tmp_path, end)
    assert [outcome.state for outcome in found.values()] == ["done"] * 6


def test_a_server_whose_death_is_not_known_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end of its socket and that of its process connections are refused."""
    from elboard.sweeps.engines import local

    began, whole = [], local.Worker

    def refused(*words: Any) -> Any:
        began.append(time.monotonic())
        if began[-1] - began[0] < 0.2:
            raise ConnectionRefusedError(111, "Connection refused")
        return whole(*words)

    monkeypatch.setattr(local, "Worker", refused)
    (outcome,) = pool_of(tmp_path, lambda pool: None, seeds=1).values()
    assert outcome.state == "done" and len(began) > 2


def test_workers_that_die_before_they_begin_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elboard.sweeps.engines import workers

    monkeypatch.setattr(workers.Worker, "give", _give_and_kill)
    found = pool_of(tmp_path, lambda pool: None, seeds=1)
    (outcome,) = found.values()
    assert outcome.state == "failed" and "the worker process died before it began" in outcome.message


def _give_and_kill(worker: Any, spec: Any) -> None:
    worker.spec, worker.since, worker.begun = spec, time.monotonic(), False
    worker.tell(signal.SIGKILL)


def test_a_worker_that_dies_while_a_child_of_it_lives_is_noticed(tmp_path: Path) -> None:
    text = METHOD.replace("import time\n", "import os\nimport signal\nimport time\n")
    fork = "        if os.fork() == 0:\n            time.sleep(1000)\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    write(tmp_path, text.replace(INIT, INIT + fork))
    specs = [resolve("test/blobs", "test-linear", budget="smoke", paths=(str(tmp_path / "method.py"), str(PLUGINS / "blobs.py")))]
    (outcome,) = run_all(specs, tmp_path / "runs", jobs=2)
    assert outcome.state == "failed" and "the worker process died (exit code -9)" in outcome.message


def test_a_pipe_that_breaks_within_is_no_silent_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from elboard.bench.cli import listing

    def broken(*of: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(listing, "_methods", broken)
    assert main(["list", "methods"]) == 2 and capsys.readouterr().err == "error: Broken pipe\n"
