"""What is said to Slurm and understood of it, without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from elboard.bench.errors import UserError
from elboard.sweeps.engines import find
from elboard.sweeps.engines.slurm import PROFILES, Profile, parse_left, profile


@pytest.mark.parametrize(
    ("text", "seconds"), [("1-02:03:04", 93784), ("02:03:04", 7384), ("03:04", 184), ("UNLIMITED", None), ("INVALID", None)]
)
def test_time_left(text: str, seconds: float | None) -> None:
    assert parse_left(text) == seconds


@pytest.mark.parametrize("name", [file.stem for file in PROFILES.glob("*.yaml")])
def test_shipped_profiles(name: str) -> None:
    assert isinstance(profile(name), Profile)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin: main", "unknown field 'partitoin', did you mean 'partition'"),
        ("time: 90", "mine.yaml: time=90 is no str"),
        ("cpus: many", "mine.yaml: cpus='many' is no int"),
        ("cpus: 0", "mine.yaml: cpus=0 is not at least 1"),
        ("margin: -1", "mine.yaml: margin=-1 is not at least 0"),
        ("requeue: 1", "mine.yaml: requeue=1 is no bool"),
        ("sbatch: [1]", "mine.yaml: sbatch 1=1 is no str"),
        ("cpus: 2\ncpus: 3", "key 'cpus' twice"),
        ("- a", "mine.yaml: the file=\\['a'\\] is no dict"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_profiles(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        profile(str(file))


def test_a_time_is_a_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("time: 1:30:00\ncpus: 2\nsbatch: [--exclusive]\n")
    assert (profile(str(file)).time, profile(str(file)).cpus, profile(str(file)).sbatch) == ("1:30:00", 2, ["--exclusive"])


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="no profile 'slrum': did you mean 'slurm'"):
        profile("slrum")
    with pytest.raises(UserError, match="no engine 'lokal': did you mean 'local'"):
        find("lokal")
