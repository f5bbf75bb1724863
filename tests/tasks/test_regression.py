"""Tasks of regression: published splits, what is standardised by what, the known law of the gap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.evidence import LIMIT, scored
from elboard.bench.folders import named_by
from elboard.bench.metrics.regression import of_each
from elboard.bench.registry import discover
from elboard.bench.task import Observed
from elboard.tasks.data import fetch
from elboard.tasks.regression import base, gap

TABLES = sorted(name for name in discover("task") if name.startswith("regression/uci-"))


def made(name: str, budget: str = "smoke", seed: int = 0, **options: Any) -> base.Regression:
    entry = discover("task")[name]
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()[budget].get("task", {}), **options}), budget, seed)


def gaussian(mean: Any, sd: float) -> SimpleNamespace:
    """A method that predicts ``mean(x)``, in standardised units."""
    return SimpleNamespace(predictive=lambda x, n_samples: (mean(x)[None], torch.full((1, len(x)), sd)))


@pytest.mark.parametrize("name", TABLES)
def test_splits_are_the_published_ones_and_as_large_as_the_card_says(name: str) -> None:
    entry = discover("task")[name]
    (data_set,) = entry.card.data
    if not fetch.available(data_set):
        pytest.skip(f"{data_set} is neither cached nor in ELBOARD_DATA")
    task = made(name, "lite", seed=1)
    data, test = loaded(task)
    assert len(data.train["x"]) == entry.card.work["lite"][0] and len(test["x"]) == entry.card.examples["lite"]["*"]
    assert len(data.valid["x"]) == len(task._rows()[1]) // 10
    source = next(of for of in fetch._table()[data_set]["sources"] if of["kind"] == "local")
    folder = named_by("ELBOARD_DATA")
    if not folder or not (folder / source["files"]["rows"]["path"]).exists():
        return
    of = (folder / source["files"]["rows"]["path"]).parent
    for seed in (0, 1, int((of / "n_splits.txt").read_text()) - 1):
        trained, valid, tested = base.parts(len(task._rows()[1]), seed)
        assert (tested == np.sort(np.loadtxt(of / f"index_test_{seed}.txt"))).all()
        assert (np.union1d(trained, valid) == np.sort(np.loadtxt(of / f"index_train_{seed}.txt"))).all()


@pytest.mark.parametrize("n", [240, 308, 1599])
def test_nothing_that_any_split_tests_validates(n: int) -> None:
    found = [base.parts(n, seed) for seed in range(21)]
    (valid,) = {tuple(valid) for _, valid, _ in found}
    assert len(valid) == n // 10 and not set(valid) & {row for _, _, test in found for row in test.tolist()}
    assert all(sorted(np.concatenate(parts)) == list(range(n)) for parts in found)
    assert len({tuple(test) for _, _, test in found}) == 20 and (found[0][2] == found[20][2]).all()


def test_training_examples_alone_standardise() -> None:
    task = made("regression/uci-yacht")
    data, test = loaded(task)
    x, y = task._rows()
    train = data.train["row"].numpy()
    mean, sd = x[train].mean(0), x[train].std(0)
    for part in (data.train, data.valid, test):
        row = part["row"].numpy()
        np.testing.assert_allclose(part["x"], (x[row] - mean) / sd, atol=1e-5)
        np.testing.assert_allclose(data.spec.target_mean + data.spec.target_sd * part["y"].double(), y[row], atol=1e-4)
    assert data.spec.target_mean == pytest.approx(y[train].mean()) and data.spec.target_sd == pytest.approx(y[train].std())
    assert (test["target"].numpy() == y[test["row"].numpy()]).all()
    np.testing.assert_allclose(data.train["x"].mean(0), 0, atol=1e-5)


def test_an_input_that_does_not_vary_is_zero() -> None:
    part = {"x": torch.tensor([[1.0, 5.0], [3.0, 5.0]]).double(), "y": torch.tensor([0.0, 2.0]).double()}
    data = made("regression/uci-yacht").standardised(part, part)
    assert data.train["x"].tolist() == [[-1, 0], [1, 0]] and data.train["y"].tolist() == [-1, 1]


@pytest.mark.parametrize("value", [0.1, 0.998, 1.1])
@pytest.mark.parametrize("n", [7, 1000])
def test_an_input_that_does_not_vary_is_zero_however_its_mean_is_rounded(value: float, n: int) -> None:
    """The mean of equal numbers is seldom that number: deviations of 1e-16 must not be standardised to 1, nor another value to 1e14."""
    part = {"x": torch.full((n, 1), value, dtype=torch.float64), "y": torch.arange(n).double()}
    other = {"x": torch.full((1, 1), value + 0.5, dtype=torch.float64), "y": torch.zeros(1).double()}
    data = made("regression/uci-yacht").standardised(part, other)
    assert data.train["x"].abs().max() < 1e-12 and data.valid["x"].item() == pytest.approx(0.5)


@pytest.mark.parametrize(("name", "copies", "seen"), [("wine-red", 240, 40), ("concrete", 25, 2), ("yacht", 0, 0)])
def test_as_many_validation_rows_equal_a_tested_one_as_is_said(name: str, copies: int, seen: int) -> None:
    if not fetch.available(f"uci-{name}"):
        pytest.skip(f"uci-{name} is neither cached nor in ELBOARD_DATA")
    rows = np.column_stack(made(f"regression/uci-{name}", "lite")._rows())
    found = [base.parts(len(rows), seed) for seed in range(20)]
    tested = {rows[i].tobytes() for _, _, test in found for i in test}
    assert len(rows) - len(np.unique(rows, axis=0)) == copies and sum(rows[i].tobytes() in tested for i in found[0][1]) == seen


@pytest.mark.parametrize("name", ["regression/uci-yacht", "regression/gap"])
def test_scores_are_in_the_targets_unit_and_recomputed_from_evidence(name: str) -> None:
    task = made(name)
    data, test = loaded(task)
    method = gaussian(lambda x: 0.1 * x[:, 0], 0.5)
    observed = task.observe(method, data, test, []).arrays
    found, again = type(task).score(observed), type(task).score(type(task).compact(observed))
    assert found == again and sum(array.nbytes for array in type(task).compact(observed).values()) <= LIMIT
    y = test["target"].numpy() if "target" in test else gap.truth(test["at"].numpy())
    mean = data.spec.target_mean + data.spec.target_sd * 0.1 * test["x"][:, 0].double().numpy()
    assert found["rmse"] == pytest.approx(np.sqrt(((y - mean) ** 2).mean()), rel=1e-5)
    assert found["interval_width@90"] == pytest.approx(2 * 1.6448536 * 0.5 * data.spec.target_sd, rel=1e-5)


def test_evidence_of_a_large_table_is_of_a_subset_with_keys_of_its_own() -> None:
    rng = np.random.default_rng(0)
    each = of_each(rng.normal(size=(3, 4573)), rng.uniform(1, 2, (3, 4573)), rng.normal(size=4573))
    found = scored(base.UCI, Observed({name: array.astype(np.float32) for name, array in each.items()}))
    assert sum(array.nbytes for array in found.evidence.values()) <= LIMIT
    n, of = found.evidence["kept_test"].tolist()
    assert 400 <= n < of == 4573
    of_levels = (f"{name}@{level}" for name in ("coverage", "interval_width") for level in (50, 90, 95))
    whole = {"rmse", "target_nll", "crps", "coverage_error", *of_levels}
    assert found.metrics.keys() == whole | {f"{name}[n={n}]" for name in whole}
    again = base.UCI.score(found.evidence)
    assert again == {name: value for name, value in found.metrics.items() if "[" in name}


def test_validation_is_in_the_targets_unit() -> None:
    task = made("regression/uci-yacht")
    data = task.load_train()
    found = task.validate(gaussian(lambda x: torch.zeros(len(x)), 1.0), data)
    error = data.spec.target_sd * data.valid["y"].double()
    assert found["rmse"] == pytest.approx(error.square().mean().sqrt().item(), rel=1e-6)
    density = torch.distributions.Normal(0.0, data.spec.target_sd).log_prob(error)
    assert found["target_nll"] == pytest.approx(-density.mean().item(), rel=1e-6)


def test_who_knows_the_law_of_the_gap_has_the_coverage_that_it_says() -> None:
    task = made("regression/gap")
    data, test = loaded(task)
    x, spec = test["at"], data.spec
    knows = gaussian(lambda _: ((gap.truth(x) - spec.target_mean) / spec.target_sd).double(), gap.NOISE / spec.target_sd)
    found = gap.Gap.score(task.observe(knows, data, test, []).arrays)
    assert found["variance_growth/between"] == found["variance_growth/outside"] == pytest.approx(1)
    for part in gap.SLICES:
        assert found[f"coverage_error/{part}"] < 1e-4 and found[f"rmse/{part}"] < 1e-3
        assert found[f"target_nll/{part}"] == pytest.approx(0.5 * np.log(2 * np.pi * np.e * gap.NOISE**2), abs=1e-5)


def test_variance_growth_is_a_ratio_of_mean_variances() -> None:
    task = made("regression/gap")
    data, test = loaded(task)
    of = gap.slice_of(test["at"].numpy())
    assert np.bincount(of).tolist() == [100, 100, 100]
    sd = torch.tensor([1.0, 2.0, 3.0])[torch.from_numpy(of)]
    method = SimpleNamespace(predictive=lambda x, n_samples: (torch.zeros(1, len(x)), sd[None]))
    found = gap.Gap.score(task.observe(method, data, test, []).arrays)
    assert found["variance_growth/between"] == pytest.approx(4) and found["variance_growth/outside"] == pytest.approx(9)
    mixed = SimpleNamespace(predictive=lambda x, n_samples: (torch.stack([sd, -sd]), torch.ones(2, len(x))))
    found = gap.Gap.score(task.observe(mixed, data, test, []).arrays)
    assert found["variance_growth/between"] == pytest.approx(5 / 2) and found["variance_growth/outside"] == pytest.approx(10 / 2)


def test_training_inputs_lie_in_the_clusters() -> None:
    data = made("regression/gap", "lite").load_train()
    raw = gap._drawn(100, 0)["x"][:, 0]
    assert ((raw.abs() >= gap.NEAR) & (raw.abs() <= gap.FAR)).all() and (raw > 0).sum() == 50
    assert len(data.train["x"]) == 100 and not torch.equal(gap._drawn(50, 1)["x"], gap._drawn(50, 0)["x"])
