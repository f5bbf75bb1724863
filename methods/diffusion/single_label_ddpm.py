"""Denoising diffusions of which each knows one attribute, trained on the examples that have its label (Nair, Bandara and Patel 2022).

    E |eps - eps_i(x_t, t, c_i)|^2 over the examples labelled by attribute i,   c_i replaced by "none" with probability ``drop``

So that eps_i(x_t, t, none) is the expert's unconditional model, of its own half of the data. Experts have a network each, alike, and share
schedule, parameterisation and scaling. Samples are of one of them (``expert``), which ignores all but its attribute; together they draw
by :mod:`elboard.methods.diffusion.composed_ddpm`.

Differences from the paper: one run trains all experts, each step a batch of labels of all kinds; 16 x 16 pixels and networks of
0.1 million weights; continuous times (see ``ddpm``). The share of dropped conditions is that of the card, 0.15 (the paper's: not verified).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.conditional import ComposedGenerator
from elboard.bench.options import Count, Natural, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.diffusion.base import CHUNK, Diffusion
from elboard.methods.parts.diffusion_networks import UNet
from elboard.methods.parts.diffusion_paths import View

CARD = MethodCard(
    name="single-label-ddpm",
    title="A diffusion for each label",
    family="diffusion",
    home="conditional/shapes-colours",
    paper="061",
    cite="Nair, Bandara and Patel 2022",
    splits=True,
    defaults="convention",
)


class Experts(nn.Module):
    """One network for each attribute."""

    def __init__(self, shape: tuple[int, ...], width: int, levels: int, attributes: tuple[int, ...]):
        super().__init__()
        self.each = nn.ModuleList([UNet(shape, width, levels, size) for size in attributes])

    def forward(self, x: Tensor, t: Tensor, expert: int = 0, y: Tensor | None = None) -> Tensor:
        return self.each[expert](x, t, y)


def combined(conditional: Sequence[Tensor], null: Sequence[Tensor], weights: Sequence[float], reliability: Sequence[float]) -> Tensor:
    """sum_i w_i eps_i(c_i) - (sum_i w_i - 1) sum_i beta_i eps_i(none), of predictions of one shape."""
    found = torch.stack([w * eps for w, eps in zip(weights, conditional, strict=True)]).sum(0)
    excess = sum(weights) - 1
    return found - excess * torch.stack([beta * eps for beta, eps in zip(reliability, null, strict=True)]).sum(0) if excess else found


class SingleLabelDDPM(Diffusion, ComposedGenerator):
    """See the module."""

    resting = True  # an expert of whose attribute a batch has no label

    @dataclass(kw_only=True)
    class Config(Diffusion.Config):
        drop: Share = 0.15  # the card's
        sampler: Literal["euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m", "ancestral", "euler-maruyama"] = "ddim"  # the paper's
        evaluations: Count = 50  # steps; the paper's 100 halved
        expert: Natural = 0  # by which of them samples are drawn; the last one if there are not so many

    def _network(self, config: Any, spec: DataSpec) -> nn.Module:
        return Experts(spec.shape, config.width, config.levels, spec.attributes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean over labels, of which each example has one."""
        x, y, found = (batch["x"] - self.centre) / self.scale, batch["y"], []
        t, noise, dropped = self.times(len(x)), torch.randn_like(x), torch.rand(len(x), device=x.device) < self.config.drop
        for k, size in enumerate(self.spec.attributes):
            rows = y[:, k] >= 0
            if rows.any():
                label = torch.where(dropped[rows], size, y[rows, k])
                found.append(self.errors(x[rows], t[rows], noise[rows], expert=k, y=label))
        return {"loss": torch.cat(found).mean()}

    def expert_noise(self, x_t: Tensor, t: Tensor, expert: int, y: Tensor | None) -> Tensor:
        """eps of one expert by the averaged weights, of its attribute ``y`` (B,) or of none."""
        return self.unclipped(x_t, t, expert=expert, y=y).noise

    def drawn(self, y: Tensor, weights: list[float], reliability: list[float], sampler: str, evaluations: int) -> Tensor:
        """Examples (n, *shape) of the attributes ``y`` (n, K) by all experts; those without weight are not asked."""
        excess = sum(weights) - 1

        def part(of: Tensor) -> Tensor:
            def model(x_t: Tensor, t: Tensor) -> View:
                nothing, experts = torch.zeros_like(x_t), range(len(weights))
                known = [self.expert_noise(x_t, t, k, of[:, k]) if weights[k] else nothing for k in experts]
                null = [self.expert_noise(x_t, t, k, None) if excess and reliability[k] else nothing for k in experts]
                noise = combined(known, null, weights, reliability)
                data = (x_t - self.path.sigma(t) * noise) / self.path.alpha(t)
                return self.clipped(View(data, noise), x_t, t)

            return self.solved(model, len(of), sampler, evaluations, self.config.spacing)

        return torch.cat([part(of) for of in y.split(CHUNK)])

    def sample(self, y: Tensor) -> Tensor:
        c, n = self.config, len(self.spec.attributes)
        alone = [float(k == min(c.expert, n - 1)) for k in range(n)]
        return self.drawn(y, alone, alone, c.sampler, c.evaluations)
