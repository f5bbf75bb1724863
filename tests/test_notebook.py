"""What notebooks and scripts call: runs, sweeps, trained methods, and data frames; with pandas, or with what takes its place here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import elboard
from elboard.bench.cli import main

PLUGINS = str(Path(__file__).parent / "plugins")
HOW: dict[str, Any] = {"budget": "smoke", "path": PLUGINS}
NAMES = ("run", "sweep", "load_method", "leaderboard", "records")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data frames are lists of rows."""
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))


def test_importing_it_costs_nothing(tmp_path: Path) -> None:
    code = f"import sys, elboard; print([m for m in sys.modules if 'elboard.' in m]); assert {{*{NAMES}}} <= {{*dir(elboard)}}"
    code += "; from elboard import Count, Share, records; print({'torch', 'pandas', 'typer', 'duckdb'} & {*sys.modules})"
    env = {"PATH": "", "PYTHONPATH": str(Path(elboard.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout == "[]\nset()\n", done.stderr


def test_a_run_gives_its_record_and_its_method(home: Path, capsys: pytest.CaptureFixture) -> None:
    record = elboard.run("test/blobs", "test-linear", seed=2, scale=2.0, train={"epochs": 1}, **HOW)
    assert record.status == "done" and record.spec["seed"] == 2 and record.metrics[record.primary] > 0
    assert record.identity["options"] == {"method": {"scale": 2.0}, "train": {"epochs": 1}}
    said = capsys.readouterr()
    assert "[1/1] test-linear on test/blobs, seed 2: done in" in said.err and not said.out
    again = elboard.run("test/blobs", "test-linear", seed=2, progress=False, recipe="wide", **{"train.epochs": 1}, **HOW)
    assert again.attempt == record.attempt and not capsys.readouterr().err
    for key in (record, record.key, record.key[:6]):
        method = elboard.load_method(key, path=PLUGINS)
        assert not method.training and method.config.scale == 2.0 and method.predict(torch.zeros(1, 3), 1).shape[-1] == 3
    assert elboard.load_method(record, out=home, path=[PLUGINS]).progress == 1.0
    forced = elboard.run("test/blobs", "test-linear", seed=2, force=True, progress=False, recipe="wide", **{"train.epochs": 1}, **HOW)
    assert forced.attempt != record.attempt and forced.metrics == record.metrics


def test_what_a_run_sets_for_the_process_is_put_back(home: Path) -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    elboard.run("test/blobs", "test-linear", progress=False, **HOW)
    assert torch.equal(torch.rand(1), drawn) and torch.get_num_threads() == 2 and not torch.are_deterministic_algorithms_enabled()


def test_mistakes_and_failures_are_raised(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for call, said in (
        (lambda: elboard.run("test/blobs", "test-linera", **HOW), "did you mean 'test-linear'"),
        (lambda: elboard.run("test/blobs", "test-linear", scael=1, **HOW), "no option 'scael', did you mean 'scale'"),
        (lambda: elboard.run("test/blobs", "test-linear", tracker="wanbd", **HOW), "did you mean 'wandb'"),
        (lambda: elboard.sweep(tmp_path / "none.yaml"), "no sweep file"),
        (lambda: elboard.sweep({"name": "s", "runs": []}), "runs: there are none"),
        (lambda: elboard.sweep("quickstart", jobs=0), "jobs=0: at least 1"),
        (lambda: elboard.load_method("abc", out=tmp_path / "none"), "no such folder of runs"),
        (lambda: elboard.load_method("abc"), "no run 'abc'"),
    ):
        with pytest.raises(elboard.UserError) as caught:
            call()
        assert said in str(caught.value) and caught.value._render_traceback_() == [f"error: {caught.value}"]
    with pytest.raises(elboard.RunFailed, match=r"loss is nan in epoch 0; its log: elboard logs [0-9a-f]{16}$") as failed:
        elboard.run("test/blobs", "test-linear", explode_at=0, progress=False, **HOW)
    assert failed.value.record.failure["class"] == "nan"
    with pytest.raises(elboard.UserError, match="no finished run"):
        elboard.load_method(failed.value.record)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for frame in (elboard.records, elboard.leaderboard):
        with pytest.raises(elboard.UserError, match=r"pip install 'elboard\[notebook\]'"):
            frame()


def test_a_sweep_gives_its_records(home: Path, tmp_path: Path) -> None:
    runs = "runs: [{tasks: [test/blobs], methods: [test-linear], grid: {explode_at: [null, 0]}}]"
    (tmp_path / "s.yaml").write_text(f"budget: smoke\nseeds: 0-1\npath: {PLUGINS}\n{runs}\n")
    found = elboard.sweep(tmp_path / "s.yaml", jobs=1, progress=False, scale=2.0)
    assert [record.status for record in found] == ["done", "done", "failed", "failed"]
    assert all(record.spec["config"]["method"]["scale"] == 2.0 for record in found)
    tree = {"name": "t", "budget": "smoke", "runs": [{"tasks": ["test/blobs"], "methods": ["test-linear"], "set": {"scale": 2.0}}]}
    assert [record.attempt for record in elboard.sweep(tree, jobs=1, path=PLUGINS)] == [found[0].attempt]


def test_frames_hold_what_the_commands_print(home: Path, rows: None, capsys: pytest.CaptureFixture) -> None:
    import json

    for seed in (0, 1):
        elboard.run("test/blobs", "test-linear", seed=seed, scale=2.0, progress=False, **HOW)
    with pytest.raises(elboard.RunFailed):
        elboard.run("test/blobs", "test-linear", explode_at=0, progress=False, **HOW)
    board = elboard.leaderboard("test/blobs", path=PLUGINS)
    capsys.readouterr()
    assert main(["leaderboard", "test/blobs", "--format", "json", "--path", PLUGINS]) == 0
    assert json.loads(json.dumps(board)) == json.loads(capsys.readouterr().out) and {row["n"] for row in board} == {2}
    one = elboard.leaderboard("test/blobs", metrics="class_nll", methods="test-*", sort="class_nll", path=PLUGINS)
    assert [(row["metric"], row["primary"]) for row in one] == [("class_nll", True)]
    found = elboard.records("test/*", path=PLUGINS)
    assert [(row["seed"], row["option.scale"], row["status"]) for row in found] == [(0, 2.0, "done"), (1, 2.0, "done")]
    assert all(row["metric.accuracy"] > 0 and row["cost.wall_s"] > 0 for row in found)
    assert [row["failure"][:3] for row in elboard.records("test/*", status="failed", path=PLUGINS)] == ["Non"]
    assert not elboard.records("test/*", "no-*", path=PLUGINS) and elboard.records("links/cora", "vgae", budget="lite")
    assert not elboard.records("links/cora", "vgae", budget="lite", shipped=False)
    with pytest.raises(elboard.UserError, match="no task or family 'test/blosb'"):
        elboard.leaderboard("test/blosb", path=PLUGINS)
    with pytest.raises(elboard.UserError, match="no status 'don'"):
        elboard.records(status="don")


def test_frames_are_those_of_pandas(home: Path) -> None:
    pandas = pytest.importorskip("pandas")
    board = elboard.leaderboard("links/cora")
    assert isinstance(board, pandas.DataFrame) and not board[board.primary].duplicated(["method", "changed"]).any()
    found = elboard.records("links/cora", "vgae")
    assert len(found) >= 3 and found["metric.auc"].between(0.5, 1).all()
