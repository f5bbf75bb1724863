"""scikit-learn's 8 x 8 digits in black and white, by models of four tokens of four values: the likelihood is a sum over 256 latents.

A pixel is on where its level is above 7 of 16. 1,200 / 200 / 397 images, split once as on ``density/digits``. Epochs are chosen by the
exact negative log-likelihood of validation images. See
:mod:`elboard.tasks.latent.base` for the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.compositional import CompositionalSpec
from elboard.bench.options import Count
from elboard.bench.task import Data, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import DataTask, permutation
from elboard.tasks.latent.base import Enumerated

CARD = TaskCard(
    name="latent/digits",
    title="Digits 8x8 by four tokens of four values, by enumeration",
    needs=("TokenLatents",),
    primary="nll",
    metrics=("nll", "posterior_tv", "posterior_kl", "latent_perplexity"),
    selection="nll[exact]",
    data=("digits",),
    papers=("075",),
    full="the data of lite for three times as long; the paper's MNIST with 16 tokens has no likelihood by enumeration",
    work={"lite": (1200, 397), "full": (1200, 397)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 100, "keep": "best"}},
    "lite": {"train": {"epochs": 400, "batch_size": 100, "validate_every": 10, "keep": "best"}},
    "full": {"train": {"epochs": 1200, "batch_size": 100, "validate_every": 10, "keep": "best"}},
}
ON = 7  # the highest level of a pixel that is off


def _bits(start: int, end: int | None) -> Tensor:
    """Images of the task's order from ``start`` to ``end``: ``(N, 64)`` of 0 and 1."""
    levels, _ = loaders.digits()
    x = levels.reshape(len(levels), -1) > ON
    return torch.from_numpy(x[permutation(len(x), 0)[start:end]]).float()


class DigitTokens(Enumerated, DataTask):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        choices: list[Count] = field(default_factory=lambda: [4, 4, 4, 4])

    def load_train(self) -> Data:
        train, valid = _bits(0, 1200), _bits(1200, 1400)
        spec = CompositionalSpec((64,), len(train), likelihood="bernoulli", choices=tuple(self.config.choices))
        return Data(spec, {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": _bits(1400, None)}
