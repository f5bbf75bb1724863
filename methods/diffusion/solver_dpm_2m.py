"""DPM-Solver++(2M): the second order by the step before, one evaluation a step (Lu et al. 2023).

D   = data_i + (data_i - data_(i-1)) h_i / (2 h_(i-1))
x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) D
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.diffusion.solving import Solving

CARD = MethodCard(
    name="dpm-solver-2m",
    title="DPM-Solver++ of the second order, multistep",
    family="diffusion",
    home="diffusion/solvers",
    paper="024",
    cite="Lu et al. 2023",
    defaults="convention",
)


class DPMSolver2M(Solving):
    """See :func:`elboard.methods.parts.diffusion_solvers.dpm_solver_pp_2m`."""

    sampler = "dpm-solver++2m"
