"""Truncated latents: N(0, I) of several generators side by side, of which some are rejected."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elboard.bench.errors import UserError, nearest
from elboard.bench.kinds.modes import Modes

RULES = ("simplicial", "band", "norm", "none")
SIMULATED = 10_000  # latents from which tau is computed


class Truncation(nn.Module):
    """z ~ N(0, I) of each fit's own dimensions d, given that s(z) > tau, the value that ``acceptance`` of the latents exceed.

    * ``simplicial``: s = max_i softmax_i( sqrt(d) z_i / |z| ) over m of the d axes, one for each mode (Issenhuth et al. 2023): where many
      cells meet is left out. At the value 0.135 that is released for CIFAR-10 nearly all latents are accepted.
    * ``band``: s = (z_(1) - z_(2)) / sqrt(2) over the same axes, the distance to the nearest border of the cells (not of the paper).
    * ``norm``: s = -|z|, the usual truncation.
    * ``none``.

    Where d < m there are no m axes, and the first two rules accept all.
    """

    def __init__(self, rule: str, acceptance: float, fits: tuple[Modes, ...]):
        if rule not in RULES:
            raise UserError(f"truncation={rule!r}: {nearest(rule, RULES)}")
        if not 0 < acceptance <= 1:
            raise UserError(f"acceptance={acceptance} is not in (0, 1]")
        super().__init__()
        self.rule, self.acceptance, z = rule, acceptance, max(fit.latent for fit in fits)
        for name, of in {"own": [fit.latent for fit in fits], "axes": [fit.modes for fit in fits]}.items():
            self.register_buffer(name, torch.arange(z) < torch.tensor(of)[:, None, None], persistent=False)  # (F, 1, Z)
        noise = torch.randn(len(fits), SIMULATED, z, generator=torch.Generator().manual_seed(0)) * self.own
        threshold = self.scores(noise).quantile(1 - acceptance, dim=1, keepdim=True)
        free = torch.tensor([rule in ("simplicial", "band") and fit.latent < fit.modes for fit in fits])
        self.register_buffer("threshold", threshold.masked_fill(free[:, None], -torch.inf), persistent=False)

    def scores(self, z: Tensor) -> Tensor:
        """s of latents ``(F, N, Z)``, ``(F, N)``."""
        if self.rule == "simplicial":
            scaled = self.own.sum(2, keepdim=True).sqrt() * z / z.norm(dim=2, keepdim=True).clamp(min=1e-12)
            return scaled.masked_fill(~self.axes, -torch.inf).softmax(2).amax(2)
        if self.rule == "band":
            first, second = z.masked_fill(~self.axes, -torch.inf).topk(2, dim=2).values.unbind(2)
            return (first - second) / 2**0.5
        return -z.norm(dim=2)

    def latents(self, n: int) -> Tensor:
        """``(F, n, Z)``."""
        # too few are accepted once in a million times, where half are; 2 % more, as tau is an estimate
        enough = int((1.02 * n + 4 * math.sqrt(n) + 8) / self.acceptance)
        drawn = n if self.rule == "none" else enough
        z = torch.randn(len(self.own), drawn, self.own.shape[2], device=self.own.device) * self.own
        if self.rule == "none":
            return z
        accepted = (self.scores(z) > self.threshold).to(torch.uint8)
        first = accepted.argsort(dim=1, descending=True, stable=True)[:, :n]
        return z.gather(1, first[:, :, None].expand(-1, -1, z.shape[2]))
