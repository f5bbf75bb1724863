"""NegGrad: gradient ascent on what is to be forgotten (baseline of Golatkar, Achille and Soatto 2020).

    L = sum_{i in D_f} log softmax head(g(x_i))_{y_i} / |D_f|  -  w sum_{i in D_r} log softmax head(g(x_i))_{y_i} / |D_r|   over a batch

``remaining``, w, is 0 in the source: then nothing holds what remains, and since the likelihood has no lower bound, too long or too fast an
ascent destroys it. With w it descends on what remains at once, as in NegGrad+ (Kurmanji et al. 2023).

Differences from the papers: the learning rate, a tenth of the original model's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch
from elboard.methods.unlearning.base import Unlearning

CARD = MethodCard(
    name="neg-grad",
    title="Gradient ascent on what is to be forgotten",
    family="unlearning",
    home="unlearning/mnist",
    cite="Golatkar et al. 2020",
    bases={"original": {"method": "original"}},
    defaults="convention",
)


class NegGrad(Unlearning):
    """Labels are seen."""

    @dataclass(kw_only=True)
    class Config(Unlearning.Config):
        lr: Positive = 1e-4
        weight_decay: NonNegative = 0.0
        remaining: NonNegative = 0.0  # w

    def chosen(self, batch: Batch) -> Tensor:
        return batch["forget"]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        forgotten = self.likelihood(batch)
        if not self.config.remaining:
            return {"loss": forgotten}
        remaining = self.likelihood({**batch, "forget": ~batch["forget"]})
        return {"loss": forgotten - self.config.remaining * remaining, "remaining": remaining}
