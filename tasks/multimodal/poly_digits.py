"""Digits of one class in several modalities, each on a background of its own (after PolyMNIST, Sutter, Daunhawer and Vogt 2021).

Pictures are those of :mod:`elboard.tasks.multimodal.pictures`, of MNIST's digits: 14 x 14 at lite, 28 x 28 at full. Options:

* ``modalities``, 1 to 5: the first ones of the same data, so that ``/m1`` of any number of modalities is of the same pictures.
* ``background``: crops of the modality's texture, or black. ``pairing``: "class", a digit of its own of the class in each modality, as in
  PolyMNIST, or "image", one digit for all: then without background modalities are equal, and determine each other.

Networks: features of one network for all modalities, which tells digits and mean colours; a classifier for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.options import Range
from elboard.bench.task import Batch
from elboard.tasks.data import loaders
from elboard.tasks.data.task import images, permutation, stand_in
from elboard.tasks.multimodal.base import Multimodal
from elboard.tasks.multimodal.pictures import compose, partners

CARD = TaskCard(
    name="multimodal/poly-digits",
    title="Digits of one class on four backgrounds",
    needs=("MultimodalGenerator",),
    primary="fd/mean",
    metrics=(
        "fd/mean",
        "fd/m1",
        "joint_coherence",
        "conditional_coherence/mean",
        "conditional_coherence/given1",
        "conditional_coherence/given3",
        "latent_accuracy/given1",
        "latent_accuracy/all",
        "elbo",
        "reconstruction",
        "kl",
    ),
    selection="fd[poly-cnn,n=500]/mean",
    data=("mnist",),
    papers=("067",),
    full="28 x 28 pictures of five modalities, 50,000 for 300 epochs; PolyMNIST's own backgrounds are not to be had by an address",
    work={"lite": (10_000, 75_000), "full": (50_000, 710_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64},
        "task": {"n_train": 256, "n_valid": 200, "n_test": 100},
        "method": {"hidden": [32, 16], "latent_dim": 4},
    },
    "lite": {"train": {"epochs": 15, "batch_size": 128, "validate_every": 15}},
    "full": {
        "train": {"epochs": 300, "batch_size": 256, "validate_every": 50},
        "task": {"modalities": 5, "pooled": False, "n_train": 50_000, "n_valid": 5000, "n_test": 10_000},
    },
}
STREAMS = {"train": 1, "valid": 2, "test": 3}


class PolyDigits(Multimodal):
    """See the module."""

    network = "poly-cnn"

    @dataclass(kw_only=True)
    class Config(Multimodal.Config):
        modalities: Annotated[int, Range(1, 5)] = 4
        background: bool = True
        pairing: Literal["class", "image"] = "class"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"m{m + 1}" for m in range(self.config.modalities))

    def examples(self, split: str) -> tuple[Batch, Tensor]:
        """Modalities by name, ``(n, 3, H, W)`` each, and classes ``(n,)``. Partners are of the same split."""
        c, part = self.config, "test" if split == "test" else "train"
        x, y = stand_in(part) if self.budget == "smoke" else loaders.mnist(part)
        if part == "train":
            order = permutation(len(x), 1)
            order = order[: c.n_valid] if split == "valid" else order[c.n_valid :][: c.n_train]
            x, y = x[order], y[order]
        else:
            x, y = x[: c.n_test], y[: c.n_test]
        digits, rng = images(x)[:, 0], np.random.default_rng(STREAMS[split])
        digits = F.avg_pool2d(digits, 2) if c.pooled else digits
        found: Batch = {}
        for m, name in enumerate(self.names):  # one modality after the other, so that more of them leave the first as they are
            own = digits[partners(y, 2, rng)[:, 1]] if m and c.pairing == "class" else digits
            found[name] = compose(own[:, None], c.background, rng, m)[:, 0]
        return found, torch.from_numpy(y).long()
