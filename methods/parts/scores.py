"""Out-of-distribution scores that a method may have beside what it learns: mix-ins."""

from __future__ import annotations

from torch import Tensor

from elboard.bench.kinds.classification import Predictor
from elboard.bench.kinds.likelihood import LikelihoodModel
from elboard.bench.kinds.ood import OODScorer


class MaximumProbability(Predictor, OODScorer):
    """One minus the largest probability of the averaged predictive (Hendrycks and Gimpel 2017); stochastic methods average ``ood_samples``
    draws."""

    ood_samples = 32

    def ood_score(self, x: Tensor) -> Tensor:
        return 1 - self.predict(x, self.ood_samples).mean(0).max(1).values


class NegativeBound(LikelihoodModel, OODScorer):
    """Minus the evidence lower bound."""

    def ood_score(self, x: Tensor) -> Tensor:
        return -self.elbo(x)["elbo"]
