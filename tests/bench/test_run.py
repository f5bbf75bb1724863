"""One run: its files, its determinism, its failures, its resumption."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from elboard.bench import record as records
from elboard.bench import stopping, training
from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError
from elboard.bench.registry import find
from elboard.bench.run import execute, load_trained
from elboard.bench.runs import LAST, Runs
from elboard.sweeps.work import run_one

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)


def spec_of(**overrides: object) -> RunSpec:
    return resolve("test/blobs", "test-linear", budget="smoke", overrides=overrides, paths=PLUGINS)


def test_a_run_leaves_everything(home: Path) -> None:
    spec = spec_of()
    record = execute(spec, home)
    folder = home / spec.key
    assert record.status == "done" and record.primary == "accuracy"
    assert set(record.metrics) == {"accuracy", "class_nll"}
    for name in ("config.yaml", "log.txt", "curves.jsonl", "checkpoints/final.ckpt", "evidence/evidence.npz", "pictures/probabilities.png"):
        assert (folder / name).stat().st_size > 0, name
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    rows = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2] and rows[-1]["train/loss"] < rows[0]["train/loss"]
    assert records.read(next((folder / "attempts").glob("*.json"))) == record == Runs(home).done(spec)
    assert record.cost["parameters"] == 12 and record.cost["flops_per_example"] == 2 * 3 * 3 * 2  # forward, and the weights' gradient
    assert {"wall_s", "cpu_s", "train_s", "evaluate_s", "peak_memory_mib"} <= set(record.cost)
    assert record.provenance["versions"]["torch"] == torch.__version__


def test_same_seed_same_numbers(tmp_path: Path) -> None:
    spec = spec_of()
    torch.manual_seed(1)
    first = execute(spec, tmp_path / "a")
    torch.manual_seed(2)
    second = execute(spec, tmp_path / "b")
    other = execute(resolve("test/blobs", "test-linear", seed=1, budget="smoke", paths=PLUGINS), tmp_path / "a")
    assert first.metrics == second.metrics
    assert first.metrics != other.metrics


def test_a_method_is_told_before_an_epoch_is_validated(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, task = (find(kind, name, (Path(PLUGINS[0]),)).load() for kind, name in (("method", "test-linear"), ("task", "test/blobs")))
    heard, validate = [], task.validate
    monkeypatch.setattr(method, "before_validation", lambda self: heard.append(("before", self.current_epoch, self.training)))
    monkeypatch.setattr(task, "validate", lambda self, of, data: heard.append(("validated", of.current_epoch)) or validate(self, of, data))
    execute(spec_of(**{"train.validate_every": 2}), home)
    before = [("before", epoch, True) for epoch in range(3)]
    assert heard == [before[0], before[1], ("validated", 1), before[2], ("validated", 2)]


def test_checkpoint_gives_the_same_predictions(home: Path) -> None:
    spec = spec_of()
    record = execute(spec, home)
    method = load_trained(spec, home)
    from elboard.bench.run import build

    task, data, _ = build(spec)
    with torch.no_grad():
        assert task.score(task.observe(method, data, task.load_test(data), []).arrays) == pytest.approx(record.metrics, abs=0)


class Stop(Exception):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    spec = spec_of(**{"train.epochs": 6, "schedule": "cosine", "train.keep": "best"})
    whole = execute(spec, tmp_path / "whole")

    def stop_in_epoch_3(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 3 and "epochs" in event:
            raise Stop

    broken = execute(spec, tmp_path / "broken", report=stop_in_epoch_3)
    assert broken.status == "failed"
    last = tmp_path / "broken" / spec.key / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 2
    resumed = execute(spec, tmp_path / "broken")
    assert resumed.metrics == whole.metrics and resumed.notes == whole.notes
    curves = [(tmp_path / name / spec.key / "curves.jsonl").read_text() for name in ("whole", "broken")]
    assert curves[0] == curves[1]


def test_nan_loss_is_a_failed_record(home: Path) -> None:
    record = execute(spec_of(explode_at=1), home)
    assert record.status == "failed" and record.failure["class"] == "nan"
    assert record.failure["message"] == "NonFiniteLoss: loss is nan in epoch 1"
    assert "NonFiniteLoss" in record.failure["log"]
    assert Runs(home).done(spec_of(explode_at=1)) is None


def test_an_exception_is_a_failed_record(home: Path) -> None:
    record = execute(spec_of(raise_at=2), home)
    assert record.failure["class"] == "bug" and re.fullmatch(r"RuntimeError: as asked \(linear.py:\d+\)", record.failure["message"])
    assert "in loss" in record.failure["log"]


def test_a_network_that_does_not_fit_the_data_is_told_where_and_what_to_use(home: Path, tmp_path: Path) -> None:
    text = (
        (Path(PLUGINS[0]) / "linear.py").read_text().replace("spec.shape[0]", "spec.shape[0] + 1").replace('"test-linear"', '"test-wide"')
    )
    (tmp_path / "wide.py").write_text(text)
    paths = (*PLUGINS, str(tmp_path / "wide.py"))
    record = execute(resolve("test/blobs", "test-wide", budget="smoke", overrides={}, paths=paths), home)
    said, line = record.failure["message"], text.splitlines()[int(re.search(r"wide.py:(\d+)", record.failure["message"])[1]) - 1]
    assert "mat1 and mat2 shapes cannot be multiplied" in said and said.endswith(
        "self.spec.shape is the shape of an example: build networks from it)"
    )
    assert "self.head(" in line and "\n" not in said


def test_memory_error_is_oom(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object) -> None:
        raise MemoryError("no more")

    spec = spec_of()
    from elboard.bench.registry import find

    monkeypatch.setattr(find("task", "test/blobs", tuple(map(Path, PLUGINS))).load(), "load_train", full)
    assert execute(spec, home).failure["class"] == "oom"


def test_ctrl_c_leaves_a_record_and_goes_on(home: Path) -> None:
    def press(event: dict) -> None:
        if event["event"] == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(spec_of(), home, report=press)
    found = [records.read(file) for file in (home / spec_of().key / "attempts").glob("*.json")]
    assert [record.failure["class"] for record in found] == ["killed"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    with pytest.raises(UserError, match="cannot be written"):
        execute(spec_of(), tmp_path / "runs")


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot be written .*; choose another folder with --out"):
        execute(spec_of(), tmp_path / "runs")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "not valid JSON, perhaps truncated"),
        (lambda text: text.replace('"schema": 3', '"schema": 9'), "schema 9 is not the known 3"),
        (lambda text: text.replace('"seed": 0', '"seed": 5'), "is not the hash"),
        (lambda text: text.replace('"status": "done"', '"status": "fine"'), "status 'fine' is none of done, failed"),
        (lambda text: text.replace('"accuracy": 0.', '"accuracy": 7.'), "metric accuracy is 7"),
    ],
)
def test_a_damaged_record_is_refused(home: Path, damage: object, message: str) -> None:
    spec = spec_of()
    execute(spec, home)
    file = next((home / spec.key / "attempts").glob("*.json"))
    file.write_text(damage(file.read_text()))
    with pytest.raises(records.InvalidRecord, match=message):
        records.read(file)
    assert Runs(home).done(spec) is None


def test_closed_form_methods_skip_lightning(home: Path) -> None:
    record = execute(spec_of(**{"train.epochs": 0}), home)
    assert record.status == "done" and "chosen_epoch" not in record.notes


def test_best_epoch_is_kept(home: Path) -> None:
    spec = spec_of(**{"train.keep": "best", "train.epochs": 8, "lr": 0.5})
    record = execute(spec, home)
    rows = [json.loads(line) for line in (home / spec.key / "curves.jsonl").read_text().splitlines()]
    values = [row["valid/accuracy"] for row in rows]
    assert record.notes["chosen_epoch"] == values.index(max(values))


@pytest.mark.parametrize(
    ("values", "chosen"),
    [((float("nan"), 0.51, 0.52), 2), ((0.3, float("nan"), 0.2), 0), ((float("nan"), 0.5, float("nan")), 1), ((float("nan"),) * 3, 2)],
)
def test_nan_is_never_the_best_epoch(values: tuple[float, ...], chosen: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no epoch has a number, the last one is kept, as without a validation."""
    task = find("task", "test/blobs", (Path(PLUGINS[0]),)).load()
    monkeypatch.setattr(task, "validate", lambda self, method, data: {"accuracy": values[method.current_epoch]})
    record = execute(spec_of(**{"train.keep": "best"}), home)
    number = {} if values[chosen] != values[chosen] else {"value": values[chosen]}
    assert record.notes["chosen_epoch"] == chosen and record.notes["selection"] == {"metric": "accuracy", **number}
    assert Runs(home).done(record.run()) == record, "it can be read"


