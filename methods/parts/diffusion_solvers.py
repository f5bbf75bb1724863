"""Ways from noise to data along a :class:`Path`, for any network or exact denoiser ``model(x, t) -> View``.

A sampler takes x at the first of ``times`` (falling, ``(N + 1,)``) to the last one. Those that follow the probability flow
dx/dt = f x - g^2 score / 2 give one x_0 for each x_1; the others draw. What a step costs is ``calls`` of the model (:data:`CALLS`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from elboard.methods.parts.diffusion_paths import Path, View

Model = Callable[[Tensor, Tensor], View]
SamplerName = Literal["euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m", "ancestral", "euler-maruyama"]
Spacing = Literal["time", "log-snr", "karras"]
EARLIEST = 1e-3  # sigma is 0 at 0, where score and noise are not defined (Lai et al. 2025)
RHO = 7  # Karras et al. 2022, eq. 5


def times_of(path: Path, n: int, spacing: Spacing, earliest: float = EARLIEST, dtype: torch.dtype = torch.float32) -> Tensor:
    """``n + 1`` falling times from ``path.latest`` to ``earliest``: even in time, in log(alpha / sigma), or in (sigma / alpha)^(1/7)."""
    ends = torch.tensor([path.latest, earliest], dtype=torch.float64)
    share = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    if spacing == "time":
        times = ends[0] + share * (ends[1] - ends[0])
    else:
        first, last = path.half_log_snr(ends)
        if spacing == "log-snr":
            between = first + share * (last - first)
        else:
            high, low = (-first / RHO).exp(), (-last / RHO).exp()
            between = -RHO * (high + share * (low - high)).log()
        times = path.time_of(between)
        times[0], times[-1] = ends
    return times.to(dtype)


def _steps(times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return itertools.pairwise(times.unbind())


def euler(model: Model, path: Path, x: Tensor, times: Tensor) -> Tensor:
    """x + (s - t) dx/dt."""
    for t, s in _steps(times):
        x = x + (s - t) * path.velocity(model(x, t), t)
    return x


def heun(model: Model, path: Path, x: Tensor, times: Tensor) -> Tensor:
    """The mean of the slopes at both ends of a step, that at the further one at Euler's x (Karras et al. 2022, algorithm 1)."""
    for t, s in _steps(times):
        slope = path.velocity(model(x, t), t)
        ahead = path.velocity(model(x + (s - t) * slope, s), s)
        x = x + (s - t) * 0.5 * (slope + ahead)
    return x


def ddim(model: Model, path: Path, x: Tensor, times: Tensor) -> Tensor:
    """alpha_s data + sigma_s noise (Song et al. 2021, eq. 12 with eta = 0): exact where the noise does not change within a step."""
    for t, s in _steps(times):
        seen = model(x, t)
        x = path.alpha(s) * seen.data + path.sigma(s) * seen.noise
    return x


