"""Variational Bayesian last layer for regression (Harrison, Willes and Snoek 2024).

    y = w^T phi + e,  phi = f_theta(x),  w ~ q = N(mean, S),  e ~ N(0, Sigma)
    L = (1/B) sum_i [log N(y_i; mean^T phi_i, Sigma) - phi_i^T S phi_i / (2 Sigma)] + (1/N) [log p(Sigma) - KL(q || N(0, s0 I))]
    p(y | x) = N(mean^T phi, phi^T S phi + Sigma)

The features are deterministic and trained with the bound; for given features and noise its maximum is the posterior of Bayesian linear
regression. One pass of the network gives the predictive, in closed form.

Differences from the paper: the shared network, whose features are unbounded rectified activations; full joint training only; the weight
decay of the features is not the paper's. As there, nothing is added to W phi that has no prior: targets are standardised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Positive
from elboard.bench.task import Batch, DataSpec
from elboard.methods.bayesian.vbll_heads import RegressionHead
from elboard.methods.parts.regressor import RegressionMethod

CARD = MethodCard(
    name="vbll-regression",
    title="Variational Bayesian last layer, regression",
    family="bayesian",
    home="regression/gap",
    paper="012",
    cite="Harrison, Willes and Snoek 2024",
    splits=True,
    defaults="library",
)


class VBLLRegression(RegressionMethod):
    """The shared network with a variational last layer, which has the noise too."""

    @dataclass(kw_only=True)
    class Config(RegressionMethod.Config):
        covariance: Literal["diagonal", "dense"] = "dense"
        wishart_scale: Positive = 0.01  # of the prior of the noise; the authors' package, for regression
        optimizer: str = "adamw"
        weight_decay: float = 1e-4  # of the features; the head has its prior
        clip: float = 1.0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.head = RegressionHead(self.backbone.n_features, config.covariance, config.wishart_scale)
        del self.log_sd

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.backbone.parameters())}, {"params": list(self.head.parameters()), "weight_decay": 0.0}]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features, y = self.features(batch["x"]), batch["y"]
        bound, kl = self.head.bound(features, y).mean(), self.head.kl()
        penalty = (kl - self.head.log_prior_of_noise()) / self.spec.n_train
        return {"loss": penalty - bound, "bound": bound, "kl": kl, "mse": (y - self.head(features)[:, 0]).square().mean()}

    def predictive(self, x: Tensor, n_samples: int = 1) -> tuple[Tensor, Tensor]:
        """One Gaussian, ``(1, B)``."""
        mean, sd = self.head.predictive(self.features(x))
        return mean[None], sd[None]
