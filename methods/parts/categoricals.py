"""Mixtures of products of categorical laws, fitted by expectation maximisation: the latent class analysis of Lazarsfeld (1950).

    p(k_1..k_G) = sum_c w_c prod_g t_c,g(k_g)
    r_nc = w_c prod_g t_c,g(k_ng) / p(k_n)                                                                        (expectation)
    w_c = mean_n r_nc,   t_c,g(k) ~ sum_n r_nc [k_ng = k] + 1 / K                                                (maximisation)

Positions are independent given the component, so that one component is the product of the marginals. One observation that is spread over
the K codes of each position keeps those apart from zero that were not seen: the maximum is that of the posterior under a Dirichlet law.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.methods.parts.priors import Prior


class CategoricalMixture(Prior):
    """Of ``positions`` codes with ``codes`` values each, in double precision; uniform until it is fitted."""

    def __init__(self, positions: int, codes: int, components: int):
        super().__init__()
        uniform = torch.full((positions, codes, components), -math.log(codes), dtype=torch.float64)
        self.register_buffer("log_weights", torch.full((components,), -math.log(components), dtype=torch.float64))
        self.register_buffer("log_tables", uniform)

    def fit(self, k: Tensor, iterations: int = 100, tolerance: float = 1e-3, seed: int = 0) -> None:
        """Fit to ``(N, positions)``; ends where the mean log mass rises by less than ``tolerance``. Components start at examples."""
        at = torch.randint(len(k), (len(self.log_weights),), generator=torch.Generator().manual_seed(seed)).to(k.device)
        apart = sum((column[:, None] != column[at]).double() for column in k.T)
        self._maximise(k, F.one_hot(apart.argmin(1), len(at)).double())
        last = -math.inf
        for _ in range(iterations):
            joint = self.joint(k)
            total = torch.logsumexp(joint, dim=1)
            self._maximise(k, torch.exp(joint - total[:, None]))
            now = total.mean().item()
            if now - last < tolerance:
                break
            last = now

    def _maximise(self, k: Tensor, share: Tensor) -> None:
        """The maximum for responsibilities ``(N, C)``."""
        _, codes, components = self.log_tables.shape
        counts = torch.full_like(self.log_tables, 1 / codes)
        for table, column in zip(counts, k.T, strict=True):
            table.index_add_(0, column, share)
        self.log_tables = torch.log(counts / counts.sum(1, keepdim=True))
        mass = share.sum(0) + 1e-12
        self.log_weights = torch.log(mass / mass.sum())

    def joint(self, k: Tensor) -> Tensor:
        """``log w_c + sum_g log t_c,g(k_g)``, ``(N, C)`` of ``(N, positions)``; one position after another, which bounds memory."""
        total = self.log_weights.expand(len(k), -1).clone()
        for table, column in zip(self.log_tables, k.T, strict=True):
            total += table[column]
        return total

    def log_prob(self, z: Tensor) -> Tensor:
        """Of codes ``(..., positions)``."""
        return torch.logsumexp(self.joint(z.reshape(-1, z.shape[-1])), dim=1).reshape(z.shape[:-1])

    def sample(self, n: int, like: Tensor) -> Tensor:
        """Codes ``(n, positions)``."""
        c = torch.multinomial(self.log_weights.exp(), n, replacement=True)
        return torch.cat([torch.multinomial(table.T[c].exp(), 1) for table in self.log_tables], dim=1)
