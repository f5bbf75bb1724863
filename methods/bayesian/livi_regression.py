"""Linearised implicit variational inference for regression (Uppal, Stensbo-Smidt, Boomsma and Frellsen 2023, section 5.1).

    theta = c + g(z) + sigma eps,   ELBO = E_q[sum_i log N(y_i; f(x_i; theta), s^2) + log p(theta)] + H
    H = E_z (1/2) log det(J^T J + sigma^2 I_d) + constants,   J = dg/dz        (see :mod:`elboard.methods.parts.implicit`)
    p(y | x) = (1/S) sum_s N(y; f(x; theta_s), s^2)

The generator is a network of two hidden layers from a z of ten numbers to all weights. The noise s is a point estimate, or
given by the task.

Differences from the paper: the shared network and its rate; c as of :mod:`elboard.methods.bayesian.livi`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.func import functional_call, vmap

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.implicit_weights import ImplicitWeights
from elboard.methods.parts.regressor import RegressionMethod, gaussian_nll

CARD = MethodCard(
    name="livi-regression",
    title="Linearised implicit variational inference, regression",
    family="bayesian",
    home="regression/gap",
    paper="083",
    cite="Uppal et al. 2023",
    defaults="convention",
)


class LIVIRegression(ImplicitWeights, RegressionMethod):
    """The shared network, whose weights are c."""

    @dataclass(kw_only=True)
    class Config(ImplicitWeights.Config, RegressionMethod.Config):
        pass

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.begin_law(points=("log_sd",))

    def functions(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """Means ``(S, B)`` of S draws of the weights."""
        return vmap(lambda one: functional_call(self, one, (x,)))(weights)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.bound(
            lambda weights: gaussian_nll(batch["y"], self.functions(weights, batch["x"]), self.log_sd).mean(), len(batch["y"])
        )

    def predictive(self, x: Tensor, n_samples: int = 1) -> tuple[Tensor, Tensor]:
        """``n_samples`` components, one draw of the weights for each, common to the inputs."""
        mean = self.functions(self.draw(n_samples)[0], x)
        return mean, self.log_sd.exp().expand_as(mean)
