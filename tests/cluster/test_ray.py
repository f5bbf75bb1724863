"""Sweeps on a real Ray: one of its own, and a cluster of two nodes on this machine. All of it stays on the loopback interface."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.record import attempts
from elboard.bench.run import execute
from elboard.sweeps import claims
from elboard.sweeps.engines.local import Local
from elboard.sweeps.engines.ray import OWN, Ray
from elboard.sweeps.plan import Plan, expand, plan_of
from elboard.sweeps.work import Outcome

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'elboard[ray]'"),
]
PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
LOCKED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes, of one core each; the first, on which this process is, has two GPUs in name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**OWN, **LOCKED}.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 2, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def connected(cluster: Any) -> Iterator[Any]:
    """A connection that several sweeps share, with their warm workers."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def write(home: Path, seeds: str, options: str, resources: str) -> Path:
    home.parent.mkdir(exist_ok=True)
    file = home.parent / "sweep.yaml"
    file.write_text(f"""
budget: smoke
seeds: {seeds}
set: {{train.epochs: 4, train.batch_size: 16 {options}}}
resources: {resources}
runs: [{{tasks: [test/blobs], methods: [test-linear]}}]
""")
    return file


def plan(home: Path, seeds: str = "0", options: str = ", trainer.accelerator: cpu", resources: str = "{}", paths=PLUGINS) -> Plan:
    return plan_of(expand(write(home, seeds, options, resources), paths=paths), home)


def slow(home: Path, seconds: float, seeds: str = "0", resources: str = "{}") -> Plan:
    """Runs of four epochs of five steps, ``seconds`` in all."""
    return plan(home, seeds, f", trainer.accelerator: cpu, pause: {seconds / 20}", resources)


def run(p: Plan, watch: Callable[[RunSpec, dict], None] = lambda spec, event: None, address: str = "") -> list[Outcome]:
    return Ray().run(p, {"jobs": None, "address": address}, False, watch)


def undisturbed(spec: RunSpec, home: Path) -> dict[str, float]:
    """The metrics of ``spec``, which its pauses do not change."""
    method = {**spec.config["method"], "pause": 0.0}
    said = {section: {name: value for name, value in of.items() if name != "pause"} for section, of in spec.options.items()}
    options = {section: of for section, of in said.items() if of}
    quick = replace(spec, config={**spec.config, "method": method}, options=options)
    return execute(quick, home.parent / "undisturbed").metrics


def epochs(spec: RunSpec, home: Path) -> int:
    curves = home / spec.key / "curves.jsonl"
    return curves.read_text().count("\n") if curves.exists() else 0


def causes(spec: RunSpec, home: Path) -> Counter:
    """How the attempts at a run ended."""
    return Counter(record.failure.get("class", record.status) for record in attempts(home / spec.key))


# --- the command, on a Ray of its own ------------------------------------------------------------------


def command(file: Path, home: Path, *words: str, **variables: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "elboard", "sweep", str(file), "--engine", "ray", "--path", *PLUGINS, "--out", str(home), *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **variables})


