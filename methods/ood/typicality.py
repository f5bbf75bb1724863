"""Typicality: how far a likelihood is from the model's usual ones, to either side (Nalisnick, Matsukawa, Teh and Lakshminarayanan 2019).

    score(x) = |-log p(x) - H|,   H = 1/N sum_n -log p(x_n) over training images

In many dimensions the samples of a distribution lie not where its density is highest but where it is near exp(-H). So images are out of
distribution that are too unlikely, and those that are too likely.

Differences from the paper: scores instead of a test, whose threshold a bootstrap of validation images sets; one image instead of a batch of
2 to 25, whose mean is compared, so that it is much weaker than there. H is that of ``n_fit`` training images: as the model was fitted to
these, it is a little below that of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Data, DataSpec
from elboard.methods.ood.densities import DensityScore

CARD = MethodCard(
    name="typicality",
    title="Distance of the log likelihood from the model's entropy",
    family="ood",
    home="ood/fashion-mnist-generative",
    cite="Nalisnick et al. 2019",
    bases={"model": {"method": "bottom-up-hvae"}},
    defaults="convention",
)
CHUNK = 250  # training images in a batch


class Typicality(DensityScore):
    """Attributes: entropy: H in nats, a tensor without dimensions."""

    @dataclass(kw_only=True)
    class Config(DensityScore.Config):
        n_fit: Count = 2000  # training images for H, the first ones

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("entropy", torch.zeros(()))

    @torch.no_grad()
    def fit(self, data: Data, training: Any) -> None:
        """Images are transformed as those that the model was trained on: binarised where the task binarises."""
        device, total, x = self.entropy.device, 0.0, data.train["x"][: self.config.n_fit]
        generator = torch.Generator(device=device).manual_seed(self.seed)
        for part in x.split(CHUNK):
            batch = {"x": part.to(device)}
            batch = data.on_batch(batch, generator) if data.on_batch else batch
            total -= self.log_p(batch["x"]).double().sum().item()
        self.entropy.fill_(total / len(x))

    def ood_score(self, x: Tensor) -> Tensor:
        return (-self.log_p(x) - self.entropy).abs()
