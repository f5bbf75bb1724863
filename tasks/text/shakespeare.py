"""Tiny Shakespeare by characters: bits a character of windows, exact or by a bound, and what samples look like.

* Data: 1,115,394 characters of 65 kinds. Three blocks of the text: the first 90 % train, the next 5 % validate, the last 5 % test. Windows
  of ``length`` characters lie ``stride`` apart in training and else side by side, of which the first ``n_valid`` and ``n_test`` count. A
  window stands by itself: nothing before it is seen.
* ``bits_per_char[exact]`` is of models with a likelihood, ``bits_per_char[bound]`` of those with a bound on it: two columns, of which one
  says nothing of what the other would be. The bound is the mean of ``draws`` draws of each window, whose times are even up to one
  uniform draw; ``bits_sd`` is the deviation of one of them.
* ``trigram_excess``: bits a character of ``samples`` sequences by frequencies of triples, pairs and single letters of the training windows
  (:mod:`elboard.bench.metrics.text`) above those of the test windows. Not below is not better: repetitions are cheap.
* ``idle_share``: of those methods that draw in a given number of steps, the share of steps that change nothing of a sequence, of as many
  steps as it has characters; the samples are those of this sampler.
* The last epoch's weights (an average over steps, of all methods here) are judged; options are chosen by ``bits_per_char`` of validation
  windows.

Smoke: text of a Markov chain of 6 letters.

Evidence: ``nats`` and their ``deviation`` of each window, bits of each sample and its share of idle steps, single precision.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.text import SteppedTokens, TokenSpec
from elboard.bench.metrics.likelihood import bits_per_dim
from elboard.bench.metrics.text import trigram_bits, trigram_tables
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import arrays
from elboard.tasks.data.task import DataTask

CARD = TaskCard(
    name="text/shakespeare",
    title="Tiny Shakespeare by characters, in windows of 64",
    needs=("TokenModel",),
    primary="bits_per_char",
    metrics=("bits_per_char", "bits_sd", "trigram_excess", "idle_share"),
    selection="bits_per_char",
    data=("tiny-shakespeare",),
    papers=("079", "082"),
    full="windows of 256 characters, as of the paper's text8, for 40 epochs of a larger network; text8 itself is not here",
    work={"lite": (15_685, 33_792), "full": (15_682, 283_648)},
    examples={
        "smoke": {"trigram_excess": "16 samples", "idle_share": "16 samples", "*": 40},
        "lite": {"trigram_excess": "128 samples", "idle_share": "128 samples", "*": 800},
        "full": {"trigram_excess": "1000 samples", "idle_share": "1000 samples", "*": 216},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 32, "keep": "last"},
        "method": {"width": 16, "depth": 1, "heads": 2},
        "task": {"length": 12, "stride": 12, "n_valid": 20, "n_test": 40, "draws": 8, "samples": 16},
    },
    "lite": {"train": {"epochs": 2, "batch_size": 32, "keep": "last", "validate_every": 0}},
    "full": {
        "train": {"epochs": 40, "batch_size": 64, "keep": "last", "validate_every": 10},
        "method": {"width": 384, "depth": 6, "heads": 6, "dropout": 0.1},
        "task": {"length": 256, "stride": 64, "n_valid": 216, "n_test": 216, "draws": 128, "samples": 1000},
    },
}
SHARES = {"train": (0.0, 0.9), "valid": (0.9, 0.95), "test": (0.95, 1.0)}  # of the text
SMOKE_LETTERS, SMOKE_LENGTH = 6, 12_000


class Shakespeare(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {
        "windows": Examples(("nats", "deviation"), ("bits_per_char*", "bits_sd")),
        "samples": Examples(("sample_bits", "idle"), ("trigram_excess", "idle_share")),
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        length: Annotated[int, Range(3)] = 64  # characters of a window
        stride: Count = 64  # from one training window to the next
        n_valid: Count = 200
        n_test: Count = 800
        draws: Count = 32  # of the bound of a window
        samples: Count = 128

    def text(self) -> tuple[np.ndarray, int]:
        """The whole text as numbers of letters, in the order of their codes, and how many letters there are."""
        if self.budget == "smoke":
            return chain_text(), SMOKE_LETTERS
        codes, x = np.unique(arrays("tiny-shakespeare")["text"], return_inverse=True)
        return x, len(codes)

    def windows(self, part: str) -> Tensor:
        """``(N, length)`` int64 of a part, as many as the options say."""
        c, x = self.config, self.text()[0]
        first, last = (round(share * len(x)) for share in SHARES[part])
        stride = c.stride if part == "train" else c.length
        found = np.lib.stride_tricks.sliding_window_view(x[first:last], c.length)[::stride]
        most = {"train": None, "valid": c.n_valid, "test": c.n_test}[part]
        return torch.from_numpy(found[:most].astype(np.int64))

    def load_train(self) -> Data:
        train = self.windows("train")
        spec = TokenSpec((self.config.length,), len(train), letters=self.text()[1])
        return Data(spec, {"x": train}, {"x": self.windows("valid")})

    def load_test(self, data: Data) -> Test:
        return {"x": self.windows("test")}

    def _nats(self, method: Any, x: Tensor) -> Tensor:
        return method.nats(x.to(self.device), self.config.draws).double().cpu()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        nats = self._nats(method, data.valid["x"])
        return {CARD.selection: bits_per_dim(nats.mean().item(), self.config.length)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        nats, length = self._nats(method, test["x"]), np.array(self.config.length)
        tables = trigram_tables(data.train["x"].numpy(), data.spec.letters)
        seen = {"nats": nats.mean(1).float().numpy(), "length": length, "exact": np.array(method.exact)}
        if not method.exact:
            seen["deviation"] = nats.std(1).float().numpy()
        if isinstance(method, SteppedTokens):
            drawn, idle = method.sample_in(self.config.samples, self.config.length)
            seen["idle"] = idle.float().cpu().numpy()
        else:
            drawn = method.sample(self.config.samples)
        sample = drawn.cpu().numpy()
        seen["sample_bits"] = trigram_bits(tables, sample).astype(np.float32)
        return Observed(seen | {"text_bits": trigram_bits(tables, test["x"].numpy()).mean()})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        length, kind = int(observed["length"]), "exact" if observed["exact"] else "bound"
        mean = {name: float(array.astype(np.float64).mean()) for name, array in observed.items() if array.ndim}
        found = {f"bits_per_char[{kind}]": bits_per_dim(mean["nats"], length)}
        if "deviation" in mean:
            found["bits_sd"] = mean["deviation"] / (length * math.log(2))
        if "idle" in mean:
            found["idle_share"] = mean["idle"]
        return found | {"trigram_excess": mean["sample_bits"] - float(observed["text_bits"])}


def chain_text() -> np.ndarray:
    """The smoke budget's ``(12000,)``: a Markov chain, in which each letter has two that mostly follow it."""
    rng = np.random.default_rng(0)
    p = 0.04 + np.eye(SMOKE_LETTERS)[(np.arange(SMOKE_LETTERS) + 1) % SMOKE_LETTERS] * 0.5 + np.eye(SMOKE_LETTERS) * 0.26
    edges, u, x = p.cumsum(1), rng.random(SMOKE_LENGTH), np.zeros(SMOKE_LENGTH, np.int64)
    for i in range(1, SMOKE_LENGTH):
        x[i] = min(SMOKE_LETTERS - 1, np.searchsorted(edges[x[i - 1]], u[i]))
    return x
