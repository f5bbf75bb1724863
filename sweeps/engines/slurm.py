"""Slurm: arrays of workers that take runs from a plan on a shared folder (:mod:`elboard.sweeps.queue`) until their time is nearly over.

Packing, limits on jobs, retries, requeues and deduplication are all done by the workers' claims, so the scheduler is asked for no more than
allocations: a lost, duplicated or reused job id changes nothing. Jobs of a sweep carry ``elboard:<id>`` as their comment, and are found and
cancelled by it alone.

A worker is told by SIGUSR1, ``signal_before`` seconds before its time limit, to save checkpoints; it requeues itself if work is left. On
preemption Slurm sends SIGTERM and requeues the job. A node that dies takes a worker with it, whose claims expire.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elboard.bench.document import read_file
from elboard.bench.errors import UserError, nearest
from elboard.bench.folders import path_of
from elboard.bench.reading import each, fields_of, kind, text
from elboard.sweeps.engines import Engine
from elboard.sweeps.files import at_least, of_file
from elboard.sweeps.plan import Plan, shape

PROFILES = Path(__file__).parents[1] / "profiles"
QUEUED = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING", "STOPPED")
SCRIPT = """#!/usr/bin/env bash
# The batch signal reaches this shell alone, which passes it on.
{setup}
cd {cwd}
export PYTHONPATH={path}
{python} -u -m elboard.sweeps.queue {plan} {words} &
worker=$!
trap 'kill -USR1 $worker' USR1
trap 'ended=1; kill -TERM $worker' TERM   # cancelled, or preempted: then Slurm itself queues the job again
while kill -0 $worker 2>/dev/null; do wait $worker; done   # wait also returns for a trapped signal
wait $worker; code=$?
# 75: runs are left; 138: the signal came before Python could handle it
if {{ [ $code -eq 75 ] || [ $code -eq 138 ]; }} && [ -z "$ended" ] && [ -n "{requeue}" ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}${{SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}}"
fi
exit $code
"""


@dataclass(frozen=True)
class Profile:
    """How to ask a cluster for a worker; a YAML file, one of ``sweeps/profiles`` or one's own.

    Attributes:
        partition, account, time, memory, gres: as in sbatch; empty ones are not given. ``memory`` is of a node.
        cpus: cores of a worker: so many one-core runs side by side.
        gpus: GPUs of a worker.
        signal_before: seconds between the signal and the time limit; Slurm may send it up to a minute earlier.
        margin: a run is not started when less than this many seconds are left before the signal.
        requeue: whether a worker whose time is over is queued again.
        max_jobs: workers at a time.
        setup: shell lines before the worker (modules, environments).
        sbatch: further words for sbatch.
        python: interpreter on the nodes.
    """

    partition: str = ""
    account: str = ""
    time: str = "04:00:00"
    cpus: int = 1
    gpus: int = 0
    memory: str = ""
    gres: str = ""
    signal_before: int = 120
    margin: int = 60
    requeue: bool = True
    max_jobs: int = 16
    setup: str = ""
    sbatch: list[str] = field(default_factory=list)
    python: str = sys.executable


def profile(name: str) -> Profile:
    """The profile of a YAML file or of a shipped name. Raises UserError for unknown names, keys and types."""
    file = path_of(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not file.is_file():
        known = [path.stem for path in PROFILES.glob("*.yaml")]
        raise UserError(f"no profile {name!r}: {nearest(name, known)}, or a YAML file")
    tree, defaults = read_file(file), vars(Profile())
    readers = {name: at_least(0) if type(default) is int else kind(type(default)) for name, default in defaults.items()}
    readers |= {"sbatch": each(text), "cpus": at_least(1), "max_jobs": at_least(1)}
    with of_file(file):
        found = fields_of("", {} if tree is None else tree, {}, readers)
    return Profile(**found | {"sbatch": list(found.get("sbatch", []))})


@dataclass(frozen=True)
class Job:
    """A queued or running element of an array."""

    id: str
    state: str
    node: str
    comment: str


def slurm(*words: str) -> str:
    """Run one of Slurm's commands. Raises UserError with its words if it fails."""
    if shutil.which(words[0]) is None:
        raise UserError(f"{words[0]} is not here: is this a login node of a Slurm cluster?")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise UserError(f"{words[0]} does not answer") from None
    if done.returncode:
        raise UserError(f"{words[0]}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout


def jobs(plan_id: str) -> list[Job]:
    """The user's queued and running jobs of a sweep, one for each element of an array."""
    out = slurm("squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%i|%T|%N|%k")
    found = [Job(*(part.strip() for part in line.split("|", 3))) for line in out.splitlines() if line.count("|") >= 3]
    return [job for job in found if job.comment.split(" ")[0] == f"elboard:{plan_id}" and job.state in QUEUED]


def seconds_left(job: str) -> float | None:
    """Seconds until Slurm ends ``job``; None for no job, no limit or no answer."""
    if not job or shutil.which("squeue") is None:
        return None
    try:
        text = slurm("squeue", "-h", "-j", job, "-o", "%L").split()
    except UserError:
        return None
    return parse_left(text[0]) if text else None


def parse_left(text: str) -> float | None:
    """``D-HH:MM:SS``, ``HH:MM:SS`` or ``MM:SS`` of squeue's %L in seconds; None for UNLIMITED and the like."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts) or (days and not days.isdigit()):
        return None
    return float(int(days or 0) * 86400 + sum(int(part) * 60**i for i, part in enumerate(reversed(parts))))


def submit(plan: Plan, how: Profile, max_jobs: int | None = None) -> list[str]:
    """Ask for as many workers as the unfinished runs can use, those counted that are queued or running already. Returns the new job ids."""
    file = plan.save()
    queued = Counter(job.comment for job in jobs(plan.id))
    groups = Counter(shape(spec) for spec in plan.unfinished())
    submitted = []
    for (nodes, tasks), count in sorted(groups.items()):
        comment = f"elboard:{plan.id}" + ("" if nodes == 1 else f" {nodes}x{tasks}")
        side_by_side = max(1, how.cpus) if nodes == 1 else 1
        wanted = min(max_jobs or how.max_jobs, math.ceil(count / side_by_side)) - queued[comment]
        if wanted > 0:
            script = file.with_name(f"worker-{nodes}x{tasks}.sh")
            script.write_text(_script(plan, file, how, nodes, tasks), encoding="utf-8")
            submitted.append(slurm("sbatch", *_words(plan, how, comment, nodes, tasks, wanted), str(script)).strip().split(";")[0])
    return submitted


def _script(plan: Plan, file: Path, how: Profile, nodes: int, tasks: int) -> str:
    words = f"cpus={how.cpus if nodes == 1 else 1} nodes={nodes} tasks={tasks} margin={how.signal_before + how.margin}"
    given = {"cwd": Path.cwd(), "path": ":".join(filter(None, sys.path)), "python": how.python, "plan": file}
    quoted = {name: shlex.quote(str(value)) for name, value in given.items()}
    return SCRIPT.format(setup=how.setup, words=words, requeue="yes" if how.requeue else "", **quoted)


def _words(plan: Plan, how: Profile, comment: str, nodes: int, tasks: int, count: int) -> list[str]:
    logs = plan.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    words = ["--parsable", f"--job-name=elboard-{plan.name}", f"--comment={comment}", f"--array=0-{count - 1}", "--open-mode=append"]
    words += [f"--output={logs}/%A_%a.log", f"--signal=B:USR1@{how.signal_before}", "--requeue" if how.requeue else "--no-requeue"]
    words += [f"--nodes={nodes}", f"--ntasks-per-node={tasks}"]
    if nodes == 1:
        words.append(f"--cpus-per-task={how.cpus}")
    given = {"partition": how.partition, "account": how.account, "time": how.time, "mem": how.memory, "gres": how.gres}
    words += [f"--{name}={value}" for name, value in given.items() if value]
    if how.gpus and not how.gres:
        words.append(f"--gres=gpu:{how.gpus}")
    return [*words, *how.sbatch]


def cancel(plan_id: str) -> list[str]:
    """Cancel the jobs of a sweep and no others. Returns their ids."""
    ids = [job.id for job in jobs(plan_id)]
    if ids:
        slurm("scancel", *ids)
    return ids


class Slurm(Engine):
    """Submits and returns; ``elboard status`` watches, ``elboard cancel`` cancels."""

    attached = False

    def start(self, plan: Plan, how: Mapping[str, Any]) -> int:
        left = len(plan.unfinished())
        ids = submit(plan, profile(how["profile"]), how["max_jobs"])
        live = len(jobs(plan.id))
        said = f"submitted {', '.join(ids)}" if ids else "submitted nothing"
        print(f"{plan.id}: {len(plan.runs)} runs, {left} to run; {said}; {live} workers queued or running")
        print(f"watch: elboard status {plan.id} --watch   cancel: elboard cancel {plan.id}   logs: {plan.folder / 'logs'}")
        return 0
