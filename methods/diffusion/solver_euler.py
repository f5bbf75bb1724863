"""Euler's method on the probability flow: the first order.

x_s = x_t + (s - t) dx/dt
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.diffusion.solving import Solving

CARD = MethodCard(
    name="euler-solver",
    title="Euler's method on the probability flow",
    family="diffusion",
    home="diffusion/solvers",
    paper="024",
    cite="textbook; Song et al. 2021",
    defaults="convention",
)


class EulerSolver(Solving):
    """See :func:`elboard.methods.parts.diffusion_solvers.euler`."""

    sampler = "euler"
