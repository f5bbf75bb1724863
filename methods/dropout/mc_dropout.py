"""Monte-Carlo dropout (Gal and Ghahramani 2016).

    p(y | x) = (1/S) sum_s softmax(f(x; W * m_s)),     m_s ~ Bernoulli(1 - p) for each unit, scaled by 1 / (1 - p)

The network is trained with dropout, which is variational inference with a posterior of randomly masked weights (their section 3), and keeps
it on for S passes at test time. Batch normalisation, where the backbone has it, stays in evaluation mode.

Differences from the paper: the shared backbone, whose dropout follows each pooling and the hidden layer ("cnn"), each hidden layer ("mlp")
or the last pooling ("resnet20"), so that no mask falls on the input; Adam; weight decay, in the paper the prior's precision, is an option
and off, as for the softmax baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.masks import dropout_on
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="mc-dropout",
    title="Monte-Carlo dropout",
    family="dropout",
    home="calibration/mnist",
    cite="Gal and Ghahramani 2016",
    splits=True,
    defaults="convention",
)


class MCDropout(ClassifierMethod, MaximumProbability):
    """The shared classifier with dropout, averaged over masks."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        dropout: float = 0.25

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one mask for each sample, image and unit."""
        with dropout_on(self):
            return torch.stack([self(x).softmax(1) for _ in range(n_samples)])
