"""Frey faces, one face in 1,965 frames of a film of 28 x 20 pixels, 256 grey levels (discretised logistic likelihood for variational
autoencoders).

Neighbouring frames are nearly duplicates, so that a random split (as of 1,565 / 200 / 200 in papers) tests on what was trained on. Split
along the film, in blocks with gaps that are of no part: frames 0 to 1,464 train, 1,515 to 1,714 validate, 1,765 to 1,964 test. A gap of 50
frames is where two frames differ about as much as any two (the root mean square difference of frames 1, 10, 50 and 200 apart is 19, 26, 35
and 36 levels); the nearest training frame of the median frame is 17 levels away in validation and 22 in the test, of a random split 11.
Expressions come back along the film: test frames are new moments, not new faces. The numbers are higher than on random splits and do not
compare with papers'.

No distances of samples: a feature network needs classes to learn, and there is one face and no labels. Samples are pictures of the record.

Smoke needs no download: digits scaled up, without their margins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.task import Observed
from elboard.tasks.data import loaders
from elboard.tasks.parts.images import Generation
from elboard.tasks.parts.pictures import grid, shown

CARD = TaskCard(
    name="generation/frey-faces",
    title="Frey faces, 256 grey levels",
    needs=("Generator", "GreyLikelihood"),
    primary="nll",
    metrics=("nll", "elbo", "bits_per_dim", "mse", "active_units"),
    selection="nll[k=50]",
    data=("frey-faces",),
    papers=("025",),
    full="the data of lite for 1,000 instead of 100 epochs; no paper's own setting",
    work={"lite": (1465, 200_300), "full": (1465, 1_000_300)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 100, "n_test": 200, "nll_k": 8, "nll_n": 50},
    },
    "lite": {
        "train": {"epochs": 100, "batch_size": 100, "validate_every": 10, "keep": "best"},
        "task": {"n_train": 1465, "n_valid": 200, "n_test": 200, "nll_k": 1000, "nll_n": 200, "samples": 100},
    },
    "full": {
        "train": {"epochs": 1000, "batch_size": 100, "validate_every": 20, "keep": "best"},
        "task": {"n_train": 1465, "n_valid": 200, "n_test": 200, "nll_k": 5000, "nll_n": 200, "samples": 100},
    },
}
GAP, N_TEST = 50, 200  # frames


class FreyFaces(Generation):
    """See the module."""

    bernoulli = False

    def source(self, split: str) -> np.ndarray:
        film = loaders.frey_faces()
        return film[: -N_TEST - GAP] if split == "train" else film[-N_TEST:]

    def smoke_source(self, split: str) -> np.ndarray:
        return super().smoke_source(split)[:, :, 4:24]

    def split_train(self, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The end of the film validates, its beginning trains; a smaller number of training frames is a number of the first."""
        n = len(pool) - self.config.n_valid
        return pool[: n - GAP][: self.config.n_train], pool[n:]

    def _samples(self, method: Any, grey: Tensor) -> Observed:
        """Pictures alone."""
        fake = method.sample(shown(grey)).cpu()
        return Observed({}, {"samples": grid(fake, 10)})
