"""Sweeps on a real Slurm: packing, preemption, time limits, cancelling, dying nodes, two nodes in one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from waiting import wait_for

from elboard.bench.config import RunSpec
from elboard.bench.record import attempts
from elboard.bench.run import execute
from elboard.bench.runs import Runs
from elboard.sweeps import claims
from elboard.sweeps.engines import slurm
from elboard.sweeps.engines.slurm import Profile
from elboard.sweeps.plan import Plan, expand, plan_of

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm_cluster")]


@pytest.fixture
def home(tmp_path: Path, slurm_cluster: Path) -> Path:
    yield tmp_path / "runs"
    subprocess.run(["scancel", "-u", str(os.getuid())], timeout=30)
    wait_for(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout.strip(), 60, "an empty queue")


def plan(home: Path, seeds: str = "0", options: str = "", grid: str = "{}") -> Plan:
    file = home.parent / "sweep.yaml"
    file.write_text(f"""
budget: smoke
seeds: {seeds}
set: {{trainer.accelerator: cpu {options}}}
runs: [{{tasks: [test/blobs], methods: [test-linear], grid: {grid}}}]
""")
    return plan_of(expand(file, paths=PLUGINS), home)


def slow(home: Path, seconds: float, seeds: str = "0") -> Plan:
    """Runs of four epochs of five steps, ``seconds`` in all."""
    return plan(home, seeds, f", train.epochs: 4, train.batch_size: 16, pause: {seconds / 20}")


def training(spec: RunSpec, home: Path) -> bool:
    """Whether a worker is at the second epoch of ``spec`` or later."""
    curves = home / spec.key / "curves.jsonl"
    return curves.exists() and curves.read_text().count("\n") >= 1


def undisturbed(spec: RunSpec, home: Path) -> dict[str, float]:
    return execute(spec, home.parent / "undisturbed").metrics


def log(spec: RunSpec, home: Path) -> str:
    return (home / spec.key / "log.txt").read_text()


def profile(**options: object) -> Profile:
    return Profile(**{"time": "00:05:00", "cpus": 2, "memory": "1G", "signal_before": 30, "margin": 0, **options})


def test_an_array_of_workers_packs_runs_and_no_run_is_made_twice(home: Path) -> None:
    p = plan(home, "0-15")
    assert slurm.submit(p, profile(max_jobs=3)) and len(slurm.jobs(p.id)) == 3
    assert slurm.submit(p, profile(max_jobs=3)) == [], "those that are queued count"
    assert len(slurm.submit(p, profile(max_jobs=4))) == 1 and len(slurm.jobs(p.id)) == 4
    wait_for(lambda: not p.unfinished(), 90, "all runs done")
    assert Counter(len(attempts(home / spec.key)) for spec in p.runs) == {1: 16}
    wait_for(lambda: not slurm.jobs(p.id), 30, "workers leave when nothing is left")
    assert slurm.submit(p, profile()) == [], "nothing is left to submit"
    assert Runs(home).done(p.runs[3]).metrics == undisturbed(p.runs[3], home)


def test_preempted_runs_go_on_from_their_checkpoints(home: Path) -> None:
    p = slow(home, 25, "0-1")
    slurm.submit(p, profile(partition="low", cpus=1, max_jobs=2, sbatch=["--exclusive"]))
    wait_for(lambda: all(training(spec, home) for spec in p.runs), 60, "both runs at work")
    urgent = ["sbatch", "--parsable", "--partition=urgent", "--exclusive", "--nodes=2", "--wrap", "sleep 2"]
    subprocess.run(urgent, check=True, capture_output=True, cwd=home)
    wait_for(lambda: not p.unfinished(), 150, "preempted, queued again, done")
    for spec in p.runs:
        assert log(spec, home).count("asked to stop; goes on from the checkpoint") == 1
        assert len(attempts(home / spec.key)) == 1, "preemption is no failure"
        assert Runs(home).done(spec).metrics == undisturbed(spec, home)


def test_a_worker_whose_time_is_over_queues_itself_again(home: Path) -> None:
    p = slow(home, 40)
    slurm.submit(p, profile(time="00:02:00", signal_before=85, cpus=1))
    wait_for(lambda: not p.unfinished(), 180, "stopped by SIGUSR1, queued again, done")
    (spec,) = p.runs
    assert "asked to stop; goes on from the checkpoint" in log(spec, home)
    assert len(attempts(home / spec.key)) == 1 and Runs(home).done(spec).metrics == undisturbed(spec, home)


def test_cancelling_touches_no_other_job(home: Path) -> None:
    p = slow(home, 60)
    home.mkdir(exist_ok=True)
    sleeper = ["sbatch", "--parsable", "--wrap", "sleep 600"]
    other = subprocess.run(sleeper, capture_output=True, text=True, check=True, cwd=home).stdout.strip()
    slurm.submit(p, profile(cpus=1))
    (spec,) = p.runs
    wait_for(lambda: training(spec, home), 60, "the run at work")
    assert slurm.cancel(p.id) and slurm.cancel("another-sweep") == []
    wait_for(lambda: not slurm.jobs(p.id), 30, "its workers gone")
    assert subprocess.run(["squeue", "-h", "-j", other, "-o", "%T"], capture_output=True, text=True).stdout.strip() == "RUNNING"
    assert p.unfinished() == [spec], "not done, and not failed either"
    wait_for(lambda: not claims.alive(home / spec.key), 30, "its claim free")


def test_a_node_that_dies_loses_no_run(home: Path, mended: Path) -> None:
    p = slow(home, 30, "0-3")
    slurm.submit(p, profile(cpus=2, max_jobs=2, sbatch=["--exclusive"]))
    wait_for(lambda: all(training(spec, home) for spec in p.runs), 60, "four runs on two nodes")
    node = next(job.node for job in slurm.jobs(p.id))
    _kill_node(node, mended)
    wait_for(lambda: not p.unfinished(), 150, "its runs done elsewhere")
    killed = [record for spec in p.runs for record in attempts(home / spec.key) if record.status == "failed"]
    assert {record.failure["class"] for record in killed} == {"killed"} and 1 <= len(killed) <= 2
    for spec in p.runs:
        assert Runs(home).done(spec).metrics == undisturbed(spec, home)


def _kill_node(node: str, sandbox: Path) -> None:
    """SIGKILL a node's slurmd, its job steps and all that they started, as a power cut would."""
    job = next(job for job in subprocess.run(["squeue", "-h", "-w", node, "-o", "%A"], capture_output=True, text=True).stdout.split())
    doomed = {int((sandbox / "run" / f"slurmd-{node}.pid").read_text())}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if f"SLURM_JOB_ID={job}".encode() in environment or command.startswith(f"slurmstepd: [{job}.".encode()):
            doomed.add(int(folder.name))
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)


