"""Priors of weights chosen by what networks output (Tran et al. 2021, step 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elboard.methods.parts.dswd import DSWD

AT_ONCE = 32  # images of each prior draw
RATE, LARGEST = 1e-3, 1e-2  # of the autoencoder (the released code), and of what is chosen

Weights = dict[str, Tensor]


def flat(name: str) -> str:
    """The name of a weight as that of a buffer."""
    return name.replace(".", "_")


class FactorisedPrior(nn.Module):
    """w_j ~ N(m_j, exp(rho_j)) for each weight of networks side by side, the same for all of them; N(0, 1) until others are taken."""

    def __init__(self, network: nn.Module):
        super().__init__()
        for name, w in network.named_parameters():
            self.register_buffer(f"mean_{flat(name)}", torch.zeros_like(w[:1]))
            self.register_buffer(f"rho_{flat(name)}", torch.zeros_like(w[:1]))

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        """m and rho of a weight."""
        return getattr(self, f"mean_{flat(name)}"), getattr(self, f"rho_{flat(name)}")

    def take(self, means: Weights, rhos: Weights) -> None:
        for name in means:
            mean, rho = self.of(name)
            mean.copy_(means[name])
            rho.copy_(rhos[name])

    @torch.no_grad()
    def draw(self, network: nn.Module) -> None:
        """Give each network weights of its own."""
        for name, w in network.named_parameters():
            mean, rho = self.of(name)
            w.copy_(mean + torch.exp(0.5 * rho) * torch.randn_like(w))

    def log_prob(self, network: nn.Module) -> Tensor:
        """log p(w) of each network, ``(G,)``."""
        total: Tensor | float = 0.0
        for name, w in network.named_parameters():
            mean, rho = self.of(name)
            terms = (w - mean).square() * torch.exp(-rho) + rho + math.log(2 * math.pi)
            total = total - 0.5 * terms.sum((1, 2))
        return total

    def spread(self) -> Tensor:
        """The mean of exp(rho / 2)."""
        return torch.cat([rho.flatten() for name, rho in self.named_buffers() if name.startswith("rho_")]).mul(0.5).exp().mean()


def part_of(weights: Weights, part: str) -> Weights:
    """Those of ``part``, an encoder or a decoder, by their names within it."""
    return {name.partition(".")[2]: w for name, w in weights.items() if name.startswith(f"{part}.")}


def pretrained(network: nn.ModuleDict, x: Tensor, steps: int) -> nn.ModuleDict:
    """``network``, of one model, trained by squared error on all images ``x`` (N, D) at each step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(steps):
        loss = (network["decoder"](network["encoder"](x[None])).sigmoid() - x).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def matched_prior(make_network: Callable[[int], nn.ModuleDict], x: Tensor, steps: int, c: Any) -> tuple[Weights, Weights]:
    """Means and log-variances, by name of the weights, with which the outputs for images ``x`` (N, D) have their law.

    Args:
        make_network: networks side by side, as many as it is told.
        steps: of the autoencoder from which the means start, and again of means and log-variances.
        c: ``log_variance`` of the start, ``prior_reach``, ``draws``, ``projections``, ``inner``.
    """
    start, draws = pretrained(make_network(1).to(x.device), x, steps), make_network(c.draws).to(x.device)
    mean = {name: w.detach().clone().requires_grad_() for name, w in start.named_parameters()}
    rho = {name: torch.full_like(w, c.log_variance).requires_grad_() for name, w in mean.items()}
    distance = DSWD(x.shape[1], c.projections, c.inner).to(x.device)
    optimizer = torch.optim.Adam([*mean.values(), *rho.values()], lr=min(LARGEST, c.prior_reach / steps))
    for _ in range(steps):
        at, real = (torch.randint(len(x), (c.draws, min(AT_ONCE, len(x))), device=x.device) for _ in range(2))
        noise = {name: torch.randn(c.draws, *m.shape[1:], device=x.device) for name, m in mean.items()}
        weights = {name: m + torch.exp(0.5 * rho[name]) * noise[name] for name, m in mean.items()}
        z = functional_call(draws["encoder"], part_of(weights, "encoder"), (x[at],))
        out = functional_call(draws["decoder"], part_of(weights, "decoder"), (z,)).sigmoid()
        loss = distance(out.flatten(0, 1), x[real].flatten(0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tuple({name: w.detach() for name, w in of.items()} for of in (mean, rho))
