"""Trackers: a CSV file, and a real offline Weights & Biases run that is read back from its file."""

from __future__ import annotations

import csv
import json
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from elboard.bench import stopping
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.journal import make_tracker, sortable
from elboard.bench.run import execute

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)


def test_csv(home: Path) -> None:
    spec = resolve("test/blobs", "test-linear", budget="smoke", paths=PLUGINS)
    execute(spec, home, tracker="csv")
    rows = list(csv.DictReader((home / spec.key / "curves.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"]) and rows[0]["valid/accuracy"]


def _records(data: bytes) -> Iterator[bytes]:
    """Records of a .wandb file: seven bytes of header, then LevelDB's log format in blocks of 32 KiB."""
    assert data[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


def _read_wandb(file: Path) -> dict[str, list]:
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, list] = {"run": [], "history": [], "summary": [], "files": [], "exit": [], "metric": [], "preempting": []}
    for data in _records(file.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"].append(record.run)
        elif kind == "history":
            found["history"].append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
        elif kind == "summary":
            found["summary"].append({u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in record.summary.update})
        elif kind == "files":
            found["files"] += [f.path for f in record.files.files]
        elif kind in ("metric", "preempting"):
            found[kind].append(getattr(record, kind))
        elif kind == "exit":
            found["exit"].append(record.exit.exit_code)
    return found


def _read_when_written(file: Path) -> dict[str, list]:
    """wandb's own process writes the file, up to a moment after ``finish``; the exit code is its last word."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = _read_wandb(file)
        if found["exit"]:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{file} has no end")


def test_wandb_offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    overrides = {"wandb.mode": "offline", "wandb.group": "my-sweep"}
    spec = resolve("test/blobs", "test-linear", budget="smoke", overrides=overrides, paths=PLUGINS)
    record = execute(spec, home, tracker="wandb")
    assert record.status == "done"
    found = _read_when_written(next((home / spec.key / "wandb").glob("offline-run-*/run-*.wandb")))
    run = found["run"][0]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert run.run_group == "my-sweep" and run.project == "elboard"
    assert config["key"] == spec.key and config["config"]["method"]["lr"] == 0.05
    losses = [row["train/loss"] for row in found["history"] if "train/loss" in row]
    curve = [json.loads(line)["train/loss"] for line in (home / spec.key / "curves.jsonl").read_text().splitlines()]
    assert losses == curve
    summary = {name: value for part in found["summary"] for name, value in part.items()}
    assert summary["metrics/accuracy"] == record.metrics["accuracy"]
    assert found["exit"] == [0]
    assert any("probabilities" in path for path in found["files"])


def test_a_run_interrupted_twice_is_one_run_of_wandb(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    spec = resolve("test/blobs", "test-linear", budget="smoke", overrides={"train.epochs": 4}, paths=PLUGINS)
    for _ in range(2):
        asked = iter([False, True])
        with monkeypatch.context() as patch, pytest.raises(stopping.Preempted):
            patch.setattr(stopping, "requested", lambda asked=asked: next(asked, True))
            execute(spec, home, tracker="wandb")
        time.sleep(1.1)  # folders of W&B are named by the second
    record = execute(spec, home, tracker="wandb")
    assert record.status == "done"
    files = sorted((home / spec.key / "wandb").glob("offline-run-*/run-*.wandb"))
    parts = [_read_when_written(file) for file in files]
    assert len(parts) == 3 and {run.run_id for part in parts for run in part["run"]} == {spec.key}
    assert [len(part["preempting"]) for part in parts] == [1, 1, 0] and [part["exit"] for part in parts] == [[1], [1], [0]]
    epochs = [[row["epoch"] for row in part["history"] if "train/loss" in row] for part in parts]
    assert epochs[-1] == [0, 1, 2, 3] and epochs[0] == epochs[-1][: len(epochs[0])], "the last file holds all, once"
    names = {name for part in parts for row in [*part["history"], *part["summary"]] for name in row}
    assert {"metrics/accuracy", "valid/accuracy"} <= names and all(re.fullmatch(r"[\w/]+", name) for name in names)
    best = {of.name: of.summary.max for of in parts[-1]["metric"]}
    assert (
        best["valid/accuracy"] and not best["train/loss"] and {of.step_metric for of in parts[-1]["metric"] if of.name in best} >= {"epoch"}
    )


def test_names_that_can_be_sorted() -> None:
    names = ("valid/nll[k=50]", "metrics/fd[net,n=1000,w=0.5]", "train/loss")
    assert [sortable(name) for name in names] == ["valid/nll_k_50", "metrics/fd_net_n_1000_w_0_5", "train/loss"]


@pytest.mark.parametrize("fault", ["login", "init", "everything"])
def test_no_login_and_no_network_cost_no_result(fault: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    modes = []

    def init(mode: str, **_: object) -> object:
        modes.append(mode)
        if mode == "online" or fault == "everything":
            raise wandb.errors.CommError("no route")
        return SimpleNamespace(resumed=False, define_metric=no, log=no, finish=no, summary={})

    def no(*_: object, **__: object) -> None:
        raise BrokenPipeError("the service is gone")

    monkeypatch.setattr(wandb, "login", lambda prompt: fault != "login")
    monkeypatch.setattr(wandb, "init", init)
    record = execute(resolve("test/blobs", "test-linear", budget="smoke", paths=PLUGINS), home, tracker="wandb")
    assert record.status == "done" and modes == (["offline"] if fault == "login" else ["online", "offline"])
    said = [line for line in record.warnings if "offline" in line or "the tracker failed" in line]
    assert len(said) == 2 and ("nobody is logged in" if fault == "login" else "no route") in " ".join(said)


def test_unknown_tracker(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tracker 'wanbd': did you mean 'wandb'"):
        make_tracker("wanbd", resolve("test/blobs", "test-linear", budget="smoke", paths=PLUGINS), tmp_path)
