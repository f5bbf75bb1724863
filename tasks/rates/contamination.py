"""Wasserstein autoencoders of two laws in three dimensions: how their errors fall with n, and rise with the share of outliers.

* ``balls``: five Gaussians of standard deviation 0.15 around points of the unit sphere;
* ``roll``: a Swiss roll, which is a sheet of two dimensions, of one and a half turns and mean square 1.

For each law one fit for each n without outliers, from 250 to 8,000, and for the last n but one (4,000) one for each share of outliers:
training points replaced by points whose coordinates follow Cauchy laws of scale 5 (at most 100 from 0, so that sums stay finite). Codes
have two dimensions. Validation and test examples are clean.

By law: ``code_mmd_rate``, ``sample_mmd_rate`` and ``sw1_rate``, minus the slopes against log n of the logarithms of the codes' discrepancy
from N(0, I), of the samples' discrepancy and of their sliced distance from test examples; ``outlier_slope``, ``outlier_linear`` and
``outlier_trend`` of the sliced distance against the share of outliers, where none is the fit of as many clean examples; ``.../mean`` over
the laws. Discrepancies are roots of unbiased squares with one fixed kernel, of which those below 1/N, the noise of N test examples, count
as that. The sliced distance of N from as many examples of one law is not 0 (at lite about 0.02), which flattens its curve where errors are
near that.

A run at lite trains 18 autoencoders, which takes up to 140 CPU seconds with bounded networks, beyond the 90 that a run has elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.rates import Fit
from elboard.bench.metrics import rates
from elboard.bench.metrics.collapse import kendall
from elboard.bench.options import Count, Range
from elboard.tasks.rates.base import Rates

CARD = TaskCard(
    name="rates/contamination",
    title="Learning curves of Wasserstein autoencoders, clean and contaminated",
    needs=("WassersteinFits",),
    primary="sw1/mean",
    metrics=(
        "sw1/mean",
        "risk/mean",
        "code_mmd/mean",
        "code_mmd_rate/mean",
        "sample_mmd/mean",
        "sample_mmd_rate/mean",
        "sw1_rate/mean",
        "outlier_slope/mean",
        "outlier_linear/mean",
        "outlier_trend/mean",
    ),
    selection="risk/mean",
    varies="seed and split",
    papers=("109",),
    full="up to 16,000 instead of 8,000 examples and 30,000 instead of 1,500 steps; no paper's own setting",
    work={"lite": (8000, 72_000), "full": (16_000, 200_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 16},
        "task": {"n_train": 40, "n_valid": 30, "n_test": 50, "n": [20, 40]},
    },
    "lite": {"train": {"epochs": 75, "batch_size": 256, "validate_every": 25}, "task": {"n_train": 8000}},
    "full": {
        "train": {"epochs": 1500, "batch_size": 256, "validate_every": 100},
        "task": {"n_train": 16_000, "n_test": 10_000, "n": [250, 500, 1000, 2000, 4000, 8000, 16_000]},
    },
}
LAWS = ("balls", "roll")
BALLS, DEVIATION = 5, 0.15
SCALE, FARTHEST = 5.0, 100.0
FLOOR = 1e-3
# root of the mean square: angles from a to 3 a have E angle^2 = (a^2 + 3 a^2 + 9 a^2) / 3
ROLL = math.sqrt(21**2 / 12 + (1.5 * math.pi) ** 2 * 13 / 3)


def centres() -> Tensor:
    """Of the balls: points of the unit sphere far from each other, ``(5, 3)``: the poles and three on the equator."""
    angle = 2 * math.pi * torch.arange(3) / 3
    return torch.cat([torch.tensor([[0.0, 0, 1], [0, 0, -1]]), torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)])


class Contamination(Rates):
    """See the module."""

    laws = LAWS
    base = 3

    @dataclass(kw_only=True)
    class Config(Rates.Config):
        n: list[Count] = field(default_factory=lambda: [250, 500, 1000, 2000, 4000, 8000])
        shares: list[Annotated[float, Range(above=0, below=1)]] = field(default_factory=lambda: [0.05, 0.1, 0.2])

    def fits(self) -> tuple[Fit, ...]:
        n = sorted(self.config.n)
        each = [(size, 0.0) for size in n] + [(n[-2], share) for share in self.config.shares]
        return tuple(Fit(law, self.base, 2, n, share) for law in LAWS for n, share in each)

    def points(self, law: str, n: int, generator: Generator) -> Tensor:
        if law == "balls":
            which = torch.randint(BALLS, (n,), generator=generator)
            return centres()[which] + DEVIATION * torch.randn(n, self.base, generator=generator)
        u, height = torch.rand(2, n, generator=generator)
        angle = 1.5 * math.pi * (1 + 2 * u)  # radius in proportion to it, from 1.5 pi to 4.5 pi
        x = torch.stack([angle * angle.cos(), 21 * (height - 0.5), angle * angle.sin()], dim=1)
        return x / ROLL

    def outliers(self, law: str, n: int, generator: Generator) -> Tensor:
        u = torch.rand(n, self.base, generator=generator)
        return (SCALE * torch.tan(math.pi * (u - 0.5))).clamp(-FARTHEST, FARTHEST)

    def further(self, fit: Fit, real: np.ndarray, codes: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
        return {"code_mmd2": rates.normal_discrepancy(codes), "sample_mmd2": rates.sample_discrepancy(drawn, real)}

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        law, _, _, n, share = observed["fits"].T
        mmd = {of: np.sqrt(np.maximum(observed[f"{of}_mmd2"], 1 / observed["n_test"])) for of in ("code", "sample")}
        found = {}
        for i, name in enumerate(LAWS):
            clean = (law == i) & (share == 0)
            most = n[(law == i) & (share > 0)].max()
            dirty = (law == i) & (n == most)
            slope, linear = rates.line(share[dirty], observed["sw1"][dirty])
            found |= {
                f"risk/{name}": float(observed["risk"][clean].mean()),
                f"sw1/{name}": float(observed["sw1"][clean].mean()),
                f"sw1_rate/{name}": rates.rate(n[clean], observed["sw1"][clean], FLOOR),
                f"outlier_slope/{name}": slope,
                f"outlier_linear/{name}": linear,
                f"outlier_trend/{name}": kendall(share[dirty], observed["sw1"][dirty]),
            }
            for of, values in mmd.items():
                found[f"{of}_mmd/{name}"] = float(values[clean].mean())
                found[f"{of}_mmd_rate/{name}"] = rates.rate(n[clean], values[clean], 0.0)
        of = {key.partition("/")[0] for key in found}
        return found | {f"{metric}/mean": float(np.mean([found[f"{metric}/{name}"] for name in LAWS])) for metric in sorted(of)}
