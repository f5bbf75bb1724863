"""Bounds of masked diffusion on all sequences of 4 letters of 3 kinds: nothing is trained and nothing is drawn.

The law of the data is a Markov chain, whose start and transitions the seed draws (Dirichlet, all 1/2). Two predictors that do not see the
time stand for a network: ``true``, the chain's own conditionals given any letters, and ``other``, a mixture of 0.6 of these and 0.4 of a
table of random laws for each sequence with masks, which belong to no joint law.

``bound_excess``: the negative bound with the true conditionals minus the entropy of the chain, 0 where nothing is lost. ``nelbo/other``:
the negative bound with the other predictor. ``published_excess``: as ``bound_excess``, of the loss that a method is trained on, where it
was published as a bound and may be none. ``bound_gap`` and ``least_gap``: log p minus the bound with it, mean over the law of the data
and least over all 81 sequences, where log p is that of the process that reveals, by all its paths. ``nelbo_sd/...``: deviation of an
estimate from one time and one set of masks, within a sequence. ``schedule_spread`` and ``sd_ratio`` are of the other predictor on the
linear, the cosine and the polynomial schedule: the largest difference of bounds of a sequence, and the largest deviation over the least.
All in nats a sequence and double precision, sums over the 16 sets of masks; times by quadrature, which says nothing of a deviation without
bounds, as of the linear schedule from 0 on.

Evidence: of each sequence its probability and the numbers of both predictors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.text import Predictor, PublishedLoss, TokenSpec
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test

CARD = TaskCard(
    name="text/enumerated",
    title="Bounds of masked diffusion on a chain of 4 letters of 3 kinds, by enumeration",
    needs=("MaskedBound",),
    primary="bound_excess",
    metrics=("bound_excess", "nelbo/other", "nelbo_sd/other", "schedule_spread", "sd_ratio", "bound_gap", "least_gap", "published_excess"),
    selection="bound_excess",
    varies="seed and split",
    papers=("079", "082"),
    full="as lite: there is nothing to make longer",
    work={"lite": (256, 2592), "full": (256, 2592)},
    examples={"smoke": {"*": 81}, "lite": {"*": 81}, "full": {"*": 81}},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 0}, "method": {"width": 16, "depth": 1, "heads": 2}},
    "lite": {"train": {"epochs": 0}},
    "full": {"train": {"epochs": 0}},
}
LETTERS, LENGTH = 3, 4
CONCENTRATION, TRUE = 0.5, 0.6  # of the Dirichlet laws, and the share of the true conditionals in the other predictor


class Chain:
    """A Markov chain of :data:`LETTERS` letters; all in double precision.

    Attributes:
        x: all sequences, (81, 4). p: their probabilities (81,).
    """

    def __init__(self, rng: np.random.Generator):
        start, move = rng.dirichlet([CONCENTRATION] * LETTERS), rng.dirichlet([CONCENTRATION] * LETTERS, LETTERS)
        x = np.indices([LETTERS] * LENGTH).reshape(LENGTH, -1).T
        self.x, self.p = torch.from_numpy(x.copy()), torch.from_numpy(start[x[:, 0]] * move[x[:, :-1], x[:, 1:]].prod(1))
        self._random = torch.from_numpy(rng.dirichlet([1.0] * LETTERS, ((LETTERS + 1) ** LENGTH, LENGTH)))

    def true(self, z: Tensor) -> Tensor:
        """Logarithms (B, L, K) of the conditionals given the letters of ``z`` (B, L), or what each may be, booleans (B, L, K)."""
        may = z if z.dtype == torch.bool else (z[..., None] == torch.arange(LETTERS)) | (z[..., None] == LETTERS)
        fits = torch.stack([may[:, i, self.x[:, i]] for i in range(LENGTH)]).all(0) * self.p
        return (torch.einsum("bs,slk->blk", fits, F.one_hot(self.x, LETTERS).double()) / fits.sum(1)[:, None, None]).log()

    def other(self, z: Tensor) -> Tensor:
        """The other predictor; of what is known in part, its law given a mask there, of what the letter may be."""
        if z.dtype != torch.bool:
            return (TRUE * self.true(z).exp() + (1 - TRUE) * self._law(z)).log()
        law = self._law(torch.where(z.sum(2) == 1, z.long().argmax(2), LETTERS)) * z
        return (TRUE * self.true(z).exp() + (1 - TRUE) * law / law.sum(2, keepdim=True)).log()

    def _law(self, z: Tensor) -> Tensor:
        return self._random[(z * (LETTERS + 1) ** torch.arange(LENGTH)).sum(1)]


class Enumerated(Task):
    """See the module."""

    sets: ClassVar[Sets] = {"sequences": Examples(("p", "nelbo_*", "sd_*", "log_mass", "published"), ("*",))}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 256

    def chain(self) -> Chain:
        """That of the run's seed."""
        return Chain(np.random.default_rng([self.seed, 79]))

    def load_train(self) -> Data:
        """Draws of the chain, which nothing learns from."""
        chain, n = self.chain(), self.config.n_train
        at = torch.multinomial(chain.p, n, replacement=True, generator=torch.Generator().manual_seed(self.seed))
        return Data(TokenSpec((LENGTH,), n, letters=LETTERS), {"x": chain.x[at]})

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {CARD.selection: self.measure(self._seen(method), None)[CARD.selection]}

    def _seen(self, method: Any) -> dict[str, np.ndarray]:
        chain, seen = self.chain(), {}
        predictors: dict[str, Predictor] = {"true": chain.true, "other": chain.other}
        with torch.no_grad():
            for name, predict in predictors.items():
                seen[f"nelbo_{name}"], seen[f"sd_{name}"] = method.bound_moments(predict, chain.x)
            seen["nelbo_kinds"], seen["sd_kinds"] = method.under_schedules(chain.other, chain.x)
            if isinstance(method, PublishedLoss):
                seen["published"] = method.published_loss(chain.true, chain.x)
            seen |= {"p": chain.p, "log_mass": method.log_mass(chain.other, chain.x)}
        return {name: value.numpy() for name, value in seen.items()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed(self._seen(method))

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        p = observed["p"]
        entropy = -float(p @ np.log(p))
        gap = observed["log_mass"] + observed["nelbo_other"]
        found = {f"nelbo_sd/{name}": float(p @ observed[f"sd_{name}"]) for name in ("true", "other")}
        found |= {"bound_excess": float(p @ observed["nelbo_true"]) - entropy, "nelbo/other": float(p @ observed["nelbo_other"])}
        if "published" in observed:
            found["published_excess"] = float(p @ observed["published"]) - entropy
        kinds = p @ observed["sd_kinds"]
        found |= {"schedule_spread": float(np.ptp(observed["nelbo_kinds"], axis=1).max()), "sd_ratio": float(kinds.max() / kinds.min())}
        return found | {"bound_gap": float(p @ gap), "least_gap": float(gap.min())}
