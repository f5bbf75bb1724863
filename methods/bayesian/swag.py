"""SWAG: a Gaussian through the path of stochastic gradient descent (Maddox, Garipov, Izmailov, Vetrov and Wilson 2019, algorithm 1).

    theta_SWA = (1/T) sum_i theta_i,     Sigma_diag = (1/T) sum_i theta_i^2 - theta_SWA^2,     D = last K of (theta_i - mean_i)
    theta ~ N(theta_SWA, (Sigma_diag + D D^T / (K - 1)) / 2)
          = theta_SWA + Sigma_diag^(1/2) z_1 / sqrt(2) + D z_2 / sqrt(2 (K - 1)),    z ~ N(0, I)                     (their eq. 1)
    p(y | x) = (1/S) sum_s softmax f(x; theta_s)

theta_i are ``snapshots`` of the weights at equal distances over training from the share ``start`` on, at a constant learning rate; mean_i
is the mean of the first i of them. Until then the method is the network.

Differences from the paper: the shared network; snapshots lie closer than an epoch, since there are a few epochs here. ``rank`` is its K.
The rate is its SGD's at the start (not verified beside the paper's text), without its weight decay, as the softmax baseline has none.
Networks with batch normalisation, whose statistics the paper computes anew for each draw, are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="swag",
    title="Stochastic weight averaging, Gaussian",
    family="bayesian",
    home="calibration/mnist",
    cite="Maddox et al. 2019",
    splits=True,
    defaults="convention",
)


class SWAG(ClassifierMethod, MaximumProbability):
    """The shared classifier and the Gaussian that its path gives. Raises UserError for a network with batch normalisation.

    Attributes:
        mean, second: moments of the snapshots ``(P,)``. deviations: the last ones from the mean, ``(K, P)``, a ring. taken: their number.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        optimizer: str = "sgd"
        lr: float = 0.05
        start: Annotated[float, Range(0, below=1)] = 0.5
        snapshots: Annotated[int, Range(2)] = 30
        rank: Annotated[int, Range(2)] = 20
        scale: NonNegative = 1.0  # of the draws' distance from the mean

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules()):
            raise UserError(
                f"backbone={config.backbone} has batch normalisation, whose statistics a draw of weights lacks: set backbone=cnn"
            )
        size = sum(w.numel() for w in self.parameters())
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("second", torch.zeros(size))
        self.register_buffer("deviations", torch.zeros(config.rank, size))
        self.register_buffer("taken", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        c, n = self.config, int(self.taken)
        if self.progress >= c.start and int((self.progress - c.start) / (1 - c.start) * c.snapshots) >= n:
            self.take(torch.cat([w.flatten() for w in self.parameters()]))

    def take(self, theta: Tensor) -> None:
        """Add a snapshot of the weights ``(P,)``."""
        n = int(self.taken)
        self.mean += (theta - self.mean) / (n + 1)
        self.second += (theta.square() - self.second) / (n + 1)
        self.deviations[n % self.config.rank] = theta - self.mean
        self.taken += 1

    def draw(self) -> dict[str, Tensor]:
        """Weights by name, of the Gaussian."""
        k = min(int(self.taken), self.config.rank)
        spread = (self.second - self.mean.square()).clamp(min=0).sqrt() * torch.randn_like(self.mean)
        if k > 1:
            spread = spread + torch.randn(k, device=self.mean.device) @ self.deviations[:k] / (k - 1) ** 0.5
        theta, named, at = self.mean + self.config.scale * spread / 2**0.5, {}, 0
        for name, w in self.named_parameters():
            named[name] = theta[at : at + w.numel()].view_as(w)
            at += w.numel()
        return named

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one draw of the weights for each sample, common to the inputs."""
        if not self.taken:
            return super().predict(x)
        return torch.stack([functional_call(self, self.draw(), (x,)).softmax(1) for _ in range(n_samples)])
