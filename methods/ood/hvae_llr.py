"""Log likelihood ratio of a hierarchical VAE's two bounds (Havtorn, Frellsen, Hauberg and Maaloe 2021).

    L(x)     = log 1/S sum_s p(x|z) p(z) / q(z|x),            z ~ q(z|x)
    L^>k(x)  = log 1/S sum_s p(x|z) p(z_>k) / q(z_>k|x),      z_>k ~ q(z_>k|x),   z_<=k of p(z_<=k|z_>k)
    score(x) = LLR^>k(x) = L(x) - L^>k(x)

The k lowest layers hold what is common to all images, edges and textures, by which a model explains those of other kinds as well. L^>k is
told nothing of them: of an image like those of training the upper layers alone tell what it looks like, and the bounds are close. The
divergences of z_1 to z_k are no part of L^>k. Codes of skipped layers are at the modes of their conditional prior, as in the paper's code;
with these L^>k is of a smaller model and no longer surely a bound of the same log p(x), so that LLR may be below 0.

Both bounds have the same image, the same number of draws, and above layer k the same noise; LLR^>0 is exactly 0. At a finite S the log of a
mean is too low, on average by about half the relative variance of that mean; the two biases do not cancel, as the weights of L vary with
z_<=k as well and those of L^>k do not. ``score="bound"`` gives -L^>k alone.

Differences from the paper: equal numbers of draws, 10, for both bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import HierarchicalLikelihood
from elboard.bench.method import Bases
from elboard.bench.options import Natural
from elboard.bench.task import DataSpec
from elboard.methods.ood.densities import DensityScore, drawn_seed, noise_of

CARD = MethodCard(
    name="hvae-llr",
    title="Ratio of a hierarchical VAE's bounds with and without its lower layers",
    family="ood",
    home="ood/fashion-mnist-generative",
    paper="113",
    cite="Havtorn et al. 2021",
    bases={"model": {"method": "bottom-up-hvae"}},
    defaults="convention",
)


class HVAELLR(DensityScore):
    """Nothing is learned. Raises UserError for as many skipped layers as the model has."""

    wanted = HierarchicalLikelihood

    @dataclass(kw_only=True)
    class Config(DensityScore.Config):
        k: Natural = 1  # layers left to the prior; the paper's for images in grey
        score: Literal["ratio", "bound"] = "ratio"

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if config.k >= self.base.layers:
            raise UserError(f"k={config.k} leaves nothing to q: the model has {self.base.layers} layers")

    def bound_above(self, x: Tensor, k: int, seed: int) -> Tensor:
        """L^>k, ``(B,)``."""
        with noise_of(seed):
            weights = self.base.log_weights_above(x, k, self.config.samples)
        return torch.logsumexp(weights, dim=1) - math.log(self.config.samples)

    def ood_score(self, x: Tensor) -> Tensor:
        seed = drawn_seed()
        above = self.bound_above(x, self.config.k, seed)
        return -above if self.config.score == "bound" else self.bound_above(x, 0, seed) - above
