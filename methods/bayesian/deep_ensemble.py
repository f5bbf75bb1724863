"""Deep ensembles (Lakshminarayanan, Pritzel and Blundell 2017).

    p(y | x) = (1/M) sum_m softmax(f(x; w_m))

The members are finished classifiers that differ in their seed: in where their weights begin and in the order of their batches. All are
trained on all training images (their section 2.4). The mean of the members' likelihoods is at least their geometric mean (Jensen), so that
its NLL is at most the mean of theirs.

Differences from the paper: without adversarial training (section 2.3), which improves accuracy, NLL and Brier score on MNIST there.
``members`` is 5, its number for most experiments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import Classifier
from elboard.bench.method import Method
from elboard.bench.options import Count, Options
from elboard.bench.task import Data
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="deep-ensemble",
    title="Deep ensemble",
    family="bayesian",
    home="calibration/mnist",
    cite="Lakshminarayanan et al. 2017",
    bases={"members": {"method": "softmax", "count": "members"}},
    defaults="paper",
)


class DeepEnsemble(Method, MaximumProbability, Classifier):
    """Averages what its members predict; nothing is learned."""

    @dataclass(kw_only=True)
    class Config(Options):
        members: Count = 5

    def fit(self, data: Data, training: Any) -> None:
        """The members are trained."""

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(M S, B, C)`` of the M members, which draw S times each: once where they are deterministic."""
        return torch.cat([member.predict(x, max(1, n_samples // self.config.members)) for member in self.all_bases()])
