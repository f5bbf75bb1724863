"""Wasserstein autoencoders of data on curved sheets: how their errors fall with n, by intrinsic dimension d and ambient dimension D.

A sheet is u -> Phi_d(u) of u uniform on [0, 1]^d: 64 random Fourier features, mixed to 16 base dimensions, centred and scaled to
E|x|^2 = 16. Frequencies are N(0, 16 / d), so that the phases of a feature spread alike for all d. Orthonormal columns embed the 16
dimensions in D, which leaves distances as they are. There is one map for each d and one embedding for each D, in all runs. The code has
d + 1 dimensions: with d, networks often fold the curve of d = 1, and what differs between fits is where they fold it. d is 1, 2, 4, 8 with
D = 64, and D is 16, 64, 256 with d = 2.

For each pair and start there is one fit for each n, and one that sees new points at each step; all of these begin with the same weights,
draw by the same random numbers and train for the same number of steps. ``excess_risk/...`` is the risk minus that of the fit with new
points, in the mean over starts: what few data cost. Examples are few, 10 to 160 at lite. With more of them the excess at d = 1 and 2 is
what starts differ by, and at d = 8 networks of a fixed size are in their parametric range. ``excess_noise/...`` is the standard error over
starts of the excess at the largest n, ``excess_signal`` the least ratio of both, ``excess_falls`` the share of steps to a larger n at which
the excess falls.

``risk_rate/...``, ``sw1_rate/...``: minus the slopes of log excess risk and of log sliced distance against log n. Theory (Chakraborty
and Bartlett 2024) promises the excess risk a rate of at least 1 / (2 + d): ``risk_rate_margin`` is the smallest excess of the measured
over the promised. ``risk_rate_trend`` and ``risk_rate_fall`` say whether curves are flatter for larger d (Kendall's tau, and the rate at
d = 1 minus that at 8), ``risk_rate_shift`` whether D matters (the rate at 256 minus that at 16). An excess below 10^-5 of E|x|^2 counts as
that. Codes of a sheet in d + 1 dimensions cannot have the law N(0, I), which is why the sliced distance of samples has a floor.

Frequencies, codes, n and the number of starts were chosen by seed 1000: that networks fit the sheets, that the excess is above its noise at
all n, and that curves fall.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.rates import Fit
from elboard.bench.metrics.collapse import kendall
from elboard.bench.metrics.rates import predicted_rate, rate
from elboard.bench.options import Count, Range
from elboard.tasks.rates.base import Rates

CARD = TaskCard(
    name="rates/wasserstein",
    title="Learning curves of Wasserstein autoencoders, by intrinsic and ambient dimension",
    needs=("WassersteinFits",),
    primary="risk/mean",
    metrics=(
        "risk/mean",
        "risk_rate/d1-D64",
        "risk_rate/d8-D64",
        "risk_rate_margin",
        "risk_rate_trend",
        "risk_rate_shift",
        "excess_signal",
        "excess_falls",
        "sw1/mean",
    ),
    selection="risk/mean",
    varies="seed and split",
    papers=("089",),
    version=2,
    full="up to 2,560 instead of 160 examples and 50,000 instead of 1,200 steps; no paper's own setting",
    work={"lite": (160, 540_000), "full": (2560, 1_800_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 16}, "task": {"n_train": 40, "n_valid": 30, "n_test": 50, "n": [20, 40]}},
    "lite": {"train": {"epochs": 60, "batch_size": 50, "validate_every": 20}, "task": {"n_train": 160, "n_test": 5000}},
    "full": {
        "train": {"epochs": 2500, "batch_size": 50, "validate_every": 100},
        "task": {"n_train": 2560, "n_test": 10_000, "n": [10, 20, 40, 80, 160, 320, 640, 1280, 2560]},
    },
}
LAWS = ("d1", "d2", "d4", "d8")
PAIRS = ((2, 16), (1, 64), (2, 64), (4, 64), (8, 64), (2, 256))  # (d, D)
BASE, FEATURES, FREQUENCY = 16, 64, 4.0
MORE = 1  # dimensions of a code beyond d
FLOOR = 1e-5 * BASE


@functools.cache
def sheet(d: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frequencies (64, d), phases (64,), mixture (64, 16) and mean (16,) of Phi_d."""
    generator = Generator().manual_seed(d)
    frequency = FREQUENCY / math.sqrt(d) * torch.randn(FEATURES, d, generator=generator)
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
        n: list[Count] = field(default_factory=lambda: [10, 20, 40, 80, 160])
        starts: Annotated[int, Range(2)] = 3  # whose spread is the noise of the excess risk

    def fits(self) -> tuple[Fit, ...]:
        c = self.config
        each = [(start, n) for start in range(c.starts) for n in (*c.n, 0)]
        return tuple(Fit(f"d{d}", ambient, d + MORE, n, start=start) for d, ambient in PAIRS for start, n in each)

    def points(self, law: str, n: int, generator: Generator) -> Tensor:
        frequency, phase, mix, mean = sheet(int(law[1:]))
        u = torch.rand(n, frequency.shape[1], generator=generator)
        return torch.cos(u @ frequency.T + phase) @ mix - mean

    def embedded(self, fit: Fit, x: Tensor) -> Tensor:
        return x @ embedding(fit.ambient).T

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        law, ambient, _, n, _ = observed["fits"].T
        sizes = np.unique(n[n > 0])
        found = {f"{name}/mean": float(observed[name][n > 0].mean()) for name in ("risk", "sw1")}
        signals, falls = [], []
        for d, of_ambient in PAIRS:
            of, at = f"d{d}-D{of_ambient}", (law == LAWS.index(f"d{d}")) & (ambient == of_ambient)
            risk, sw1 = (np.stack([observed[name][at & (n == size)] for size in (0, *sizes)], axis=1) for name in ("risk", "sw1"))
            excess = risk[:, 1:] - risk[:, :1]  # a row a start: fits of one n are in the order of their starts
            curve, noise = excess.mean(0), float(excess[:, -1].std(ddof=1) / math.sqrt(len(excess)))
            found |= {f"excess_risk/{of}-n{int(size)}": float(value) for size, value in zip(sizes, curve, strict=True)}
            found[f"excess_noise/{of}"] = noise
            found[f"risk_rate/{of}"] = rate(sizes, curve, FLOOR)
            found[f"sw1_rate/{of}"] = rate(sizes, sw1[:, 1:].mean(0), FLOOR)
            signals.append(float(curve[-1] / max(noise, FLOOR)))
            falls.append(float((np.diff(curve) < 0).mean()))
        by_d = {of: found[f"risk_rate/d{of}-D64"] for of in (1, 2, 4, 8)}
        margins = [found[f"risk_rate/d{of}-D{ambient}"] - predicted_rate(of) for of, ambient in PAIRS]
        return found | {
            "excess_signal": min(signals),
            "excess_falls": sum(falls) / len(falls),
            "risk_rate_margin": min(margins),
            "risk_rate_fall": by_d[1] - by_d[8],
            "risk_rate_trend": kendall(np.array([*by_d]), np.array([*by_d.values()])),
            "risk_rate_shift": found["risk_rate/d2-D256"] - found["risk_rate/d2-D16"],
        }
