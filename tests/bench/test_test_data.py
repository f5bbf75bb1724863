"""Test data stay with the test: no method comes to them from what it is handed, and they are read after training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reach import leaks, reached

from elboard.bench import check, source, stopping, training
from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError
from elboard.bench.registry import discover, find
from elboard.bench.run import execute
from elboard.bench.source import ways_to_test_data
from elboard.bench.task import Data, Task

PLUGINS = Path(__file__).parents[1] / "plugins"
PAIRS = (
    ("calibration/mnist", "ivon"),
    ("density/digits", "vae"),
    ("disentanglement/sprites", "dip-vae"),
    ("generation/digits", "vae"),
    ("links/cora", "vgae"),
    ("noisy/digits-sym40", "nested-co-teaching"),
    ("noisy/cifar10n-worst", "softmax"),
    ("ood/digits", "softmax"),
    ("ood/digits", "react"),
    ("recommendation/ml-100k", "mult-vae"),
)
HANDED = ("__init__", "prepare", "fit", "loss", "training_step", "before_validation", "on_train_start", "on_train_batch_start")
ASKED = ("predict", "ood_score", "elbo", "log_evidence", "scores", "link_scores")  # by a validation, before training ends


def spec_of(task: str, method: str, paths: tuple[str, ...] = (), **options: object) -> RunSpec:
    return resolve(task, method, budget="smoke", overrides={"trainer.accelerator": "cpu", **options}, paths=paths)


def spying(cls: type, monkeypatch: pytest.MonkeyPatch, look: Callable[..., None]) -> None:
    """Let ``look`` see all that instances of ``cls`` are handed until ``fit`` has ended."""
    over: list[bool] = []

    def spied(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(self: Any, *handed: Any, **named: Any) -> Any:
            if not over:
                look(name, self, handed, named)
            found = function(self, *handed, **named)
            if name == "fit":
                over.append(True)
                look("after fit", self, handed, named)
            return found

        return call

    for name in (name for name in (*HANDED, *ASKED) if hasattr(cls, name)):
        monkeypatch.setattr(cls, name, spied(name, getattr(cls, name)))


@pytest.mark.parametrize(("task", "method"), PAIRS)
def test_nothing_that_a_method_is_handed_leads_to_test_data(
    task: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list] = {}

    def look(name: str, *handed: Any) -> None:
        if name not in seen:  # the first time of each: an epoch's batches differ in nothing but their number
            seen[name] = reached(*handed)

    spec = spec_of(task, method)
    for base in spec.starts_from():
        execute(base, tmp_path)
    spying(find("method", method).load(), monkeypatch, look)
    assert execute(spec, tmp_path).status == "done"
    cls = find("task", task).load()
    whole = cls(cls.Config(**spec.config["task"]), spec.budget, spec.seed)
    data = whole.load_train()  # only now, so that nothing could lead there before
    test = whole.load_test(data)
    assert {"__init__", "prepare", "fit", "after fit"} <= set(seen) and (method == "react" or set(seen) & set(ASKED))
    assert len(seen["fit"]) > len(data.train), "the walk is blind"
    assert {name: found for name in seen if (found := leaks(seen[name], data, test))} == {}


class Leaky(Task):
    """A task that lets test data out in the ways that are easily overlooked."""

    way = ""

    def _all(self) -> torch.Tensor:
        return torch.arange(60.0).reshape(20, 3)

    def load_train(self) -> Data:
        x, test = self._all(), self._all()[10:]
        if self.way == "view":
            return Data(None, {"x": x[:10]})
        data = Data(None, {"x": x[:10].clone()})
        if self.way == "closure":
            data.on_batch = lambda batch, generator: {**batch, "n": len(test)}
        elif self.way == "bound":
            self.kept = test
            data.on_batch = self._on_batch
        elif self.way == "partial":
            data.on_batch = functools.partial(lambda batch, generator, more: batch, more={"deep": [(test.numpy(),)]})
        return data

    def _on_batch(self, batch: dict, generator: torch.Generator) -> dict:
        return batch

    def load_test(self, data: Data) -> dict:
        return {"x": self._all()[10:]}

    def observe(self, *words: object) -> None: ...

    @classmethod
    def measure(cls, *words: object) -> None: ...


@pytest.mark.parametrize(("way", "said"), [("", 0), ("view", 1), ("closure", 1), ("bound", 1), ("partial", 1)])
def test_the_walk_finds_what_leaks(way: str, said: int) -> None:
    task = Leaky(None, "smoke", 0)
    task.way = way
    data = task.load_train()
    assert bool(leaks(reached(data), data, task.load_test(data))) == bool(said)


@pytest.mark.parametrize("task", sorted({task for task, _ in PAIRS}))
def test_what_methods_see_is_no_view_of_more(task: str) -> None:
    entry = find("task", task)
    data = entry.load()(entry.load().Config(**entry.budgets()["smoke"].get("task", {})), "smoke", 0).load_train()
    for part in (data.train, data.valid, data.shared):
        for name, tensor in part.items():
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size(), name


HOSTILE = '''"""Learns by heart whatever test data it can find (nobody, 2024)."""

import torch

from elboard import Classifier, Method, MethodCard

CARD = MethodCard(name="test-hostile", title="Hostile", family="test")


class Hostile(Method, Classifier):
    def fit(self, data, training):
        self.known = {}
        for of in (data, training, training.data, training.task):
            for name in ("test", "sealed"):
                part = getattr(of, name, None) or {}
                for x, y in zip(part.get("x", []), part.get("y", [])):
                    self.known[x.numpy().tobytes()] = int(y)

    def predict(self, x, n_samples=1):
        chosen = torch.tensor([self.known.get(image.numpy().tobytes(), 0) for image in x])
        return torch.nn.functional.one_hot(chosen, self.spec.n_classes).float()[None]
'''


def test_a_method_that_looks_for_test_data_learns_nothing(tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text(HOSTILE)
    record = execute(spec_of("noisy/digits-sym40", "test-hostile", (str(tmp_path),)), tmp_path / "runs")
    assert record.status == "done" and record.metrics["accuracy_last10"] < 0.2


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("from elboard.tasks.data.loaders import digits", "imports elboard.tasks.data.loaders.digits"),
        ("import elboard.tasks.noisy.base as base", "imports elboard.tasks.noisy.base"),
        ("from elboard import tasks", "imports elboard.tasks"),
        ("def f(task, data): return task.load_test(data)", "uses load_test"),
        ("def f(task): return getattr(task, 'load_test')", "says 'load_test'"),
        ("def f(): import importlib; return importlib.import_module('elboard.tasks.data.loaders')", "says 'elboard.tasks'"),
        ("def f(): import gc; return gc.get_objects()", "uses get_objects"),
        ("from helper import load", "imports elboard.tasks.data.loaders"),
        ("def f(training): return training.task._read('test')", "uses training.task"),
        ("def f(training): return getattr(training, 'task')", "says 'task'"),
        ("def f(error): return error.__traceback__.tb_frame.f_locals", "uses f_locals"),
        ("from sklearn.datasets import load_digits", "imports sklearn.datasets.load_digits"),
        ("import elboard\n\n\ndef f(): return elboard.tasks", "uses elboard.tasks"),
        ("def f(self, training): return training.task.validate(self, training.data)", ""),
        ('"""Mentions load_test and elboard.tasks."""', ""),
        ("from elboard.bench.task import Data", ""),
    ],
)
def test_ways_to_test_data_are_shown_to_a_person(line: str, way: str, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("from elboard.tasks.data import loaders as load\n")
    (tmp_path / "mine.py").write_text(f"{HOSTILE.replace(', training.task', '')}\n\n{line}\n")
    found = ways_to_test_data(tmp_path / "mine.py")
    assert [said.split(": ", 1)[1] for said in found] == ([way] if way else [])
    findings = check.collect("mine", check.of_entry(discover("method", (tmp_path,))["test-hostile"], (tmp_path,)))
    assert any(finding.check == "test data" and found[0] in finding.said for finding in findings) if way else not findings


def test_imports_relative_to_the_package_are_shown_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "__file__", str(tmp_path / "bench" / "source.py"))
    for folder in ("", "methods", "methods/vae"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "__init__.py").touch()
    mine = tmp_path / "methods" / "vae" / "mine.py"
    mine.write_text("from ...tasks.noisy import base\nfrom ... import tasks\nfrom ..parts import tasks\n")
    assert ways_to_test_data(mine) == ["mine.py:1: imports elboard.tasks.noisy.base", "mine.py:2: imports elboard.tasks"]


def test_our_own_methods_have_no_way_to_test_data() -> None:
    assert {name: ways for name, entry in discover("method").items() if (ways := ways_to_test_data(entry.file))} == {}


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens to the data of ``test/blobs`` and to ``test-linear``, in its order."""
    paths, happened = (PLUGINS,), []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *handed: happened.append(name) or function(*handed)

    task, method = find("task", "test/blobs", paths).load(), find("method", "test-linear", paths).load()
    for cls, name in ((task, "load_train"), (method, "prepare"), (method, "fit"), (task, "load_test"), (task, "observe")):
        monkeypatch.setattr(cls, name, noted(name, getattr(cls, name)))
    return happened


