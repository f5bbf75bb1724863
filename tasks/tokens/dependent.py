"""Tokens that determine each other: what masked diffusion does to their dependence where it fills several at once.

Sequences of the digits 0 to 9, each with the same probability unless ``weighted`` (all digits modulo 10; Zhang, Schwing and Zhao 2025):

    pair    (k, k + 1)                     10 sequences; ``weighted``: in proportion to k + 1
    d1      (k, k + 1, k + 2, k + 3)       10 of four tokens
    d2      (k, k + 1, l, l + 1)           100 of four tokens

``samples`` sequences are filled from masks alone, in random order: ``/at-once`` by one evaluation of the network, ``/one-by-one`` by as
many as there are tokens; of four tokens in two blocks as well, one after the other, ``/b2-e2`` by an evaluation a block, ``/b2-e4`` by two.

* ``valid_share``: share of samples that the law has.
* ``law_kl``: KL from the law to the frequencies of samples, nats. What was never drawn counts as half a sample; but for that it is no less
  than minus the logarithm of the valid share. The other direction is infinite where a sample is not of the law, and the paper's 0.165 with
  a share of 87.3 % is possible in this one alone.
* ``nelbo``: the bound on -log p, mean over the law; it is the entropy at the least.

Nothing is held out: what is learned is a law that is known. Options are chosen by the KL of samples at once; the last epoch's weights are
judged.

Evidence: how often each sequence of the law was drawn in each way, of how many samples; nats of each, single precision.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.text import TokenSpec
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test

CARD = TaskCard(
    name="tokens/dependent",
    title="Tokens that determine each other, filled several at a time",
    needs=("TokenModel", "TokenFiller"),
    primary="law_kl/at-once",
    metrics=(
        "law_kl/at-once", "law_kl/one-by-one", "valid_share/at-once", "valid_share/one-by-one", "valid_share/b2-e2", "valid_share/b2-e4",
        "law_kl/b2-e2", "nelbo",
    ),
    selection="law_kl/at-once",
    papers=("023",),
    full="as lite, 30,000 steps of 256; the paper's laws, whose training it does not describe here",
    work={"lite": (25_600, 220_640), "full": (25_600, 2_200_640)},
    examples={
        "smoke": {"nelbo": "the whole law", "*": "2,000 samples"},
        "lite": {"nelbo": "the whole law", "*": "20,000 samples"},
        "full": {"nelbo": "the whole law", "*": "200,000 samples"},
    },
)  # fmt: skip
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64, "keep": "last"},
        "method": {"width": 16, "depth": 1, "heads": 2},
        "task": {"law": "d2", "n_train": 640, "samples": 2000, "draws": 4},
    },
    "lite": {"train": {"epochs": 12, "batch_size": 128, "keep": "last", "validate_every": 0}, "method": {"depth": 2}},
    "full": {
        "train": {"epochs": 300, "batch_size": 256, "keep": "last", "validate_every": 100},
        "method": {"depth": 3},
        "task": {"samples": 200_000},
    },
}
LETTERS, BLOCKS = 10, 2


class Dependent(Task):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        law: Literal["pair", "d1", "d2"] = "d1"
        weighted: bool = False
        n_train: Count = 25_600
        samples: Count = 20_000
        draws: Count = 64  # of the bound of a sequence

    def law(self) -> tuple[Tensor, Tensor]:
        """All sequences that occur, int64 (S, L), and their probabilities (S,)."""
        return law(self.config.law, self.config.weighted)

    def _drawn(self, n: int, seed: int) -> Tensor:
        x, p = self.law()
        return x[torch.multinomial(p, n, replacement=True, generator=torch.Generator().manual_seed(seed))]

    def load_train(self) -> Data:
        x = self._drawn(self.config.n_train, 0)
        return Data(TokenSpec((x.shape[1],), len(x), letters=LETTERS), {"x": x}, {"x": self.law()[0]})

    def load_test(self, data: Data) -> Test:
        return {"x": self.law()[0]}

    def _counts(self, method: Any, n: int, steps: int, blocks: int) -> np.ndarray:
        """How often each sequence of the law is among ``n`` samples, int32 (S,)."""
        x = self.law()[0]
        places = LETTERS ** torch.arange(x.shape[1])
        drawn = method.fill(torch.full((n, x.shape[1]), LETTERS, device=self.device), steps, "random", blocks).cpu()
        of_all = torch.bincount((drawn * places).sum(1), minlength=LETTERS ** x.shape[1])
        return of_all[(x * places).sum(1)].numpy().astype(np.int32)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        counts = self._counts(method, self.config.samples, 1, 1)
        return {CARD.selection: law_kl(self.law()[1].numpy(), counts, self.config.samples)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x, p = self.law()
        n, length = self.config.samples, x.shape[1]
        ways = {"at-once": (1, 1), "one-by-one": (length, 1)} | ({"b2-e2": (2, BLOCKS), "b2-e4": (4, BLOCKS)} if length == 4 else {})
        arrays = {f"counts_{name}": self._counts(method, n, *way) for name, way in ways.items()}
        nats = method.nats(x.to(self.device), self.config.draws).mean(1).float().cpu().numpy()
        return Observed(arrays | {"p": p.numpy(), "samples": np.array(n), "nats": nats})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        p, n = observed["p"], int(observed["samples"])
        found = {"nelbo": float(p @ observed["nats"].astype(np.float64))}
        for name, counts in observed.items():
            if name.startswith("counts_"):
                way = name.removeprefix("counts_")
                found |= {f"valid_share/{way}": float(counts.sum() / n), f"law_kl/{way}": law_kl(p, counts, n)}
        return found


def law(name: Literal["pair", "d1", "d2"], weighted: bool = False) -> tuple[Tensor, Tensor]:
    """All sequences of a law, int64 (S, L), and their probabilities (S,), double precision."""
    k = torch.arange(LETTERS)
    first, second = (of.flatten()[:, None] for of in torch.meshgrid(k, k, indexing="ij"))
    step = torch.arange(2)
    x = {
        "pair": lambda: k[:, None] + step,
        "d1": lambda: k[:, None] + torch.arange(4),
        "d2": lambda: torch.cat([first + step, second + step], 1),
    }[name]() % LETTERS
    p = x[:, 0] + 1.0 if weighted else torch.ones(len(x))
    return x, p.double() / p.double().sum()


def law_kl(p: np.ndarray, counts: np.ndarray, n: int) -> float:
    """``sum p log(p n / counts)`` of the law ``p`` (S,) and how often each of it is among ``n`` samples (S,), 0 as 1/2."""
    return max(0.0, float(p @ (np.log(p) - np.log(np.maximum(counts, 0.5)) + math.log(n))))
