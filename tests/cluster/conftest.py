"""A real Slurm of two nodes on this machine, started once for the tests; they are skipped, with a reason, where it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def script(name: str, sandbox: Path, *words: str) -> subprocess.CompletedProcess:
    """Run ``start-slurm.sh``, which also brings back what has died, or ``stop-slurm.sh``."""
    environment = {**os.environ, "SLURM_SANDBOX": str(sandbox), "SLURM_BASE_PORT": str(22000 + os.getpid() % 5000)}
    return subprocess.run(["bash", HERE / name, *words], env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def mended(slurm_cluster: Path) -> Iterator[Path]:
    """The sandbox's folder; nodes that the test has killed are back after it."""
    yield slurm_cluster
    started = script("start-slurm.sh", slurm_cluster)
    assert started.returncode == 0, started.stderr[-300:]


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sandbox's folder; Slurm's clients find the cluster by the environment."""
    if shutil.which("slurmctld", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("Slurm is not installed: apt-get install slurmctld slurmd slurm-client munge, or let .ci/run do it")
    sandbox = Path("/tmp") / f"elboard-slurm-{os.getpid()}"  # munge's socket needs a short path
    started = script("start-slurm.sh", sandbox)
    if started.returncode:
        pytest.skip(f"Slurm does not start here: {started.stderr[-300:]}")
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(sandbox / "slurm.conf")
    yield sandbox
    script("stop-slurm.sh", sandbox, "--purge")
    os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)
