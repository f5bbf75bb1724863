"""Binary weights w = +-1 under external fields theta at the inverse temperature beta (Li, Huang, Zou and Huang 2023).

q(w) = exp(beta theta w) / (2 cosh(beta theta)),    mean m = tanh(beta theta),    variance 1 - m^2
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.method import at_least_single


def log_cosh(x: Tensor) -> Tensor:
    """ln cosh x, of any x."""
    return x.abs() + F.softplus(-2 * x.abs()) - math.log(2)


def kl_of_fields(theta: Tensor, reference: Tensor, beta: Tensor | float) -> Tensor:
    """KL(q_theta || q_reference) of each weight, in nats; its slope in theta is beta^2 (1 - m^2) (theta - reference)."""
    x, at = beta * theta, beta * reference
    return (x - at) * x.tanh() - log_cosh(x) + log_cosh(at)


def noisy_sums(a: Tensor, mean: Tensor, noise: Tensor | float) -> Tensor:
    """Sums (1/sqrt N) sum_i w_i a_i of inputs ``a`` (..., N) by weights of ``mean`` (K, N), in their Gaussian limit: ``(..., K)`` with
    ``noise`` standard normal draws of that shape, 0 for the mean. The 1e-30 keeps the slope of the root finite where nothing varies."""
    n = a.shape[-1]
    centre = F.linear(a, mean) / math.sqrt(n)
    if isinstance(noise, float) and noise == 0:
        return centre
    with torch.autocast(a.device.type, enabled=False):  # halves have no such variances
        variance = F.linear(at_least_single(a).square(), at_least_single(1 - mean.square())) / n
    return centre + noise * (variance + 1e-30).sqrt()
