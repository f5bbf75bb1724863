"""Linearised implicit variational inference (Uppal, Stensbo-Smidt, Boomsma and Frellsen 2023): weights from a generator.

    theta = c + g(z) + sigma eps,   ELBO = E_q[log p(D | theta) + log p(theta)] + H,   p(theta) = N(0, prior_sd^2 I)
    H = E_z (d / 2) log(s_min(dg/dz)^2 + sigma^2) + constants          (see :mod:`elboard.methods.parts.implicit`, section 3.3)
    p(y | x) = (1/S) sum_s softmax f(x; theta_s)

One generator of matrices, X -> A X B + C, makes the weights of all layers, so that these may be correlated; ``sharing=layers`` gives each
layer a generator and a z of its own. The loss is the ELBO over -N ("elbo"), or with ``weighting=released`` what the released code
minimises, which is none: CE - (8.5e-4 / B) log p(theta) - H / B, B the batch, as if a batch were all data.

Differences from the paper: the shared networks, with d = 64 and matrices of 32 x 32 for a network of 235,000 weights (the paper: 1,600 and
420 x 420 for half a million); one draw a step instead of ten; the constant c, the last layer's bias in the paper, begins where the shared
network's weights begin; three steps towards s_min (five); Adam as of the family.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.implicit_weights import ImplicitWeights
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="livi",
    title="Linearised implicit variational inference",
    family="bayesian",
    home="calibration/fashion-mnist",
    paper="083",
    cite="Uppal et al. 2023",
    defaults="convention",
)


class LIVI(ImplicitWeights, ClassifierMethod, MaximumProbability):
    """The shared classifier, whose weights are c."""

    @dataclass(kw_only=True)
    class Config(ImplicitWeights.Config, ClassifierMethod.Config):
        backbone: Literal["mlp", "cnn", "pooled", "resnet20"] = "mlp"
        generator: Literal["dense", "matrix"] = "matrix"
        latent: int = 8
        widths: list[Count] = field(default_factory=lambda: [32, 32])
        start_sd: float = 0.02
        entropy: Literal["jacobian", "smallest"] = "smallest"
        samples: int = 1
        schedule: Literal["constant", "cosine"] = "cosine"

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.begin_law()

    def logits(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """``(S, B, C)`` of S draws of the weights."""
        n = len(next(iter(weights.values())))
        return torch.stack([functional_call(self, {name: w[s] for name, w in weights.items()}, (x,)) for s in range(n)])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        def error(weights: dict[str, Tensor]) -> Tensor:
            logits = self.logits(weights, batch["x"])
            return F.cross_entropy(logits.flatten(0, 1), batch["y"].repeat(len(logits)))

        return self.bound(error, len(batch["y"]))

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one draw of the weights for each sample, common to the inputs."""
        return torch.cat([self.logits(self.draw(1)[0], x).softmax(2) for _ in range(n_samples)])
