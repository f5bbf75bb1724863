"""What sweeps cost beside the runs themselves: ``python tests/speed/sweeps.py``. One machine in one sitting; only the ratios travel.

Not a test: a timed unit test fails on a busy machine and says nothing on a fast one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT)]
PLUGINS = str(ROOT / "tests" / "plugins")
NO_OP = {"train.epochs": 0, "trainer.accelerator": "cpu"}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def row(what: str, value: float, unit: str, note: str = "") -> None:
    print(f"{what:58} {value:9.2f} {unit:3} {note}", flush=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="elboard-speed-") as name:
        yield Path(name)


def specs(count: int) -> list:
    from elboard.bench.config import resolve

    first = resolve("test/blobs", "test-linear", budget="smoke", overrides=NO_OP, paths=(PLUGINS,))
    return [first.reseeded(seed) for seed in range(count)]


def planning() -> None:
    from elboard.sweeps.plan import expand

    with folder() as home:
        file = home / "s.yaml"
        file.write_text(
            "budget: smoke\nseeds: 0-49\nruns: [{tasks: [test/blobs], methods: [test-linear], "
            "grid: {lr: {logspace: [1e-4, 1e-1, 50]}, scale: [1, 2, 3, 4]}}]\n"
        )
        row("planning 10,000 runs, keys included", seconds(lambda: [s.key for s in expand(file, paths=(PLUGINS,)).runs]), "s", "aim 2")


def single_runs() -> None:
    from elboard.bench.run import execute
    from elboard.sweeps.engines.local import run_all

    runs = specs(201)
    with folder() as home:
        execute(runs[200], home)
        bare = seconds(lambda: [execute(spec, home / "bare") for spec in runs[:100]]) / 100
        swept = seconds(lambda: run_all(runs[:100], home / "swept", jobs=1)) / 100
        pooled = seconds(lambda: run_all(runs[:200], home / "pooled", jobs=2)) / 200
    row("a no-op run: execute alone", 1000 * bare, "ms")
    row("a no-op run: claimed and swept in one process", 1000 * swept, "ms", f"{swept / bare:.2f} x execute; aim 10")
    row("a no-op run: pool of two, start of the pool included", 1000 * pooled, "ms", f"{pooled / bare:.2f} x execute")


def own_process() -> None:
    """Runs in a worker of their own, started for them, after the server of the pool has started."""
    from elboard.sweeps.engines import local

    runs = specs(40)
    with folder() as home:
        local.run_all(runs[:2], home, jobs=2)  # starts the server
        several = [seconds(lambda spec=spec: local.run_all([spec], home, jobs=2)) for spec in runs[2:]]
    row("a no-op run in a process of its own", 1000 * sorted(several)[len(several) // 2], "ms", "median, its end included; aim 50")
    interpreter = seconds(lambda: subprocess.run([sys.executable, "-c", "import pytorch_lightning"], check=True))
    row("for comparison: a fresh interpreter with Lightning", 1000 * interpreter, "ms")


def resuming() -> None:
    from elboard.sweeps.engines.local import run_all

    runs = specs(400)
    with folder() as home:
        run_all(runs, home, jobs=1)
        row("resume check of 400 finished runs", seconds(lambda: run_all(runs, home, jobs=2)), "s", "aim 0.5")


def submitting() -> None:
    from elboard.sweeps.engines import slurm
    from elboard.sweeps.plan import Sweep, plan_of

    environment = {**os.environ, "SLURM_SANDBOX": "/tmp/elboard-speed-slurm", "SLURM_BASE_PORT": "27817"}
    scripts = ROOT / "tests" / "cluster"
    if subprocess.run(["bash", scripts / "start-slurm.sh"], env=environment, capture_output=True).returncode:
        print("no Slurm here: the submission was not measured")
        return
    os.environ["SLURM_CONF"] = "/tmp/elboard-speed-slurm/slurm.conf"
    try:
        with folder() as home:
            runs = tuple(specs(1000))
            held = slurm.Profile(max_jobs=100, cpus=1, sbatch=["--hold"])
            ids: list[str] = []
            took = seconds(lambda: ids.extend(slurm.submit(plan_of(Sweep("speed", runs), home), held)))
            row("1,000 runs planned and submitted to Slurm as an array", took, "s", f"{len(ids)} array of 100 workers; aim 10")
            subprocess.run(["scancel", *ids], check=True)
    finally:
        subprocess.run(["bash", scripts / "stop-slurm.sh", "--purge"], env=environment, capture_output=True)


if __name__ == "__main__":
    for part in (planning, single_runs, own_process, resuming, submitting):
        part()
