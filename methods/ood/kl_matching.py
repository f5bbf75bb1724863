"""KL matching (Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt and Song 2022).

    d_k = mean of p(x') over the images x' whose most probable class is k,   p(x) = softmax(W f(x) + b)
    score(x) = min_k KL(p(x) || d_k)

A posterior that is like no class's typical one is out of distribution, be it flat or not. Labels are not needed. A class that is nowhere
the most probable one has no d_k.

Differences from the paper: d_k are of the training images instead of validation images, which are what options are chosen by here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import DataSpec
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="kl-matching",
    title="KL divergence from the nearest typical posterior",
    family="ood",
    home="ood/digits",
    cite="Hendrycks et al. 2022",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)
NONE = torch.finfo(torch.float32).min  # log d_k of a class without one: finite, since 0 times infinity is none


class KLMatching(PostHoc):
    """Attributes: log_typical: log d_k, ``(C, C)``, a row for each k."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("log_typical", torch.full((spec.n_classes, spec.n_classes), NONE))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        w, b = self.last_layer()
        log_p = (features.double() @ w.T + b).log_softmax(1)
        for k in log_p.argmax(1).unique():
            of = log_p[log_p.argmax(1) == k]
            self.log_typical[int(k)].copy_(of.logsumexp(0) - math.log(len(of)))

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(1)[:, None]
        return (log_p.exp() * (log_p - self.log_typical)).sum(2).min(1).values
