"""Heun's method on the probability flow: the second order, two evaluations a step (Karras, Aittala, Aila and Laine 2022).

x' = x_t + (s - t) d_t,    x_s = x_t + (s - t) (d_t + d_s(x')) / 2
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.diffusion.solving import Solving

CARD = MethodCard(
    name="heun-solver",
    title="Heun's method on the probability flow",
    family="diffusion",
    home="diffusion/solvers",
    paper="024",
    cite="Karras et al. 2022",
    defaults="convention",
)


class HeunSolver(Solving):
    """See :func:`elboard.methods.parts.diffusion_solvers.heun`."""

    sampler = "heun"
