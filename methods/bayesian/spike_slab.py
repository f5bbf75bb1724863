"""Tempered variational inference in sparse networks (Cherief-Abdellatif 2020): spike-and-slab laws of the weights.

    q(theta) = prod_t [ phi_t N(m_t, s_t^2) + (1 - phi_t) delta_0 ],    pi(theta) = prod_t [ p0 N(0, s0^2) + (1 - p0) delta_0 ]
    ELBO = -alpha / (2 sigma^2) E_q sum_i (y_i - f_theta(x_i))^2 - sum_t KL_t
    KL_t = KL(Bern(phi_t) || Bern(p0)) + phi_t KL(N(m_t, s_t^2) || N(0, s0^2))

f_theta is a ReLU network of ``layers`` hidden layers of the width D of its fit, theta all its weights and biases, T of them, of which the
prior expects S = ``kept`` D: p0 = S / T, at most 1/2. sigma is known and 0 < alpha < 1, as the theorem needs. Networks of all fits are
trained side by side and share nothing; those that are narrower than the widest one are padded by weights that are 0.

Differences from the paper, whose theorem is of the global maximum: in training what enters a unit is drawn for each example, as a normal
variable with the mean and variance that spikes and slabs give it there (Kingma, Salimans and Welling 2015), which the expectation of a sum
over examples allows, and which is an approximation where few gates are undecided; functions are drawn with gates of 0 and 1, and so is the
bound by which widths are selected. The KL term rises from 0 in the first ``anneal`` of training. Independent gates instead of uniform
supports of S weights; the normal slab, which the paper allows. First layers begin with kinks that are uniform in [-1, 1]. ``prior=dense``
is mean-field inference without spikes (phi = p0 = 1). The rate is the better of 0.01 and 0.03 by the bound (training examples of seed
1000, 2,000 steps); annealing and the start are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.curves import CurvesSpec, VariationalCurves
from elboard.bench.method import Bases, Method
from elboard.bench.options import Natural, Positive, Range, Share
from elboard.bench.task import Batch
from elboard.methods.parts.schedules import ramp

CARD = MethodCard(
    name="spike-slab-vi",
    title="Tempered spike-and-slab variational networks",
    family="bayesian",
    home="rates/sparse-networks",
    paper="050",
    cite="Cherief-Abdellatif 2020",
    defaults={"trials": 2, "on": "rates/sparse-networks", "by": "elbo", "options": ("lr",), "rest": "convention"},
)


class SpikeSlabVI(Method, VariationalCurves):
    """See the module.

    Attributes:
        mean, log_sd, gate: of each layer ``(F, inputs + 1, outputs)``, the biases in the last row; gates are logits.
        own_0, own_1, ...: which of these weights a network has.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 0.03
        schedule: str = "cosine"
        prior: Literal["spike-slab", "dense"] = "spike-slab"
        tempering: Annotated[float, Range(above=0, high=1)] = 0.9  # alpha
        layers: Natural = 2
        kept: Positive = 4.0  # weights that the prior expects for each unit of the width
        slab_sd: Positive = 1.0
        anneal: Share = 0.3
        sd: Positive = 0.02  # s_t at the start
        start_open: Annotated[float, Range(above=0, below=1)] = 0.95  # phi_t at the start

    def __init__(self, config: Any, spec: CurvesSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        widths = torch.tensor([fit.width for fit in spec.fits])
        sizes = [1, *[int(widths.max())] * config.layers, 1]
        self.mean, self.log_sd, self.gate = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for i, (a, b) in enumerate(pairwise(sizes)):
            inputs = widths if i else torch.ones_like(widths)
            outputs = widths if i < config.layers else torch.ones_like(widths)
            rows = (torch.arange(a + 1)[None] < inputs[:, None]) | (torch.arange(a + 1) == a)[None]
            own = (rows[:, :, None] & (torch.arange(b) < outputs[:, None])[:, None]).float()
            self.register_buffer(f"own_{i}", own, persistent=False)
            self.mean.append(nn.Parameter(own * self.start(i, inputs, own.shape)))
            self.log_sd.append(nn.Parameter(torch.full(own.shape, math.log(config.sd))))
            self.gate.append(nn.Parameter(torch.full(own.shape, math.log(config.start_open / (1 - config.start_open)))))
        if config.prior == "dense":
            self.gate.requires_grad_(False)
        total = sum(own.sum((1, 2)) for own in self.own)
        self.register_buffer("expected", (config.kept * widths / total).clamp(max=0.5)[:, None, None], persistent=False)  # p0
        self.register_buffer("n", torch.tensor([float(fit.n) for fit in spec.fits]), persistent=False)

    def start(self, layer: int, inputs: Tensor, shape: torch.Size) -> Tensor:
        """Means at the start: He's, biases of 0 but in the first layer, whose kinks -bias / weight are uniform in [-1, 1]."""
        drawn = torch.randn(shape) * (2 / inputs).sqrt()[:, None, None]
        drawn[:, -1] = (2 * torch.rand(shape[0], shape[2]) - 1) * drawn[:, 0] if layer == 0 and self.config.layers else 0
        return drawn

    @property
    def own(self) -> list[Tensor]:
        return [getattr(self, f"own_{i}") for i in range(len(self.mean))]

    @property
    def alpha(self) -> float:
        return self.config.tempering

    # --- draws -----------------------------------------------------------------------------------------

    def weights(self) -> list[Tensor]:
        """A draw of all weights, with gates of 0 and 1."""
        found = []
        for mean, log_sd, phi, own in zip(self.mean, self.log_sd, self.open(), self.own, strict=True):
            found.append(own * (torch.rand_like(mean) < phi) * (mean + log_sd.exp() * torch.randn_like(mean)))
        return found

    def open(self) -> list[Tensor]:
        """phi of each weight."""
        return [torch.ones_like(gate) if self.config.prior == "dense" else gate.sigmoid() for gate in self.gate]

    def moments(self) -> list[tuple[Tensor, Tensor]]:
        """Mean and variance of each weight."""
        found = []
        for mean, log_sd, phi, own in zip(self.mean, self.log_sd, self.open(), self.own, strict=True):
            found.append((own * phi * mean, own * phi * ((2 * log_sd).exp() + (1 - phi) * mean.square())))
        return found

    def locally(self, x: Tensor) -> Tensor:
        """Values ``(F, N)`` at ``x`` (F, N), of which each has noise of its own."""
        h = x[..., None]
        for i, (mean, variance) in enumerate(self.moments()):
            h = h.relu() if i else h
            centre = torch.baddbmm(mean[:, -1:], h, mean[:, :-1])
            spread = torch.baddbmm(variance[:, -1:], h.square(), variance[:, :-1])
            h = centre + (spread + 1e-12).sqrt() * torch.randn_like(centre)
        return h[..., 0]

    def network(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Values ``(F, N)`` at ``x`` (F, N)."""
        h = x[..., None]
        for i, w in enumerate(weights):
            h = torch.baddbmm(w[:, -1:], h.relu() if i else h, w[:, :-1])
        return h[..., 0]

    def functions(self, x: Tensor, draws: int) -> Tensor:
        return torch.stack([self.network(x, self.weights()) for _ in range(draws)])

    # --- the bound ---------------------------------------------------------------------------------------

    def divergence(self) -> Tensor:
        total, prior = torch.zeros_like(self.n), self.config.slab_sd
        for mean, log_sd, gate, own in zip(self.mean, self.log_sd, self.gate, self.own, strict=True):
            slab = 0.5 * (((2 * log_sd).exp() + mean.square()) / prior**2 - 1) - log_sd + math.log(prior)
            if self.config.prior == "spike-slab":
                phi, p0 = gate.sigmoid(), self.expected
                spike = phi * (F.logsigmoid(gate) - p0.log()) + (1 - phi) * (F.logsigmoid(-gate) - (-p0).log1p())
                slab = spike + phi * slab
            total = total + (own * slab).sum((1, 2))
        return total

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Minus the bound for each example, summed over networks; the KL term is that of all n examples in each batch."""
        error = (batch["y"] - self.locally(batch["x"])).square().mean(1)
        kl = self.divergence()
        share = ramp(self.progress, self.config.anneal)
        each = self.alpha / (2 * self.spec.noise**2) * error + share * kl / self.n
        return {"loss": each.sum(), "error": error.mean(), "kl": kl.mean()}
