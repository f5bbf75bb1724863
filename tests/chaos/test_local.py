"""The local engine under fire: workers and parents killed at random, disks that fill up and turn read-only."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elboard.bench import record as records
from elboard.results import places
from elboard.sweeps import claims

PLUGINS = str(Path(__file__).parents[1] / "plugins")
RUNS = 60
MS_RDONLY, MS_REMOUNT = 1, 32  # of <sys/mount.h>
SWEEP = f"""
budget: smoke
seeds: 0-{RUNS - 1}
set: {{trainer.accelerator: cpu, train.epochs: 4, train.batch_size: 16, pause: 0.02}}
runs: [{{tasks: [test/blobs], methods: [test-linear]}}]
"""


@pytest.fixture
def sweep(tmp_path: Path) -> list[str]:
    file = tmp_path / "chaos.yaml"
    file.write_text(SWEEP)
    return [sys.executable, "-m", "elboard", "sweep", str(file), "--path", PLUGINS, "--jobs", "4"]


def start(command: list[str], home: Path) -> subprocess.Popen:
    return subprocess.Popen([*command, "--out", str(home)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def valid_records(home: Path) -> list[records.Record]:
    """All records; one that is truncated or otherwise invalid fails here."""
    return [records.read(file) for file in home.glob("*/attempts/*.json")]


def finished(home: Path) -> int:
    """How many attempts have left a record: progress, whatever the speed of the machine."""
    return len(list(home.glob("*/attempts/*.json")))


def wait_for(condition: Callable[[], object], parent: subprocess.Popen) -> None:
    """Until ``condition`` holds, which ``parent`` must live to see."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end and parent.poll() is None
        time.sleep(0.1)


def kill_a_worker(home: Path, rng: random.Random) -> bool:
    """SIGKILL one process that holds a claim."""
    held = [content for content in map(claims.read, sorted(home.glob("[0-9a-f]*"))) if content and "pid" in content]
    if not held:
        return False
    try:
        os.kill(rng.choice(held)["pid"], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def test_sixty_runs_survive_a_tormentor(sweep: list[str], tmp_path: Path) -> None:
    home, rng, kills, parents = tmp_path / "runs", random.Random(0), 0, 0
    end = time.monotonic() + 600
    while True:
        parent = start(sweep, home)
        while parent.poll() is None:
            time.sleep(rng.uniform(0.1, 0.6))
            assert time.monotonic() < end, "not over in time"
            if parents < 2 and finished(home) > (parents + 1) * RUNS / 4:
                parent.kill()
                parents += 1
            elif kills < 25:
                kills += kill_a_worker(home, rng)
        out = parent.communicate()[0]
        if parent.returncode == 0:
            break
        assert parent.returncode in (-signal.SIGKILL, 1), out
    found = valid_records(home)
    done = Counter(record.key for record in found if record.status == "done")
    deaths = [record for record in found if record.status == "failed"]
    print(f"{kills} workers and {parents} parents killed; {len(done)} of {RUNS} runs done, {len(deaths)} deaths on record")
    assert kills >= 15 and parents == 2, "the tormentor was idle"
    assert len(done) == RUNS and len(places.effective(home, shipped=False)) == RUNS
    assert set(done.values()) == {1}, "a run that was done was done again"
    assert {record.failure["class"] for record in deaths} <= {"killed"}
    assert not list(home.glob("*/claim")) and not list(home.glob("*/attempts/.*.tmp"))[RUNS:]
    assert "test/blobs v1, smoke" in out and f"{RUNS}" in out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "elboard-test", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def turn_read_only(folder: Path) -> bool:
    """Whether it worked: the kernel refuses while any file is open for writing, so this may hit only the moment between two runs."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mount(b"elboard-test", str(folder).encode(), b"tmpfs", MS_REMOUNT | MS_RDONLY, None) == 0


def test_a_full_disk_corrupts_nothing_and_the_sweep_goes_on_when_there_is_room(sweep: list[str], small_disk: Path) -> None:
    home = small_disk / "runs"
    first = start(sweep, home)
    out = first.communicate(timeout=300)[0]
    assert first.returncode == 1 and "No space left on device" in out and "Traceback" not in out
    before = {record.key: record.attempt for record in valid_records(home) if record.status == "done"}
    assert 0 < len(before) < RUNS
    remount(small_disk, "size=64m")
    second = start(sweep, home)
    out = second.communicate(timeout=300)[0]
    assert second.returncode == 0, out
    done = {record.key: record.attempt for record in valid_records(home) if record.status == "done"}
    assert len(done) == RUNS and before.items() <= done.items(), "what was done stayed as it was"


def test_a_folder_that_turns_read_only(sweep: list[str], small_disk: Path) -> None:
    home = small_disk / "runs"
    remount(small_disk, "size=64m")
    first = start([*sweep, "--jobs", "1"], home)  # one, for with several some file is always open for writing
    while finished(home) < 3 or not turn_read_only(small_disk):
        assert first.poll() is None, first.communicate()[0]
    out = first.communicate(timeout=300)[0]
    assert first.returncode == 1 and "Read-only file system" in out and "Traceback" not in out
    assert 3 <= finished(home) < RUNS
    assert all(json.loads(file.read_text())["key"] for file in home.glob("*/attempts/*.json"))
    remount(small_disk, "rw")
    second = start(sweep, home)
    assert second.wait(timeout=300) == 0
    assert len({record.key for record in valid_records(home) if record.status == "done"}) == RUNS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_checkpoints_and_says_what_is_left(sweep: list[str], tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "runs"
    first = start(sweep, home)
    wait_for(lambda: finished(home) >= 4, first)
    first.send_signal(number)
    out = first.communicate(timeout=300)[0]
    assert first.returncode == 130 and "Traceback" not in out
    assert "stopped with" in out and " left" in out and "the same command goes on" in out
    assert not list(home.glob("*/claim")), "all claims are free"
    stopped = [file.parent for file in home.glob("*/log.txt") if "goes on from the checkpoint" in file.read_text()]
    assert stopped and all((folder / "checkpoints" / "last.ckpt").exists() for folder in stopped)
    assert all(record.status == "done" for record in valid_records(home)), "stopping is no failure"
    second = start(sweep, home)
    assert second.wait(timeout=300) == 0
    assert len(valid_records(home)) == RUNS


def test_two_sweeps_at_once_make_no_run_twice(sweep: list[str], tmp_path: Path) -> None:
    home = tmp_path / "runs"
    first = start(sweep, home)
    wait_for(lambda: finished(home), first)
    first.send_signal(signal.SIGSTOP)  # its four workers end what they have; all beyond that is the second one's
    before, second = finished(home), start(sweep, home)
    wait_for(lambda: finished(home) >= before + 10, second)
    first.send_signal(signal.SIGCONT)
    both = [first, second]
    outs = [parent.communicate(timeout=300)[0] for parent in both]
    assert [parent.returncode for parent in both] == [0, 0], outs
    assert Counter(record.key for record in valid_records(home)).most_common(1)[0][1] == 1 and len(valid_records(home)) == RUNS
    shares = [out.count(": done in") for out in outs]
    assert sum(shares) == RUNS and min(shares) > 0, "the work was shared"
