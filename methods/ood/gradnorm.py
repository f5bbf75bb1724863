"""Norm of the gradient (Huang, Geng and Li 2021), of the last layer alone, which the paper finds best.

    L(x) = KL(u || softmax(l / T)) up to a constant,   u_c = 1 / C,   l = W z + b,   z = f(x)
    score(x) = - || dL / dW ||_1 = - ||z||_1 || softmax(l / T) - u ||_1 / T

The second form is the first in closed form, since dL / dW is the outer product of (softmax(l / T) - u) / T and z: no backward pass
is needed. In-distribution images have large features and probabilities far from uniform.

Differences from the paper: its code sums over classes where KL takes the mean, which multiplies all scores by C.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Positive
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="gradnorm",
    title="Gradient norm of the last layer",
    family="ood",
    home="ood/digits",
    cite="Huang, Geng and Li 2021",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class GradNorm(PostHoc):
    """Nothing is learned."""

    @dataclass(kw_only=True)
    class Config(PostHoc.Config):
        temperature: Positive = 1.0  # T; the paper finds 1 best

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        t = self.config.temperature
        from_uniform = (logits / t).softmax(1) - 1 / logits.shape[1]
        return -features.abs().sum(1) * from_uniform.abs().sum(1) / t
