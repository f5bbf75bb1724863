"""Detection on tables: splits, standardisation, what goes wrong with features, the network that the task names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.config import resolve
from elboard.bench.registry import compatible, find
from elboard.bench.run import build
from elboard.bench.task import Task
from elboard.tasks.data import fetch
from elboard.tasks.ood.tabular import FAR, faulty, permuted

NAME = "ood/tabular"


def make(budget: str = "smoke", seed: int = 0, **options: Any) -> Task:
    entry = find("task", NAME)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()[budget]["task"], **options}), budget, seed)


def rows(x: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


@pytest.mark.parametrize("budget", ["smoke", "lite"])
def test_splits(budget: str) -> None:
    if budget == "lite" and not fetch.available("mfeat"):
        pytest.skip("mfeat is neither cached nor in ELBOARD_DATA")
    (data, test), (_, other) = loaded(make(budget)), loaded(make(budget, seed=7))
    assert data.spec.shape == ((64,) if budget == "smoke" else (123,)) and data.spec.n_classes == 6
    assert data.spec.n_train == len(data.train["x"]) and set(data.train["y"].tolist()) == set(range(6))
    parts = [data.train["x"], data.valid["x"], test["id"]["x"], test["near"]["held-out"]]
    assert len(set.union(*map(rows, parts))) == sum(map(len, parts)), "no row is there twice, nor in two parts"
    assert [*test["far"]] == ["permuted", "faulty", "noise"] and all(of.shape == test["id"]["x"].shape for of in test["far"].values())
    everything, again = ({"id": of["id"]["x"], **of["near"], **of["far"]} for of in (test, other))
    assert all(torch.equal(x, again[of]) and x.dtype == torch.float32 and x.isfinite().all() for of, x in everything.items())
    if budget == "lite":
        card = find("task", NAME).card
        assert len(data.train["x"]) == card.work["lite"][0] and len(data.valid["x"]) == 150
        assert card.examples["lite"]["*/*"] == f"{len(test['id']['x'])} against {len(test['id']['x'])} or {len(test['near']['held-out'])}"


def test_units_are_those_of_the_training_rows() -> None:
    data, test = loaded(make())
    x = data.train["x"]
    varies = x.std(0) > 0
    torch.testing.assert_close(x.mean(0), torch.zeros(64), atol=1e-6, rtol=0)
    torch.testing.assert_close(x[:, varies].std(0, correction=0), torch.ones(int(varies.sum())), atol=1e-5, rtol=0)
    assert 0 < (~varies).sum() < 20 and all((of[:, ~varies] == 0).all() for of in (x, data.valid["x"], test["id"]["x"]))


def test_permuted_and_faulty_features() -> None:
    x = np.tile(np.arange(40.0), (200, 1))
    moved = permuted(x)
    assert (np.sort(moved, axis=1) == x).all() and (moved != x).all() and (moved == moved[0]).all(), (
        "one order for all, nothing in its place"
    )
    change = faulty(x) - x
    assert ((change != 0).sum(1) == 10).all() and set(np.abs(change[change != 0])) == {FAR}
    assert 0.4 < (change[change != 0] > 0).mean() < 0.6 and len({tuple(row) for row in change != 0}) == 200


def test_shuffled_rows_keep_each_feature_and_lose_what_ties_them() -> None:
    task = make()
    x = task.load_train().valid["x"]
    mixed = task.jigsaws(x)
    assert torch.equal(mixed.sort(0).values, x.sort(0).values) and not rows(mixed) & rows(x)
    varies = x.std(0) > 0
    strength = [np.abs(np.corrcoef(of[:, varies].numpy().T)).mean() for of in (x, mixed)]  # between as many features, with themselves too
    assert strength[1] < 0.8 * strength[0]


def test_the_task_names_the_network_of_every_method_that_has_one() -> None:
    for method in (method for task, method in compatible() if task == NAME):
        spec = resolve(NAME, method, budget="smoke")
        for run in (spec, *spec.starts_from()):
            assert run.config["method"].get("backbone", "mlp") == "mlp" and not run.options, method
    assert build(resolve(NAME, "softmax", budget="smoke")).method.backbone[1].in_features == 64