def test_test_data_are_read_after_training(home: Path, events: list[str]) -> None:
    execute(spec_of("test/blobs", "test-linear", (str(PLUGINS),)), home)
    assert events == ["load_train", "prepare", "fit", "load_test", "observe"]


def test_test_data_are_read_after_a_training_that_goes_on(home: Path, events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter([False] * 3 + [True])
    monkeypatch.setattr(stopping, "requested", lambda: next(asked, False))
    spec = spec_of("test/blobs", "test-linear", (str(PLUGINS),))
    with pytest.raises(stopping.Preempted):
        execute(spec, home)
    assert events == ["load_train", "prepare", "fit"]
    monkeypatch.setattr(training.torch, "load", lambda *a, load=torch.load, **b: events.append("resumed") or load(*a, **b))
    assert execute(spec, home).status == "done"
    assert events[3:] == ["load_train", "prepare", "fit", "resumed", "load_test", "observe"]


def test_all_data_are_had_before_training(home: Path, events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    task, asked = find("task", "ood/mnist").load(), []
    monkeypatch.setattr("elboard.tasks.data.task.fetch", asked.append)
    for budget in ("smoke", "lite"):
        task(task.Config(), budget, 0).fetch()
    assert asked == ["mnist", "fashion-mnist", "notmnist"], "what only the test needs too, and nothing at smoke"
    monkeypatch.setattr(find("task", "test/blobs", (PLUGINS,)).load(), "fetch", lambda self: events.append("fetch"))
    execute(spec_of("test/blobs", "test-linear", (str(PLUGINS),)), home)
    assert events[:2] == ["fetch", "load_train"]


def test_test_data_that_cannot_be_read_are_a_failure_that_is_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Any, data: Data) -> dict:
        raise UserError("x.npz is damaged")

    monkeypatch.setattr(find("task", "test/blobs", (PLUGINS,)).load(), "load_test", gone)
    record = execute(spec_of("test/blobs", "test-linear", (str(PLUGINS),)), home)
    assert (record.failure["class"], record.failure["message"]) == ("infra", "UserError: x.npz is damaged")


def test_a_task_of_before_is_told_what_to_do(tmp_path: Path) -> None:
    text = (PLUGINS / "blobs.py").read_text().replace("def load_train(self)", "def load(self)")
    (tmp_path / "blobs.py").write_text(text)
    paths = (str(tmp_path), str(PLUGINS / "linear.py"))
    with pytest.raises(UserError, match=r"Blobs.load: make it load_train\(self\) -> Data, without test data, and load_test"):
        execute(spec_of("test/blobs", "test-linear", paths), tmp_path / "runs")