def _without(part: str, spec: RunSpec) -> Callable[[Path], None]:
    """Spoils the checkpoint: what ``part`` names is that of other code."""

    def spoil(last: Path) -> None:
        saved = torch.load(last, weights_only=True)
        if part == "state_dict":
            saved[part] = {f"other.{name}": value for name, value in saved[part].items()}
        elif part == "optimizer_states":
            saved[part][0]["param_groups"] *= 2
        else:
            saved[part] = {}
        torch.save(saved, last)

    return spoil


@pytest.mark.parametrize("what", ["random", "empty", "cut", "state_dict", "optimizer_states", "callbacks"])
def test_a_checkpoint_that_does_not_fit_is_set_aside(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(**{"train.epochs": 4})
    whole = execute(spec, tmp_path / "whole")
    asked = iter([False] * 2 + [True])
    with monkeypatch.context() as patch, pytest.raises(stopping.Preempted):
        patch.setattr(stopping, "requested", lambda: next(asked, False))
        execute(spec, tmp_path / "broken")
    last = tmp_path / "broken" / spec.key / LAST
    spoiled = {"random": bytes(range(256)) * 2, "empty": b"", "cut": last.read_bytes()[:900]}.get(what)
    _without(what, spec)(last) if spoiled is None else last.write_bytes(spoiled)
    record = execute(spec, tmp_path / "broken")
    assert record.status == "done" and record.metrics == whole.metrics
    assert [said for said in record.warnings if "training starts anew" in said and "last.unfit" in said]
    assert last.with_suffix(".unfit").exists() and not last.exists()
    curves = [(tmp_path / name / spec.key / "curves.jsonl").read_text() for name in ("whole", "broken")]
    assert curves[0] == curves[1]


def test_force_goes_on_from_nothing(home: Path) -> None:
    spec = spec_of()
    last = home / spec.key / LAST
    last.parent.mkdir(parents=True)
    last.write_bytes(b"")
    outcome = run_one(spec, home, force=True)
    assert outcome.state == "done" and "anew" not in str(outcome.record.warnings) and not list(last.parent.glob("last*"))


def test_weights_that_cannot_be_read_are_a_line(home: Path) -> None:
    spec = spec_of()
    execute(spec, home)
    Runs(home).weights(spec).write_bytes(b"x")
    with pytest.raises(UserError, match=r"final.ckpt: not the weights of test-linear .* with `elboard run .* --force`"):
        load_trained(spec, home)


def test_pair_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="cannot run on"):
        resolve("test/blobs", "ppca", budget="smoke", paths=PLUGINS)


def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(**{"train.epochs": 4, "train.batch_size": 16, "schedule": "cosine", "train.keep": "best", "pause": 0.02})
    whole = execute(spec, tmp_path / "whole")
    asked = iter([False] * 6 + [True])  # a batch of the second epoch
    monkeypatch.setattr(stopping, "requested", lambda: next(asked, False))
    with pytest.raises(stopping.Preempted):
        execute(spec, tmp_path / "broken")
    folder = tmp_path / "broken" / spec.key
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1 and any(name.startswith("_Loop") for name in kept["callbacks"])
    assert not list((folder / "attempts").glob("*.json")), "a run that goes on elsewhere has not failed"
    resumed = execute(spec, tmp_path / "broken")
    assert resumed.metrics == whole.metrics and resumed.notes == whole.notes
    assert (folder / "curves.jsonl").read_text() == (tmp_path / "whole" / spec.key / "curves.jsonl").read_text()
    pauses = 4 * 5 * 0.02
    assert min(run.cost[name] for run in (whole, resumed) for name in ("train_s", "wall_s")) >= pauses, "the cost of both parts"
