"""What a machine may lack or forbid: letters, standard streams, a home folder, paths, ports, packages. It works, or one line says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elboard.bench.cli import main
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.folders import path_of
from elboard.bench.run import execute, root_folder
from elboard.tasks.data import fetch

ROOT = Path(__file__).parents[2]
PLUGINS = str(Path(__file__).parents[1] / "plugins")
SAY = (
    "import sys; from elboard.bench.cli import streams; streams.settle(); print('\\xb1 \\udcff ' + 'x' * 99999); "
    "print('\\xb1', file=sys.stderr); print(streams.lost() is None, file=sys.stderr); sys.exit(streams.settled(int(sys.argv[1])))"
)
RUN = ["run", "test/blobs", "test-linear", "--budget", "smoke", "--path", PLUGINS]


def _shell(command: str, code: int = 0, **env: str) -> subprocess.CompletedProcess:
    words = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "SAY": SAY, "CODE": str(code), **env}
    return subprocess.run(["bash", "-c", command], capture_output=True, env=words, timeout=120)


@pytest.mark.parametrize("encoding, said", [("ascii", rb"\xb1 \udcff x"), ("latin-1", b"\xb1 \\udcff x"), ("utf-8", b"\xc2\xb1 \\udcff x")])
def test_any_text_can_be_written_in_any_encoding(encoding: str, said: bytes) -> None:
    done = _shell('"$PYTHON" -c "$SAY" "$CODE"', PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stdout.startswith(said) and len(done.stdout) > 99999


@pytest.mark.parametrize("code", [0, 1])
def test_a_reader_that_goes_away_changes_no_exit_code(code: int) -> None:
    done = _shell('"$PYTHON" -c "$SAY" "$CODE" | head -c 1; exit ${PIPESTATUS[0]}', code, PYTHONIOENCODING="utf-8")
    assert done.returncode == code and done.stderr == b"\xc2\xb1\nFalse\n"


def test_a_full_disk_is_one_line_and_no_success() -> None:
    done = _shell('"$PYTHON" -c "$SAY" "$CODE" > /dev/full', PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr == b"\\xb1\nFalse\nerror: standard output: cannot be written (No space left on device)\n"


def test_closed_streams_are_none_of_the_files_that_are_opened_next() -> None:
    look = "; import os; print(os.open('/', 0) > 2)"
    settle = "from elboard.bench.cli import streams; streams.settle(); print(1)"
    done = _shell(f"\"$PYTHON\" -c \"{settle}{look}; open(3, 'w').write(str(os.open('/', 0)))\" 3>&1 <&- >&- 2>&-")
    assert done.returncode == 0 and int(done.stdout) > 2
    assert _shell('"$PYTHON" -m elboard --version 2>&1 >&-').stdout == b""


def test_a_lost_standard_error_costs_no_run(tmp_path: Path) -> None:
    command = f'"$PYTHON" -m elboard {" ".join(RUN)} --json --out {tmp_path / "runs"} 2> /dev/full'
    done = _shell(command, OMP_NUM_THREADS="1")
    assert done.returncode == 0 and b'"state": "done"' in done.stdout


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ELBOARD_HOME", "ELBOARD_CACHE", "ELBOARD_DATA"):
        monkeypatch.setenv(name, f"~/{name}")
    assert root_folder() == tmp_path / "ELBOARD_HOME" and root_folder("~/x") == tmp_path / "x"
    assert fetch.cache_folder() == tmp_path / "ELBOARD_CACHE"
    (tmp_path / "ELBOARD_DATA").mkdir()
    (tmp_path / "ELBOARD_DATA" / "a").write_text("text")
    files = {"kind": "local", "files": {"a": {"path": "a", "sha256": "0", "bytes": 4}}, "convert": ""}
    with pytest.raises(fetch._SourceError, match=f"{tmp_path}/ELBOARD_DATA|sha256|bytes"):
        fetch._from(files)
    (tmp_path / "mine.py").write_text("CARD = 1")
    assert main(["check", "~/mine.py"]) == 2 and f"{tmp_path}/mine.py: CARD=1 is no MethodCard" in capsys.readouterr().err
    assert main(["list", "tasks", "--path", "~/none.py"]) == 2 and f"{tmp_path}/none.py" in capsys.readouterr().err
    with pytest.raises(UserError, match="~nobody-here/x: there is no such home folder"):
        path_of("~nobody-here/x")


def test_a_user_without_home_is_told_where_to_keep_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def nobody(*_: object) -> None:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("ELBOARD_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", nobody)
    assert main(["data", "list"]) == 0 and "digits" in capsys.readouterr().out
    with pytest.raises(UserError, match="no home folder to keep data sets in; set ELBOARD_CACHE"):
        fetch.fetch("digits")
    assert main(["leaderboard", "links/cora"]) == 0 and "vgae" in capsys.readouterr().out, "which is computed each time"


READING = [
    ["leaderboard"], ["compare"], ["power", "vae", "iwae", "generation/mnist"], ["claims"], ["table", "vgae"], ["site"], ["serve"],
    ["list", "papers"], ["verify"], ["backfill", "ece"], ["status", "x"], ["logs", "x"], ["why", "x"], ["compact"], ["archive", "x"],
    ["submit", "x.zip"], ["sync"], ["cancel", "x"],
]  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=lambda words: words[0])
def test_a_mistyped_folder_of_runs_is_said(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "runs").mkdir()
    assert main([*words, "--out", str(tmp_path / "rusn")]) == 2
    assert capsys.readouterr().err == f"error: --out {tmp_path / 'rusn'}: no such folder of runs, did you mean 'runs'?\n"


LONG = "a" * 300


@pytest.mark.parametrize(
    "words, said",
    [
        (["serve", "--port", "70000"], "'--port': 70000 is not in the range"),
        (["serve", "--port", "-1"], "'--port': -1 is not in the range"),
        (["sweep", f"{LONG}.yaml"], "File name too long"),
        (["list", "tasks", "--path", LONG], "no such folder or file"),
        (["check", LONG], "no such folder or file"),
        (["run", "generation/digits", "vae", "--out", LONG], "too long"),
        (["leaderboard", "--top", "-1"], "'--top': -1 is not in the range"),
        (["sweep", "quickstart", "--max-jobs", "0"], "'--max-jobs': 0 is not in the range"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line(words: list[str], said: str, home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error


def test_a_tracker_that_is_not_installed_is_refused_at_the_start(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main([*RUN, "--tracker", "wandb"]) == 2 and not home.exists()
    assert capsys.readouterr().err == "error: --tracker wandb: the package wandb is not installed: pip install wandb\n"
    with pytest.raises(UserError, match="pip install wandb"):
        execute(resolve("test/blobs", "test-linear", budget="smoke", paths=(PLUGINS,)), home, tracker="wandb")
    assert not home.exists()
    monkeypatch.delitem(sys.modules, "wandb")
    (tmp_path / "elsewhere" / "wandb").mkdir(parents=True)  # as W&B leaves behind
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere")])
    assert main([*RUN, "--tracker", "wandb"]) == 2 and "pip install wandb" in capsys.readouterr().err
