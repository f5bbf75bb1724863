"""The posterior of a small network on a curve with a gap: how near a method's functions come to those of Hamiltonian Monte Carlo.

    y = x + 0.8 sin(2 pi x) + 0.8 sin(4 pi x) + e,   e ~ N(0, 0.3^2),   x uniform on [-0.8, -0.2] and [0.2, 0.8]

80 examples train, 40 validate, the same for all seeds; standardised. The posterior is that of the family's network, one hidden layer of 50
rectified units, with N(0, 1) on each weight and bias, and with the noise known, which methods are given too: learned noise would explain
what a function does not yet, and the comparison be of how methods under-fit. Its reference are 2,400 draws of 8 chains
(:mod:`elboard.tasks.posterior.hmc`), kept as quantiles of the function at 60 inputs from -1 to 1.

Of a method the means of its predictive's components are draws of the function; its noise does not count but for ``target_nll``.
A method whose predictive is one Gaussian shows no draws, and so no spread.

* ``spread_ratio``: standard deviation of the function over the reference's, of means over inputs in the gap (``/between``), in the clusters
  (``/inside``), beyond (``/outside``); without a slice all.
* ``spread_error``: the absolute difference of both deviations over the reference's deviation, each meaned over the slice's inputs.
* ``marginal_w1``: Wasserstein-1 distance of the function's marginal from the reference's, mean over inputs, in the standardised unit.
* ``target_nll``: expected under the known law, in the target's unit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.regression import RegressionSpec
from elboard.bench.metrics.regression import expected_log_density, log_density
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.task import DataTask
from elboard.tasks.posterior.hmc import FILE

CARD = TaskCard(
    name="posterior/bnn",
    title="A small network on a curve with a gap, against Hamiltonian Monte Carlo",
    needs=("Regressor",),
    primary="marginal_w1",
    metrics=("marginal_w1", "marginal_w1/between", "spread_ratio/between", "spread_ratio/inside", "spread_error/between", "target_nll"),
    selection="target_nll",
    papers=("083",),
    full="the data of lite for five times as long; no paper's own setting",
    work={"lite": (80, 12_000), "full": (80, 12_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 4, "batch_size": 40, "keep": "last"}, "task": {"n_samples": 8, "valid_samples": 4}},
    "lite": {"train": {"epochs": 4000, "batch_size": 80, "keep": "last", "validate_every": 1000}},
    "full": {"train": {"epochs": 20_000, "batch_size": 80, "keep": "last", "validate_every": 5000}},
}
NEAR, FAR, EDGE = 0.2, 0.8, 1.0
NOISE, WIDTH = 0.3, 50
N_TRAIN, N_VALID, N_TEST = 80, 40, 60
LEVELS = (np.arange(100) + 0.5) / 100
SLICES = ("inside", "between", "outside")


def truth(x: np.ndarray) -> np.ndarray:
    """The mean of the targets."""
    return x + 0.8 * np.sin(2 * np.pi * x) + 0.8 * np.sin(4 * np.pi * x)


def inputs() -> np.ndarray:
    """Where functions are compared, ``(60,)``."""
    return (np.arange(N_TEST) + 0.5) / N_TEST * 2 * EDGE - EDGE


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of ``n`` examples in each cluster."""
    random = np.random.default_rng(seed)
    x = random.uniform(NEAR, FAR, n) * np.where(np.arange(n) % 2, 1, -1)
    return x, truth(x) + NOISE * random.normal(size=n)


