"""Descent with dropout and the diffusions that are to have its law: errors of expectations, and their order in the learning rate.

The network is the paper's: f(x) = sum_r a_r tanh(w_r . (x, 1)) with ten units, the loss 1/(2 n) sum_i (f(x_i) - y_i)^2 of 20 points of a
sine, p = 0.8 of the units kept, one mask a step. The seed draws the start, the same for all rates eps = 0.2, 0.1, 0.05, 0.025; after the
time T = 0.4, T / eps steps of descent, expectations are compared for two models:

* ``tanh``: all weights move. Descent is simulated here, ``runs`` paths of each rate, by automatic differentiation of its loss.
* ``linear``: the a_r alone move. The moments of descent are then known exactly (:func:`elboard.bench.metrics.dynamics.linear_moments`).

Of each model and rate the differences of E theta (``mean``), E theta^2 (``second``) and E R (``loss``, that without masks) are vectors over
weights. ``weak_error/...`` is the root of an estimate without bias of their squared length, in the geometric mean of the rates;
``weak_rate/...`` the slope of its logarithm against log eps: the weak order. ``weak_signal/...`` is the least ratio of a difference and its
standard error. ``variance_share/...``: sum over weights of their variances, the diffusion's over that of descent, at the smallest rate.

Noise of the averages: from each value is taken what a linear variate of mean 0 explains of it. Deviations of paths from their centre are
O(sqrt eps), those from their variates O(eps). At the time 2 differences of order 2 were within the noise of 200 paths (seed 1000), while
those without any noise fell by orders of 0.98 to 1.25 and 1.8 to 2.3 at all times from 0.2 to 2; T is short so that they are above it.

Evidence: ``settings`` (S, 2), number of the model and rate; ``difference`` and ``error`` (S, 2 P + 1), ``variances`` (S, 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.kinds.dynamics import DiffusionSpec
from elboard.bench.metrics.dynamics import linear_moments, rooted
from elboard.bench.metrics.rates import rate
from elboard.bench.options import Count, Positive, Range
from elboard.bench.task import Data, Observed, Task, Test

CARD = TaskCard(
    name="dynamics/weak-order",
    title="Weak order of diffusions in the place of descent with dropout",
    needs=("DropoutDiffusion",),
    primary="weak_error/mean",
    metrics=(
        "weak_error/mean",
        "weak_rate/tanh-mean",
        "weak_rate/tanh-loss",
        "weak_rate/linear-mean",
        "weak_rate/linear-loss",
        "weak_signal/tanh-mean",
        "variance_share/tanh",
    ),
    selection="weak_error/linear-mean",
    varies="seed and split",
    papers=("009",),
    full="20,000 instead of 4,000 paths of each rate, and a step of a quarter the length; the network and rates of lite",
    work={"lite": (20, 32_000), "full": (20, 160_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "keep": "last"},
        "task": {"steps": 4, "step": 0.05, "rates": [0.2, 0.1], "samples": 20, "runs": 20},
    },
    "lite": {"train": {"epochs": 4, "keep": "last", "validate_every": 0}},
    "full": {"train": {"epochs": 16, "keep": "last", "validate_every": 0}, "task": {"step": 0.003125, "samples": 20_000, "runs": 80_000}},
}
MODELS = ("linear", "tanh")
GROUPS = ("mean", "second", "loss")
UNITS, POINTS = 10, 20
AT_ONCE = 4000  # paths of descent


class TwoLayers:
    """The network of the task: losses of weights ``(..., m, 3)``.

    Args:
        x, y: points ``(n,)``.
    """

    def __init__(self, x: Tensor, y: Tensor, keep: float):
        self.x, self.y, self.keep = x, y, keep

    def units(self, theta: Tensor) -> Tensor:
        """a_r tanh(w_r . (x, 1)), ``(..., m, n)``."""
        return theta[..., :1] * torch.tanh(theta[..., 1:2] * self.x + theta[..., 2:])

    def risk(self, theta: Tensor, mask: Tensor | None = None) -> Tensor:
        """R ``(...)``, or R_drop for a ``mask`` (..., m) of 0 and 1/p."""
        units = self.units(theta)
        out = units.sum(-2) if mask is None else torch.einsum("...r,...rn->...n", mask, units)
        return (out - self.y).square().mean(-1) / 2

    def expected(self, theta: Tensor) -> Tensor:
        """L = E R_drop."""
        return self.risk(theta) + (1 / self.keep - 1) / 2 * self.units(theta).square().sum(-2).mean(-1)


def slope(loss: Callable[..., Tensor], theta: Tensor, *more: Tensor) -> Tensor:
    """The gradients of the ``loss`` (...) of weights (..., m, 3)."""
    with torch.enable_grad():
        at = theta.detach().requires_grad_()
        return torch.autograd.grad(loss(at, *more).sum(), at)[0]


class WeakOrder(Task):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        rates: list[Positive] = field(default_factory=lambda: [0.2, 0.1, 0.05, 0.025])
        step: Positive = 0.0125  # of the time in which diffusions are integrated
        steps: Count = 8  # of an epoch
        keep: Annotated[float, Range(above=0, below=1)] = 0.8
        samples: Annotated[int, Range(2)] = 4000  # paths of a diffusion
        runs: Annotated[int, Range(2)] = 16_000  # of descent

    def load_train(self) -> Data:
        c, generator = self.config, Generator().manual_seed(self.seed)
        x = torch.linspace(-1, 1, POINTS)
        a = torch.randn(UNITS, 1, generator=generator) / math.sqrt(UNITS)
        start = torch.cat([a, 2 * torch.randn(UNITS, 1, generator=generator), torch.randn(UNITS, 1, generator=generator)], dim=1)
        settings = tuple((model, eps) for model in MODELS for eps in c.rates)
        spec = DiffusionSpec((UNITS, 3), POINTS, settings=settings, keep=c.keep, step=c.step, samples=c.samples)
        return Data(spec, {"x": x, "y": torch.sin(math.pi * x)}, shared={"start": start})

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> OwnBatches:
        return OwnBatches(seed, self.config.steps)

    def _network(self, data: Data) -> TwoLayers:
        return TwoLayers(*(data.train[name].double().to(self.device) for name in ("x", "y")), self.config.keep)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        seen = self._compared(method, data, "linear")
        return {"weak_error/linear-mean": self.measure(seen, None)["weak_error/linear-mean"]}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        of = [self._compared(method, data, model) for model in MODELS]
        return Observed({name: np.concatenate([one[name] for one in of]) for name in of[0]})

    def _compared(self, method: Any, data: Data, model: str) -> dict[str, np.ndarray]:
        """The arrays of the settings of ``model``."""
        network, time, rows = self._network(data), method.time(), []
        for i, paths in enumerate(zip(*method.paths(), strict=True)):
            of, eps = data.spec.settings[i]
            if of != model:
                continue
            found = moments(network, *(each.double() for each in paths))
            steps, start = round(time / eps), data.shared["start"].double().to(self.device)
            truth = exactly(network, start, eps, steps) if model == "linear" else self._simulated(network, start, eps, steps)
            rows.append(
                (found["value"] - truth["value"], np.hypot(found["error"], truth["error"]), found["variance"], truth["variance"], eps)
            )
        difference, error, variance, of_descent, rates = (np.array(column) for column in zip(*rows, strict=True))
        settings = np.stack([np.full(len(rates), float(MODELS.index(model))), rates], axis=1)
        singles = {"difference": difference.astype(np.float32), "error": error.astype(np.float32)}
        return {"settings": settings, **singles, "variances": np.stack([variance, of_descent], axis=1)}

    def _simulated(self, network: TwoLayers, start: Tensor, eps: float, steps: int) -> dict[str, Any]:
        """:func:`moments` of descent with dropout; masks belong to the task."""
        generator, keep, parts = Generator().manual_seed(self.seed + 1), network.keep, []
        for at in range(0, self.config.runs, AT_ONCE):
            runs = min(AT_ONCE, self.config.runs - at)
            theta, linear, centre = start.expand(runs, -1, -1), start.new_zeros(runs, *start.shape), start
            for _ in range(steps):
                mask = (torch.rand(runs, UNITS, generator=generator).double() < keep).to(start) / keep
                mean, hessian = slope(network.expected, centre), torch.func.hessian(network.expected)(centre)
                about = slope(network.risk, centre.expand(runs, -1, -1), mask) - mean
                linear = linear - eps * (torch.einsum("rcqd,nqd->nrc", hessian, linear) + about)
                theta = theta - eps * slope(network.risk, theta, mask)
                centre = centre - eps * mean
            parts.append((theta, linear))
        theta, linear = (torch.cat(each) for each in zip(*parts, strict=True))
        return moments(network, theta, linear, centre)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found: dict[str, float] = {}
        for i, model in enumerate(MODELS):
            at = observed["settings"][:, 0] == i
            if not at.any():
                continue
            eps, (mine, descent) = observed["settings"][at, 1], observed["variances"][at].T
            for group, columns in _columns(observed["difference"].shape[1]).items():
                d, se = (observed[name][at][:, columns].astype(np.float64) for name in ("difference", "error"))
                errors = np.array([rooted(*row) for row in zip(d**2, se, strict=True)])
                found[f"weak_error/{model}-{group}"] = float(np.exp(np.log(errors).mean()))
                found[f"weak_rate/{model}-{group}"] = rate(1 / eps, errors, 0.0)
                found[f"weak_signal/{model}-{group}"] = float((errors / np.sqrt(np.maximum((se**2).sum(1), 1e-300))).min())
            found[f"variance_share/{model}"] = float(mine[eps.argmin()] / max(descent[eps.argmin()], 1e-300))
        means = [found[f"weak_error/{model}-mean"] for model in MODELS if f"weak_error/{model}-mean" in found]
        return found | {"weak_error/mean": float(np.exp(np.log(means).mean()))}


def _columns(width: int) -> dict[str, slice]:
    weights = width // 2
    return dict(zip(GROUPS, (slice(weights), slice(weights, 2 * weights), slice(2 * weights, None)), strict=True))


def moments(network: TwoLayers, theta: Tensor, linear: Tensor, centre: Tensor) -> dict[str, Any]:
    """Of paths ``(N, m, 3)`` with variates ``linear`` of mean 0: estimates ``value`` (2 P + 1,) of E theta, E theta^2 and E R, their
    standard ``error``, and the sum of the ``variance`` of the weights."""
    flat, variates, at = theta.flatten(1), linear.flatten(1), centre.flatten()
    loss = network.risk(theta) - variates @ slope(network.risk, centre).flatten()
    each = torch.cat([flat - variates, flat.square() - 2 * at * variates, loss[:, None]], dim=1)
    value, error = each.mean(0), each.std(0) / math.sqrt(len(each))
    variance = (flat - at).square().mean(0) - (value[: len(at)] - at).square()
    return {"value": value.cpu().numpy(), "error": error.cpu().numpy(), "variance": float(variance.sum())}


def exactly(network: TwoLayers, start: Tensor, eps: float, steps: int) -> dict[str, Any]:
    """The same of descent with dropout of the a_r alone."""
    one = start.clone()
    one[:, 0] = 1
    features, y = network.units(one).cpu().numpy(), network.y.cpu().numpy()
    h, b = features @ features.T / len(y), features @ y / len(y)
    mean, second = linear_moments(h, b, network.keep, eps, steps, start[:, 0].cpu().numpy())
    theta, squares = start.cpu().numpy().copy(), start.square().cpu().numpy()
    theta[:, 0], squares[:, 0] = mean, second.diagonal()
    loss = ((h * second).sum() - 2 * b @ mean + (y**2).mean()) / 2
    value = np.concatenate([theta.ravel(), squares.ravel(), [loss]])
    return {"value": value, "error": np.zeros(len(value)), "variance": float(second.trace() - mean @ mean)}
