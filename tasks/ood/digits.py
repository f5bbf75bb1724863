"""The 8x8 digits of scikit-learn, 17 levels: 0 to 6 in distribution, 7 to 9 held out. Needs no download at any budget.

497 of the 1,797 images are test images, a fixed random split; those of 7, 8 and 9 that fall outside it are test images too, for nothing is
trained on them: 533 in all.

Far sets: ``inverted`` are the ID test images in reversed contrast, 16 - level: the strokes are kept, but no training image has a bright
background (upside-down digits would not do: 0 stays 0). ``noise`` has neither strokes nor background. A difference of two AUROCs on one
set has a standard error of about 0.01 to 0.02.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.ood.base import Labelled, OODDetection, separate, split_digits

CARD = TaskCard(
    name="ood/digits",
    title="Digits 8x8: 0 to 6 against 7 to 9, reversed contrast and noise",
    needs=("OODScorer",),
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
    data=("digits",),
    papers=("069",),
    full="the data of lite for 200 instead of 40 epochs; no paper's own setting",
    work={"lite": (766, 13_013), "full": (766, 13_013)},
    examples={
        "smoke": {"*/*": "100 against 100", "*": 100},
        "lite": {"*/validation": "150 against 150", "*/*": "348 against 348 or 533", "*": 348},
        "full": {"*/validation": "150 against 150", "*/*": "348 against 348 or 533", "*": 348},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 5, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 40, "batch_size": 32, "validate_every": 10}, "task": {"n_valid": 150}},
    "full": {"train": {"epochs": 200, "batch_size": 32, "validate_every": 20}, "task": {"n_valid": 150}},
}


class DigitsOOD(OODDetection):
    """See the module."""

    held_out = (7, 8, 9)
    foreign = ("inverted",)
    levels = 17
    block = 2

    def source(self, split: str) -> Labelled:
        x, y = split_digits(*loaders.digits(), split)
        if split == "train":
            return x, y
        train_x, train_y = self.source("train")
        unseen = np.isin(train_y, self.held_out)
        return np.concatenate([x, train_x[unseen]]), np.concatenate([y, train_y[unseen]])

    def strangers(self) -> tuple[np.ndarray, ...]:
        (known, _), _ = separate(*split_digits(*loaders.digits(), "test"), self.held_out)
        return (16 - known,)

    stand_in, stand_ins = source, strangers
