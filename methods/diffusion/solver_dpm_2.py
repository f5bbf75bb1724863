"""DPM-Solver-2: the second order in log(alpha / sigma), two evaluations a step (Lu et al. 2022).

u   = alpha_m / alpha_t x_t - sigma_m (e^(h/2) - 1) noise(x_t, t),    m the middle of the step in lambda = log(alpha / sigma)
x_s = alpha_s / alpha_t x_t - sigma_s (e^h - 1) noise(u, m),          h = lambda_s - lambda_t
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.diffusion.solving import Solving

CARD = MethodCard(
    name="dpm-solver-2",
    title="DPM-Solver of the second order",
    family="diffusion",
    home="diffusion/solvers",
    paper="024",
    cite="Lu et al. 2022",
    defaults="convention",
)


class DPMSolver2(Solving):
    """See :func:`elboard.methods.parts.diffusion_solvers.dpm_solver_2`."""

    sampler = "dpm-solver-2"
