"""Errors of solvers of the probability flow whose score is exact, by the number of steps.

Noise of ``n_test`` points goes through the flow of a solver's path to its last time twice: in N steps of the solver, N a power of two
from 8 to ``steps``, and by an independent integration (DOP853 with tolerances of 1e-11), both in double precision. ``terminal_error/nN``
is the root mean square of their distance, ``terminal_error/eM`` that of as many steps as cost M evaluations of the score; it differs
between paths what is asked of a solver, between solvers of one path nothing else. ``error_ratio/nN`` is the error with N / 2 steps over
that with N, ``error_ratio`` that of the most: 2 of a method of the first order, 4 of the second, once steps are small enough.

The seed draws points and noise. Evidence: ``steps`` and ``calls``, and the squared distance of each point for each N, in single precision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.diffusion.base import KnownDiffusion, score

CARD = TaskCard(
    name="diffusion/solvers",
    title="Solvers of the probability flow, with the exact score of eight Gaussians",
    needs=("FlowSolver",),
    primary="terminal_error/e64",
    metrics=("terminal_error/e16", "terminal_error/e64", "terminal_error/e256", "error_ratio"),
    selection="terminal_error/e64",
    varies="seed and split",
    papers=("024",),
    full="10,000 instead of 1,000 points and up to 4,096 steps; no paper's own setting",
    work={"lite": (1, 1000), "full": (1, 10_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 1}, "task": {"n_test": 20, "steps": 256}},
    "lite": {"train": {"epochs": 1}},
    "full": {"train": {"epochs": 1}, "task": {"n_test": 10_000, "steps": 4096}},
}
FEWEST, BUDGET = 8, (16, 64, 256)
N_VALID, TOLERANCE = 50, 1e-11


class Solvers(KnownDiffusion):
    """See the module."""

    sets: ClassVar[Sets] = {"points": Examples(arrays=("squared",), metrics=("terminal_error*", "error_ratio*"))}

    @dataclass(kw_only=True)
    class Config(KnownDiffusion.Config):
        n_test: Count = 1000
        steps: Count = 1024  # the most

    def load_test(self, data: Data) -> Test:
        x, noise = self.points(self.config.n_test, 1)
        return {"x": x, "noise": noise}

    def steps(self) -> list[int]:
        """Powers of two from 8 to the most."""
        return [n for n in (FEWEST << i for i in range(20)) if n <= max(self.config.steps, 2 * FEWEST)]

    def squared(self, method: Any, x: Tensor, noise: Tensor, steps: list[int]) -> np.ndarray:
        """Squared distances (N, S) of the ends of ``method`` from the flow's own."""
        first = method.start(x, noise)
        exact = reference(method, first)
        ends = [method.solve(score, first, n) for n in steps]
        return torch.stack([(end - exact).square().sum(1) for end in ends], 1).cpu().numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        squared = self.squared(method, *self.points(N_VALID, 0), [64 // method.calls])
        return {CARD.selection: float(np.sqrt(squared.mean()))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        steps = self.steps()
        squared = self.squared(method, test["x"], test["noise"], steps)
        return Observed({"squared": squared.astype(np.float32), "steps": np.array(steps), "calls": np.array(method.calls)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        steps, calls = observed["steps"].tolist(), int(observed["calls"])
        errors = np.sqrt(observed["squared"].astype(np.float64).mean(0))
        found = {f"terminal_error/n{n}": float(error) for n, error in zip(steps, errors, strict=True)}
        found |= {f"terminal_error/e{m}": found[f"terminal_error/n{m // calls}"] for m in BUDGET if m // calls in steps}
        ratios = errors[:-1] / np.maximum(errors[1:], np.finfo(float).tiny)
        found |= {f"error_ratio/n{n}": float(ratio) for n, ratio in zip(steps[1:], ratios, strict=True)}
        return found | {"error_ratio": float(ratios[-1])}


def reference(method: Any, x: Tensor) -> Tensor:
    """The end (N, 2) of the flow of ``method`` from ``x``, by SciPy."""

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(flat).view_as(x).to(x.device)
        return method.slope(score, at, t).cpu().numpy().ravel()

    with torch.no_grad():
        found = solve_ivp(slope, method.ends, x.cpu().numpy().ravel(), "DOP853", rtol=TOLERANCE, atol=TOLERANCE)
    return torch.from_numpy(found.y[:, -1]).view_as(x).to(x.device)
