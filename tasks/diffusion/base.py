"""What tasks of known diffusions share: a mixture of eight Gaussians on a circle, and the scores of its noised versions.

Data are mixed of N(m_k, s^2 I) in equal shares, with the centres m_k at distance sqrt(2) from the origin and s = 0.1, so that each
coordinate has mean 0 and a variance of 1.01. Of alpha x_0 + sigma eps they are alpha m_k and (alpha s)^2 + sigma^2.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from elboard.bench.kinds.diffusion import KnownSpec
from elboard.bench.task import Data, Task

MODES, RADIUS, SPREAD = 8, math.sqrt(2.0), 0.1


def centres(like: Tensor) -> Tensor:
    """(8, 2)."""
    angle = torch.arange(MODES, dtype=like.dtype, device=like.device) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angle.cos(), angle.sin()], 1)


def _logits(x: Tensor, alpha: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Differences (B, 8, 2) from the centres, and minus half their squares over the variance (B, 8)."""
    difference = x[:, None] - (alpha * centres(x).flatten()).reshape(-1, MODES, 2)
    return difference, -0.5 * difference.square().sum(-1) / variance.reshape(-1, 1)


def score(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Gradient (B, 2) of the log density of alpha x_0 + sigma eps at ``x`` (B, 2); factors are scalars or (B, 1)."""
    variance = (alpha * SPREAD).square() + sigma.square()
    difference, logits = _logits(x, alpha, variance)
    return -(logits.softmax(1)[..., None] * difference).sum(1) / variance


def log_density(x: Tensor) -> Tensor:
    """log p (B,) of data (B, 2), in nats."""
    one, variance = x.new_ones(()), x.new_tensor(SPREAD**2)
    _, logits = _logits(x, one, variance)
    return logits.logsumexp(1) - math.log(MODES) - math.log(2 * math.pi * SPREAD**2)


def draw(n: int, generator: Generator) -> Tensor:
    """``n`` points (n, 2), double."""
    of = torch.randint(MODES, (n,), generator=generator)
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return centres(noise)[of] + SPREAD * noise


class KnownDiffusion(Task):
    """A subclass gives metrics; there is nothing to train on."""

    def load_train(self) -> Data:
        return Data(KnownSpec((2,), 1), oracle=score)

    def points(self, n: int, of: int) -> tuple[Tensor, Tensor]:
        """``n`` points of the density and as much noise, by the run's seed and ``of``, on the task's device."""
        generator = Generator().manual_seed(1_000 * self.seed + of)
        x, noise = draw(n, generator), torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return x.to(self.device), noise.to(self.device)
