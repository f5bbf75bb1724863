"""DDIM without noise: the first order, exact where the noise does not change (Song, Meng and Ermon 2021).

x_s = alpha_s data + sigma_s noise
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.diffusion.solving import Solving

CARD = MethodCard(
    name="ddim-solver",
    title="DDIM on the probability flow",
    family="diffusion",
    home="diffusion/solvers",
    paper="024",
    cite="Song, Meng and Ermon 2021",
    defaults="convention",
)


class DDIMSolver(Solving):
    """See :func:`elboard.methods.parts.diffusion_solvers.ddim`."""

    sampler = "ddim"
