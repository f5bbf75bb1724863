"""The conditional tasks: pictures and their attributes, splits, and metrics of generators that know, ignore or copy what is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.bench.task import Task
from elboard.tasks.conditional.base import attributes_of
from elboard.tasks.data.attributes import ATTRIBUTES, WIDTH, draw, every
from elboard.tasks.parts.moments import variance_within

RNG = np.random.default_rng(0)


def make(name: str = "conditional/sprites", seed: int = 0, **options: Any) -> Task:
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", seed)


def pictures(n: int = 40, **wanted: int) -> np.ndarray:
    y = RNG.integers(2, size=(n, 6))
    for name, value in wanted.items():
        y[:, ATTRIBUTES.index(name)] = value
    return draw(y, RNG).astype(float)


def test_each_attribute_is_what_its_name_says() -> None:
    plain = {"striped": 0}
    for left in (0, 1):
        columns = [np.nonzero(image)[1].mean() for image in pictures(left=left, **plain)]
        assert all((column < WIDTH / 2) == bool(left) for column in columns)
    for upper in (0, 1):
        assert all((np.nonzero(image)[0].mean() < WIDTH / 2) == bool(upper) for image in pictures(upper=upper, **plain))
    small, large = (pictures(large=large, filled=1, **plain).sum((1, 2)) for large in (0, 1))
    assert small.max() < large.min()
    outline, filled = (pictures(filled=filled, large=1, **plain).sum((1, 2)) for filled in (0, 1))
    assert outline.max() < filled.min()
    striped = pictures(striped=1)
    assert (striped.sum((1, 2)) > 60).all() and (striped.sum(1).max(1) > 20).all(), "columns from end to end"
    spans = [np.ptp(np.nonzero(image), axis=1) + 1 for image in pictures(round=1, filled=1, large=1, **plain)]
    area = [image.sum() / np.prod(span) for image, span in zip(pictures(round=1, filled=1, large=1, **plain), spans, strict=True)]
    assert len(every()) == len({tuple(row) for row in every()}) == 64 and np.isfinite(area).all()
    disc = draw(np.array([[1, 1, 1, 1, 1, 0]] * 30), np.random.default_rng(3))
    square = draw(np.array([[0, 1, 1, 1, 1, 0]] * 30), np.random.default_rng(3))
    assert (disc != square).any((1, 2)).all(), "the same place, size and angle"


def test_held_out_combinations_are_nowhere() -> None:
    task = make()
    data, test = loaded(task)
    unseen = {tuple(row) for row in task.unseen().tolist()}
    assert len(unseen) == 13
    for part in (data.train, data.valid, test):
        assert not unseen & {tuple(row) for row in part["y"].tolist()}
    again = make(seed=3).load_train()
    assert torch.equal(again.train["x"], data.train["x"]) and data.spec.attributes == (2,) * 6


def test_the_classifier_knows_the_attributes_of_unseen_combinations_too() -> None:
    task = make()
    y = task.unseen()[np.arange(260) % 13]
    x = torch.from_numpy(draw(y, RNG)).float()[:, None]
    assert task._hits(x, torch.from_numpy(y)).mean() > 0.97


def test_logits_are_one_column_for_two_values_and_one_each_for_more() -> None:
    logits = torch.tensor([[0.1, -1.0, 2.0, 0.0], [-0.1, 3.0, 2.0, 0.0]])
    assert attributes_of(logits, (2, 3)).tolist() == [[1, 1], [0, 0]]


def test_variance_within_is_half_the_mean_squared_distance_of_a_pair() -> None:
    x = torch.randn(8, 1, 2, 2, dtype=torch.float64)
    y = torch.tensor([[0, 1]] * 4 + [[1, 1]] * 4)
    pairs = [(x[i] - x[j]).square().sum() / 2 for group in (range(4), range(4, 8)) for i in group for j in group if i < j]
    assert float(variance_within(x, y)) == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-12)
    single = torch.cat([y, torch.tensor([[5, 5]])])
    assert float(variance_within(torch.cat([x, 100 * x[:1]]), single)) == pytest.approx(float(variance_within(x, y)), rel=1e-12)


class Drawer:
    """Draws pictures of the attributes (``asked``), of any attributes (``any``), or the same one each time (``same``)."""

    def __init__(self, kind: str):
        self.kind = kind

    def sample(self, y: Tensor) -> Tensor:
        rng = np.random.default_rng(len(y))
        wanted = y.numpy() if self.kind != "any" else every()[rng.integers(64, size=len(y))]
        if self.kind != "same":
            return torch.from_numpy(draw(wanted, rng)).float()[:, None]
        return torch.cat([torch.from_numpy(draw(row[None], np.random.default_rng(0))).float()[None] for row in wanted])

    def elbo(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(("elbo", "kl", "reconstruction"), torch.zeros(len(x)))


@pytest.fixture(scope="module")
def of() -> dict[str, dict[str, float]]:
    task = make(n_train=10, n_valid=10, n_test=500, n_unseen=130)
    data, test = loaded(task)
    found = {}
    for kind in ("asked", "any", "same"):
        scores = scored(type(task), task.observe(Drawer(kind), data, test, [])).metrics
        found[kind] = {key.split("[")[0] + key.partition("]")[2]: value for key, value in scores.items() if "n=" not in key or "fd" in key}
    return found


def test_the_board_orders_generators_that_know_ignore_or_copy(of: dict[str, dict[str, float]]) -> None:
    known, ignored, copied = of["asked"], of["any"], of["same"]
    for slice_ in ("", "/unseen"):
        assert known[f"control_accuracy{slice_}"] > 0.97 and known[f"control_exact{slice_}"] > 0.85
        assert ignored[f"control_accuracy{slice_}"] == pytest.approx(0.5, abs=0.06) and ignored[f"control_exact{slice_}"] < 0.1
        assert copied[f"control_accuracy{slice_}"] > 0.9
    assert known["diversity"] == pytest.approx(1, abs=0.1) and copied["diversity"] == 0 and ignored["diversity"] > 1.2
    assert known["fd"] < 0.5 * copied["fd"]


def test_digits_keep_their_classes_and_their_places() -> None:
    data, test = loaded(make("conditional/mnist"))
    assert data.spec.attributes == (10,) and set(test["y"].unique().tolist()) == set(range(10)) and len(test["x"]) == 200
    assert set(test["x"].unique().tolist()) == {0.0, 1.0} and data.on_batch is not None and len(test["grey"].unique()) > 10
    task = make("conditional/mnist")
    assert task._hits(test["grey"], test["y"]).mean() > 0.5, "of a stand-in that it was not trained on; chance is 0.1"
