"""Encoders of Fashion-MNIST on 14 x 14 pixels that have features at places: what stands in for a large self-supervised one elsewhere.

Protocol of :mod:`elboard.tasks.selfsup.fashion_mnist` on means of 2 x 2 pixels. Training images are the last ones of the permutation of
which ``latents/fashion14`` has the first, so that what is built on such an encoder meets it as on images that it has not seen.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.task import Data
from elboard.tasks.data.task import halved, labelled, permutation
from elboard.tasks.parts.augmentation import two_views
from elboard.tasks.selfsup.fashion_mnist import ViewsFashionMNIST

CARD = TaskCard(
    name="selfsup/fashion14",
    title="Encoders with features at places, Fashion-MNIST on 14 x 14 pixels",
    needs=("MapEncoder",),
    primary="probe_accuracy",
    metrics=("probe_accuracy", "knn_accuracy", "embedding_std"),
    selection="probe_accuracy",
    data=("fashion-mnist",),
    papers=("091", "107", "114"),
    full="26,000 training images for 100 epochs and all test images; no paper's own setting",
    work={"lite": (15_000, 48_000), "full": (26_000, 95_000)},
    examples={
        "smoke": {"view_spearman": "100 test images", "uncertainty*": "100 test images", "*": 200},
        "lite": {"view_spearman": "1,000 test images", "uncertainty*": "1,000 test images", "*": 5000},
        "full": {"view_spearman": "2,000 test images", "uncertainty*": "2,000 test images", "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100},
        "task": {"n_train": 400, "n_valid": 100, "n_test": 200, "n_labelled": 200, "n_shown": 100, "pairs": 2},
    },
    "lite": {"train": {"epochs": 6, "batch_size": 250, "validate_every": 3}, "task": {"n_train": 15_000}},
    "full": {
        "train": {"epochs": 100, "batch_size": 250, "validate_every": 10},
        "task": {"n_train": 26_000, "n_valid": 1000, "n_test": 10_000, "n_shown": 2000},
    },
}


class ViewsFashion14(ViewsFashionMNIST):
    """See the module."""

    def _source(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        x, y = super()._source(split)
        return halved(x), y

    def load_train(self) -> Data:
        c, (x, y) = self.config, self._source("train")
        order = permutation(len(y), 1)[::-1]
        held_out, kept = order[: c.n_valid], order[c.n_valid :][: c.n_train]
        spec = ClassSpec((1, *x.shape[1:]), len(kept), n_classes=10)
        return Data(spec, labelled(x, y, kept), labelled(x, y, held_out), on_batch=two_views)
