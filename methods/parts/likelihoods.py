"""Likelihoods p(x|z) of flattened examples given the decoder's output, in nats per example."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.errors import UserError, nearest
from elboard.bench.task import DataSpec


class Bernoulli(nn.Module):
    """Independent pixels in {0, 1}; the output is their logit."""

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """x ``(..., D)`` broadcasts against out ``(..., D)`` -> ``(...)``: sum of x out - softplus(out)."""
        return (x * out).sum(-1) - F.softplus(out).sum(-1)

    def mean(self, out: Tensor) -> Tensor:
        return out.sigmoid()

    def draw(self, out: Tensor) -> Tensor:
        return torch.bernoulli(out.sigmoid())

    def initial_bias(self, mean: Tensor) -> Tensor:
        """Logit of the mean training pixel, clipped to [0.001, 0.999] (Burda et al. 2016)."""
        return mean.clamp(0.001, 0.999).logit()


class DiscretisedLogistic(nn.Module):
    """Mass of the grey level x = level / (levels - 1): a logistic integrated over the level's cell (Kingma et al. 2016, eq. 24 f.).

    Cells reach half a level to both sides; the first and the last extend to infinity, so that masses sum to one. The location is the
    sigmoid of the output, the log-scale one learned parameter a pixel.
    """

    def __init__(self, dimensions: int, levels: int):
        super().__init__()
        self.levels = levels
        self.log_scale = nn.Parameter(torch.full((dimensions,), -2.0))

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        inverse = torch.exp(-self.log_scale.clamp(min=-7.0))
        half = 0.5 / (self.levels - 1)
        centre = x - out.sigmoid()
        upper, lower = (centre + half) * inverse, (centre - half) * inverse
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)); at the edges one factor alone remains
        log_upper, log_lower = F.logsigmoid(upper), F.logsigmoid(-lower)
        inside = log_upper + log_lower + torch.log(-torch.expm1(-2 * half * inverse))
        return torch.where(x < half, log_upper, torch.where(x > 1 - half, log_lower, inside)).sum(-1)

    def mean(self, out: Tensor) -> Tensor:
        """The location; it differs from the mean only by truncation at the edges."""
        return out.sigmoid()

    def draw(self, out: Tensor) -> Tensor:
        uniform = torch.rand_like(out).clamp(1e-6, 1 - 1e-6)
        value = out.sigmoid() + self.log_scale.clamp(min=-7.0).exp() * uniform.logit()
        return (value.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)

    def initial_bias(self, mean: Tensor) -> Tensor:
        return mean.clamp(0.001, 0.999).logit()


class Gaussian(nn.Module):
    """Real values with one learned variance for all dimensions; the output is the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(()))

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        log_std = self.log_std.clamp(min=-7.0)
        return (-0.5 * ((x - out) * torch.exp(-log_std)) ** 2).sum(-1) - out.shape[-1] * (log_std + 0.5 * math.log(2 * math.pi))

    def mean(self, out: Tensor) -> Tensor:
        return out

    def draw(self, out: Tensor) -> Tensor:
        return out + self.log_std.clamp(min=-7.0).exp() * torch.randn_like(out)

    def initial_bias(self, mean: Tensor) -> Tensor:
        return mean


class Laplace(nn.Module):
    """Values in [0, 1] under a Laplace density of one fixed ``scale``; its location is the sigmoid of the output."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        return -(x - out.sigmoid()).abs().sum(-1) / self.scale - out.shape[-1] * math.log(2 * self.scale)

    def mean(self, out: Tensor) -> Tensor:
        return out.sigmoid()

    def initial_bias(self, mean: Tensor) -> Tensor:
        return mean.clamp(0.001, 0.999).logit()


def likelihood(spec: DataSpec) -> Bernoulli | DiscretisedLogistic | Gaussian | Laplace:
    """The likelihood that the data ask for. Raises UserError for an unknown one."""
    known = {
        "bernoulli": Bernoulli,
        "discretised-logistic": lambda: DiscretisedLogistic(math.prod(spec.shape), spec.levels),
        "gaussian": Gaussian,
        "laplace": lambda: Laplace(spec.scale),
    }
    if spec.likelihood not in known:
        raise UserError(f"no likelihood {spec.likelihood!r}: {nearest(spec.likelihood, known)}")
    return known[spec.likelihood]()


def pairs(model: nn.Module, x: Tensor, out: Tensor) -> Tensor:
    """``log p(x_i | out_j)`` of x ``(N, D)`` and out ``(M, D)``, ``(N, M)``; by a matrix product where the likelihood has one."""
    if isinstance(model, Bernoulli):
        return x @ out.T - F.softplus(out).sum(1)
    if isinstance(model, Gaussian):
        log_std = model.log_std.clamp(min=-7.0)
        squared = (x.square().sum(1)[:, None] + out.square().sum(1) - 2 * x @ out.T).clamp(min=0)
        return -0.5 * torch.exp(-2 * log_std) * squared - out.shape[1] * (log_std + 0.5 * math.log(2 * math.pi))
    return torch.stack([model.log_prob(one, out) for one in x])
