"""Wasserstein autoencoders of many data sets, trained side by side (Chakraborty and Bartlett 2024, whose learning curves they are).

    V_n(G, E) = (1/n) sum_i |x_i - G(E(x_i))|^2 + lambda diss( E_# mu_n, nu ),    nu = N(0, I)
    diss = MMD^2 with k(a, b) = sum_s C s / (C s + |a - b|^2), C = 2 Z, s in {.1, .2, .5, 1, 2, 5, 10}    (``penalty=mmd``)
         = mean over random directions t of W_2^2( t^T E(x), t^T z ), z ~ N(0, I), times Z                 (``penalty=sliced``)

No model has a parameter of another, and each has its own batches: it trains as it would alone. Fits of one start begin with the same
weights. Batches are drawn with replacement, so that the U-statistic of their codes estimates the discrepancy of the empirical law
E_# mu_n, which V_n has, without bias. The inner mean of the draws of nu has no gradient and is left out of the MMD, so that ``penalty`` in
the curves is less by a constant. A code has as many units as its fit says, and 0 in the others.

Differences from the paper: networks of a fixed size that is large for all n instead of one that grows with n; the first Wasserstein
distance of codes, which is not feasible, as a sliced second one. ``penalty=none`` is an autoencoder, whose codes have no law of their own
and whose samples therefore mean nothing. The rate 1e-3 falls to zero along half a cosine; it, lambda and the widths are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.rates import Fit, FitsSpec, WassersteinFits
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch
from elboard.methods.parts.batched import batched_mlp, begin_alike, restrict
from elboard.methods.parts.multiquadrics import SCALES, Multiquadrics

CARD = MethodCard(
    name="wae-grid",
    title="Wasserstein autoencoders of many data sets",
    family="vae",
    home="rates/wasserstein",
    paper="089",
    cite="Chakraborty and Bartlett 2024",
    defaults="convention",
)
DIRECTIONS = 50


class WAEGrid(Method, WassersteinFits):
    """See the module; a model for each fit of the spec."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        schedule: str = "cosine"
        hidden: list[Count] = field(default_factory=lambda: [64, 64])
        penalty: Literal["mmd", "sliced", "none"] = "mmd"
        lambda_: NonNegative = 1.0

    def __init__(self, config: Any, spec: FitsSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.encoders, self.decoders = nn.ModuleDict(), nn.ModuleDict()
        for key, fits in spec.groups().items():
            d, z = fits[0].ambient, max(fit.latent for fit in fits)
            self.encoders[key] = self.make_networks(len(fits), [d, *config.hidden, z])
            self.decoders[key] = self.make_networks(len(fits), [z, *reversed(config.hidden), d])
            units, all_of = [fit.latent for fit in fits], [d] * len(fits)
            restrict(self.encoders[key], all_of, units)
            restrict(self.decoders[key], units, all_of)
            for network in (self.encoders[key], self.decoders[key]):
                begin_alike(network, first_of_start(fits))
            own = torch.tensor([[float(unit < fit.latent) for unit in range(z)] for fit in fits])
            self.register_buffer(f"own_{key}", own[:, None], persistent=False)  # (F, 1, Z)

    def make_networks(self, models: int, sizes: list[int]) -> nn.Module:
        return batched_mlp(models, sizes)

    def encode(self, key: str, x: Tensor) -> Tensor:
        return self.encoders[key](x) * getattr(self, f"own_{key}")

    def decode(self, key: str, z: Tensor) -> Tensor:
        return self.decoders[key](z)

    def _normal(self, key: str, n: int) -> Tensor:
        own = getattr(self, f"own_{key}")
        return torch.randn(len(own), n, own.shape[2], device=own.device) * own

    def draw(self, key: str, n: int) -> Tensor:
        return self.decode(key, self._normal(key, n))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        risk, penalty = self.terms(batch)
        return {"loss": (risk + self.config.lambda_ * penalty).sum(), "risk": risk.mean(), "penalty": penalty.mean()}

    def terms(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Squared error and penalty of each fit, both (F,)."""
        risks, penalties = [], []
        for key, x in batch.items():
            z, own = self.encode(key, x), getattr(self, f"own_{key}")
            risks.append((self.decode(key, z) - x).square().sum(-1).mean(1))
            penalties.append(self.penalty(z, self._normal(key, x.shape[1]), own.sum((1, 2))))
        return torch.cat(risks), torch.cat(penalties)

    def penalty(self, z: Tensor, prior: Tensor, dims: Tensor) -> Tensor:
        """Of codes ``(F, N, Z)`` against draws of N(0, I), for the numbers ``dims`` (F,) of their own units: ``(F,)``."""
        of = {"mmd": discrepancy, "sliced": sliced}.get(self.config.penalty)
        with torch.autocast(z.device.type, enabled=False):  # differences of distances need single precision
            return of(z.float(), prior, dims) if of else prior.new_zeros(len(z))


def first_of_start(fits: Sequence[Fit]) -> list[int]:
    """For each fit of a group the first one that begins with the same weights."""
    first: dict[tuple[str, int], int] = {}
    return [i if fit.start is None else first.setdefault((fit.world, fit.start), i) for i, fit in enumerate(fits)]


def discrepancy(z: Tensor, prior: Tensor, dims: Tensor) -> Tensor:
    """Squared discrepancies without the inner mean of ``prior``: the U-statistic of the codes less twice the mean across."""
    n, c = z.shape[1], 2 * dims[:, None, None]

    def kernels(a: Tensor, b: Tensor) -> Tensor:
        """Sums over pairs and scales, ``(F,)``."""
        lengths = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None]
        squared = torch.baddbmm(lengths, a, b.transpose(1, 2), alpha=-2).clamp(min=0)
        return Multiquadrics.apply(squared / c).sum((1, 2))

    inner = (kernels(z, z) - n * len(SCALES)) / max(1, n * (n - 1))
    return inner - 2 * kernels(z, prior) / n**2


def sliced(z: Tensor, prior: Tensor, dims: Tensor) -> Tensor:
    """Squared second Wasserstein distances along random directions of the units that codes have, times their number."""
    along = torch.randn(len(z), z.shape[2], DIRECTIONS, device=z.device) * (prior != 0).any(1)[:, :, None]
    along = nn.functional.normalize(along, dim=1)
    return dims * ((z @ along).sort(1).values - (prior @ along).sort(1).values).square().mean((1, 2))
