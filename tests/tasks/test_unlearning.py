"""Tasks of unlearning: what is to be forgotten, and what is measured of models that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.kinds.unlearning import RetrainingOracle, Unlearner
from elboard.bench.registry import discover, find
from elboard.tasks.data.task import permutation, stand_in
from elboard.tasks.unlearning import base

TASKS = [name for name, entry in discover("task").items() if "Unlearner" in entry.card.needs]


def make(name: str, seed: int = 0, **options: object) -> Any:
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", seed)


class Known(Unlearner):
    """Predicts by the ink of an image, and where ``say`` is given that class as surely."""

    def __init__(self, reference: Any = None, say: int | None = None):
        self.reference, self.say = reference, say

    @property
    def retrained(self) -> Any:
        return self.reference

    def to(self, device: object) -> Known:
        return self

    def eval(self) -> Known:
        return self

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        ink = x.mean((1, 2, 3))
        which = (100 * ink).long() % 10 if self.say is None else torch.full((len(x),), self.say)
        return torch.full((1, len(x), 10), 0.05).scatter_(2, which[None, :, None], 0.55)


class Reference(Known, RetrainingOracle):
    """Itself."""

    retrained = RetrainingOracle.retrained


def true_labels(task: Any) -> np.ndarray:
    """Of the training images."""
    y = stand_in("train")[1]
    return y[permutation(len(y), 27)[task.config.n_valid :][: task.config.n_train]]


def test_the_zeros_are_to_be_forgotten() -> None:
    task = make("unlearning/mnist")
    data = task.load_train()
    y = true_labels(task)
    assert data.train["y"].numpy().tolist() == y.tolist() and data.train["forget"].numpy().tolist() == (y == 0).tolist()
    assert data.spec.n_forget == (y == 0).sum() > 0 and data.spec.n_train == len(y)


def test_wrong_labels_are_to_be_forgotten() -> None:
    """A share of all labels, of the first five digits alone, and each other digit is among them."""
    task = make("unlearning/mnist-noisy", rate=0.3)
    train = task.load_train().train
    y, given, forget = true_labels(task), train["y"].numpy(), train["forget"].numpy()
    assert forget.sum() == round(0.3 * len(y)) and (y[forget] < 5).all() and set(given[forget]) == set(range(10))
    assert (given[forget] != y[forget]).all() and (given[~forget] == y[~forget]).all()


@pytest.mark.parametrize("name", TASKS)
def test_parts_are_apart_and_the_same_for_all_seeds(name: str) -> None:
    data, test = loaded(make(name))
    rows = [{image.tobytes() for image in of["x"].flatten(1).numpy()} for of in (data.train, data.valid, test)]
    assert not rows[0] & rows[1] and not (rows[0] | rows[1]) & rows[2]
    again = make(name, seed=1).load_train()
    assert all(value.equal(again.train[field]) for field, value in data.train.items())
    assert 0 < data.train["forget"][:16].sum() < 16, "a light check has both"


@pytest.mark.parametrize("name", TASKS)
def test_the_reference_is_at_no_distance_and_others_at_that_of_their_values(name: str) -> None:
    task = make(name)
    data, test = loaded(task)
    zero = scored(type(task), task.observe(Reference(), data, test, [])).metrics
    assert {value for key, value in zero.items() if key.startswith("retrain_gap")} == {0.0}
    found = scored(type(task), task.observe(Known(Reference(), say=0), data, test, [])).metrics
    measured = ["remaining_accuracy/train", "remaining_accuracy/test", "forget_accuracy/train", "attack_success"]
    measured += ["forget_accuracy/test"] if task.forgotten else []
    assert found["retrain_gap"] == pytest.approx(np.mean([abs(found[key] - zero[key]) for key in measured]))
    assert set(task.card.metrics) <= set(found)
    classes = test["y"].numpy()
    if task.forgotten:
        assert found["forget_accuracy/test"] == found["forget_accuracy/train"] == 1
        assert found["remaining_accuracy/test"] == found["remaining_accuracy/train"] == 0
    else:
        assert found["remaining_accuracy/test"] == pytest.approx((classes == 0).mean())


class Inked(Known):
    """Whose probabilities are the ink of an image, ten times."""

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return x.mean((1, 2, 3))[None, :, None].expand(1, -1, 10)


@pytest.mark.parametrize("name", TASKS)
def test_the_attack_learns_from_what_remains_and_judges_what_is_to_be_forgotten(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, given = make(name), []
    data, test = loaded(task)
    monkeypatch.setattr(base, "membership", lambda *of: given.append([p[:, 0] for p in of]) or np.ones(len(of[2]), bool))
    task.observe(Inked(Reference()), data, test, [])
    ink, held = (of["x"].mean((1, 2, 3)).numpy() for of in (data.train, test))
    forget, others = data.train["forget"].numpy(), held[~np.isin(test["y"].numpy(), task.forgotten)]
    members, strangers, judged = given[0]
    assert np.allclose(judged, ink[forget], atol=1e-6)
    for few, of in ((members, ink[~forget]), (strangers, others)):
        assert np.allclose(few, of[:: -(-len(of) // 100)], atol=1e-6) and 50 < len(few) <= 100


def test_validation_sees_no_test_image() -> None:
    task = make("unlearning/mnist")
    data = task.load_train()
    found = task.validate(Known(Reference(), say=0), data)
    assert found["forget_accuracy/valid"] == 1 and found["remaining_accuracy/valid"] == 0
    assert task.card.selection in found and not any("/test" in key for key in found)


def test_the_reference_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While epochs are validated, which it outlives."""
    task, reference, calls = make("unlearning/mnist"), Reference(), []
    data, predict = task.load_train(), Reference.predict
    monkeypatch.setattr(Reference, "predict", lambda self, x, n=1: calls.append(1) or predict(self, x, n))
    method = Known(reference)
    first = task.validate(method, data)
    looked = len(calls)
    assert task.validate(method, data) == first and len(calls) == looked > 0
