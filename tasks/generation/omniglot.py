"""Omniglot at 28 x 28 with pixels binarised at random every time they are shown, Bernoulli likelihood.

The two minimal background sets: 242 characters of 8 alphabets, each drawn once by each of the 20 drawers of its alphabet. Split by drawers:
of every character the drawings by numbers 1 to 14 train (3,388), those by 15 and 16 validate (484) and those by 17 to 20 test (968). The
published split of Burda et al. 2016 (24,345 / 8,070 of all 1,623 characters, by drawings) shows test characters in training too; ours keeps
that and lets no hand of an alphabet be on both sides. By characters it would be extrapolation from a few alphabets to others, another
question. Whether a person drew more than one alphabet is not published. Numbers do not compare with those of the whole set.

Distances are taken in the features of MNIST's network: handwriting too, in light strokes on a dark ground of the same size. It was not made
to tell these characters apart.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.data.task import permutation
from elboard.tasks.parts.images import Generation

CARD = TaskCard(
    name="generation/omniglot",
    title="Omniglot (242 characters), dynamically binarised",
    needs=("Generator", "BinaryLikelihood"),
    primary="nll",
    metrics=("nll", "elbo", "fd", "kid", "gen_precision", "gen_recall", "mse", "active_units"),
    selection="nll[k=50]",
    data=("omniglot",),
    papers=("021",),
    full="the data of lite for 600 instead of 60 epochs; Burda et al. 2016 have ten times as many drawings and 3,280 epochs",
    work={"lite": (3388, 196_568), "full": (3388, 4_850_968)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 100, "n_test": 200, "nll_k": 8, "nll_n": 50, "samples": 200},
    },
    "lite": {
        "train": {"epochs": 60, "batch_size": 100, "validate_every": 6, "keep": "best"},
        "task": {"n_train": 3388, "n_valid": 484, "n_test": 968, "nll_k": 200, "nll_n": 968, "samples": 2000},
    },
    "full": {
        "train": {"epochs": 600, "batch_size": 100, "validate_every": 20, "keep": "best"},
        "task": {"n_train": 3388, "n_valid": 484, "n_test": 968, "nll_k": 5000, "nll_n": 968, "samples": 10_000},
    },
}
TRAINED, DRAWN = 14, 16  # drawers that train, and those that train or validate


class Omniglot(Generation):
    """See the module."""

    def source(self, split: str) -> np.ndarray:
        """Drawer by drawer: all characters of the first, then all of the second."""
        by_drawer = loaders.omniglot().swapaxes(0, 1)
        if split == "train":
            return by_drawer[:DRAWN].reshape(-1, 28, 28)
        x = by_drawer[DRAWN:].reshape(-1, 28, 28)
        return x[permutation(len(x), 2)]  # so that the first of them are no drawer's

    def split_train(self, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of the first drawers train; a smaller number of either is a random part."""
        n = len(pool) * TRAINED // DRAWN
        train, valid = pool[:n], pool[n:]
        return tuple(x[permutation(len(x), 1)][:size] for x, size in ((train, self.config.n_train), (valid, self.config.n_valid)))
