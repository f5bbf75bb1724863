"""An installed package brings a kind of work with a protocol, facts of data and a metric, a task and a method of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tests" / "package"


def elboard(cwd: Path, *commands: str, package: bool = True) -> list[tuple[int, str]]:
    """Exit code and what was printed of each command, with or without the package, in one process."""
    code = """
import contextlib, io, json, sys
from elboard.bench.cli import main
said = []
for words in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(words.split())
    said.append((code, out.getvalue()))
print(json.dumps(said))
"""
    path = f"{PACKAGE}:{ROOT}" if package else str(ROOT)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "HOME": str(cwd), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True, cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the runs of two seeds, a submission of them and a site."""
    folder = tmp_path_factory.mktemp("package")
    said = elboard(
        folder,
        "run forecasts/waves line --budget smoke --seeds 0-1",
        "leaderboard forecasts --budget smoke --no-shipped",
        "verify --no-shipped",
        "submit mine",
        "review mine.elboard.zip",
        "site --no-shipped",
        "show line",
        "list tasks",
    )
    (folder / "said.json").write_text(json.dumps(said))
    return folder


def test_its_records_are_run_ranked_verified_submitted_and_shown(folder: Path) -> None:
    run, board, verified, submitted, reviewed, site, shown, listed = json.loads((folder / "said.json").read_text())
    assert [code for code, _ in (run, board, verified, submitted, reviewed, site)] == [0] * 6, (run, board, verified, reviewed, site)
    assert "crps ↓" in board[1] and "line" in board[1], "the direction of its metric"
    assert "2 agrees" in verified[1] and "1 of 1 metrics recomputed" in verified[1]
    assert "2 records accepted, 0 refused" in reviewed[1]
    assert "continuous ranked probability score" in "".join(file.read_text() for file in (folder / "site").rglob("metrics.html"))
    assert "crps" in (folder / "site" / "tasks/forecasts-waves.html").read_text()
    assert "offers: Forecaster" in shown[1] and "forecasts/waves" in listed[1]


@pytest.mark.parametrize("indexed", [False, True])
def test_without_the_package_its_records_are_set_aside_in_words(folder: Path, indexed: bool) -> None:
    if indexed:
        elboard(folder, "compact")
    words = ("leaderboard --budget smoke --no-shipped", "verify --no-shipped", "review mine.elboard.zip", "site other --no-shipped")
    board, verified, reviewed, site = elboard(folder, *words, package=False)
    for _, said in (board, reviewed, site):
        lines = [line for line in said.splitlines() if "no metric 'wave_crps'" in line]
        assert 1 <= len(lines) <= 2, said
    assert "no finished run" in verified[1]
    assert reviewed[0] == 1 and "0 records accepted, 2 refused" in reviewed[1]
    assert board[0] == 0 and site[0] == 0
