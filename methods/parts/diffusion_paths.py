"""Paths from data to noise, and what a network of one may predict.

    x_t = alpha_t x_0 + sigma_t eps,   eps ~ N(0, I),   data at t = 0, noise at t = 1      (Lai et al. 2025; Luo 2022)

Noise, clean data, score and velocity of the same x_t say the same (:class:`View`); whichever a network gives, the others follow by algebra.
Names: ``data`` is E[x_0 | x_t], ``noise`` E[eps | x_t], ``score`` the gradient of log p_t, -noise / sigma (Tweedie), ``velocity``
alpha' data + sigma' noise. Times are tensors that broadcast against x.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

PathName = Literal["vp-linear", "vp-cosine", "flow", "ve"]
Target = Literal["noise", "data", "score", "velocity"]


class View(NamedTuple):
    """Clean data and noise that an ``x_t`` is seen as, each of its shape."""

    data: Tensor
    noise: Tensor


class Path(ABC):
    """``alpha`` and ``sigma`` over time, and their derivatives."""

    latest: float = 1.0  # where alpha would be 0, and with it the data that a noise predicts undetermined, sampling begins before it

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Of the data."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Of the noise."""

    @abstractmethod
    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of both by t."""

    @abstractmethod
    def time_of(self, half_log_snr: Tensor) -> Tensor:
        """The time at which log(alpha / sigma) is ``half_log_snr``."""

    def magnitude(self, t: Tensor) -> Tensor:
        """Root mean square of x_t of data of unit scale: 1 on variance-preserving paths."""
        return (self.alpha(t).square() + self.sigma(t).square()).sqrt()

    def half_log_snr(self, t: Tensor) -> Tensor:
        """lambda_t = log(alpha_t / sigma_t), which falls (Lu et al. 2022)."""
        return self.alpha(t).log() - self.sigma(t).log()

    def snr(self, t: Tensor) -> Tensor:
        """alpha^2 / sigma^2 (Luo 2022, eq. 109)."""
        return (self.alpha(t) / self.sigma(t)).square()

    def drift(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """f and g^2 of the forward equation dx = f x dt + g dW with these marginals: f = alpha' / alpha, g^2 = (sigma^2)' - 2 f sigma^2."""
        d_alpha, d_sigma = self.slopes(t)
        f, sigma = d_alpha / self.alpha(t), self.sigma(t)
        return f, 2 * sigma * d_sigma - 2 * f * sigma.square()

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t."""
        return self.alpha(t) * x + self.sigma(t) * noise

    def target(self, kind: Target, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What a network that predicts ``kind`` is to give for the clean ``x`` and this noise: of the score that of q(x_t | x_0)."""
        if kind == "velocity":
            d_alpha, d_sigma = self.slopes(t)
            return d_alpha * x + d_sigma * noise
        return {"data": x, "noise": noise, "score": -noise / self.sigma(t)}[kind]

    def view(self, kind: Target, out: Tensor, x_t: Tensor, t: Tensor) -> View:
        """Both, from ``out``, which is of ``kind``."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        if kind == "data":
            return View(out, (x_t - alpha * out) / sigma)
        if kind in ("noise", "score"):
            noise = out if kind == "noise" else -sigma * out
            return View((x_t - sigma * noise) / alpha, noise)
        d_alpha, d_sigma = self.slopes(t)
        determinant = alpha * d_sigma - d_alpha * sigma
        return View((d_sigma * x_t - sigma * out) / determinant, (alpha * out - d_alpha * x_t) / determinant)

    def score(self, view: View, t: Tensor) -> Tensor:
        """Of log p_t, by Tweedie's formula."""
        return -view.noise / self.sigma(t)

    def velocity(self, view: View, t: Tensor) -> Tensor:
        """dx/dt of the probability flow, which is f x - g^2 score / 2."""
        d_alpha, d_sigma = self.slopes(t)
        return d_alpha * view.data + d_sigma * view.noise


class VPLinear(Path):
    """Variance preserving, beta(t) = 0.1 + 19.9 t (Song et al. 2021, appendix C); in T steps the linear schedule of Ho et al. 2020."""

    low, high = 0.1, 20.0

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * (self.low * t + 0.5 * (self.high - self.low) * t.square())

    def alpha(self, t: Tensor) -> Tensor:
        return self._log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self._log_alpha(t))).sqrt()

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta = self.alpha(t), self.low + (self.high - self.low) * t
        return -0.5 * beta * alpha, 0.5 * beta * alpha.square() / self.sigma(t)

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        integral = torch.nn.functional.softplus(-2 * half_log_snr)  # of beta up to t: log(1 + e^(-2 lambda)) = -2 log alpha
        slope = self.high - self.low
        return 2 * integral / (self.low + (self.low**2 + 2 * slope * integral).sqrt())


class VPCosine(Path):
    """Variance preserving with alpha = cos(pi t / 2): that of Nichol and Dhariwal 2021 without its offset of 0.008."""

    latest = 0.9958  # where log(alpha / sigma) is -5, as on the linear path at 1

    def alpha(self, t: Tensor) -> Tensor:
        return (0.5 * math.pi * t).cos()

    def sigma(self, t: Tensor) -> Tensor:
        return (0.5 * math.pi * t).sin()

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -0.5 * math.pi * self.sigma(t), 0.5 * math.pi * self.alpha(t)

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        return 2 / math.pi * (-half_log_snr).exp().atan()


class Flow(Path):
    """The straight path of flow matching, alpha = 1 - t, sigma = t (Lipman et al. 2023, with data at 0)."""

    latest = 0.999

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        return (-half_log_snr).sigmoid()


class VE(Path):
    """Variance exploding, sigma = 0.01 (50 / 0.01)^t (Song et al. 2021)."""

    low, high = 0.01, 50.0

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.low * (t * math.log(self.high / self.low)).exp()

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), math.log(self.high / self.low) * self.sigma(t)

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        return (-half_log_snr - math.log(self.low)) / math.log(self.high / self.low)


def path_of(name: PathName) -> Path:
    """The path called ``name``."""
    return dict(zip(get_args(PathName), (VPLinear, VPCosine, Flow, VE), strict=True))[name]()
