"""Collapse on a pinwheel in the plane that is seen through 20 noisy bits: what is left of two codes as the weight of the KL term grows.

    t ~ a pinwheel of five arms, of unit variance in both directions;    x_j ~ Bernoulli(sigmoid(w_j . t)),   20 unit vectors w_j

The bits say so little of t (0.6 nats a direction) that the collapsed VAE is stable from a weight of 2.8 on, the largest eigenvalue of the
bits' covariance over their variance: of the grid, at 4 and 8. Two codes are enough, and with 2,000 test examples the mutual information
does not saturate for posteriors as wide as those of a VAE, so that KL(q(z) || p(z)) is measured. The protocol and the metrics are those
of ``collapse/mnist``; of decoders with a guarantee also, over 10,000 pairs of codes from the prior, of which half are moved to a
hundredth of their distance:

* ``inverse_lipschitz``, the least |f(z) - f(z')| / |z - z'| by beta; ``lipschitz_slack``, the least of all minus the bound.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.kinds.lipschitz import InverseLipschitz
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.collapse.mnist import CollapseMNIST

CARD = TaskCard(
    name="collapse/bits",
    title="Collapse on a pinwheel seen through noisy bits, by the weight of the KL term",
    needs=("PosteriorGrid",),
    primary="nll/mean",
    metrics=("nll/mean", "kl/mean", "active_units/mean", "collapsed_units/mean", "mutual_information/mean", "aggregate_kl/mean"),
    selection="nll[k=50]/mean",
    papers=("006", "008"),
    full="eight times the examples of lite; no paper's own setting",
    work={"lite": (8192, 102_000), "full": (65_536, 102_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 128}, "task": {"n_train": 512, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 40, "batch_size": 128, "validate_every": 20}},
    "full": {"train": {"epochs": 40, "batch_size": 128, "validate_every": 10}, "task": {"n_train": 65_536}},
}
BETAS = (0.5, 1.0, 2.0, 4.0, 8.0)
BITS, ARMS, PAIRS = 20, 5, 10_000


def pinwheel(n: int, generator: torch.Generator) -> Tensor:
    """``(n, 2)``: arms that turn as they go outwards, centred, of unit variance in both directions up to sampling."""
    arm = torch.randint(ARMS, (n,), generator=generator)
    radius = 1 + 0.3 * torch.randn(n, generator=generator)
    across = 0.1 * torch.randn(n, generator=generator)
    angle = 2 * math.pi * arm / ARMS + 0.5 * torch.exp(radius)
    points = torch.stack([radius * angle.cos() - across * angle.sin(), radius * angle.sin() + across * angle.cos()], dim=1)
    return points * math.sqrt(2 / (1 + 0.3**2 + 0.1**2))


def bits(n: int, seed: int) -> Tensor:
    """``(n, 20)`` of 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.arange(BITS) / BITS
    logits = pinwheel(n, generator) @ torch.stack([angle.cos(), angle.sin()])
    return torch.bernoulli(logits.sigmoid(), generator=generator)


class Bits(CollapseMNIST):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(CollapseMNIST.Config):
        n_train: int = 8192
        n_valid: int = 500
        n_test: int = 2000

    def load_train(self) -> Data:
        c = self.config
        spec = BetaSpec((BITS,), c.n_train, likelihood="bernoulli", betas=BETAS)
        return Data(spec, {"x": bits(c.n_train, 1)}, {"x": bits(c.n_valid, 2)})

    def load_test(self, data: Data) -> Test:
        return {"x": bits(self.config.n_test, 3)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen = super().observe(method, data, test, history)
        if isinstance(method, InverseLipschitz):
            models, latent = method.posteriors(test["x"][:1].to(self.device))[0].shape[::2]
            seen.arrays |= {"ratio": _numpy(least_ratio(method, models, latent, self.device)), "bound": np.array(method.bound)}
        return seen

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = super().measure(observed, asked)
        if "ratio" in observed:
            by_beta = zip(observed["betas"].tolist(), observed["ratio"].tolist(), strict=True)
            found |= {f"inverse_lipschitz/beta{beta:g}": value for beta, value in by_beta}
            found["lipschitz_slack"] = float(observed["ratio"].min() - observed["bound"])
        return found


def least_ratio(method: InverseLipschitz, models: int, latent: int, device: torch.device | str) -> Tensor:
    """``(G,)``, over pairs of codes ``z`` from the prior, the same for each model."""
    z, other = torch.randn(2, 1, PAIRS, latent, device=device)
    other[:, ::2] = z[:, ::2] + 0.01 * (other - z)[:, ::2]
    f, g = (method.outputs(part.expand(models, -1, -1)).double() for part in (z, other))
    return ((f - g).norm(dim=2) / (z - other).double().norm(dim=2)).min(1).values


def _numpy(x: Tensor) -> np.ndarray:
    return x.cpu().numpy()
