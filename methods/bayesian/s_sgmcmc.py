"""Structured stochastic-gradient MCMC (Alexos, Boyd and Mandt 2022).

    q_i(theta_i) ~ exp( -E_{theta~_{-i} ~ q_{-i}} U(theta_i, theta~_{-i}) ),   i = 1..M groups of weights
    U_S(theta) = -log p(theta) - N sum_i mean_batch log p(y | x, {theta_i, theta~_{-i}})

Each group is sampled on an energy in which the others are averaged over the chain's own past: for group i each other group j is a row of
its memory, drawn independently of the other groups, through which no gradient flows. The law of the chain is the non-parametric product of
the groups' marginals that minimises KL(q || p). Predictions combine rows of the groups independently too.

``live`` below 1 is the dropout version: ``masks`` masks r^(k) of groups, each 1 with probability ``live`` = rho, and

    U_Sd(theta) = -log p(theta_updated) - (s / rho) N mean_k mean_batch log p(y | x, r^(k) theta + (1 - r^(k)) theta~^(k))

with s = 1 - (1 - rho)^L, L passes of the network instead of M. A group that no mask selects stays where it is. ``groups``: "layer" (of a
density each coordinate), "neuron" (its bias and the weights into it), "weight", or "random" with ``n_groups`` groups of equal size; "one"
is plain SGMCMC.

Differences from the paper: the factor s, which it does not have. Its code moves all groups by noise in every step, so that drift and noise
agree in expectation with 1 / rho; where groups that are not selected rest, each has a step with probability s, and without the factor the
law would be that of the likelihood to the power 1 / s. The noise of SGLD is that of the exact discretisation (its code: half the variance).
Bernoulli masks only. Samples begin at the MAP, of which the memory has one row at first. Chains on a density share one memory: the average
over that of a single chain wanders with it, and keeps part of the correlation. The dropout version is that of (p)SGLD: momenta of groups
that rest are not defined. Step sizes of the paper: not verified; ours is that of SGLD here, one of three tried with it and this method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.posterior import TargetSpec
from elboard.bench.method import Bases
from elboard.bench.options import Count, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.bayesian.sgmcmc import SGMCMC

CARD = MethodCard(
    name="s-sgmcmc",
    title="Structured stochastic-gradient MCMC",
    family="bayesian",
    home="posterior/digits",
    paper="003",
    cite="Alexos, Boyd and Mandt 2022",
    defaults={"trials": 3, "on": "posterior/digits", "by": "iat", "options": ("lr", "prior_sd"), "rest": "convention"},
)
MOST = 64  # passes of a network in a step


class StructuredSGMCMC(SGMCMC):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(SGMCMC.Config):
        groups: Literal["one", "layer", "neuron", "weight", "random"] = "layer"
        n_groups: Count = 8  # of random ones
        live: Annotated[float, Range(above=0, high=1)] = 1.0  # rho; 1: a pass for each group
        masks: Count = 2  # L

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.m = int(self.group_of.max()) + 1
        if config.live < 1 and config.optimizer == "sghmc":
            raise UserError("live below 1: groups rest, which optimizer=sghmc cannot; sgld and psgld can")
        if config.live == 1 and self.m > MOST:
            raise UserError(f"groups={config.groups}: {self.m} passes in a step; set live below 1 for at most {MOST}")
        passes = config.masks if config.live < 1 else self.m
        self.register_buffer("masks", torch.ones(passes, self.m, dtype=torch.bool), persistent=False)

    def make_groups(self, size: int) -> Tensor:
        kind, index = self.config.groups, torch.arange(size)
        if kind == "random":
            n = min(self.config.n_groups, size)
            return (index % n)[torch.randperm(size, generator=torch.Generator().manual_seed(1))]
        if kind == "one" or kind in ("layer", "neuron") and not isinstance(self.spec, TargetSpec):
            return super().make_groups(size) if kind == "one" else self._of_network(kind == "neuron")
        return index

    def _of_network(self, neurons: bool) -> Tensor:
        """The groups of weights and biases in their order, by layer or by the neuron that they lead to."""
        found, first = [], 0
        for w in self.network.parameters():
            rows = torch.arange(len(w)) if neurons else torch.zeros(len(w), dtype=torch.long)
            found.append((first + rows).repeat_interleave(w.numel() // len(w)))
            first += int(rows[-1]) + 1 if w.ndim == 1 else 0  # a bias ends its layer
        return torch.cat(found)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> Any:
        super().on_train_batch_start(batch, batch_idx)
        if self.config.live < 1:
            self.masks = torch.rand(self.masks.shape, device=self.masks.device) < self.config.live
            self.agree(self.masks)
            self._before = [w.detach().clone() for w in self.parameters()] if self._split else []

    @property
    def _split(self) -> bool:
        """Whether groups are apart in this step: there are some, and a memory."""
        return self.m > 1 and self.filled > 0

    def composites(self, theta: Tensor) -> Tensor:
        """``(C, passes, P)``: of each chain the live weights where they are selected, past ones elsewhere."""
        passes = len(self.masks)
        live = (self.masks if self.config.live < 1 else torch.eye(self.m, dtype=torch.bool, device=theta.device))[:, self.group_of]
        past = self.recombined((len(theta), passes))
        return torch.where(live, theta[:, None], past)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """U_S, or U_Sd, summed over chains; U as long as there is no memory."""
        if not self._split:
            return super().loss(batch)
        c, theta = self.config, self.vector()
        log_p = self.log_likelihood(self.composites(theta), batch)
        factor, updated = 1.0, theta
        if c.live < 1:
            factor = (1 - (1 - c.live) ** c.masks) / c.live / c.masks
            updated = theta * self.masks.any(0)[self.group_of]
        return {"loss": -(factor * log_p.sum() + self.log_prior(updated).sum()), "log_likelihood": log_p.mean()}

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        if self.config.live < 1 and self._split:
            self._put_back()
        super().after_step(batch, batch_idx)

    def _put_back(self) -> None:
        """Groups that no mask selected are where they were."""
        moved = self.masks.any(0)[self.group_of]
        if isinstance(self.spec, TargetSpec):
            self.position.copy_(torch.where(moved, self.position, self._before[0]))
            return
        parts = moved.split([w.numel() for w in self._before])
        for w, before, part in zip(self.network.parameters(), self._before, parts, strict=True):
            w.copy_(torch.where(part.view_as(w), w, before))
