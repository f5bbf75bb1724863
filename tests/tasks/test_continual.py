"""Sequences of tasks: one task an epoch, nothing of a task before its time, a matrix that is that of the weights at each task's end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench import stopping
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.registry import discover, find
from elboard.bench.run import execute

TASKS = [name for name, entry in discover("task").items() if "ContinualLearner" in entry.card.needs]
LEARNERS = [name for name, entry in discover("method").items() if "ContinualLearner" in entry.card.offers]
TRAIN = {"epochs": 4, "batch_size": 50, "validate_every": 1}


def make(name: str, **options: Any) -> Any:
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", 0)


@pytest.mark.parametrize("name", TASKS)
def test_an_epoch_is_of_one_task_and_tasks_have_as_many(name: str) -> None:
    task = make(name)
    data, test = loaded(task)
    n = task.config.n_train
    batches = task.batches(data, {**TRAIN, "epochs": 2 * task.tasks}, 0)
    for epoch in range(2 * task.tasks):
        batches.epoch = lambda epoch=epoch: epoch
        seen = list(batches)
        assert torch.cat([batch["stage"] for batch in seen]).unique().tolist() == [epoch // 2]
        assert sum(len(batch["y"]) for batch in seen) == n == data.spec.n_train and len(seen) == len(batches)
    assert test["stage"].bincount().tolist() == [task.config.n_test] * task.tasks
    assert data.train["y"].max() < data.spec.n_classes == task.classes and data.train["y"].dtype == torch.int64
    rows = [{image.tobytes() for image in of["x"].flatten(1).numpy()} for of in (data.train, data.valid, test)]
    assert not rows[0] & rows[1] and not (rows[0] | rows[1]) & rows[2]


def test_batches_go_on_within_an_epoch() -> None:
    task = make("continual/permuted-mnist")
    data = task.load_train()
    whole, first, second = (task.batches(data, TRAIN, 0) for _ in range(3))
    for batches in (whole, first, second):
        batches.epoch = lambda: 2
    iterator = iter(first)
    for _ in range(2):
        next(iterator)
    second.load_state_dict(first.state_dict())
    rest, expected = list(second), list(whole)[2:]
    assert len(rest) == len(expected) and all(torch.equal(a["x"], b["x"]) for a, b in zip(rest, expected, strict=True))


def test_orders_of_pixels_are_permutations() -> None:
    task = make("continual/permuted-mnist", orders=3)
    x = task.load_train().train["x"].flatten(1).view(3, -1, 49)
    assert torch.equal(x[0].sort(1).values, x[1].sort(1).values) and not torch.equal(x[0], x[1]) and not torch.equal(x[1], x[2])


def test_pairs_have_the_parity_of_their_digits() -> None:
    task = make("continual/split-mnist")
    x, y = task.read(lambda split: None, "train")
    for pair in range(5):
        images, labels = task.of_task(pair, "train")
        digit = {image.tobytes(): label for image, label in zip(x, y, strict=True)}
        assert all(digit[image.tobytes()] == 2 * pair + label for image, label in zip(images, labels, strict=True))


@pytest.mark.parametrize(("epochs", "every", "said"), [(5, 1, "multiple"), (4, 0, "set it to 2"), (4, 4, "set it to 2")])
def test_lengths_that_leave_a_task_untested_are_a_line(epochs: int, every: int, said: str) -> None:
    task = make("continual/permuted-mnist")
    with pytest.raises(UserError, match=said):
        task.batches(task.load_train(), {"epochs": epochs, "batch_size": 50, "validate_every": every}, 0)


class Scripted:
    """Right on the share ``shares[j]`` of task j, whose images it knows by their number."""

    def __init__(self, test: dict[str, torch.Tensor], shares: list[float]):
        self.shares, self.test, self.at = shares, test, 0

    def predict(self, x: torch.Tensor, n_samples: int) -> torch.Tensor:
        at = torch.arange(self.at, self.at + len(x))
        self.at = (self.at + len(x)) % len(self.test["y"])
        task, y = self.test["stage"][at], self.test["y"][at]
        n = int((self.test["stage"] == 0).sum())
        right = at % n < torch.tensor(self.shares)[task] * n - 0.5
        return torch.nn.functional.one_hot(torch.where(right, y, (y + 1) % 10), 10)[None].float()


def test_the_matrix_is_that_of_the_ends_of_tasks() -> None:
    task = make("continual/permuted-mnist", orders=3)
    data, test = loaded(task)
    shares = [[0.9, 0.1, 0.1], [0.6, 0.8, 0.2], [0.5, 0.4, 0.7]]
    history = []
    for epoch in range(6):
        row = task.track(Scripted(test, shares[epoch // 2] if epoch % 2 else [0.0, 0.0, 0.0]), data, test)
        history.append({"epoch": float(epoch)} | {f"track/{name}": value for name, value in row.items()})
    seen = task.observe(Scripted(test, shares[2]), data, test, history)
    np.testing.assert_allclose(seen.arrays["hits"] / 150, shares, atol=1e-9)
    found = task.score(task.compact(seen.arrays))
    assert found["forgetting"] == pytest.approx((0.4 + 0.4) / 2) and found["average_accuracy"] == pytest.approx(1.6 / 3)
    assert found["task_accuracy/after1-on2"] == pytest.approx(0.2)


def train(method: Any, task: Any, data: Any, epochs: range) -> None:
    """The steps of a training of four epochs of two tasks."""
    optimizer, batches = method.make_optimizer(method.parameter_groups()), task.batches(data, TRAIN, 0)
    for epoch in epochs:
        batches.epoch = lambda epoch=epoch: epoch
        torch.manual_seed(epoch)
        method._trainer = SimpleNamespace(num_training_batches=len(batches), current_epoch=epoch, max_epochs=4)
        for i, batch in enumerate(batches):
            method.on_train_batch_start(batch, i)
            optimizer.zero_grad()
            method.loss(batch)["loss"].backward()
            optimizer.step()
            method.after_step(batch, i)
        method.before_validation()


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_seen_of_a_task_before_its_time(name: str) -> None:
    """Unless it is an oracle: the weights after the first task are the same whatever the images of the second are."""
    entry, task = discover("method")[name], make("continual/permuted-mnist")
    cls, states = entry.load(), []
    for other in (False, True):
        data = task.load_train()
        if other:
            later = data.train["stage"] == 1
            data.train["x"][later], data.train["y"][later] = -data.train["x"][later], 9 - data.train["y"][later]
        torch.manual_seed(0)
        method = cls(cls.Config(), data.spec)
        method.prepare(data)
        train(method, task, data, range(2))
        states.append({key: value.clone() for key, value in method.state_dict().items()})
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]) != bool(entry.card.oracle)


@pytest.mark.parametrize("name", ["field-vcl-binary", "ewc"])
def test_a_run_stopped_within_a_task_goes_on_to_the_same_numbers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"ref": "previous-task"} if name == "field-vcl-binary" else {}
    spec = resolve("continual/permuted-mnist", name, budget="smoke", overrides={"trainer.accelerator": "cpu", **options})
    whole = execute(spec, tmp_path / "whole")
    asked = iter([False] * 14 + [True])  # within the third of four epochs, of six batches each: in the second task
    with monkeypatch.context() as patch, pytest.raises(stopping.Preempted):
        patch.setattr(stopping, "requested", lambda: next(asked, False))
        execute(spec, tmp_path / "broken")
    saved = torch.load(tmp_path / "broken" / spec.key / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 2 and saved["state_dict"]["held" if options else "precision"].any()
    assert execute(spec, tmp_path / "broken").metrics == whole.metrics


# --- perceptrons -----------------------------------------------------------------------------------


def perceptron(seed: int = 0, **options: Any) -> Any:
    cls = find("task", "continual/perceptron").load()
    return cls(cls.Config(**{"n": 51, "loads": [0.5, 1.0], "n_valid": 40, **options}), "smoke", seed)


class Fixed:
    def __init__(self, means: torch.Tensor):
        self.means = means

    def students(self) -> torch.Tensor:
        return self.means


def test_labels_are_those_of_the_teachers() -> None:
    task = perceptron(n=2001, loads=[0.01, 0.02], load=0.01, n_valid=400)
    data, test = loaded(task)
    assert not {"teachers"} & {*data.train, *data.valid, *data.shared}
    for i in (0, 1):
        answers = (test["teachers"][i] @ data.train[f"x{i}"].mT).sign()
        assert torch.equal(answers, data.train[f"y{i}"]) and not (answers == 0).any()
    overlaps = (test["teachers"][0] * test["teachers"][1]).mean(-1)
    assert (overlaps - torch.tensor([o for _, o in data.spec.settings])).abs().max() < 5 / 2001**0.5
    assert data.train["seen1"].sum(1).tolist() == [round(load * 2001) for load, _ in data.spec.settings]


def test_errors_are_shares_of_wrong_answers() -> None:
    task = perceptron(n=501, n_valid=8000, load=0.1, loads=[0.1])
    data, test = loaded(task)
    student = Fixed(torch.randn(2, 3, 501) + 0.7 * test["teachers"][0])
    exact = task.errors(student, test).mean((1, 2))
    wrong = task.validate(student, data)["teacher_error/mean"]
    assert exact.mean() == pytest.approx(wrong, abs=0.02) and exact[0] < 0.35 < exact[1]
    assert task.errors(Fixed(test["teachers"][1]), test)[1].max() == 0


def test_what_is_reported_of_perceptrons() -> None:
    task = perceptron()
    data, test = loaded(task)
    before, after = Fixed(0.5 * test["teachers"][0]), Fixed(0.5 * test["teachers"][1])
    history = [{"epoch": float(e)} for e in range(4)]
    history[1] |= {f"track/{name}": value for name, value in task.track(before, data, test).items()}
    history[3] |= {f"track/{name}": value for name, value in task.track(after, data, test).items()}
    found = task.score(task.compact(task.observe(after, data, test, history).arrays))
    assert found["teacher_error/first-before"] == 0 == found["teacher_error/second"] and found["teacher_error/first"] > 0.3
    assert found["overlap_cost"] > 0.1 and found["replica_gap/second"] > 0.1
    gap = max(
        abs(found[f"teacher_error/first-a{a}-r{r}"] - found[f"replica_error/first-a{a}-r{r}"])
        for a in ("0.5", "1")
        for r in ("-0.5", "0", "0.5")
    )
    assert found["replica_gap/first"] == pytest.approx(gap)


def test_trends_are_of_the_mean_over_overlaps() -> None:
    """The error about the first teacher rises with patterns but at one overlap, that about the second falls in one of three pairs."""
    settings = np.array([(load, overlap) for load in (0.5, 1.0, 2.0) for overlap in (-0.5, 0.5)])
    first = np.array([0.1, 0.2, 0.2, 0.19, 0.3, 0.2])
    second = np.array([0.3, 0.3, 0.4, 0.4, 0.35, 0.35])
    errors = np.stack([first, first, second])[:, None]
    seen = {"errors": errors, "settings": settings, "predicted": np.zeros((6, 3))}
    found = find("task", "continual/perceptron").load().measure(seen, None)
    assert found["error_trend/first"] == 1 and found["error_trend/second"] == pytest.approx(1 / 3)
    assert found["overlap_cost"] == pytest.approx(0.2 - 0.59 / 3)


def test_seeds_draw_other_teachers_and_even_numbers_are_refused() -> None:
    first, again, other = (perceptron(seed).load_train().train["x0"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    with pytest.raises(UserError, match="51 is odd"):
        perceptron(n=50).load_train()
    task = perceptron()
    with pytest.raises(UserError, match="even"):
        task.batches(task.load_train(), {"epochs": 3, "validate_every": 1}, 0)
