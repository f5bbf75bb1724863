"""VRA-True, the operation that variational rectified activation approximates, by the densities themselves (Xu, Lian, Liu and Tao 2023).

Of each feature, the g that maximises E_in[g(z)] - E_out[g(z)] - E_in[(g(z) - z)^2] / (2 lambda) is

    g*(z) = z + lambda (1 - p_out(z) / p_in(z)),   at least 0;   score(x) = - log sum_c exp(W g*(z) + b)_c

Densities are histograms, the ratio (h_out + 1e-8) / (h_in + 1e-8). p_out is of the very images that are to be detected: an oracle, which a
task tells them (:meth:`VRATrue.told`), each set by itself. Untold, p_out is p_in, g* the identity and the score the energy.

g* is optimal for the sum of features and not for the score, in which W weighs them: where a class has a negative sum of weights, what
amplifies all features lowers its logit. It need be no upper bound of the AUROC.

Differences from the paper, whose lambda and bins could not be read: ``strength`` is lambda in multiples of the mean of all training
features; p_in is of the training features, in equal bins of each dimension from 0 to its largest one, and one more bin for what is larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.ood import OODScorer, OutlierOracle
from elboard.bench.method import Bases
from elboard.bench.options import Count, Positive
from elboard.bench.task import DataSpec
from elboard.methods.ood.base import CHUNK, refuse_negative
from elboard.methods.ood.energy import Energy

CARD = MethodCard(
    name="vra-true",
    title="Optimal rectification, of known densities",
    family="ood",
    home="ood/digits",
    paper="069",
    cite="Xu et al. 2023",
    bases={"classifier": {"method": "softmax"}},
    defaults="convention",
    oracle="the out-of-distribution test images",
)
LEAST = 1e-8  # added to both densities, as in the official code


@dataclass(frozen=True)
class Told(OODScorer):
    """The oracle once it was told images: ``ratio`` (D, bins + 1) is p_out / p_in of each bin."""

    oracle: VRATrue
    ratio: Tensor

    def ood_score(self, x: Tensor) -> Tensor:
        of, features = self.oracle, self.oracle.features(x)
        return of.score(features, of.base.head(of.optimal(features, self.ratio)))


class VRATrue(Energy, OutlierOracle):
    """Attributes: inside: h_in ``(D, bins + 1)``. largest: training feature of each dimension ``(D,)``. unit: mean of all of them.

    Raises UserError in ``fit`` for a base with negative features.
    """

    @dataclass(kw_only=True)
    class Config(Energy.Config):
        strength: Positive = 1.0  # lambda, in multiples of the mean training feature
        bins: Count = 50  # as many as leave a few hundred of 10,000 training images in one

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        width = self.base.backbone.n_features
        self.register_buffer("inside", torch.zeros(width, config.bins + 1))
        self.register_buffer("largest", torch.ones(width))
        self.register_buffer("unit", torch.ones(()))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        refuse_negative(features, "vra-true")
        self.largest.copy_(features.max(0).values)
        self.unit.copy_(features.mean(dtype=torch.float64))
        self.inside.copy_(self.histogram(features))

    def bin(self, features: Tensor) -> Tensor:
        """The bin of each feature, ``(B, D)``; the last one is of what is larger than any training feature of its dimension."""
        bins, largest = self.config.bins, self.largest.to(features.device)
        at = (features / largest.clamp(min=torch.finfo(torch.float32).tiny) * bins).long().clamp(0, bins - 1)
        return torch.where(features > largest, bins, at)

    def histogram(self, features: Tensor) -> Tensor:
        """Shares ``(D, bins + 1)`` of features ``(N, D)``."""
        at = self.bin(features).t()
        counts = torch.zeros(len(at), self.config.bins + 1, dtype=torch.float64, device=at.device)
        counts.scatter_add_(1, at, torch.ones_like(at, dtype=torch.float64))
        return (counts / len(features)).float()

    @torch.no_grad()
    def told(self, outside: Tensor) -> Told:
        shares = self.histogram(torch.cat([self.features(part) for part in outside.split(CHUNK)]))
        return Told(self, (shares + LEAST) / (self.inside + LEAST))

    def optimal(self, features: Tensor, ratio: Tensor) -> Tensor:
        """g* of features ``(B, D)``."""
        suppressed = 1 - ratio.gather(1, self.bin(features).t()).t()
        return (features + self.config.strength * self.unit * suppressed).clamp(min=0)
