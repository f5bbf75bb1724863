"""Distributions of directions, in double precision: their normalisers are differences of large numbers.

The power spherical distribution on S^(d-1) (De Cao and Aziz 2020), with a = (d - 1) / 2 + kappa and b = (d - 1) / 2:

    log p(z; mu, kappa) = kappa log(1 + mu.z) - log N,     log N = (a + b) log 2 + b log pi + log Gamma(a) - log Gamma(a + b)
    E[mu.z] = kappa / (d - 1 + kappa)

For one cosine c >= 0.3 and d >= 16 the likelihood is largest at kappa = (d - 1) c / (1 - c) + 0.5, to within a hundredth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EDGE = 1e-6  # how near cosines come to -1, where the density vanishes


def power_spherical_normaliser(kappa: Tensor, d: int) -> Tensor:
    """log N for each ``kappa`` >= 0, in double precision."""
    b = (d - 1) / 2
    a = b + kappa.double()
    return (a + b) * math.log(2) + b * math.log(math.pi) + torch.lgamma(a) - torch.lgamma(a + b)


def power_spherical_log_prob(cosine: Tensor, kappa: Tensor, d: int) -> Tensor:
    """log p(z; mu, kappa) of unit vectors with ``cosine`` = mu.z, in double precision; both broadcast."""
    cosine = cosine.double().clamp(-1 + EDGE, 1.0)
    return kappa.double() * torch.log1p(cosine) - power_spherical_normaliser(kappa, d)