def test_one_run_on_two_nodes(home: Path) -> None:
    p = plan(home, "0", ", trainer.num_nodes: 2, trainer.strategy: ddp, train.batch_size: 32")
    setup = "export MASTER_ADDR=127.0.0.1 MASTER_PORT=29876 GLOO_SOCKET_IFNAME=lo"  # both nodes are this host
    slurm.submit(p, profile(setup=setup))
    (spec,) = p.runs
    wait_for(lambda: not p.unfinished(), 240, "done on two nodes")
    single = plan(home, "0", ", train.batch_size: 32").runs[0]
    record = Runs(home).done(spec)
    assert record is not None, [a.failure for a in attempts(home / spec.key)]
    assert (home / spec.key / "log.rank1.txt").exists()
    assert record.metrics == pytest.approx(undisturbed(single, home), rel=1e-3)


def test_status_from_outside(home: Path, capsys: pytest.CaptureFixture) -> None:
    from elboard.bench.cli import main

    p = slow(home, 30)
    slurm.submit(p, profile(cpus=1))
    wait_for(lambda: training(p.runs[0], home), 60, "the run at work")
    assert main(["status", p.id, "--json", "--out", str(home)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["running"] == 1 and found["running_runs"][0]["epoch"] >= 0
    assert main(["cancel", p.name, "--out", str(home)]) == 0
    assert "cancelled 1 jobs" in capsys.readouterr().out
