"""Denoising diffusion probabilistic model (Ho, Jain and Abbeel 2020).

    L_simple = E |eps - eps_theta(sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, t)|^2                                  (eq. 14)
    x_s = alpha_s data + sqrt(sigma_s^2 - c^2) noise + c z,   c the deviation of q(x_s | x_t, x_0)                (algorithm 2)

The same trained network is sampled by DDIM and other solvers of its probability flow (``sampler``, ``evaluations``), and may predict data,
score or velocity instead of the noise (``target``, ``weighting``). Recipes: ``ddim`` (Song, Meng and Ermon 2021) and ``cosine`` (the path
of Nichol and Dhariwal 2021).

Differences from the paper: times are continuous, with beta(t) = 0.1 + 19.9 t, of which T steps of the linear schedule are a grid; networks
of thousands instead of millions of weights; 100 instead of 1,000 steps; images are clipped to their range at each step, as the released
code does (not verified); decay 0.999 instead of 0.9999 of the average of the weights, as training is a hundredth as long; samples
end at t = 0.001 and keep the noise there, a hundredth of a unit.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.diffusion.base import Unconditional

CARD = MethodCard(
    name="ddpm",
    title="Denoising diffusion",
    family="diffusion",
    home="samples/toy-2d",
    cite="Ho, Jain and Abbeel 2020",
    splits=True,
    defaults="convention",
    recipes={"ddim": {"set": {"sampler": "ddim", "evaluations": 50}}, "cosine": {"set": {"path": "vp-cosine"}}},
)


class DDPM(Unconditional):
    """Noise on the linear variance-preserving path."""
