"""The IVON optimiser on a density that is given (Shen et al. 2024, section 3 and algorithm 1).

    min_q  E_q[-log p(theta)] + KL(q || N(0, sigma0^2 I)),     q = N(m, diag 1 / (h + delta)),     delta = 1 / sigma0^2

The loss is minus the log density, with lambda = 1. Where it is a quadratic with the Hessian Lambda, as that of Bayesian linear regression,
h converges to diag Lambda and the variances to 1 / (Lambda_ii + delta), those of the best product of marginals; m to the mode.

Differences from the paper, which has posteriors of networks: the density holds its prior, so that delta is next to nothing; h is averaged
over 2,000 steps, not 100,000, since runs have 10,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.posterior import PosteriorSampler
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Positive, Range
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.bayesian.ivon_optimizer import IVON

CARD = MethodCard(
    name="ivon-density",
    title="Variational online Newton on a density",
    family="bayesian",
    home="posterior/gaussian",
    paper="020",
    cite="Shen et al. 2024",
    defaults="convention",
)


class IVONDensity(Method, PosteriorSampler):
    """A mean and a precision of each coordinate; the optimiser moves both.

    Attributes:
        precision: ``(D,)``, h + delta, as of the last epoch's end.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        optimizer: Literal["ivon"] = "ivon"
        lr: Positive = 0.1
        schedule: Literal["constant", "cosine"] = "cosine"
        momentum: Annotated[float, Range(0, below=1)] = 0.9  # beta1
        beta2: Annotated[float, Range(0, below=1)] = 0.9995
        weight_decay: Positive = 1e-6  # delta
        h0: Positive = 1.0
        samples: Count = 1  # a training step

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.oracle: Any = None
        self.mean = nn.Parameter(torch.zeros(spec.shape))
        self.register_buffer("precision", torch.full(spec.shape, config.h0 + config.weight_decay))

    def prepare(self, data: Data) -> None:
        self.oracle = data.oracle

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        c = self.config
        return IVON(groups, c.lr, 1.0, c.weight_decay, (c.momentum, c.beta2), c.h0, samples=c.samples, seed=self.seed)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """-log p at the weights that the optimiser has drawn."""
        return {"loss": -self.oracle.log_prob(self.mean[None])[0]}

    def before_validation(self) -> None:
        self.precision.copy_(self.trainer.optimizers[0].precision)

    def draw(self, n: int) -> Tensor:
        """``(n, D)`` from q."""
        noise = torch.randn(n, len(self.precision), dtype=self.precision.dtype, device=self.precision.device)
        return (self.mean + noise * self.precision.rsqrt()).detach()
