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
from elboard.tasks.data import coloured_shapes
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


# --- coloured shapes -----------------------------------------------------------------------------------


def coloured(shape: int, colour: int, n: int = 40) -> np.ndarray:
    return coloured_shapes.draw(np.tile([shape, colour], (n, 1)), np.random.default_rng(3)) / 255


def test_shapes_are_what_their_names_say() -> None:
    light = [coloured(shape, 0).max(3) for shape in range(4)]
    value = [of.max((1, 2), keepdims=True) for of in light]
    area = [(of / top).sum((1, 2)) for of, top in zip(light, value, strict=True)]  # of the same places and sizes
    span = [np.sqrt(area[0] / np.pi)] * 4
    expected = (np.pi, 4 * 0.85**2, 0.55 * 1.7**2, 4 * 2 * 0.3 - 4 * 0.3**2)
    for found, r, of in zip(area, span, expected, strict=True):
        np.testing.assert_allclose(found / r**2, of, rtol=0.15)
    triangle = light[2] > 0
    below = np.array([one[len(one) // 2 :].sum() for one in (of[of.any(1)] for of in triangle)])
    assert (below > 0.6 * triangle.sum((1, 2))).all(), "it stands on its base"


def test_colours_are_what_their_names_say() -> None:
    for colour, expected in enumerate(((1, 0, 0), (0.5, 1, 0), (0, 1, 1), (0.5, 0, 1))):
        x = coloured(1, colour).reshape(40, -1, 3)
        seen = x[np.arange(40), x.sum(2).argmax(1)]
        np.testing.assert_allclose((seen / seen.max(1, keepdims=True)), np.broadcast_to(expected, (40, 3)), atol=0.2)


def test_no_training_picture_has_both_labels() -> None:
    data, test = loaded(make("conditional/shapes-colours"))
    known = data.train["y"] >= 0
    assert known.sum(1).unique().tolist() == [1] and known.sum(0).tolist() == [128, 128]
    assert (data.valid["y"] >= 0).all() and (test["y"] >= 0).all() and data.spec.attributes == (4, 4)
    assert data.spec.shape == (3, 16, 16)


class Colourist:
    """Draws pictures of both attributes, or of the one that it knows."""

    def __init__(self, *known: int):
        self.known = known

    def sample(self, y: Tensor) -> Tensor:
        rng = np.random.default_rng(len(y))
        wanted = rng.integers(4, size=y.shape)
        wanted[:, list(self.known)] = y[:, list(self.known)]
        return torch.from_numpy(coloured_shapes.draw(wanted, rng)).float().permute(0, 3, 1, 2) / 255


def test_who_knows_one_attribute_has_both_in_a_quarter_of_its_samples() -> None:
    task = make("conditional/shapes-colours", n_test=600)
    data, test = loaded(task)
    found = []
    for known in ((0, 1), (0,), (1,)):
        scores = scored(type(task), task.observe(Colourist(*known), data, test, [])).metrics
        found.append({key.split("[")[0] + key.partition("]")[2]: value for key, value in scores.items()})
    both, shape, colour = found
    assert both["control_exact"] > 0.95 and both["control_accuracy/shape"] > 0.95 and both["control_accuracy/colour"] > 0.97
    assert shape["control_exact"] == pytest.approx(0.25, abs=0.07) == colour["control_exact"]
    assert shape["control_accuracy/shape"] > 0.95 and shape["control_accuracy/colour"] == pytest.approx(0.25, abs=0.07)
    assert colour["control_accuracy/colour"] > 0.97 and colour["control_accuracy/shape"] == pytest.approx(0.25, abs=0.07)
