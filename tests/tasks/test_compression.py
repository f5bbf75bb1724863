"""The tasks of compression: the maps that are best at each rank, what of a network is counted, and what is measured of known networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from scipy import linalg, optimize
from sklearn.decomposition import PCA
from torch import nn

from elboard.bench.evidence import scored
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.compression import best_maps, truncation_errors
from elboard.bench.papers import paper
from elboard.bench.registry import find
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.parts.low_rank import parameters_of
from elboard.results.tuning import tuning_of
from elboard.sweeps.search import at_random
from elboard.tasks.compression.linear import DIMENSIONS, WORLDS, LinearMaps, examples, worlds
from elboard.tasks.compression.mnist import DENSE, SHARES, SizedMNIST


def sized(budget: str = "smoke", **options: Any) -> SizedMNIST:
    given = find("task", "compression/mnist").budgets()[budget]["task"]
    return SizedMNIST(SizedMNIST.Config(**{**given, **options}), budget, 0)


# --- linear maps -------------------------------------------------------------------------------------


def test_best_maps_are_scipys_decomposition_and_scikit_learns_components() -> None:
    a = np.random.default_rng(0).normal(size=(6, 6))
    u, s, vt = linalg.svd(a)
    found = best_maps(a, np.eye(6))
    for b in range(1, 7):
        np.testing.assert_allclose(found[b - 1], (u[:, :b] * s[:b]) @ vt[:b], atol=1e-10)
    x = np.random.default_rng(1).normal(size=(500, 6)) @ a
    x -= x.mean(0)
    projectors = best_maps(np.eye(6), x.T @ x / 500)
    axes = PCA(6).fit(x).components_
    for b in range(1, 7):
        np.testing.assert_allclose(projectors[b - 1], axes[:b].T @ axes[:b], atol=1e-8)


def test_no_map_of_the_same_rank_is_better() -> None:
    """Of an A and a C that are neither the identity, against descent from many starts."""
    generator = np.random.default_rng(2)
    a, root = generator.normal(size=(3, 3)), generator.normal(size=(3, 3)) + 2 * np.eye(3)
    covariance = root @ root.T

    def loss(m: np.ndarray) -> float:
        return float(np.trace((m - a) @ covariance @ (m - a).T))

    found = best_maps(a, covariance)
    for b in (1, 2):
        assert np.linalg.matrix_rank(found[b - 1]) == b
        descents = [
            optimize.minimize(lambda z, b=b: loss(z[: 3 * b].reshape(3, b) @ z[3 * b :].reshape(b, 3)), generator.normal(size=6 * b)).fun
            for _ in range(8)
        ]
        assert loss(found[b - 1]) == pytest.approx(min(descents), rel=1e-6)


def test_errors_are_relative() -> None:
    best = best_maps(np.diag([4.0, 3.0]), np.eye(2))
    assert truncation_errors(best, best).max() == 0
    np.testing.assert_allclose(truncation_errors(np.zeros_like(best), best), 1)
    np.testing.assert_allclose(truncation_errors(best[::-1], best), [3 / 4, 3 / 5])


class Maps:
    """Knows the products that it is given."""

    def __init__(self, products: np.ndarray):
        self.found = torch.from_numpy(products).float()

    def products(self) -> torch.Tensor:
        return self.found


def test_linear_maps_are_what_is_said_of_them() -> None:
    maps, roots = worlds()
    np.testing.assert_allclose(np.linalg.svd(maps[0])[1], np.arange(10, 0, -1) / 5)
    np.testing.assert_allclose(np.linalg.eigvalsh(roots[1] @ roots[1]) ** 0.5, np.arange(1, 11) / 5)
    batch = examples(40_000, torch.Generator().manual_seed(0))
    for w in range(2):
        x, y = (batch[name][:, w].double().numpy() for name in ("x", "y"))
        np.testing.assert_allclose(y, x @ maps[w].T, atol=1e-4)
        np.testing.assert_allclose(x.T @ x / len(x), roots[w] @ roots[w], atol=0.15)


def test_the_best_maps_have_no_error_and_the_least_squared_one() -> None:
    task = LinearMaps(LinearMaps.Config(n_valid=20_000), "lite", 0)
    data, test = loaded(task)
    maps, roots = worlds()
    best = np.stack([best_maps(a, root @ root) for a, root in zip(maps, roots, strict=True)])
    found = task.score(task.observe(Maps(best), data, test, []).arrays)
    assert found["truncation_error"] < 1e-5 and set(found) == {"truncation_error", "rank_mse", *(f"truncation_error/{w}" for w in WORLDS)}
    assert task.validate(Maps(best), data)["rank_mse"] == pytest.approx(found["rank_mse"], rel=0.03)
    squares = (np.arange(10, 0, -1) / 5) ** 2
    assert found["rank_mse"] == pytest.approx(np.mean([squares[b:].sum() for b in range(1, 11)]) / DIMENSIONS, rel=1e-4)
    whole = np.stack([np.repeat(a[None], 10, 0) for a in maps])  # of no rank but the last
    other = task.score(task.observe(Maps(whole), data, test, []).arrays)
    assert other["rank_mse"] < 1e-8 and other["truncation_error/pca"] == pytest.approx(3)  # |I - P_1| / |P_1|


# --- sizes -------------------------------------------------------------------------------------------


def test_the_dense_network_has_the_parameters_that_are_said() -> None:
    plain = Softmax(Softmax.Config(backbone="mlp"), ClassSpec((1, 28, 28), 10, n_classes=10))
    assert parameters_of(plain) == DENSE


class Constant(nn.Module):
    """Predicts one class, with as many parameters as it is given."""

    def __init__(self, label: int, parameters: int):
        super().__init__()
        self.label, self.weight = label, nn.Parameter(torch.zeros(parameters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(torch.full((len(x),), self.label), 10).float()


class Known:
    """Gives a network that predicts the number of the size, which is too large where ``over`` says so."""

    def __init__(self, sizes: tuple[int, ...], over: int = -1):
        self.sizes, self.over = sizes, over

    def compressed(self, parameters: int) -> nn.Module:
        at = self.sizes.index(parameters)
        return Constant(at, DENSE if at == self.over else parameters - 5)


def test_metrics_of_known_networks() -> None:
    task = sized()
    data, test = loaded(task)
    assert data.spec.sizes == tuple(int(share * DENSE) for share in SHARES)
    share = [(test["y"] == label).float().mean().item() for label in range(5)]
    found = task.score(task.observe(Known(data.spec.sizes), data, test, []).arrays)
    names = ["/p5", "/p10", "/p20", "/p30", ""]
    assert [found[f"accuracy{name}"] for name in names] == pytest.approx(share)
    assert [found[f"parameter_share{name}"] for name in names] == pytest.approx([(size - 5) / DENSE for size in data.spec.sizes])
    assert found["fitting_accuracy"] == pytest.approx(sum(share[:4]) / 4)
    over = task.score(task.observe(Known(data.spec.sizes, over=1), data, test, []).arrays)
    assert over["parameter_share/p10"] == 1 and over["accuracy/p10"] == found["accuracy/p10"]
    assert over["fitting_accuracy"] == pytest.approx((share[0] + share[2] + share[3]) / 4), "a network that is too large counts nothing"
    assert task.validate(Known(data.spec.sizes), data)["accuracy/p10"] == pytest.approx((data.valid["y"] == 1).float().mean().item())


def test_evidence_of_all_images_gives_metrics_of_those_kept() -> None:
    classes = np.random.default_rng(0).integers(0, 10, (10_000, 5))
    arrays = {"classes": classes, "y": classes[:, 4], "sizes": np.stack([[int(s * DENSE) for s in SHARES]] * 2, axis=1)}
    observed = type("Observed", (), {"arrays": arrays, "pictures": {}})()
    found = scored(SizedMNIST, observed)
    assert found.metrics["accuracy"] == 1 and found.metrics["accuracy/p10"] == pytest.approx(0.1, abs=0.02)
    assert any(key.startswith("accuracy[n=") for key in found.metrics) and "kept_test" in found.evidence
    assert sum(array.nbytes for array in found.evidence.values()) <= 16 * 1024
    assert found.metrics["parameter_share/p20"] == pytest.approx(0.2, abs=1e-5)


def test_networks_that_are_compared_have_as_many_trials() -> None:
    """Of Maestro the rate and lambda were not searched together; its one rate was against five of the others."""
    sides = {name: side for name, side in paper("maestro-lod").configurations.items() if side.method != "maestro-linear"}
    assert len(sides) == 5
    for name, side in sides.items():
        given = side.search
        drawn = {tuple(at_random(given["space"], given["seed"], i).values()) for i in range(given["trials"])}
        assert len(drawn) == given["trials"] == 6, name
        assert tuning_of(find("method", side.method).card, "compression/mnist", side.set, given).trials == 6, name


def test_no_trial_is_at_a_rate_at_which_products_diverge() -> None:
    """From 0.07 on they did; a third of Maestro's trials would have been lost, and a run with them."""
    sides = paper("maestro-lod").configurations
    for name in ("maestro", "maestro-no-lasso", "fixed-low-rank"):
        assert max(sides[name].search["space"]["lr"]) == 0.05, name
