"""Curves on test data, made after training from weights of epochs: the same numbers as at the time, also of a run that was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elboard.bench import training
from elboard.bench.config import RunSpec, resolve
from elboard.bench.epochs import Epochs, single
from elboard.bench.record import Record
from elboard.bench.registry import find
from elboard.bench.run import execute
from elboard.bench.runs import EPOCHS, LAST
from elboard.results.untrusted import read_evidence

TASK = "noisy/digits-sym40"


def spec_of(method: str = "mc-dropout", **options: object) -> RunSpec:
    return resolve(TASK, method, budget="smoke", overrides={"trainer.accelerator": "cpu", "train.epochs": 5, **options})


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["mc-dropout", "ivon", "vbll", "co-teaching", "nested-dropout", "nested-co-teaching"])
def test_tracked_afterwards_as_if_at_the_time(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, for methods with noise in their predictions and with state beside the weights too."""
    cls, spec, then = find("task", TASK).load(), spec_of(method), []
    own = cls(cls.Config(**spec.config["task"]), "smoke", 0)
    test, validate = own.load_test(own.load_train()), cls.validate

    def validate_and_peek(self: Any, method: Any, data: Any) -> dict[str, float]:
        found, state = validate(self, method, data), torch.get_rng_state()
        then.append(self.track(method, data, test)["accuracy"])
        torch.set_rng_state(state)
        return found

    monkeypatch.setattr(cls, "validate", validate_and_peek)
    record = execute(spec, tmp_path)
    rows = rows_of(tmp_path / spec.key)
    assert record.status == "done" and [row["track/accuracy"] for row in rows] == then and len(set(then)) > 1
    evidence = read_evidence(tmp_path / spec.key / "evidence" / "evidence.npz")
    assert evidence["epoch_test"].tolist() == then and record.metrics["accuracy_last10"] == pytest.approx(np.mean(then))
    assert not (tmp_path / spec.key / EPOCHS).exists()


def test_training_and_its_listeners_see_no_test_metric(tmp_path: Path) -> None:
    told: list[dict] = []
    execute(spec_of(), tmp_path, report=told.append)
    epochs = [event for event in told if event["event"] == "epoch"]
    assert len(epochs) == 5 and not any(name.startswith("track/") for event in epochs for name in event)


def test_only_validated_epochs_are_tracked_and_the_kept_weights_are_observed(tmp_path: Path) -> None:
    spec = spec_of(**{"train.validate_every": 2, "train.keep": "best", "train.epochs": 6})
    record = execute(spec, tmp_path, tracker="csv")
    folder = tmp_path / spec.key
    tracked = {row["epoch"]: row["track/accuracy"] for row in rows_of(folder) if "track/accuracy" in row}
    assert list(tracked) == [1, 3, 5] and record.metrics["accuracy_last"] == tracked[5]
    assert (folder / "curves.csv").read_text().splitlines()[0].split(",")[-1] == "track/accuracy"
    assert record.notes["chosen_epoch"] in tracked


class Stop(Exception):
    pass


def interrupted(spec: RunSpec, root: Path) -> Path:
    """The folder of a run that died in its fourth epoch and has a checkpoint of the third."""

    def stop(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 3 and "epochs" in event:
            raise Stop

    assert execute(spec, root, report=stop).status == "failed"
    folder = root / spec.key
    assert torch.load(folder / LAST, weights_only=True)["epoch"] == 2
    assert sorted(file.name for file in (folder / EPOCHS).iterdir()) == [f"{epoch}.ckpt" for epoch in range(4)]
    return folder


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The run as it is when nothing happens to it; checkpoints come with each epoch from then on."""
    record = execute(spec_of(), tmp_path / "whole")
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    return record


def test_a_resumed_run_tracks_the_epochs_before_its_interruption(tmp_path: Path, whole: Record) -> None:
    spec = spec_of()
    folder = interrupted(spec, tmp_path / "broken")
    before, written = (folder / EPOCHS / "1.ckpt").stat().st_mtime_ns, set()
    resumed = execute(spec, tmp_path / "broken", report=lambda event: written.add((folder / EPOCHS / "1.ckpt").stat().st_mtime_ns))
    assert resumed.metrics == whole.metrics and written == {before} and not any("anew" in text for text in resumed.warnings)
    assert rows_of(folder) == rows_of(tmp_path / "whole" / spec.key)
    assert not (folder / EPOCHS).exists() and not (folder / LAST).exists()


@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_where_an_epoch_is_lost_training_starts_anew_and_says_so(damage: str, tmp_path: Path, whole: Record) -> None:
    spec = spec_of()
    folder = interrupted(spec, tmp_path / "broken")
    file = folder / EPOCHS / "1.ckpt"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:500])
    again = execute(spec, tmp_path / "broken")
    assert again.metrics == whole.metrics
    assert any("the weights of epoch 1 are gone: training starts anew" in text for text in again.warnings)


def test_nothing_is_left_of_an_attempt_that_failed_without_a_checkpoint(tmp_path: Path) -> None:
    spec = spec_of("softmax", lr=1e30)
    assert execute(spec, tmp_path).status == "failed" and not (tmp_path / spec.key / EPOCHS).exists()


def test_a_damaged_epoch_is_an_error_of_files(tmp_path: Path) -> None:
    method = torch.nn.Linear(2, 1)
    method.progress = 0.5
    epochs = Epochs(tmp_path)
    epochs.keep(0, method)
    assert epochs.lost([0, 1]) == [1]
    with pytest.raises(OSError, match=r"1\.ckpt: the weights of epoch 1 cannot be read"):
        list(epochs.each(method, [0, 1]))


def test_the_method_is_afterwards_what_it_was(tmp_path: Path) -> None:
    method, epochs = torch.nn.Linear(2, 1), Epochs(tmp_path)
    method.progress = 0.25
    first = method.weight.detach().clone()
    epochs.keep(3, method)
    method.progress = 1.0
    with torch.no_grad():
        method.weight += 1
    state = torch.get_rng_state()
    for epoch in epochs.each(method, [3]):
        assert epoch == 3 and torch.equal(method.weight, first) and method.progress == 0.25 and not method.training
        torch.rand(3)
    assert torch.equal(method.weight, first + 1) and method.progress == 1.0 and method.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_another_precision_trains_and_is_evaluated_in_single(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of training nothing is rounded by a look at it: with or without validation the weights are the same, bit for bit."""
    own = {"64-true": torch.float64, "bf16-true": torch.bfloat16}[precision]
    weights, seen = [], set()
    cls = find("task", TASK).load()
    validate = cls.validate

    def validate_and_look(self: Any, method: Any, data: Any) -> dict[str, float]:
        seen.update(tensor.dtype for tensor in method.state_dict().values() if tensor.is_floating_point())
        return validate(self, method, data)

    monkeypatch.setattr(cls, "validate", validate_and_look)
    monkeypatch.setattr(
        training._Loop, "finish", lambda self, method: weights.append({k: v.clone() for k, v in method.state_dict().items()})
    )
    for every in (0, 1):
        spec = spec_of(**{"trainer.precision": precision, "train.validate_every": every})
        assert execute(spec, tmp_path).status == "done"
    assert seen == {torch.float32}
    assert {of.dtype for of in weights[0].values() if of.is_floating_point()} == {own}
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_method_in_single_precision_is_left_alone() -> None:
    method = torch.nn.BatchNorm1d(2)
    method.dtype = torch.float32
    method.register_buffer("sums", torch.zeros(2, dtype=torch.float64))
    with single(method):
        assert method.sums.dtype == torch.float64 and method.weight.dtype == torch.float32