def _first_order(path: Path, x: Tensor, noise: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """alpha_s / alpha_t x - sigma_s (e^h - 1) noise, h = lambda_s - lambda_t (Lu et al. 2022, eq. 3.7)."""
    step = path.half_log_snr(s) - path.half_log_snr(t)
    return path.alpha(s) / path.alpha(t) * x - path.sigma(s) * torch.expm1(step) * noise


def dpm_solver_2(model: Model, path: Path, x: Tensor, times: Tensor) -> Tensor:
    """The noise at the middle of a step in log(alpha / sigma) (Lu et al. 2022, algorithm 1)."""
    for t, s in _steps(times):
        middle = path.time_of(0.5 * (path.half_log_snr(t) + path.half_log_snr(s)))
        between = _first_order(path, x, model(x, t).noise, t, middle)
        x = _first_order(path, x, model(between, middle).noise, t, s)
    return x


def dpm_solver_pp_2m(model: Model, path: Path, x: Tensor, times: Tensor) -> Tensor:
    """The data of this step and of the one before, extrapolated: sigma_s / sigma_t x - alpha_s (e^-h - 1) D (Lu et al. 2023, algorithm 2).

    The first step is of the first order.
    """
    former: Tensor | None = None
    former_step: Tensor | None = None
    for t, s in _steps(times):
        data, step = model(x, t).data, path.half_log_snr(s) - path.half_log_snr(t)
        mixed = data
        if former is not None:
            ratio = 0.5 * step / former_step
            mixed = (1 + ratio) * data - ratio * former
        x = path.sigma(s) / path.sigma(t) * x - path.alpha(s) * torch.expm1(-step) * mixed
        former, former_step = data, step
    return x


def posterior_deviation(path: Path, t: Tensor, s: Tensor) -> Tensor:
    """Standard deviation of q(x_s | x_t, x_0): sigma_s / sigma_t sqrt(sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2) (Luo 2022, eq. 85)."""
    ratio = path.alpha(t) / path.alpha(s) * path.sigma(s) / path.sigma(t)
    return path.sigma(s) * (1 - ratio.square()).clamp_min(0).sqrt()


def ancestral(model: Model, path: Path, x: Tensor, times: Tensor) -> Tensor:
    """Draws of q(x_s | x_t, x_0) with the predicted data in the place of x_0 (Ho et al. 2020, algorithm 2); no noise in the last step."""
    last = len(times) - 2
    for i, (t, s) in enumerate(_steps(times)):
        seen = model(x, t)
        spread = torch.zeros_like(s) if i == last else posterior_deviation(path, t, s)
        x = path.alpha(s) * seen.data + (path.sigma(s).square() - spread.square()).sqrt() * seen.noise + spread * torch.randn_like(x)
    return x


def euler_maruyama(model: Model, path: Path, x: Tensor, times: Tensor) -> Tensor:
    """The reverse equation dx = (f x - g^2 score) dt + g dW (Song et al. 2021, eq. 6); no noise in the last step."""
    last = len(times) - 2
    for i, (t, s) in enumerate(_steps(times)):
        f, squared = path.drift(t)
        slope = f * x - squared * path.score(model(x, t), t)
        x = x + (s - t) * slope
        if i < last:
            x = x + ((t - s) * squared).sqrt() * torch.randn_like(x)
    return x


SAMPLERS: dict[str, Callable[[Model, Path, Tensor, Tensor], Tensor]] = {
    "euler": euler,
    "heun": heun,
    "ddim": ddim,
    "dpm-solver-2": dpm_solver_2,
    "dpm-solver++2m": dpm_solver_pp_2m,
    "ancestral": ancestral,
    "euler-maruyama": euler_maruyama,
}
CALLS = {"heun": 2, "dpm-solver-2": 2}  # of the model a step, 1 for the others


def steps_for(sampler: SamplerName, evaluations: int) -> int:
    """How many steps cost at most ``evaluations`` of the model, at least one."""
    return max(1, evaluations // CALLS.get(sampler, 1))


def guided(conditional: Model, unconditional: Model, weight: float) -> Model:
    """Classifier-free guidance: noise = n + w (c - n) of the unconditional n and the conditional c, so that w = 1 is no guidance (Luo 2022,
    eq. 168); scores, data and velocities mix alike."""

    def model(x: Tensor, t: Tensor) -> View:
        of, without = conditional(x, t), unconditional(x, t)
        return View(*(b + weight * (a - b) for a, b in zip(of, without, strict=True)))

    return model


def embedding_of(t: Tensor, width: int, longest: float = 1000.0) -> Tensor:
    """Sines and cosines of ``1000 t`` at ``width`` / 2 frequencies from 1 to 1e-4 (Ho et al. 2020): ``(B,)`` to ``(B, width)``."""
    half = width // 2
    frequencies = (-math.log(1e4) * torch.arange(half, device=t.device, dtype=t.dtype) / half).exp()
    angles = longest * t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)
