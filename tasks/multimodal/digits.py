"""A digit and a garment that go together: MNIST and Fashion-MNIST paired by the number of their classes (as MNIST-SVHN, Shi et al. 2019).

``m1`` is an image of MNIST, ``m2`` one of Fashion-MNIST whose class has the same number (0 a T-shirt, 1 trousers, ... 9 an ankle boot), in
grey, 14 x 14 at lite, 28 x 28 at full. Two sets of images that share the class alone stand for digits and house numbers: what each shows
of its own is unlike the other's, and one is harder than the other. The pair of an example is drawn once, within its split.

Networks: features and classifier of each modality, of 14 x 14 pixels. Of test images the classifiers tell 0.97 of digits and 0.85 of
garments, which bounds what coherence can be. Smoke runs on scikit-learn's digits, in negative as the second modality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.tasks.data import loaders
from elboard.tasks.data.task import images, permutation, stand_in
from elboard.tasks.multimodal.base import Multimodal

CARD = TaskCard(
    name="multimodal/digits",
    title="Digits, and garments of the same class",
    needs=("MultimodalGenerator",),
    primary="fd/mean",
    metrics=(
        "fd/mean",
        "fd/m1",
        "fd/m2",
        "joint_coherence",
        "conditional_coherence/mean",
        "latent_accuracy/given1",
        "latent_accuracy/all",
        "elbo",
        "reconstruction",
        "kl",
    ),
    selection="fd[pair-cnn,n=500]/mean",
    data=("mnist", "fashion-mnist"),
    papers=("116",),
    full="28 x 28 pictures, 50,000 for 150 epochs, which the card of MLD names for MNIST-SVHN; that set needs SVHN",
    work={"lite": (20_000, 21_000), "full": (50_000, 105_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64},
        "task": {"n_train": 256, "n_valid": 200, "n_test": 100},
        "method": {"hidden": [32, 16], "latent_dim": 4},
    },
    "lite": {"train": {"epochs": 30, "batch_size": 128, "validate_every": 30}, "task": {}},
    "full": {
        "train": {"epochs": 150, "batch_size": 128, "validate_every": 50},
        "task": {"pooled": False, "n_train": 50_000, "n_valid": 5000, "n_test": 10_000},
    },
}
SEEDS = {"train": 11, "valid": 12, "test": 13}  # of pairs


def mates(y: np.ndarray, of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of the classes ``y`` (n,) a position among ``of`` (k,) with that class: each of them once before one comes again. Raises
    UserError where none has it."""
    found = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        (wanted,), (there,) = np.nonzero(y == label), np.nonzero(of == label)
        if not len(there):
            raise UserError(f"none of {len(of)} garments is of class {label}: a split needs more of them")
        rounds = -(-len(wanted) // len(there))
        found[wanted] = np.concatenate([rng.permutation(there) for _ in range(rounds)])[: len(wanted)]
    return found


class Digits(Multimodal):
    """See the module."""

    network = "pair-cnn"

    @dataclass(kw_only=True)
    class Config(Multimodal.Config):
        n_train: Count = 20_000

    @property
    def names(self) -> tuple[str, ...]:
        return ("m1", "m2")

    def source(self, m: int, split: str) -> tuple[np.ndarray, np.ndarray]:
        """All images uint8 ``(n, 28, 28)`` of modality ``m`` that ``split`` may take, and their classes."""
        part = "test" if split == "test" else "train"
        if self.budget == "smoke":
            x, y = stand_in(part)
            x = 255 - x if m else x
        else:
            x, y = (loaders.fashion_mnist if m else loaders.mnist)(part)
        if split == "test":
            return x, y
        order, n = permutation(len(x), 1 + m), self.config.n_valid
        order = order[:n] if split == "valid" else order[n:]
        return x[order], y[order]

    def examples(self, split: str) -> tuple[Batch, Tensor]:
        c = self.config
        (x, y), (other, of) = (self.source(m, split) for m in range(2))
        n = {"train": c.n_train, "valid": c.n_valid, "test": c.n_test}[split]
        x, y = x[:n], y[:n]
        found = {"m1": images(x), "m2": images(other[mates(y, of, np.random.default_rng(SEEDS[split]))])}
        return {name: F.avg_pool2d(of, 2) if c.pooled else of for name, of in found.items()}, torch.from_numpy(y).long()
