"""Variational posteriors of networks on functions of two smoothnesses: how their risk falls with n, and what the ELBO selects.

    f_b(x) = c_b sum_(k < 8) 2^(-b k) cos(2^k pi x + phase_k) on [-1, 1], with b = 1 (``rough``) and b = 3 (``smooth``)

have Hoelder smoothness b, up to a logarithm, at the scales that can be seen, and mean square 1; phases belong to the task. Examples
are y = f_b(x) + noise of standard deviation 0.3, x uniform; the seed draws them. There is a network for each function, n (100 to 1,600, the
first n of the same examples) and width (4 to 32), all trained for as many steps.

* risk: squared distance of draws of the posterior from f_b, mean over ``draws`` of them and a grid of ``n_test`` inputs.
* ``posterior_rate/rough``, ``/smooth``: minus the slope of its logarithm against log n, of the widths by the theorem's rule, the least
  one of at least 2 n^(1 / (2b + 1)); ``/...-elbo`` of the widths that the ELBO selects. Theory: 2b / (2b + 1), that is 2/3 and 6/7
  (:func:`elboard.bench.metrics.rates.minimax_rate`). ``posterior_rate_gain``: the second minus the first.
* ``selection_ratio/elbo``, ``/train``, ``/widest``: risk of the width with the largest ELBO (prior weights of widths are equal), with the
  least squared error of training examples, of the widest; over the least risk of all widths. ``...-few``: of the two smallest n.
  ``selection_gain``: the second over the first.

Evidence: ``fits`` (F, 3), number of the function, n and width; ``risk``, ``elbo`` and ``train`` (F,).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import Batch
from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.curves import CurveFit, CurvesSpec
from elboard.bench.metrics.rates import rate
from elboard.bench.options import Count, Positive
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.parts.stacked import StackedBatches

CARD = TaskCard(
    name="rates/sparse-networks",
    title="Risk of variational networks by n and smoothness, and selection by the ELBO",
    needs=("VariationalCurves",),
    primary="posterior_risk/mean",
    metrics=(
        "posterior_risk/mean",
        "posterior_rate/rough",
        "posterior_rate/smooth",
        "posterior_rate_gain",
        "selection_ratio/elbo",
        "selection_ratio/train",
        "selection_ratio/widest",
    ),
    selection="curve_error",
    varies="seed and split",
    papers=("050",),
    full="up to 25,600 instead of 1,600 examples, widths up to 128 and 20,000 instead of 4,000 steps; no paper's own setting",
    work={"lite": (1600, 4_160_000), "full": (25_600, 114_912_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 16},
        "task": {"n": [20, 40], "widths": [2, 4], "n_valid": 30, "n_test": 40, "draws": 4},
    },
    "lite": {"train": {"epochs": 200, "batch_size": 100, "validate_every": 0, "keep": "last"}},
    "full": {
        "train": {"epochs": 1000, "batch_size": 100, "validate_every": 0, "keep": "last"},
        "task": {"n": [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600], "widths": [4, 8, 16, 32, 64, 128]},
    },
}
LAWS = {"rough": 1.0, "smooth": 3.0}  # b
SCALES, RULE = 8, 2.0
PARTS = {"train": 0, "valid": 1}


def phases() -> Tensor:
    return 2 * math.pi * torch.rand(SCALES, generator=Generator().manual_seed(50))


def function(law: str, x: Tensor) -> Tensor:
    """f_b at ``x``, of the same shape. Cosines of whole periods on [-1, 1] are orthogonal, so that the mean square is known."""
    k = torch.arange(SCALES)
    weight = 2.0 ** (-LAWS[law] * k)
    waves = torch.cos(2.0**k * math.pi * x[..., None] + phases())
    return (waves * weight).sum(-1) / (weight.square().sum() / 2).sqrt()


def width_by_rule(law: str, n: float, widths: np.ndarray) -> float:
    """The least of ``widths`` that is at least 2 n^(1 / (2b + 1)); the largest one if none is."""
    enough = widths[widths >= RULE * n ** (1 / (2 * LAWS[law] + 1))]
    return float(enough.min() if len(enough) else widths.max())


class CurveBatches(StackedBatches):
    """For each fit examples drawn with replacement from its own."""

    def __init__(self, data: Data, batch_size: int, seed: int):
        super().__init__(seed, batch_size)
        self.data, fits = data, data.spec.fits
        self.n = torch.tensor([float(fit.n) for fit in fits])[:, None]
        self.laws = torch.tensor([list(LAWS).index(fit.law) for fit in fits])[:, None]

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        at = (torch.rand(len(self.n), self.batch_size, generator=generator) * self.n).long()
        return {name: self.data.train[name][at, self.laws] for name in ("x", "y")}


class SparseNetworks(Task):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n: list[Count] = field(default_factory=lambda: [100, 200, 400, 800, 1600])
        widths: list[Count] = field(default_factory=lambda: [4, 8, 16, 32])
        noise: Positive = 0.3
        n_valid: Count = 500
        n_test: Count = 1000
        draws: Count = 40

    def fits(self) -> tuple[CurveFit, ...]:
        c = self.config
        if len(set(c.n)) < 2:
            raise UserError(f"task.n={c.n}: a slope needs two numbers of examples")
        return tuple(CurveFit(law, n, width) for law in LAWS for n in sorted(set(c.n)) for width in sorted(set(c.widths)))

    def _part(self, part: str, n: int) -> Batch:
        """Examples ``(n, laws)``."""
        generator = Generator().manual_seed(self.seed * len(PARTS) + PARTS[part])
        x = 2 * torch.rand(n, len(LAWS), generator=generator) - 1
        y = torch.stack([function(law, x[:, i]) for i, law in enumerate(LAWS)], dim=1)
        return {"x": x, "y": y + self.config.noise * torch.randn(n, len(LAWS), generator=generator)}

    def load_train(self) -> Data:
        c, most = self.config, max(self.config.n)
        spec = CurvesSpec((1,), most, fits=self.fits(), noise=c.noise)
        return Data(spec, self._part("train", most), self._part("valid", c.n_valid))

    def load_test(self, data: Data) -> Test:
        x = torch.linspace(-1, 1, self.config.n_test)
        return {"x": x, **{law: function(law, x) for law in LAWS}}

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> CurveBatches:
        return CurveBatches(data, train["batch_size"], seed)

    def _errors(self, method: Any, x: Tensor, y: Tensor) -> Tensor:
        """Squared errors ``(F, N)`` in the mean over draws, of targets ``y`` (F, N)."""
        x, y = x.to(self.device), y.to(self.device)
        return sum((f - y).square() for f in method.functions(x, self.config.draws)).div(self.config.draws).double().cpu()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        laws = [list(LAWS).index(fit.law) for fit in data.spec.fits]
        return {"curve_error": self._errors(method, *(data.valid[name][:, laws].T for name in ("x", "y"))).mean().item()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        fits, laws = data.spec.fits, [list(LAWS).index(fit.law) for fit in data.spec.fits]
        risk = self._errors(method, test["x"].expand(len(fits), -1), torch.stack([test[fit.law] for fit in fits])).mean(1)
        n = torch.tensor([fit.n for fit in fits])
        seen = (torch.arange(max(n)) < n[:, None]).double()  # of the examples those that each fit has
        total = (self._errors(method, *(data.train[name][:, laws].T for name in ("x", "y"))) * seen).sum(1)
        elbo = -method.alpha / (2 * self.config.noise**2) * total - method.divergence().double().cpu()
        rows = np.array([(law, fit.n, fit.width) for law, fit in zip(laws, fits, strict=True)], dtype=np.float64)
        return Observed({"fits": rows, "risk": risk.numpy(), "elbo": elbo.numpy(), "train": (total / n).numpy()})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found: dict[str, float] = {}
        ratios: dict[str, list[float]] = {"elbo": [], "train": [], "widest": []}
        few: list[bool] = []
        for i, law in enumerate(LAWS):
            at = observed["fits"][:, 0] == i
            n, width = observed["fits"][at, 1:].T
            sizes, widths = np.unique(n), np.unique(width)
            risk, elbo, train = (observed[name][at].reshape(len(sizes), len(widths)) for name in ("risk", "elbo", "train"))
            rows, chosen = np.arange(len(sizes)), elbo.argmax(1)
            ruled = risk[rows, [int(np.flatnonzero(widths == width_by_rule(law, size, widths))[0]) for size in sizes]]
            found |= {f"posterior_risk/{law}-n{int(size)}": float(value) for size, value in zip(sizes, ruled, strict=True)}
            found[f"posterior_risk/{law}"] = float(np.exp(np.log(ruled).mean()))
            found[f"posterior_rate/{law}"] = rate(sizes, ruled, 0.0)
            found[f"posterior_rate/{law}-elbo"] = rate(sizes, risk[rows, chosen], 0.0)
            found[f"posterior_width/{law}"] = float(np.exp(np.log(widths[chosen]).mean()))
            for name, pick in (("elbo", chosen), ("train", train.argmin(1)), ("widest", np.full(len(sizes), len(widths) - 1))):
                ratios[name] += (risk[rows, pick] / risk.min(1)).tolist()
            few += (rows < 2).tolist()
        for name, of in ratios.items():
            logs = np.log(of)
            found |= {f"selection_ratio/{name}": float(np.exp(logs.mean())), f"selection_ratio/{name}-few": float(np.exp(logs[few].mean()))}
        gain = np.log(ratios["train"]) - np.log(ratios["elbo"])
        found |= {"selection_gain": float(np.exp(gain.mean())), "selection_gain/few": float(np.exp(gain[few].mean()))}
        found["posterior_rate_gain"] = found["posterior_rate/smooth"] - found["posterior_rate/rough"]
        return found | {"posterior_risk/mean": float(np.exp(np.mean([np.log(found[f"posterior_risk/{law}"]) for law in LAWS])))}
