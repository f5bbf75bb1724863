"""Stochastic-gradient Hamiltonian Monte Carlo (Chen, Fox and Guestrin 2014), scale-adapted (Springenberg et al. 2016).

    v <- (1 - a) v - lr^2 G grad U(theta) + N(0, 2 a lr^2 G - lr^4),   theta <- theta + v
    p(y | x) = (1/S) sum_s softmax f(x; theta_s),   theta_s past positions of the chain, whole

G is one over the root of the mean squared gradient, as of the end of the descent to the MAP, in which the momentum already has its noise:
see :mod:`elboard.methods.parts.sghmc`.

Differences from the paper: the form of Springenberg et al., which the released code of Alexos et al. 2022 has too. The prior is that of
:mod:`elboard.methods.bayesian.sgld`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elboard.bench.card import MethodCard
from elboard.methods.bayesian.sgmcmc import SGMCMC

CARD = MethodCard(
    name="sghmc",
    title="Stochastic-gradient Hamiltonian Monte Carlo",
    family="bayesian",
    home="posterior/digits",
    cite="Chen, Fox and Guestrin 2014",
    defaults={"trials": 3, "on": "posterior/digits", "by": "iat", "options": ("prior_sd",), "rest": "convention"},
)


class SGHMCSampler(SGMCMC):
    """The shared chain, moved by Hamiltonian dynamics with friction."""

    @dataclass(kw_only=True)
    class Config(SGMCMC.Config):
        lr: float = 0.01
        optimizer: Literal["sghmc"] = "sghmc"
