"""A trained generator as it is: its samples are scored on another task than the one that it was trained on, and nothing is trained again.

    x ~ p(x),  p of the run ``model``

A likelihood model learns binary or grey images under its own protocol (Kingma and Welling 2014 and what followed); beside generators that
have no likelihood only its samples count. ``base.method=iwae`` takes another model, ``base.k=5`` an option of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator
from elboard.bench.method import Method
from elboard.bench.options import Options
from elboard.bench.task import Data

CARD = MethodCard(
    name="trained",
    title="A generator of another task",
    family="vae",
    home="samples/toy-2d",
    cite="Kingma and Welling 2014",
    bases={
        "model": {
            "method": "vae",
            "task": {
                "samples/mnist": "generation/mnist",
                "samples/mnist14": "generation/mnist-grey14",
                "samples/fashion-mnist": "generation/fashion-mnist",
                "samples/toy-2d": "density/toy-2d",
            },
        }
    },
    defaults="none",
)


class Trained(Method, Generator):
    """Nothing is learned."""

    @dataclass(kw_only=True)
    class Config(Options):
        """Nothing is trained by gradients."""

    def fit(self, data: Data, training: Any) -> None:
        return

    def sample(self, n: int) -> Tensor:
        return self.base.sample(n)
