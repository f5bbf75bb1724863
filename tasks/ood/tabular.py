"""Tables instead of images: handwritten digits by 76 Fourier coefficients and 47 Zernike moments (UCI, Multiple Features), 0 to 5 in
distribution.

Neither kind of feature changes when a digit turns, so that a 6 and a 9 are alike, and both are held out with 7 and 8 (near). Far sets are
what goes wrong with tables, of the ID test rows: ``permuted``, the features in another order, one for all; ``faulty``, a quarter of the
features, drawn for each row, three standard deviations up or down; and ``noise``, normal features with the means and deviations of
training, without their correlations. Features are standardised by the training rows, in which unit all sets are made.

Validation rows are told from rows of which each feature is that of another validation row, as images are from their jigsaws.

The task names the network, a multilayer perceptron, for all methods; post-hoc detectors run on its features as they do on a CNN's. Six
rows that equal earlier ones are left out; of the 1,994 that remain 600 are test rows, and so are all of the classes held out: 342 ID rows
and 796 others.

Smoke needs no download: scikit-learn's digits, their 64 pixels in a row.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.task import Data, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import permutation
from elboard.tasks.ood.base import JIGSAW_SEED, NOISE_SEED, SPLIT_SEED, SUBSET_SEED, Labelled, OODDetection
from elboard.tasks.parts.open_set import separate

CARD = TaskCard(
    name="ood/tabular",
    title="Digits by 123 features: 0 to 5 against 6 to 9, permuted and faulty features, and noise",
    needs=("Predictor", "OODScorer"),
    primary="auroc/mean",
    metrics=(
        "auroc/mean",
        "auroc/near",
        "auroc/far",
        "fpr95_id_positive/near",
        "fpr95_id_positive/far",
        "aupr_in/far",
        "aupr_out/far",
        "accuracy",
        "ece",
    ),
    selection="auroc/validation",
    data=("mfeat",),
    full="the data of lite for 200 instead of 40 epochs; no paper's own setting",
    work={"lite": (706, 13_408), "full": (706, 13_408)},
    examples={
        "smoke": {"*/*": "100 against 100", "*": 100},
        "lite": {"*/validation": "150 against 150", "*/*": "342 against 342 or 796", "*": 342},
        "full": {"*/validation": "150 against 150", "*/*": "342 against 342 or 796", "*": 342},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 5, "batch_size": 32},
        "task": {"n_train": 256, "n_valid": 100, "n_test": 100},
        "method": {"backbone": "mlp"},
    },
    "lite": {
        "train": {"epochs": 40, "batch_size": 32, "validate_every": 10},
        "task": {"n_valid": 150},
        "method": {"backbone": "mlp"},
    },
    "full": {
        "train": {"epochs": 200, "batch_size": 32, "validate_every": 20},
        "task": {"n_valid": 150},
        "method": {"backbone": "mlp"},
    },
}
N_TEST, SHARE, FAR = 600, 4, 3.0  # test rows; one feature of four is faulty; by how many standard deviations
ORDER_SEED, FAULT_SEED = 4, 5


def permuted(x: np.ndarray) -> np.ndarray:
    """The columns of ``x`` (N, D) in another order, in which none is where it was."""
    order = permutation(x.shape[1], ORDER_SEED)
    moved = np.empty_like(x)
    moved[:, order] = x[:, np.roll(order, 1)]
    return moved


def faulty(x: np.ndarray) -> np.ndarray:
    """``x`` (N, D) with one of :data:`SHARE` features of each row moved by :data:`FAR`, up or down."""
    rng = np.random.default_rng(FAULT_SEED)
    broken = rng.random(x.shape).argsort(1) < x.shape[1] // SHARE
    return x + np.where(broken, rng.choice((-FAR, FAR), x.shape), 0)


class TabularOOD(OODDetection):
    """See the module."""

    held_out = (6, 7, 8, 9)
    foreign = ("permuted", "faulty")

    def source(self, split: str) -> Labelled:
        """Rows ``(N, D)`` in their own units, of "train" or "test"; those of classes held out all in "test"."""
        if self.budget == "smoke":
            x, y = loaders.digits()
            x = x.reshape(len(x), -1).astype(np.float64)
        else:
            found = loaders.mfeat()
            x, y = np.concatenate([found["fou"], found["zer"]], axis=1), found["y"].astype(np.int64)
            first = np.sort(np.unique(x, axis=0, return_index=True)[1])
            x, y = x[first], y[first]
        tested = np.isin(np.arange(len(y)), permutation(len(y), SPLIT_SEED)[:N_TEST]) | np.isin(y, self.held_out)
        return (x[tested], y[tested]) if split == "test" else (x[~tested], y[~tested])

    def _train(self) -> tuple[Labelled, Labelled]:
        """Training and validation rows in their own units."""
        c, (x, y) = self.config, separate(*self.source("train"), self.held_out)[0]
        order = permutation(len(y), SPLIT_SEED)
        kept, valid = order[c.n_valid :][: c.n_train or None], order[: c.n_valid]
        return (x[kept], y[kept]), (x[valid], y[valid])

    def load_train(self) -> Data:
        train, valid = (self._batch(self._standardised(x), y) for x, y in self._train())
        spec = ClassSpec(tuple(train["x"].shape[1:]), len(train["x"]), n_classes=int(train["y"].max()) + 1)
        return Data(spec, train, valid)

    def load_test(self, data: Data) -> Test:
        (x, y), near = separate(*self.source("test"), self.held_out)
        inside, few = (permutation(len(of), SUBSET_SEED)[: self.config.n_test or None] for of in (x, near))
        x, y, near = self._standardised(x[inside]), y[inside], self._standardised(near[few])
        far = {"permuted": permuted(x), "faulty": faulty(x), "noise": np.random.default_rng(NOISE_SEED).standard_normal(x.shape)}
        tensors = {name: torch.from_numpy(of).float() for name, of in far.items()}
        return {"id": self._batch(x, y), "near": {"held-out": torch.from_numpy(near).float()}, "far": tensors}

    def _standardised(self, x: np.ndarray) -> np.ndarray:
        """By the training rows; a feature that does not vary among them tells nothing."""
        varies, mean, deviation = self._moments
        return np.where(varies, (x - mean) / deviation, 0.0)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the training rows, which are read once for it: which features vary, their means, and their deviations or 1."""
        (train, _), _ = self._train()
        varies = (train != train[0]).any(0)
        return varies, train.mean(0), np.where(varies, train.std(0), 1.0)

    def _batch(self, x: np.ndarray, y: np.ndarray) -> dict[str, Tensor]:
        return {"x": torch.from_numpy(x).float(), "y": torch.from_numpy(y)}

    def jigsaws(self, x: Tensor) -> Tensor:
        """Each column of ``x`` (N, D) in an order of its own."""
        return torch.from_numpy(np.random.default_rng(JIGSAW_SEED).permuted(x.numpy(), axis=0))

    def strangers(self) -> tuple[np.ndarray, ...]:
        """Far sets are made of the ID test rows: see :meth:`load_test`."""
        raise NotImplementedError
