"""Composition of diffusions that know one attribute each, at sampling time (Nair, Bandara and Patel 2022; Unite and Conquer, 2023).

    p(x | c_1 .. c_N) propto p(x)^(1 - N) prod_i p(x | c_i)         for conditions that are independent given x
    eps^ = sum_i w_i eps_i(x_t, t, c_i) - (sum_i w_i - 1) eps_none,   eps_none = sum_i beta_i eps_i(x_t, t, none),   sum_i beta_i = 1

Each transition is Gaussian of one variance, so that with w_i = 1 the product of the conditional ones over powers of the unconditional one
is Gaussian again, of mean sum_i mu_i - (N - 1) mu_none, which is the step that eps^ takes. Larger ``weights`` guide; ``reliability`` are
the beta_i, how far each expert's own unconditional model is trusted. At t > 0 conditions are not independent given x_t: the sampler
is approximate. Nothing is trained: the experts are of the run ``experts``.

Recipes, all of the same formula: ``average`` of the predictions (weights 1/N, which leave no unconditional term), ``first`` and ``second``,
each the model of one condition alone, ``guided`` with weights of 3.

Differences from the paper: 50 steps of DDIM instead of 100 (``evaluations`` counts steps; a step asks each expert that has a weight); data
are clipped to the range of images and the noise is that of the clipped data, as in this family, where the released code keeps the noise.
Weights of 1 are those of its faces; no weight was searched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.conditional import AttributeSpec, ComposedGenerator
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Options, Share
from elboard.bench.task import Data

CARD = MethodCard(
    name="composed-ddpm",
    title="Product of diffusions of single labels",
    family="diffusion",
    home="conditional/shapes-colours",
    paper="061",
    cite="Nair, Bandara and Patel 2022",
    bases={"experts": {"method": "single-label-ddpm"}},
    defaults="convention",
    recipes={
        "average": {"set": {"weights": [0.5, 0.5]}},
        "first": {"set": {"weights": [1.0, 0.0]}},
        "second": {"set": {"weights": [0.0, 1.0]}},
        "guided": {"set": {"weights": [3.0, 3.0]}},
    },
)
CLOSE = 1e-6  # of a sum to 1


class ComposedDDPM(Method, ComposedGenerator):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Options):
        weights: list[NonNegative] = field(default_factory=lambda: [1.0, 1.0])  # w_i, in the order of attributes
        reliability: list[Share] = field(default_factory=lambda: [0.5, 0.5])  # beta_i
        evaluations: Count = 50  # steps

    def __init__(self, config: Any, spec: AttributeSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        n = len(spec.attributes)
        for name in ("weights", "reliability"):
            if len(getattr(config, name)) != n:
                raise UserError(f"{name}={list(getattr(config, name))} are not {n}, one for each attribute")
        if abs(sum(config.reliability) - 1) > CLOSE:
            raise UserError(f"reliability={list(config.reliability)} is of sum {sum(config.reliability):g}, not 1")

    def fit(self, data: Data, training: Any) -> None:
        return

    def sample(self, y: Tensor) -> Tensor:
        c = self.config
        return self.base.drawn(y, list(c.weights), list(c.reliability), "ddim", c.evaluations)
