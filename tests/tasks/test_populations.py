"""Populations and their sparse twins: agreements, ranks, and what lies between versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading import loaded
from scipy import stats

from elboard.bench.evidence import LIMIT, scored
from elboard.bench.metrics.zoo import along, kendall
from elboard.bench.registry import find


def make():
    entry = find("task", "compression/mnist-zoo")
    cls = entry.load()
    return cls(cls.Config(**entry.budgets()["smoke"]["task"]), "smoke", 0)


def test_ranks_are_scipys():
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 6, (2, 16))
        assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert kendall(a, a) == 1 and kendall(a, -a) == -1 and kendall(a, np.ones(16)) == 0


def test_what_lies_between_versions():
    sparsity, values = np.array([0.0, 0.4, 0.3, 0.8]), np.array([1.0, 0.9, 0.95, 0.5])
    assert along(sparsity, values, 0.2) == pytest.approx(0.95) and along(sparsity, values, 0.4) == 0.9
    assert along(sparsity, values, 0.8) == 0.5 and along(sparsity, values, 0.81) is None
    assert along(sparsity, values, 0.55) == pytest.approx(0.725), "between the two around the crossing"


def test_layers_that_are_rounded_down_have_the_sparsity_that_was_asked_for():
    """90 and 95 per cent of each layer of the authors' network are 2,174 and 2,295 of 2,416 weights."""
    sizes = np.array([200, 1200, 96, 720, 200])
    shares = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)
    zeros = np.array([[[round(share * n) for n in sizes.tolist()]] * 2 for share in shares])
    right = 100 - 10 * np.arange(6)[:, None].repeat(2, 1)
    found = type(make()).measure({"right": right, "agreed": right, "zeros": zeros, "sizes": sizes, "n": np.array(100)}, None)
    of = [found[f"accuracy/s{per_cent}"] for per_cent in (50, 70, 80, 90, 95)]
    assert of == [0.9, 0.8, 0.7, 0.6, 0.5], "of the versions themselves"
    assert along(np.array([0.0, 0.9]), np.array([1.0, 0.5]), 0.95, 0.001) is None


class Twins:
    """Three networks: right on all, on three quarters, on half; a twin is wrong on every fourth image more."""

    def __init__(self, y):
        self.labels = y
        self.at = 0

    def classes(self, x):
        y = self.labels[self.at : self.at + len(x)]
        order = torch.arange(self.at, self.at + len(x)) % 4
        self.at += len(x)
        first = torch.stack([y, torch.where(order == 0, (y + 1) % 10, y), torch.where(order < 2, (y + 1) % 10, y)])
        return torch.stack([first, torch.where(order == 3, (y + 2) % 10, first), torch.where(order == 3, (y + 2) % 10, first)])

    def zeros(self):
        zeros = torch.tensor([[0, 0], [5, 20], [9, 80]])[:, None].repeat(1, 3, 1)
        return zeros, torch.tensor([10, 90])


def test_metrics():
    task = make()
    data, test = loaded(task)
    scores = scored(task, task.observe(Twins(test["y"]), data, test, []))
    m = scores.metrics
    assert m["accuracy/original"] == pytest.approx(0.75) and m["accuracy"] == pytest.approx(0.5) and m["agreement"] == pytest.approx(0.75)
    assert m["sparsity"] == pytest.approx(0.89) and m["sparsity/layer-1"] == pytest.approx(0.9)
    assert m["sparsity/layer-2"] == pytest.approx(8 / 9)
    assert m["rank_correlation"] == pytest.approx(1) and m["linear_correlation"] == pytest.approx(1)
    assert m["accuracy/s50"] == pytest.approx(0.5) and m["agreement/s80"] == pytest.approx(0.75) and "accuracy/s90" not in m
    evidence = scores.evidence
    assert type(task).score(evidence) == m and sum(of.nbytes for of in evidence.values()) < LIMIT


def test_the_largest_evidence_is_kept_whole():
    cls = type(make())
    wide = {"right": np.ones((21, 16), int), "agreed": np.ones((21, 16), int), "zeros": np.ones((21, 16, 5), int), "sizes": np.ones(5, int)}
    kept = cls.compact({**wide, "n": np.array(10_000)})
    assert set(kept) == {*wide, "n"} and kept["zeros"].dtype == np.uint16


def test_data():
    task = make()
    data, test = loaded(task)
    assert len(data.train["y"]) == data.spec.n_train == 256 and len(data.valid["y"]) == 100 and len(test["y"]) == 200
    rows = [{image.numpy().tobytes() for image in part["x"]} for part in (data.train, data.valid, test)]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]
