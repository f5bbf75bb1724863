"""Processor time of commands that only read, with 5,000 shipped records, in units of what importing NumPy takes in the same run.

A unit is 0.1 s where the limits were set: 0.2 s for help, 0.7 s for one board, 1.2 s for all. Processor time and the best of several runs
are little the worse for a busy machine.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.speed.shipped import checkout

RECORDS, RUNS = 5_000, 4
COLD = 60.0  # units, of a first reading: 5 s where NumPy takes 0.083
LIMITS = {
    ("--help",): 2.0,
    ("list", "methods"): 3.5,
    ("leaderboard", "ood/mnist"): 7.0,
    ("leaderboard",): 12.0,
    ("claims",): 12.0,
}
IDLE = ("scipy", "numpy.f2py", "torch", "omegaconf")  # what these commands need not import


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with many records, beside an empty cache."""
    return checkout(tmp_path_factory.mktemp("speed") / "checkout", RECORDS)


def seconds(place: Path, *words: str) -> float:
    """Processor time of Python with ``words``."""
    aside = {"ELBOARD_CACHE": str(place.parent / "cache"), "PYTHONPYCACHEPREFIX": str(place.parent / "bytecode")}
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "ELBOARD_HOME")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words], cwd=place.parent, env={**env, **aside, "PYTHONPATH": str(place)}, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and not done.stderr and done.stdout, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best(place: Path, *words: str) -> float:
    return min(seconds(place, *words) for _ in range(RUNS))


@pytest.fixture(scope="module")
def unit(place: Path) -> float:
    """Seconds of a bare import of NumPy; commands have run before, so that all is compiled."""
    for command in LIMITS:
        seconds(place, "-m", "elboard", *command)
    return best(place, "-c", "import numpy; print()")


def test_a_cold_cache_is_filled_once(place: Path) -> None:
    first = seconds(place, "-m", "elboard", "leaderboard")
    assert first <= COLD * best(place, "-c", "import numpy; print()")
    assert {path.name.split("-")[0] for path in (place.parent / "cache").iterdir()} == {"kept", "records"}


@pytest.mark.parametrize("command", LIMITS, ids=" ".join)
def test_a_command_that_only_reads(command: tuple[str, ...], place: Path, unit: float) -> None:
    assert best(place, "-m", "elboard", *command) <= LIMITS[command] * unit


@pytest.mark.parametrize("command", LIMITS, ids=" ".join)
def test_what_it_need_not_import(command: tuple[str, ...], place: Path, unit: float) -> None:
    code = f"import sys; from elboard.bench.cli import main; main({list(command)!r}); print({IDLE!r}, {{*sys.modules}} & {{*{IDLE!r}}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.parent,
        env={**os.environ, "ELBOARD_CACHE": str(place.parent / "cache"), "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1].endswith("set()"), done.stdout[-300:]
