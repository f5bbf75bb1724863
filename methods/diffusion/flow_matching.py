"""Flow matching on straight paths (Lipman, Chen, Ben-Hamu, Nickel and Le 2023; rectified flow of Liu, Gong and Liu 2023).

    x_t = (1 - t) x_0 + t eps,   L = E |v_theta(x_t, t) - (eps - x_0)|^2,   samples by dx/dt = v_theta from t = 1 to 0

Differences from the papers: time runs from data to noise, as in all methods of this family; Heun's method instead of an adaptive solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elboard.bench.card import MethodCard
from elboard.bench.options import Count
from elboard.methods.diffusion.base import Unconditional

CARD = MethodCard(
    name="flow-matching",
    title="Flow matching",
    family="diffusion",
    home="samples/toy-2d",
    cite="Lipman et al. 2023",
    splits=True,
    defaults="convention",
)


class FlowMatching(Unconditional):
    """Velocities on the straight path."""

    @dataclass(kw_only=True)
    class Config(Unconditional.Config):
        path: Literal["vp-linear", "vp-cosine", "flow", "ve"] = "flow"
        target: Literal["noise", "data", "score", "velocity"] = "velocity"
        sampler: Literal["euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m", "ancestral", "euler-maruyama"] = "heun"
        evaluations: Count = 50
