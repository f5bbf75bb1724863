"""Wasserstein autoencoders of two laws in three dimensions: how their errors fall with n, and rise with the share of outliers.

* ``balls``: five Gaussians of standard deviation 0.15 around points of the unit sphere;
* ``roll``: a Swiss roll, which is a sheet of two dimensions, of one and a half turns and mean square 1.

For each law and start there is one fit for each n, from 10 to 160, one that sees new points at each step, and, with ``contaminated``
(4,000) examples, one for each share of outliers, of which none is the first: training points replaced by points whose coordinates follow
Cauchy laws of scale 5 (at most 100 from 0, so that sums stay finite). All of these begin with the same weights, draw by the same random
numbers and train for the same number of steps. Codes have two dimensions. Validation and test examples are clean.

An error is what the networks and the steps allow, which no n takes away, and what few data cost. The second part falls with n:
``code_excess_rate``, ``sample_excess_rate`` and ``sw1_excess_rate`` are the rates of the codes' discrepancy from N(0, I), of the samples'
discrepancy and of their sliced distance from test examples, beyond those of the fit with new points, in the mean over starts. Discrepancies
are squares, unbiased, with one fixed kernel, and their excess enters as its root, for which theory has n^(-1/2); an excess below 1/N, the
noise of N test examples, counts as that. ``code_excess_signal`` and ``sample_excess_signal``: the excess at the largest n by its standard
error over starts, the least of both laws.

``outlier_slope``, ``outlier_linear`` and ``outlier_trend`` are of the sliced distance, in the mean over starts, against the share of
outliers; ``.../mean`` is over the laws.

Examples are few because codes and samples of 250 to 8,000 examples were as far from their laws as those of unlimited ones (seeds 0 to 4,
rates of the distances themselves -0.03 to 0.18). That, n, and three starts were chosen by seed 1000: that the excess is above its noise.
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
        "code_excess_rate/mean",
        "code_excess_signal",
        "sample_mmd/mean",
        "sample_excess_rate/mean",
        "sample_excess_signal",
        "sw1_excess_rate/mean",
        "outlier_slope/mean",
        "outlier_linear/mean",
        "outlier_trend/mean",
    ),
    selection="risk/mean",
    varies="seed and split",
    papers=("109",),
    version=2,
    full="up to 2,560 instead of 160 examples and 30,000 instead of 1,500 steps; no paper's own setting",
    work={"lite": (4000, 240_000), "full": (16_000, 840_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 16},
        "task": {"n_train": 40, "n_valid": 30, "n_test": 50, "n": [10, 20], "contaminated": 40},
    },
    "lite": {"train": {"epochs": 25, "batch_size": 64, "validate_every": 5}, "task": {"n_train": 4000}},
    "full": {
        "train": {"epochs": 120, "batch_size": 64, "validate_every": 10},
        "task": {
            "n_train": 16_000,
            "n_test": 10_000,
            "n": [10, 20, 40, 80, 160, 320, 640, 1280, 2560],
            "contaminated": 16_000,
        },
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
        n: list[Count] = field(default_factory=lambda: [10, 20, 40, 80, 160])
        contaminated: Count = 4000  # examples of fits with outliers
        shares: list[Annotated[float, Range(above=0, below=1)]] = field(default_factory=lambda: [0.05, 0.1, 0.2])
        starts: Annotated[int, Range(2)] = 3  # whose spread is the noise of an excess

    def fits(self) -> tuple[Fit, ...]:
        c = self.config
        few = [(n, 0.0) for n in (*sorted(c.n), 0)]
        dirty = [(c.contaminated, share) for share in (0.0, *sorted(c.shares))]
        return tuple(Fit(law, self.base, 2, *of, start=start) for law in LAWS for start in range(c.starts) for of in few + dirty)

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
        noise = 1 / float(observed["n_test"])
        found: dict[str, float] = {}
        for i, name in enumerate(LAWS):
            at = observed["fits"][:, 0] == i
            of = {key: values[at] for key, values in observed.items() if np.ndim(values)}
            n, share = of["fits"][:, 3], of["fits"][:, 4]
            most = n[share > 0].max()  # of the contaminated fits and the clean one that they are compared with
            sizes, shares = np.unique(n[(n > 0) & (n < most)]), np.unique(share)
            rows = {key: np.stack([of[key][n == size] for size in (0, *sizes)], axis=1) for key in ("code_mmd2", "sample_mmd2", "sw1")}
            for key, values in rows.items():  # a row a start: fits of one n are in the order of their starts
                excess = values[:, 1:] - values[:, :1]
                curve, error = excess.mean(0), excess[:, -1].std(ddof=1) / math.sqrt(len(excess))
                metric = key.removesuffix("_mmd2")
                curve = np.maximum(curve, noise) if key == "sw1" else np.sqrt(np.maximum(curve, noise))
                found[f"{metric}_excess_rate/{name}"] = rates.rate(sizes, curve, 0.0)
                found |= {f"{metric}_excess/{name}-n{int(size)}": float(value) for size, value in zip(sizes, curve, strict=True)}
                found[f"{metric}_excess_signal/{name}"] = float(excess[:, -1].mean() / max(error, noise / 1000))
            clean = (n > 0) & (n < most)
            found |= {f"{key}/{name}": float(of[key][clean].mean()) for key in ("risk", "sw1")}
            for key in ("code", "sample"):
                found[f"{key}_mmd/{name}"] = float(np.sqrt(np.maximum(of[f"{key}_mmd2"][clean], noise)).mean())
            found |= _contaminated(name, shares, np.array([of["sw1"][(n == most) & (share == each)].mean() for each in shares]))
        return found | _of_laws(found)


def _contaminated(law: str, shares: np.ndarray, distance: np.ndarray) -> dict[str, float]:
    """What the sliced ``distance`` at each share of outliers, in the mean over starts, says of one law."""
    slope, linear = rates.line(shares, distance)
    found = {f"outlier_slope/{law}": slope, f"outlier_linear/{law}": linear, f"outlier_trend/{law}": kendall(shares, distance)}
    return found | {f"outlier_sw1/{law}-{share:.3g}": float(value) for share, value in zip(shares, distance, strict=True)}


def _of_laws(found: Mapping[str, float]) -> dict[str, float]:
    """Means over the laws; of signals the least."""
    names = sorted({key.partition("/")[0] for key in found if key.endswith(f"/{LAWS[0]}")})
    values = {name: [found[f"{name}/{law}"] for law in LAWS] for name in names}
    signals = {name: min(of) for name, of in values.items() if name.endswith("_signal")}
    return signals | {f"{name}/mean": float(np.mean(of)) for name, of in values.items() if name not in signals}
