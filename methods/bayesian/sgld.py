"""Stochastic-gradient Langevin dynamics (Welling and Teh 2011).

    theta <- theta - (eps / 2) G grad U(theta) + N(0, eps G),     U = -log p(theta) - N mean_batch log p(y | x, theta)
    p(y | x) = (1/S) sum_s softmax f(x; theta_s),   theta_s past positions of the chain, whole

G = 1, or with ``optimizer=psgld`` the preconditioner of RMSprop (Li, Chen, Carlson and Carin 2016). It is the structured sampler
(:mod:`elboard.methods.bayesian.s_sgmcmc`) with one group.

Differences from the paper: a constant step size, as in the experiments of Alexos et al. 2022, whose comparison this is; a start at the MAP.
Step size and prior are one of three pairs tried on the digits, the one with which chains mixed and the network did not under-fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elboard.bench.card import MethodCard
from elboard.methods.bayesian.sgmcmc import SGMCMC

CARD = MethodCard(
    name="sgld",
    title="Stochastic-gradient Langevin dynamics",
    family="bayesian",
    home="posterior/digits",
    cite="Welling and Teh 2011",
    defaults={"trials": 3, "on": "posterior/digits", "by": "iat", "options": ("lr", "prior_sd"), "rest": "convention"},
)


class SGLDSampler(SGMCMC):
    """The shared chain, moved by Langevin dynamics."""

    @dataclass(kw_only=True)
    class Config(SGMCMC.Config):
        optimizer: Literal["sgld", "psgld"] = "sgld"
