"""CIFAR-10: six classes in distribution, deer, dog, ship and truck held out; MNIST, Fashion-MNIST, drawn textures and noise are far.

Each class held out has a look-alike among those that remain: horse, cat, airplane, automobile. One fixed choice, which no result led to.

For classifiers and post-hoc detectors on top of them (``FeatureScorer``) alone: a base run takes minutes, of which each seed has one, and
detectors share its features. The task names their network: ResNet-8 at lite, ResNet-20 at full (He et al. 2016). The lite budget trains on
20,000 of 29,000 images for five epochs, at most 600 s on one core, and scores at most 2,000 images of each test set, drawn with a seed of
the task. Training images are not augmented at lite, where five epochs under-fit; at full they are shifted by up to four pixels and
mirrored.

MNIST and Fashion-MNIST have black borders of two pixels and three equal channels, ``textures`` are those of
:mod:`elboard.tasks.parts.textures`. CIFAR-100, Tiny ImageNet, SVHN, Textures and Places365, the sets of OpenOOD v1.5 (Zhang et al. 2023),
could not be had: **SVHN was not run here.** ``ood/cifar10-openood`` has those of them that fetch from one address.

Smoke needs no download: digits in CIFAR's shape, each channel another function of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.task import Data
from elboard.tasks.data import loaders
from elboard.tasks.ood.base import Labelled, OODDetection
from elboard.tasks.parts.augmentation import crop_and_flip
from elboard.tasks.parts.open_set import CIFAR10_HELD_OUT, coloured, coloured_digits
from elboard.tasks.parts.textures import textures

CARD = TaskCard(
    name="ood/cifar10",
    title="Six classes of CIFAR-10 against the other four, MNIST, Fashion-MNIST, textures and noise",
    needs=("FeatureScorer",),
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
    data=("cifar10", "mnist", "fashion-mnist"),
    full="all images of the six classes for 100 epochs; no paper's own setting",
    work={"lite": (20_000, 77_000), "full": (29_000, 234_000)},
    examples={
        "smoke": {"*/*": "100 against 100", "*": 100},
        "lite": {"*/validation": "500 against 500", "*/*": "2,000 against 2,000", "*": 2000},
        "full": {"*/validation": "1,000 against 1,000", "*/*": "6,000 against 4,000 to 10,000", "*": 6000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 32},
        "task": {"n_train": 256, "n_valid": 100, "n_test": 100},
        "method": {"backbone": "resnet8"},
    },
    "lite": {
        "train": {"epochs": 5, "batch_size": 64, "validate_every": 5},
        "task": {"n_train": 20_000, "n_valid": 500, "n_test": 2000},
        "method": {"backbone": "resnet8"},
    },
    "full": {
        "train": {"epochs": 100, "batch_size": 128, "validate_every": 10},
        "task": {"n_valid": 1000, "augment": True},
        "method": {"backbone": "resnet20"},
    },
}
TEXTURE_SEED = 6


class CIFAR10OOD(OODDetection):
    """See the module."""

    held_out = CIFAR10_HELD_OUT
    foreign = ("mnist", "fashion-mnist", "textures")
    block = 8

    @dataclass(kw_only=True)
    class Config(OODDetection.Config):
        augment: bool = False  # shifts and mirror images of training images

    def load_train(self) -> Data:
        data = super().load_train()
        data.on_batch = crop_and_flip if self.config.augment else None
        return data

    def source(self, split: str) -> Labelled:
        return loaders.cifar10(split)

    def strangers(self) -> tuple[np.ndarray, ...]:
        return coloured(loaders.mnist("test")[0]), coloured(loaders.fashion_mnist("test")[0]), textures(4000, 32, TEXTURE_SEED)

    def stand_in(self, split: str) -> Labelled:
        return coloured_digits(split)

    def stand_ins(self) -> tuple[np.ndarray, ...]:
        """Reversed contrast, turned images, and textures as they are at other budgets."""
        return *super().stand_ins(), textures(200, 32, TEXTURE_SEED)