def descendants(pid: int) -> set[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = {int(word) for word in children.read_text().split()} if children.exists() else set()
    return below.union(*map(descendants, below))


def listening(pids: set[int]) -> set[str]:
    """Hexadecimal addresses on which processes listen."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(link))
            except OSError:
                continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_a_sweep_on_its_own_ray_equals_one_here(home: Path) -> None:
    p = plan(home, "0-7")
    foreign = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "RANK": "1"}  # of a job in which Ray was started
    process = command(home.parent / "sweep.yaml", home, "--jobs", "2", **LOCKED, **foreign)
    wait_for(lambda: process.poll() is not None or any(home.glob("*/claim")), 90, "a run begins")
    heard = listening(descendants(process.pid))
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out
    assert "sweep: 8 runs done now, 0 done before, 0 failed" in out
    assert heard and all(address.endswith("0100007F") for address in heard), "127.0.0.1 alone"
    for spec in p.runs:
        (record,) = attempts(home / spec.key)
        assert record.metrics == undisturbed(spec, home)


# --- on a cluster --------------------------------------------------------------------------------------


def test_both_nodes_work_and_progress_is_heard(home: Path, connected: Any) -> None:
    p, events = slow(home, 1, "0-3"), []
    outcomes = run(p, lambda spec, event: events.append((spec.seed, event["event"], event.get("epoch"))))
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    for seed in range(4):
        assert [event[1:] for event in events if event[0] == seed] == [("stage", None), *(("epoch", i) for i in range(4)), ("end", None)]
    assert [outcome.state for outcome in run(p)] == ["present"] * 4


def test_a_search_equals_one_here(home: Path, connected: Any) -> None:
    file = write(home, "0-1", ", trainer.accelerator: cpu, train.validate_every: 1", "{}")
    search = "search: {sampler: random, trials: 9, seed: 1, space: {lr: {log: [1.e-6, 1.e-1]}}%s}"
    plain = file.read_text().replace("methods: [test-linear]", f"methods: [test-linear], {search}").replace("epochs: 4", "epochs: 9")
    found = {}
    for name, pruning in (("here", ""), ("ray", ""), ("pruned", ", prune: asha")):
        file.write_text(plain % pruning)
        p = plan_of(expand(file, paths=PLUGINS), home / name)
        words = {"jobs": 2, "address": ""}
        outcomes = (Local() if name == "here" else Ray()).run(p, words, False, lambda spec, event: None)
        final = [outcome for outcome in outcomes if "trial" not in outcome.spec.origin]
        assert [outcome.state for outcome in final] == ["done", "done"]
        (history,) = p.histories()
        assert history.over and history.count("done") + history.count("pruned") == 9
        found[name] = ([(trial.parameters, trial.value) for trial in history.trials], [outcome.record.metrics for outcome in final])
    assert found["ray"] == found["here"]
    assert history.count("pruned") >= 3


def test_a_run_that_another_process_has_is_waited_for(home: Path, connected: Any) -> None:
    p = plan(home)
    claim = claims.take(home / p.runs[0].key)
    threading.Timer(4, claim.release).start()
    (outcome,) = run(p)
    assert outcome.state == "done" and not claim.holds()


def test_ctrl_c_saves_checkpoints(home: Path, connected: Any) -> None:
    p, training, told = slow(home, 5, "0-4"), set(), []  # enough that two train at once, also where one worker starts late

    def interrupt(spec: RunSpec, event: dict) -> None:
        if event["event"] == "epoch":
            training.add(spec.key)
        if event["event"] == "end":
            told.append(event["outcome"].state)
            training.discard(spec.key)
        elif len(training) == 2:
            training.clear()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(p, interrupt)
    stopped = [spec for spec in p.runs if (home / spec.key / "checkpoints" / "last.ckpt").exists()]
    assert told[-2:] == ["preempted"] * 2 and len(stopped) == 2
    assert not any(attempts(home / spec.key) for spec in stopped) and not any(claims.alive(home / spec.key) for spec in p.runs)
    for outcome in run(p):
        assert outcome.state in ("done", "present") and outcome.record.metrics == undisturbed(outcome.spec, home)
    for spec in stopped:
        assert "asked to stop; goes on from the checkpoint" in (home / spec.key / "log.txt").read_text()


def test_a_killed_worker_costs_an_attempt(home: Path, connected: Any) -> None:
    p, killed = slow(home, 6, "0-1"), []

    def kill(spec: RunSpec, event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 1 and spec.seed == 0 and not killed:
            killed.append(claims.read(home / spec.key)["pid"])
            os.kill(killed[0], signal.SIGKILL)

    outcomes = run(p, kill)
    assert killed and [outcome.state for outcome in outcomes] == ["done", "done"]
    assert [causes(spec, home) for spec in p.runs] == [{"killed": 1, "done": 1}, {"done": 1}]
    for outcome in outcomes:
        assert outcome.record.metrics == undisturbed(outcome.spec, home)


def test_a_node_that_dies_hands_its_runs_over(home: Path, connected: Any) -> None:
    node = connected.add_node(num_cpus=1)
    raylet = node.all_processes["raylet"][0].process.pid
    p, gone = slow(home, 4, "0-2"), []

    def remove(spec: RunSpec, event: dict) -> None:
        claim = claims.read(home / spec.key) if event["event"] == "epoch" and not gone else None
        if claim and int(Path(f"/proc/{claim['pid']}/stat").read_text().rpartition(")")[2].split()[1]) == raylet:
            gone.append(spec)
            connected.remove_node(node, allow_graceful=False)

    outcomes = run(p, remove)
    assert gone and [outcome.state for outcome in outcomes] == ["done"] * 3
    assert causes(gone[0], home) == {"killed": 1, "done": 1}
    for outcome in outcomes:
        assert outcome.record.metrics == undisturbed(outcome.spec, home)


def test_a_time_limit_ends_a_run(home: Path, connected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elboard.bench.runs.RETRIES", 0)
    p = slow(home, 60, resources="{default: {time: 3s}}")
    (outcome,) = run(p)
    assert (outcome.state, outcome.message) == ("failed", "timeout: exceeded its time limit of 3 s")
    assert causes(p.runs[0], home) == {"timeout": 1} and not (home / p.runs[0].key / "claim").exists()


def test_halves_of_gpus(home: Path, connected: Any, tmp_path: Path) -> None:
    plugin = tmp_path / "seer.py"
    text = (
        (Path(PLUGINS[0]) / "linear.py")
        .read_text()
        .replace('"test-linear"', '"test-seer"')
        .replace("import time\n", "import os\nimport time\n")
    )
    seen = f"open(f'{tmp_path}/gpu-{{self.seed}}', 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])"
    plugin.write_text(text.replace('raise RuntimeError("as asked")', seen))
    file = write(home, "0-2", ", raise_at: 0, pause: 0.1", "{default: {cpus: 0, gpus: 0.5}}")
    file.write_text(file.read_text().replace("test-linear", "test-seer"))
    outcomes = run(plan_of(expand(file, paths=(*PLUGINS, str(plugin))), home))
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    assert {(tmp_path / f"gpu-{seed}").read_text() for seed in range(3)} == {"0", "1"}


def test_the_runs_folder_must_be_shared(home: Path, connected: Any) -> None:
    (spec,) = plan(home).runs
    from elboard.sweeps.engines.ray_tasks import _Setting, _task

    process, outcome = _task(spec, home, "none", False, 1, _Setting())
    assert claims.process().items() <= process.items()
    assert outcome.state == "failed" and "must lie on a file system that all nodes share" in outcome.message


# --- the driver dies -----------------------------------------------------------------------------------


def test_a_driver_that_dies_loses_nothing(home: Path, cluster: Any) -> None:
    p = slow(home, 4, "0-2")
    words = (home.parent / "sweep.yaml", home, "--address", cluster.address)
    process = command(*words)
    wait_for(lambda: any(attempts(home / spec.key) for spec in p.runs), 90, "a run is done")
    process.kill()
    process.communicate()
    wait_for(lambda: not any(claims.alive(home / spec.key) for spec in p.runs), 30, "Ray ends the tasks of a dead driver")
    done = [spec.key for spec in p.runs if attempts(home / spec.key)]
    process = command(*words)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0 and f"{3 - len(done)} runs done now, {len(done)} done before, 0 failed" in out, out
    for spec in p.runs:
        (record,) = [record for record in attempts(home / spec.key) if record.status == "done"]
        assert record.metrics == undisturbed(spec, home)


# --- mistakes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "address", "message"),
    [
        (", trainer.num_nodes: 2", "", "trainer.num_nodes is more than 1, which the engine slurm alone can do"),
        ("", "ray://10.0.0.1:10001", "Ray Client is not supported; give host:port, on a node of the cluster"),
    ],
)
def test_what_ray_cannot_do_is_said(home: Path, options: str, address: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(plan(home, options=options), address=address)


def test_a_missing_ray_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray: pip install 'elboard\[ray\]'"):
        run(plan(home))


def test_the_claim_of_a_dead_process_of_another_host_is_released(home: Path) -> None:
    claims.take(home)
    file = home / claims.NAME
    there = {**claims.process(), "host": "elsewhere"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **there}))
    claims.release_of(home, {**there, "pid": there["pid"] + 1})
    assert claims.alive(home), "another process's"
    claims.release_of(home, there)
    assert not claims.alive(home)
