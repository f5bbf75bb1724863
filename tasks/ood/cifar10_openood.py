"""CIFAR-10 against CIFAR-100, MNIST and SVHN: the sets of OpenOOD v1.5 (Zhang et al. 2023) that one address gives, at budget full alone.

All ten classes are in distribution, CIFAR-100 is near, MNIST, SVHN and noise are far. Of OpenOOD's sets Tiny ImageNet (near), Textures and
Places365 (far) are missing, and its network is a ResNet-18, ours a ResNet-20: numbers do not compare with its tables. **Never run here:
neither CIFAR-100 nor SVHN could be had**, so that their converters are tested on made files alone. ``ood/cifar10`` has a lite budget.

For classifiers and post-hoc detectors on top of them (``FeatureScorer``). Training images are shifted by up to four pixels and mirrored.
Smoke needs no download: digits in CIFAR's shape, the held-out ones for CIFAR-100.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.task import Data, Test
from elboard.tasks.data import loaders
from elboard.tasks.ood.base import Detection
from elboard.tasks.ood.cifar10 import CIFAR10OOD
from elboard.tasks.parts.open_set import CIFAR10_HELD_OUT, coloured

CARD = TaskCard(
    name="ood/cifar10-openood",
    title="CIFAR-10 against CIFAR-100, MNIST, SVHN and noise, as OpenOOD",
    needs=("FeatureScorer",),
    primary="auroc/near",
    metrics=(
        "auroc/near",
        "auroc/far",
        "auroc/mean",
        "fpr95_id_positive/near",
        "fpr95_id_positive/far",
        "aupr_in/far",
        "aupr_out/far",
        "accuracy",
        "ece",
    ),
    selection="auroc/validation",
    data=("cifar10", "cifar100", "mnist", "svhn"),
    full="all of CIFAR-10 but 1,000 images for 100 epochs, as OpenOOD; a ResNet-20, and three of its six OOD sets",
    work={"full": (49_000, 388_032)},
    examples={
        "smoke": {"*/*": "100 against 100", "*": 100},
        "full": {"*/validation": "1,000 against 1,000", "*/*": "10,000 against 10,000 or 26,032", "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 32},
        "task": {"n_train": 256, "n_valid": 100, "n_test": 100, "augment": True},
        "method": {"backbone": "resnet8"},
    },
    "full": {
        "train": {"epochs": 100, "batch_size": 128, "validate_every": 10},
        "task": {"n_valid": 1000, "augment": True},
        "method": {"backbone": "resnet20"},
    },
}


class OpenOODCIFAR10(CIFAR10OOD):
    """See the module."""

    held_out = ()
    near = ("cifar100",)
    foreign = ("mnist", "svhn")

    def __init__(self, config: CIFAR10OOD.Config, budget: str, seed: int):
        super().__init__(config, budget, seed)
        if budget == "smoke":  # whose digits have no other set of classes beside them
            self.held_out = CIFAR10_HELD_OUT

    def load_test(self, data: Data) -> Test:
        test = super().load_test(data)
        near = test["near"]["held-out"] if self.budget == "smoke" else self._few(loaders.cifar100()[0])
        return {**test, "near": {"cifar100": near}}

    def strangers(self) -> tuple[np.ndarray, ...]:
        return coloured(loaders.mnist("test")[0]), loaders.svhn()[0]

    def stand_ins(self) -> tuple[np.ndarray, ...]:
        return Detection.stand_ins(self)
