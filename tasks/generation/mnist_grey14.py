"""MNIST at 14 x 14 pixels with 256 grey levels: likelihoods that are exact, and bounds, each in columns of their own.

Grey levels are means of 2 x 2 pixels, rounded. Splits are those of ``generation/mnist``, sizes are smaller; images of another size have
other likelihoods. At lite autoregressive models take about three minutes of a core. Protocol as of the family, and beside it:

* ``bits_per_dim[...]/early``: of the first ``track_n`` test images after a quarter of the epochs (rounded up to one that was validated), by
  which one sees who learns faster in the same number of steps. Exact, or by the bound of 50 samples, as the key says.
* ``bits_gap[...]``: bits per dimension of these test images minus those of the first ``track_n`` training images, after the last epoch,
  whichever epoch is chosen: how far training images are learned by heart.

Both sides of the gap, and the early value, are of equally many images: of all training images where these are fewer than ``track_n``.

Evidence has the three means that these are of, ``followed``: early and at the end of test images, at the end of training images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.metrics.likelihood import bits_per_dim
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import halved, stand_in
from elboard.tasks.parts.images import Generation

CARD = TaskCard(
    name="generation/mnist-grey14",
    title="MNIST, 14 x 14 pixels of 256 grey levels",
    needs=("Generator", "GreyLikelihood"),
    primary="bits_per_dim",
    metrics=("bits_per_dim", "bits_per_dim/early", "bits_gap", "nll", "elbo", "fd", "kid", "gen_precision", "gen_recall", "active_units"),
    selection="nll[k=50]",
    data=("mnist",),
    papers=("085",),
    full="all of MNIST for 100 epochs; no paper's own setting",
    work={"lite": (5000, 206_000), "full": (50_000, 50_020_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 50, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 300, "n_valid": 50, "n_test": 100, "nll_k": 8, "nll_n": 50, "samples": 100, "track_n": 50},
    },
    "lite": {
        "train": {"epochs": 4, "batch_size": 50, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 5000, "n_valid": 2000, "n_test": 5000, "nll_k": 200, "nll_n": 1000, "samples": 1000, "track_n": 250},
    },
    "full": {
        "train": {"epochs": 100, "batch_size": 100, "validate_every": 5, "keep": "best"},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "nll_k": 5000, "nll_n": 10_000, "samples": 10_000},
    },
}


class MNISTGrey14(Generation):
    """See the module."""

    bernoulli = False

    @dataclass(kw_only=True)
    class Config(Generation.Config):
        track_n: Count = 1000

    def source(self, split: str) -> np.ndarray:
        return halved(loaders.mnist(split)[0])

    def smoke_source(self, split: str) -> np.ndarray:
        return halved(stand_in(split)[0])

    def track(self, method: Any, data: Data, test: Test) -> dict[str, float]:
        return {name: self._bits(method, x[: self._followed(data, test)]) for name, x in (("test", test["x"]), ("train", data.train["x"]))}

    def _followed(self, data: Data, test: Test) -> int:
        """How many images of each split: as many of one as of the other."""
        return min(self.config.track_n, len(test["x"]), len(data.train["x"]))

    def _bits(self, method: Any, x: Tensor) -> float:
        """Bits per dimension of ``x`` (N, 1, H, W), exact or by 50 samples."""
        nll = -self._map(lambda part: {"log_p": method.log_evidence(part, 50)}, x, size=100)["log_p"].mean(dtype=np.float64)
        return bits_per_dim(float(nll), x[0].numel())

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen = super().observe(method, data, test, history)
        rows = [row for row in history if "track/test" in row]
        if rows:
            quarter = len(history) / 4  # epochs, which are numbered from 0
            first = next(i for i, row in enumerate(rows) if row["epoch"] + 1 >= quarter)
            seen.arrays["followed"] = np.array([rows[first]["track/test"], rows[-1]["track/test"], rows[-1]["track/train"]])
            seen.arrays["followed_n"] = np.array(self._followed(data, test))
        return seen

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = super().measure(observed, asked)
        if "followed" in observed:
            early, test, train = observed["followed"].tolist()
            stated = f"[{'exact' if 'exact' in observed else 'k=50'},n={int(observed['followed_n'])}]"
            found |= {f"bits_per_dim{stated}/early": early, f"bits_gap{stated}": test - train}
        return found
