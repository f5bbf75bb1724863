"""ODIN: temperature and a small step of the input (Liang, Li and Srikant 2018).

    S(x; T) = max_c softmax(l(x) / T)_c                                                    eq. 1
    x~ = x + epsilon sign(grad_x log S(x; T)),   score(x) = 1 / C - S(x~; T)               eq. 2

A step that raises the confidence raises it further for images that are in distribution. epsilon is in units of pixels in [0, 1], as in the
paper, whose code divides the gradient by the standard deviation that pixels were normalised with. Without a step, at T = 1, it is the
maximum softmax probability; at large T, S orders images by their largest logit minus the mean of the logits. There S is near to 1 / C, from
which its distance is taken, since float32 would round S to equal values.

Differences from the paper: it chooses epsilon on OOD data, among 21 values from 0 to 0.004; here it is OpenOOD's. The step needs a
backward and a forward pass of each image, so that only epsilon = 0 is scored from the cached features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Positive
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="odin",
    title="ODIN: temperature and a step of the input",
    family="ood",
    home="ood/digits",
    cite="Liang, Li and Srikant 2018",
    bases={"classifier": {"method": "softmax"}},
    defaults="library",
)


class ODIN(PostHoc):
    """Nothing is learned."""

    @dataclass(kw_only=True)
    class Config(PostHoc.Config):
        temperature: Positive = 1000.0  # T; OpenOOD, and where the paper's gain levels off
        epsilon: NonNegative = 0.0014  # OpenOOD

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        below = (logits - logits.max(1, keepdim=True).values) / self.config.temperature
        return below.expm1().mean(1) / below.exp().sum(1)

    def stepped(self, x: Tensor) -> Tensor:
        """x~ of the images ``x``."""
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            log_s = (self.base(x) / self.config.temperature).log_softmax(1).max(1).values
            (gradient,) = torch.autograd.grad(log_s.sum(), x)
        return x.detach() + self.config.epsilon * gradient.sign()

    def ood_score(self, x: Tensor) -> Tensor:
        if not self.config.epsilon:
            return super().ood_score(x)
        features = self.base.features(self.stepped(x))  # of images that no other detector sees
        return self.score(features, self.logits(features))
