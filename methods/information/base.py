"""Variational estimators of mutual information: a critic of pairs is trained, and a functional of its scores is the estimate.

P is the law of the pairs (x, y), Q that of independent ones with the same margins, T(x, y) a critic that is to be log dP/dQ up to what the
functional leaves free. Of a batch of B pairs all scores f_ij = T(x_i, y_j) are taken: those on the diagonal are of P, those off it of Q.

    E_P:  mean_i f_ii          E_Q:  mean_{i != j}                (B(B-1) of them: the diagonal is in no expectation under Q)

A method gives ``objective``, by whose gradient the critic is trained, and ``value``, which is reported; both are one where it is a bound.

Differences from the papers: each law has a critic of its own that is trained on it from the start, in place of a staircase of laws that one
critic climbs; the initial weights are Glorot and Bengio's; three hidden layers of 128 units instead of 256.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.kinds.information import InformationEstimator, PairsSpec
from elboard.bench.method import Bases, Method, at_least_single
from elboard.bench.options import Count, Positive
from elboard.bench.task import Batch
from elboard.methods.parts.critics import ConcatenatedCritics, SeparableCritics


class VariationalEstimator(Method, InformationEstimator):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        critic: Literal["separable", "concatenated"] = "separable"  # g(x) . h(y), or one network of B^2 pairs
        hidden: Count = 128  # units of a layer; 256 in the paper
        layers: Count = 3  # hidden ones
        embed: Count = 32  # dimensions of g(x) and h(y)
        lr: Positive = 5e-4

    def __init__(self, config: Any, spec: PairsSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        inputs, hidden = (*spec.shape, *spec.other), [config.hidden] * config.layers
        if config.critic == "separable":
            self.critics = SeparableCritics(spec.laws, inputs, hidden, config.embed)
        else:
            self.critics = ConcatenatedCritics(spec.laws, inputs, hidden)

    def objective(self, scores: Tensor) -> Tensor:
        """What each critic maximises, ``(L,)``, of scores ``(L, B, B)``; by default the estimate."""
        return self.value(scores)

    def value(self, scores: Tensor) -> Tensor:
        """The estimates, ``(L,)``."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Summed over laws, whose critics share no parameter."""
        scores = at_least_single(self.critics(batch["x"], batch["y"]))
        return {"loss": -self.objective(scores).sum(), "estimate": self.value(scores.detach().double()).mean()}

    def estimate(self, x: Tensor, y: Tensor) -> Tensor:
        return self.value(self.critics(x, y).double())


def joint_mean(scores: Tensor) -> Tensor:
    """E_P of ``(..., B, B)``."""
    return scores.diagonal(dim1=-2, dim2=-1).mean(-1)


def apart(scores: Tensor) -> Tensor:
    """The scores off the diagonal of ``(..., B, B)``, ``(..., B (B - 1))``."""
    n = scores.shape[-1]
    return scores.flatten(-2)[..., 1:].unflatten(-1, (n - 1, n + 1))[..., :-1].flatten(-2)


def log_mean_exp(scores: Tensor) -> Tensor:
    """log of the mean of e^f over the last axis."""
    return scores.logsumexp(-1) - math.log(scores.shape[-1])


def donsker_varadhan(scores: Tensor) -> Tensor:
    """E_P f - log E_Q e^f."""
    return joint_mean(scores) - log_mean_exp(apart(scores))


def nguyen_wainwright_jordan(scores: Tensor) -> Tensor:
    """1 + E_P f - E_Q e^f, of a critic that is to be log dP/dQ itself."""
    return 1 + joint_mean(scores) - log_mean_exp(apart(scores)).exp()


def jensen_shannon(scores: Tensor) -> Tensor:
    """E_P[-softplus(-f)] - E_Q[softplus(f)]: the likelihood of a classifier of pairs from P and from Q, greatest at f = log dP/dQ."""
    return joint_mean(-F.softplus(-scores)) - F.softplus(apart(scores)).mean(-1)
