"""Variational Bayesian last layers (Harrison, Willes and Snoek 2024).

The features phi = f_theta(x) are deterministic, the last layer has a Gaussian posterior, and both are trained on

    L = (1/B) sum_i bound_i + (1/N) [log p(Sigma) - KL(q || p)]

where ``bound`` is a closed-form lower bound of E_q log p(y | phi) (:mod:`elboard.methods.bayesian.vbll_heads`) for logits W phi + e
(``variant=discriminative``, D-VBLL) or for Gaussian features of each class (``variant=generative``, G-VBLL). One pass of the network gives
a prediction: the softmax of n_samples sampled logits, or a closed form (one sample). OOD score: one minus the largest averaged probability;
for G-VBLL also ``ood=density``, minus log p(phi).

Differences from the paper: the shared backbone, whose features are unbounded rectified activations; full joint training only; G-VBLL
begins with the spread and noise of D-VBLL. 32 draws as the task asks (20). The weight decay of the features is not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.method import Bases
from elboard.bench.options import Positive
from elboard.bench.task import Batch, DataSpec
from elboard.methods.bayesian.vbll_heads import DiscriminativeHead, GenerativeHead
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="vbll",
    title="Variational Bayesian last layer",
    family="bayesian",
    home="calibration/mnist",
    paper="012",
    cite="Harrison, Willes and Snoek 2024",
    splits=True,
    defaults="library",
)


class VBLL(ClassifierMethod, MaximumProbability):
    """The shared backbone with a variational last layer."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        variant: Literal["discriminative", "generative"] = "discriminative"
        covariance: Literal["diagonal", "dense"] = "diagonal"
        wishart_scale: Positive = 1.0  # of the prior of the noise; the authors' package
        ood: Literal["probability", "density"] = "probability"
        optimizer: str = "adamw"
        weight_decay: float = 1e-4  # of the features; the head has its prior
        clip: float = 1.0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        generative = config.variant == "generative"
        if generative and config.covariance == "dense" or config.ood == "density" and not generative:
            raise UserError("covariance=dense needs variant=discriminative, ood=density needs variant=generative")
        size = self.backbone.n_features, spec.n_classes
        if generative:
            self.head = GenerativeHead(*size, config.wishart_scale)
        else:
            self.head = DiscriminativeHead(*size, config.covariance, config.wishart_scale)

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.backbone.parameters())}, {"params": list(self.head.parameters()), "weight_decay": 0.0}]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features, y = self.features(batch["x"]), batch["y"]
        bound, kl = self.head.bound(features, y).mean(), self.head.kl()
        penalty = (kl - self.head.log_prior_of_noise()) / self.spec.n_train
        accuracy = (self.head(features).argmax(1) == y).float().mean()
        return {"loss": penalty - bound, "bound": bound, "kl": kl, "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities: ``(n_samples, B, C)`` of sampled logits, ``(1, B, C)`` for G-VBLL."""
        return self.head.predict(self.features(x), n_samples)

    def ood_score(self, x: Tensor) -> Tensor:
        return -self.head.log_density(self.features(x)) if self.config.ood == "density" else super().ood_score(x)
