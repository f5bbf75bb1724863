"""Bounds on the likelihood by diffusions whose score is exact, by the number of their steps.

``bound_gap/tT``: the exact log density of ``n_test`` points minus the bound of T steps (a draw of x_t for each), T of 10 to 1,000, mean
over the points; ``bound_trend`` is the Spearman correlation of the gap and T, -1 where it falls throughout. ``form_error``: the largest
relative difference, over 100 points and the terms of 50 steps, between the forms in which a term KL(q(x_s | x_t, x_0) || p(x_s | x_t)) can
be written: by the data, the noise or the score that is predicted, by the means of both Gaussians and by signal-to-noise ratios.
``bound_sd/...``: of the bound from one of 50 steps, within points, from ``repeats`` draws of each of 100, for the bound whose terms need
one noised point (``matching``) and that of Markov chains, whose terms need three (``consistency``); ``bound_sd_ratio`` is the second over
the first.

All in double precision. The seed draws points and noise. Evidence: densities and bounds of each point, means and deviations of the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.metrics.dynamics import spearman
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.diffusion.base import KnownDiffusion, log_density, score

CARD = TaskCard(
    name="diffusion/bound",
    title="Evidence lower bounds of diffusions, with the exact score of eight Gaussians",
    needs=("ExactBound",),
    primary="bound_gap/t100",
    metrics=(
        "bound_gap/t10",
        "bound_gap/t100",
        "bound_gap/t1000",
        "bound_trend",
        "form_error",
        "bound_sd_ratio",
    ),
    selection="bound_gap/t100",
    varies="seed and split",
    papers=("034",),
    examples={
        "smoke": {"bound_sd*": "100 points", "form_error": "100 points", "*": 50},
        "lite": {"bound_sd*": "100 points", "form_error": "100 points", "*": 2000},
        "full": {"bound_sd*": "100 points", "form_error": "100 points", "*": 20_000},
    },
    full="20,000 instead of 2,000 points; no paper's own setting",
    work={"lite": (1, 2000), "full": (1, 20_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 1}, "task": {"n_test": 50, "steps": [10, 100, 1000], "repeats": 20}},
    "lite": {"train": {"epochs": 1}},
    "full": {"train": {"epochs": 1}, "task": {"n_test": 20_000}},
}
SHOWN, FORM_STEPS = 100, 50  # points and steps of forms and of single terms


class Bound(KnownDiffusion):
    """See the module."""

    sets: ClassVar[Sets] = {"points": Examples(arrays=("log_density", "bound"), metrics=("bound_gap*", "bound_trend"))}

    @dataclass(kw_only=True)
    class Config(KnownDiffusion.Config):
        n_test: Count = 2000
        steps: list[Count] = field(default_factory=lambda: [10, 30, 100, 300, 1000])
        repeats: Count = 1000

    def load_test(self, data: Data) -> Test:
        return {"x": self.points(self.config.n_test, 1)[0]}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        x, _ = self.points(SHOWN, 0)
        return {CARD.selection: float((log_density(x) - method.bound(score, x, 100)).mean())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x, few = test["x"], test["x"][:SHOWN]
        forms = method.forms(score, few, FORM_STEPS)
        singles = [method.single(score, few, FORM_STEPS) for _ in range(self.config.repeats)]
        apart = (forms.amax(1) - forms.amin(1)) / forms.abs().amax(1).clamp_min(torch.finfo(forms.dtype).tiny)
        arrays = {
            "log_density": log_density(x),
            "bound": torch.stack([method.bound(score, x, steps) for steps in self.config.steps], 1),
            "form_error": apart.max(),
            **{f"sd_{name}": torch.stack([single[name] for single in singles]).std(0).mean() for name in singles[0]},
        }
        return Observed({name: value.cpu().numpy() for name, value in arrays.items()} | {"steps": np.array(self.config.steps)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        gap = (observed["log_density"][:, None] - observed["bound"]).mean(0)
        found = {f"bound_gap/t{int(t)}": float(value) for t, value in zip(observed["steps"], gap, strict=True)}
        found |= {f"bound_sd/{name.removeprefix('sd_')}": float(value) for name, value in observed.items() if name.startswith("sd_")}
        found["bound_sd_ratio"] = found["bound_sd/consistency"] / found["bound_sd/matching"]
        return found | {"bound_trend": spearman(observed["steps"].astype(float), gap), "form_error": float(observed["form_error"])}
