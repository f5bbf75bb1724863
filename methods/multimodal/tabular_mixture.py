"""The best mixture-based multimodal autoencoder of a law of bits, by coordinate ascent on tables (after Daunhawer et al. 2022).

    L_S = sum_{A in S} w_A E_x { E_{q_A(z|x_A)} log p(x|z) - KL(q_A(z|x_A) || p(z)) },   w_A = 1 / |S|,   z one of K states

Encoders are free tables of what they see, the decoder a Bernoulli for each pixel of each state; there is no limit of capacity but that the
decoder factorises over pixels. Each step raises the bound:

    q_A(z|x_A) propto p(z) exp E_{p(x|x_A)} log p(x|z);   p(z) = mean of q;   pixels of z = their means, weighted by q

``arm`` is S: "mvae" all modalities, "mmvae" each by itself, "mopoe" every subset. The best of many restarts is kept: MoPoE has many poor
optima from D = 4 on. With more than two modalities, where most agree, there are a sixteenth as many.

Differences from the paper: this experiment is not there; it is the theorem's setting, which the paper bounds, solved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.multimodal import Bits, BitsSpec, Table, TabularMixture
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Options
from elboard.bench.task import Data
from elboard.methods.multimodal.base import powerset, singletons

CARD = MethodCard(
    name="tabular-mixture",
    title="Mixture-based multimodal VAEs as tables",
    family="multimodal",
    home="multimodal/toy",
    paper="067",
    cite="Daunhawer, Sutter, Chin-Cheong, Palumbo and Vogt 2022",
    defaults="convention",
)
TINY = 1e-12  # of probabilities whose logarithm is taken
PARTS = ("prior", "pixels", "posteriors")


def seen(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of examples ``(X, M, P)``: the mean of all that agree in the modalities of ``mask`` (M,), flat, ``(C, M P)``, for each of the C
    things that these may be, and which of them each example is, ``(X,)``."""
    of, number = torch.unique(x[:, mask].flatten(1), dim=0, return_inverse=True)
    member = torch.nn.functional.one_hot(number, len(of)).to(x).T
    return member @ x.flatten(1) / member.sum(1, keepdim=True), number


def log_joint(y: Tensor, prior: Tensor, pixels: Tensor) -> Tensor:
    """log p(z) + E log p(x|z) for expected pixels ``y`` (C, P), ``prior`` (R, K), ``pixels`` (R, K, P): ``(R, C, K)``."""
    pixels = pixels.clamp(TINY, 1 - TINY)
    on, off = pixels.log(), torch.log1p(-pixels)
    return y @ (on - off).mT + (off.sum(2) + prior.clamp(min=TINY).log())[:, None]


class TabularMixtures(Method, TabularMixture):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Options):
        arm: Literal["mvae", "mmvae", "mopoe"] = "mopoe"
        restarts: Count = 320
        iterations: Count = 200

    def __init__(self, config: Any, spec: BitsSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        for case in spec.cases:
            k, pixels, subsets = case.states, case.modalities * (case.private + 1), len(self.subsets(case))
            shapes = (k,), (k, pixels), (subsets, 2 ** (case.modalities + 1), k)
            for part, shape in zip(PARTS, shapes, strict=True):
                self.register_buffer(f"{part}_{case.name}", torch.full(shape, 0.5, dtype=torch.float64))

    def subsets(self, case: Bits) -> Tensor:
        n = case.modalities
        return {"mvae": torch.ones(1, n, dtype=torch.bool), "mmvae": singletons(n), "mopoe": powerset(n)}[self.config.arm]

    def fit(self, data: Data, training: Any) -> None:
        for case in self.spec.cases:
            for part, value in zip(PARTS, self.ascend(case, data.shared[case.name].double()), strict=True):
                getattr(self, f"{part}_{case.name}").copy_(value)

    def ascend(self, case: Bits, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prior, pixels and posteriors of the best restart; examples ``x`` (X, M, P)."""
        found = [seen(x, mask) for mask in self.subsets(case)]
        y = torch.cat([of for of, _ in found])
        weight = torch.cat([torch.bincount(number) for _, number in found]).to(x) / (len(x) * len(found))
        restarts = self.config.restarts if case.modalities <= 2 else max(1, self.config.restarts // 16)
        pixels = torch.rand(restarts, case.states, y.shape[1]).to(x)
        prior = torch.full((restarts, case.states), 1 / case.states).to(x)
        for _ in range(self.config.iterations):
            q = log_joint(y, prior, pixels).softmax(2) * weight[:, None]
            prior = q.sum(1)
            pixels = q.mT @ y / prior.clamp(min=TINY)[..., None]
        joint = log_joint(y, prior, pixels)
        best = int((joint.logsumexp(2) @ weight).argmax())
        parts = joint[best].softmax(1).split([len(of) for of, _ in found])
        return prior[best], pixels[best], torch.stack([q[number] for q, (_, number) in zip(parts, found, strict=True)])

    def table(self, case: Bits) -> Table:
        prior, pixels, posteriors = (getattr(self, f"{part}_{case.name}") for part in PARTS)
        return Table(prior, pixels.clamp(TINY, 1 - TINY), self.subsets(case), posteriors)
