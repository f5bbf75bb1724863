"""Wasserstein autoencoders of data on curved sheets: how their errors fall with n, by intrinsic dimension d and ambient dimension D.

A sheet is u -> Phi_d(u) of u uniform on [0, 1]^d: 64 random Fourier features, mixed to 16 base dimensions, centred and scaled to
E|x|^2 = 16. Orthonormal columns embed these in D dimensions, which leaves distances as they are. There is one map for each d and one
embedding for each D, in all runs. The code has d dimensions. d is 1, 2, 4, 8 with D = 64, and D is 16, 64, 256 with d = 2; for each pair
one fit for each n, and one that sees new points at each step.

``excess_risk/...``: the risk minus that of the fit with new points, which has the same network and steps: what is left is what few data
cost. ``risk_rate/...``, ``sw1_rate/...``: minus the slopes of log excess risk and of log sliced distance against log n. Theory (Chakraborty
and Bartlett 2024) promises the excess risk a rate of at least 1 / (2 + d): ``risk_rate_margin`` is the smallest excess of the measured
over the promised. ``risk_rate_trend`` and ``risk_rate_fall`` say whether curves are flatter for larger d (Kendall's tau, and the rate at
d = 1 minus that at 8), ``risk_rate_shift`` whether D matters (the rate at 256 minus that at 16). An excess below a thousandth of E|x|^2
counts as that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.rates import Fit
from elboard.bench.metrics.collapse import kendall
from elboard.bench.metrics.rates import predicted_rate, rate
from elboard.tasks.rates.base import Rates

CARD = TaskCard(
    name="rates/wasserstein",
    title="Learning curves of Wasserstein autoencoders, by intrinsic and ambient dimension",
    needs=("WassersteinFits",),
    primary="risk/mean",
    metrics=("risk/mean", "risk_rate/d1-D64", "risk_rate/d8-D64", "risk_rate_margin", "risk_rate_trend", "risk_rate_shift", "sw1/mean"),
    selection="risk/mean",
    varies="seed and split",
    papers=("089",),
    full="up to 12,800 instead of 3,200 examples and 50,000 instead of 2,000 steps; no paper's own setting",
    work={"lite": (3200, 210_000), "full": (12_800, 540_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 16}, "task": {"n_train": 40, "n_valid": 30, "n_test": 50, "n": [20, 40]}},
    "lite": {"train": {"epochs": 100, "batch_size": 100, "validate_every": 25}, "task": {"n_train": 3200, "n_test": 5000}},
    "full": {
        "train": {"epochs": 2500, "batch_size": 100, "validate_every": 100},
        "task": {"n_train": 12_800, "n_test": 10_000, "n": [100, 200, 400, 800, 1600, 3200, 6400, 12_800]},
    },
}
LAWS = ("d1", "d2", "d4", "d8")
PAIRS = ((2, 16), (1, 64), (2, 64), (4, 64), (8, 64), (2, 256))  # (d, D)
BASE, FEATURES, FREQUENCY = 16, 64, 4.0
FLOOR = 1e-3 * BASE


@functools.cache
def sheet(d: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frequencies (64, d), phases (64,), mixture (64, 16) and mean (16,) of Phi_d."""
    generator = Generator().manual_seed(d)
    frequency = FREQUENCY * torch.randn(FEATURES, d, generator=generator)
    phase = 2 * math.pi * torch.rand(FEATURES, generator=generator)
    mix = torch.randn(FEATURES, BASE, generator=generator)
    x = torch.cos(torch.rand(50_000, d, generator=generator) @ frequency.T + phase) @ mix
    scale = math.sqrt(BASE) / (x - x.mean(0)).square().sum(1).mean().sqrt()
    return frequency, phase, scale * mix, scale * x.mean(0)


@functools.cache
def embedding(ambient: int) -> Tensor:
    """Orthonormal columns, ``(ambient, 16)``."""
    return torch.linalg.qr(torch.randn(ambient, BASE, generator=Generator().manual_seed(ambient)))[0]


class Wasserstein(Rates):
    """See the module."""

    laws = LAWS
    base = BASE

    @dataclass(kw_only=True)
    class Config(Rates.Config):
        n: list[int] = field(default_factory=lambda: [100, 200, 400, 800, 1600, 3200])

    def fits(self) -> tuple[Fit, ...]:
        return tuple(Fit(f"d{d}", ambient, d, n) for d, ambient in PAIRS for n in (*self.config.n, 0))

    def points(self, law: str, n: int, generator: Generator) -> Tensor:
        frequency, phase, mix, mean = sheet(int(law[1:]))
        u = torch.rand(n, frequency.shape[1], generator=generator)
        return torch.cos(u @ frequency.T + phase) @ mix - mean

    def embedded(self, fit: Fit, x: Tensor) -> Tensor:
        return x @ embedding(fit.ambient).T

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        _, ambient, d, n, _ = observed["fits"].T
        limited = n > 0
        found = {f"{name}/mean": float(observed[name][limited].mean()) for name in ("risk", "sw1")}
        for pair in PAIRS:
            of, at = f"d{pair[0]}-D{pair[1]}", (d == pair[0]) & (ambient == pair[1])
            few = at & limited
            excess = observed["risk"][few] - observed["risk"][at & ~limited]
            found |= {f"excess_risk/{of}-n{int(size)}": float(value) for size, value in zip(n[few], excess, strict=True)}
            found[f"risk_rate/{of}"] = rate(n[few], excess, FLOOR)
            found[f"sw1_rate/{of}"] = rate(n[few], observed["sw1"][few], FLOOR)
        by_d = {of: found[f"risk_rate/d{of}-D64"] for of in (1, 2, 4, 8)}
        margins = [found[f"risk_rate/d{of}-D{ambient}"] - predicted_rate(of) for of, ambient in PAIRS]
        return found | {
            "risk_rate_margin": min(margins),
            "risk_rate_fall": by_d[1] - by_d[8],
            "risk_rate_trend": kendall(np.array([*by_d]), np.array([*by_d.values()])),
            "risk_rate_shift": found["risk_rate/d2-D256"] - found["risk_rate/d2-D16"],
        }
