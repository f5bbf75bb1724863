"""The display of running runs on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

SHOW = """
from types import SimpleNamespace as Made
from elboard.bench.cli.live import display
from elboard.bench.config import resolve
record = Made(cost={"wall_s": 1.0}, primary="elbo", metrics={"elbo": -20.5})
with display(3) as watch:
    for seed in range(3):
        spec = resolve("generation/digits", "infovae", seed=seed, budget="smoke")
        watch(spec, {"event": "stage", "stage": "load"})
        for epoch in range(4):
            watch(spec, {"event": "epoch", "epoch": epoch, "epochs": 4, "train/loss": 30.25, "valid/nll[k=50]": 21.5, "valid/elbo": -22.5})
        watch(spec, {"event": "end", "outcome": Made(state="done", record=record, message="")})
"""

MANY = """
from types import SimpleNamespace as Made
from elboard.bench.cli.live import display
from elboard.bench.config import resolve
tasks = ["generation/mnist", "generation/fashion-mnist", "generation/cifar10", "generation/digits", "density/digits"]
with display(12) as watch:
    specs = [resolve(task, "vae", seed=seed, budget="smoke") for task in tasks for seed in (0, 1)]
    for spec in specs:
        watch(spec, {"event": "stage", "stage": "load"})
        watch(spec, {"event": "epoch", "epoch": 0, "epochs": 4, "train/loss": 1e-30, "valid/nll[k=200,n=1000]": -1e30, "valid/elbo": 22.5})
    for spec in specs:
        record = Made(cost={}, primary="nll[k=200,n=1000]", metrics={"nll[k=200,n=1000]": 1234.5 + spec.seed})
        message = "a message that is longer than any terminal is wide: " + "why " * 40
        outcome = Made(state="failed" if spec.seed else "done", record=record, message=message)
        watch(spec, {"event": "end", "outcome": outcome})
"""


def shown(columns: int, show: str = SHOW) -> list[str]:
    """The lines that the terminal is sent, without colours: text between two movements of the cursor."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm", "NO_COLOR": "1"}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    child = subprocess.Popen([sys.executable, "-c", show], env=environment, **streams)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert child.wait() == 0, said.decode()
    return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]|\x1b\[2K|\x1b\[1A", said.decode())]


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_bar_percentage_and_time_left_are_there_at_any_width(columns: int) -> None:
    lines = shown(columns)
    assert max(map(len, lines)) <= columns
    bars = [line for line in lines if "━" in line]
    known = [line for line in bars if "/3 runs" in line or "epoch" in line]  # of a run that loads, nothing is known yet
    assert known and all(re.match(r"[━╸╺ ]* \d+% [\d:-]+ ", line) for line in known)
    assert any("100%" in line and "3/3 runs: 3 done" in line for line in bars)
    assert any("infovae on generation/digits" in line for line in bars)
    assert any(line.startswith("infovae on generation/digits, seed 2: done in 1.0 s") for line in lines)
    assert any(line.startswith("best so far: generation/digits: infovae elbo=-20.5") for line in lines)


@pytest.mark.parametrize("columns", [60, 80])
def test_bars_stay_whatever_else_is_shown(columns: int) -> None:
    """Many runs at work with long numbers, long messages, more leaders than a line holds."""
    lines = shown(columns, MANY)
    assert max(map(len, lines)) <= columns
    known = [line for line in lines if "━" in line and ("/12 runs" in line or ": ep" in line)]
    assert len(known) >= 10 and all(re.match(r"[━╸╺ ]* \d+% [\d:-]+ ", line) for line in known)
    said = "".join(lines).replace(" ", "")
    newest = [f"{task}:vaenll[k=200,n=1000]=1234" for task in ("density/digits", "generation/digits", "generation/cifar10")]
    assert f"bestsofar:{';'.join(newest)}andof2moretasks" in said and "…" not in said.rpartition("bestsofar:density")[2]
