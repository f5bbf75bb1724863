"""A prior of codes that is learned: affine couplings after a standard normal law (Dinh, Sohl-Dickstein and Bengio 2017).

log p(z) = log N(f(z); 0, I) + log |det df / dz|,   f the couplings of ``real-nvp``, which start as the identity
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elboard.methods.parts.priors import Prior, StandardNormal
from elboard.methods.vae.real_nvp import Coupling


class FlowPrior(Prior):
    """``couplings`` of them with layers of ``hidden`` units, for codes of ``latent_dim`` units."""

    def __init__(self, latent_dim: int, couplings: int, hidden: list[int]):
        super().__init__()
        every = (torch.arange(latent_dim) % 2).float()
        self.couplings = nn.ModuleList(Coupling(every if i % 2 else 1 - every, hidden, "relu") for i in range(couplings))
        self.normal = StandardNormal(latent_dim)

    def log_prob(self, z: Tensor) -> Tensor:
        x, total = z.reshape(-1, z.shape[-1]), 0.0
        for coupling in self.couplings:
            x, log_det = coupling(x)
            total = total + log_det
        return (self.normal.log_prob(x) + total).reshape(z.shape[:-1])

    def sample(self, n: int, like: Tensor) -> Tensor:
        z = self.normal.sample(n, like)
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return z
