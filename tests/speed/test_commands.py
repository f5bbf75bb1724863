"""Processor time of commands that only read, with 5,000 shipped records, in units of what importing NumPy takes in the same run.

A unit is 0.1 s where the limits were set: 0.2 s for help, 0.7 s for one board, 1.2 s for all. A busy machine makes processor time longer
too (shared caches, two threads a core), for seconds on end: units and commands are run in turns, and the best of each are compared, until
they are within the limit or have been tried ``TURNS`` times.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.speed.shipped import checkout

RECORDS, TURNS = 5_000, 12
COLD = 60.0  # units, of a first reading: 5 s where NumPy takes 0.083
LIMITS = {
    ("--help",): 2.0,
    ("list", "methods"): 3.5,
    ("leaderboard", "ood/mnist"): 7.0,
    ("leaderboard",): 12.0,
    ("claims",): 12.0,
}
IDLE = ("scipy", "numpy.f2py", "torch", "omegaconf")  # what these commands need not import
HELP_ALONE = ("importlib.metadata", "email", "numpy")  # and what help need not; the others ask for plug-ins and for numbers


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


def numpy_alone(place: Path) -> float:
    return seconds(place, "-c", "import numpy; print()")


def ratio(place: Path, measure: Callable[[], float], limit: float) -> float:
    """Best of ``measure`` in units, both run in turns, which end when it is within ``limit``."""
    ours, units = [], []
    for _ in range(TURNS):
        units.append(numpy_alone(place))
        ours.append(measure())
        if min(ours) <= limit * min(units):
            break
    return min(ours) / min(units)


def cold(place: Path) -> float:
    """Processor time of all boards where nothing is kept."""
    shutil.rmtree(place.parent / "cache", ignore_errors=True)
    return seconds(place, "-m", "elboard", "leaderboard")


def test_a_cold_cache_is_filled_once(place: Path) -> None:
    cold(place)  # compiles what is imported
    assert ratio(place, lambda: cold(place), COLD) <= COLD
    assert {path.name.split("-")[0] for path in (place.parent / "cache").iterdir()} == {"kept", "records"}


@pytest.mark.parametrize("command", LIMITS, ids=" ".join)
def test_a_command_that_only_reads(command: tuple[str, ...], place: Path) -> None:
    seconds(place, "-m", "elboard", *command)  # fills the cache, compiles what is imported
    limit = LIMITS[command]
    assert ratio(place, lambda: seconds(place, "-m", "elboard", *command), limit) <= limit


@pytest.mark.parametrize("command", LIMITS, ids=" ".join)
def test_what_it_need_not_import(command: tuple[str, ...], place: Path) -> None:
    seconds(place, "-m", "elboard", *command)  # fills the cache
    idle = IDLE + HELP_ALONE * (command == ("--help",))
    code = f"import sys; from elboard.bench.cli import main; main({list(command)!r}); print({{*sys.modules}} & {{*{idle!r}}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.parent,
        env={**os.environ, "ELBOARD_CACHE": str(place.parent / "cache"), "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1].endswith("set()"), done.stdout[-300:]
