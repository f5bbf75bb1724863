"""Truncation of the latents of a trained generator, in sampling alone: by their norm as is usual (Brock, Donahue and Simonyan 2019).

    x = g(z),   z ~ N(0, I) given that  |z| < tau,   tau the value below which ``acceptance`` of the latents are

The generator is that of the run ``generator`` and stays as it is; other rules are those of :class:`Truncation`. So it is what simplicial
truncation in training and sampling (Issenhuth et al. 2023) is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.modes import ModeGenerators, ModesSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Options, Range
from elboard.bench.task import Data
from elboard.methods.parts.truncation import Truncation

CARD = MethodCard(
    name="truncated-sampling",
    title="Trained generators with truncated latents",
    family="gan",
    home="samples/modes",
    cite="Brock et al. 2019",
    bases={"generator": {"method": "simplicial-truncation", "set": {"truncation": "none"}}},
    defaults="convention",
)


class TruncatedSampling(Method, ModeGenerators):
    """Nothing is learned."""

    @dataclass(kw_only=True)
    class Config(Options):
        truncation: Literal["norm", "simplicial", "band", "none"] = "norm"
        acceptance: Annotated[float, Range(above=0, high=1)] = 0.5

    def __init__(self, config: Any, spec: ModesSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.truncation = Truncation(config.truncation, config.acceptance, spec.fits)

    def fit(self, data: Data, training: Any) -> None:
        return

    def latents(self, n: int) -> Tensor:
        return self.truncation.latents(n)

    def generate(self, z: Tensor) -> Tensor:
        return self.base.generate(z)