def function(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Of networks ``(C, P)`` at standardised ``x`` (N,): ``(C, N)``. P are weights, biases, weights of the output and its bias."""
    a, b, c, d = np.split(theta, (WIDTH, 2 * WIDTH, 3 * WIDTH), axis=1)
    return np.einsum("ch,cnh->cn", c, np.maximum(a[:, None] * x[:, None] + b[:, None], 0)) + d


class NetworkPosterior:
    """The unnormalised log density of the network's weights and its gradient, given the training examples."""

    size = 3 * WIDTH + 1

    def __init__(self) -> None:
        x, y = drawn(N_TRAIN, 0)
        self.of_x, self.of_y = (x.mean(), x.std()), (y.mean(), y.std())
        self.x, self.y, self.noise = self.standard(x), (y - y.mean()) / y.std(), NOISE / y.std()

    def standard(self, x: np.ndarray) -> np.ndarray:
        return (x - self.of_x[0]) / self.of_x[1]

    def __call__(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(C,)`` and ``(C, P)`` of ``(C, P)``."""
        a, b, c, d = np.split(theta, (WIDTH, 2 * WIDTH, 3 * WIDTH), axis=1)
        h = np.maximum(a[:, None] * self.x[:, None] + b[:, None], 0)  # (C, N, H)
        error = (self.y - (h @ c[:, :, None])[:, :, 0] - d) / self.noise  # (C, N)
        slope = error / self.noise
        on = (h > 0) * c[:, None]
        parts = ((slope * self.x)[:, None] @ on, slope[:, None] @ on, slope[:, None] @ h)
        gradient = np.concatenate([part[:, 0] for part in parts] + [slope.sum(1, keepdims=True)], axis=1)
        return -0.5 * ((error**2).sum(1) + (theta**2).sum(1)), gradient - theta


def slice_of(x: np.ndarray) -> np.ndarray:
    """Index in :data:`SLICES` of each input."""
    return np.select([np.abs(x) < NEAR, np.abs(x) > FAR], [1, 2], 0)


class BNN(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {"test": Examples(arrays=("at", "x", "mean", "sd", "log_density", "w1"), metrics=("*",))}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_samples: Count = 200  # draws of the function
        valid_samples: Count = 50

    def _part(self, n: int, seed: int) -> Batch:
        posterior, (x, y) = NetworkPosterior(), drawn(n, seed)
        mean, sd = posterior.of_y
        return {"x": torch.from_numpy(posterior.standard(x)).float()[:, None], "y": torch.from_numpy((y - mean) / sd).float()}

    def load_train(self) -> Data:
        mean, sd = NetworkPosterior().of_y
        spec = RegressionSpec((1,), N_TRAIN, target_mean=float(mean), target_sd=float(sd), noise_sd=float(NOISE / sd))
        return Data(spec, self._part(N_TRAIN, 0), self._part(N_VALID, 1))

    def load_test(self, data: Data) -> Test:
        """Inputs and, ``at``, which of :func:`inputs` they are."""
        return {"x": torch.from_numpy(NetworkPosterior().standard(inputs())).float()[:, None], "at": torch.arange(N_TEST)}

    def _functions(self, method: Any, x: torch.Tensor, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of the predictive's components, in the standardised unit."""
        mean, sd = (of.cpu().double().numpy() for of in method.predictive(x.to(self.device), n))
        return mean, sd

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        mean, sd = self._functions(method, data.valid["x"], self.config.valid_samples)
        found = log_density(mean, sd, data.valid["y"].double().numpy())
        return {"target_nll": float(np.log(data.spec.target_sd) - found.mean())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        f, noise = self._functions(method, test["x"], self.config.n_samples)
        at, (mean, sd) = test["at"].numpy(), NetworkPosterior().of_y
        x = inputs()[at]
        expected = expected_log_density(mean + sd * f, sd * noise, truth(x), NOISE)
        w1 = np.abs(np.quantile(f, LEVELS, axis=0) - reference()["quantiles"][:, at]).mean(0)
        return Observed({"at": at, "x": x, "mean": f.mean(0), "sd": f.std(0), "log_density": expected, "w1": w1})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        sd, of, metrics = reference()["sd"][observed["at"]].astype(np.float64), slice_of(observed["x"]), {}
        for name, part in (("", of >= 0), *((f"/{name}", of == i) for i, name in enumerate(SLICES))):
            own, true = observed["sd"][part].astype(np.float64), sd[part]
            metrics |= {
                f"marginal_w1{name}": float(observed["w1"][part].mean()),
                f"spread_ratio{name}": float(own.mean() / true.mean()),
                f"spread_error{name}": float(np.abs(own - true).mean() / true.mean()),
                f"target_nll{name}": float(-observed["log_density"][part].mean()),
            }
        return metrics


def reference() -> dict[str, np.ndarray]:
    """What Hamiltonian Monte Carlo found: ``quantiles`` (100, 60) at :data:`LEVELS`, ``mean`` and ``sd`` (60,)."""
    with np.load(FILE) as held:
        return {name: held[name] for name in held.files}
