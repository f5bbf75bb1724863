"""Fashion-MNIST: T-shirt, trouser, pullover, dress, sneaker and ankle boot in distribution; coat, sandal, shirt and bag are held out.

MNIST, notMNIST and noise are far. Of the classes held out coat and shirt resemble pullover, dress and T-shirt, the sandal resembles the
other shoes, and the bag none. (With the last four classes held out, among them sneaker and boot, which a classifier takes for sandals with
confidence, the softmax score is at chance on the near set, where no difference of methods would show. Three choices of held-out classes
were tried, with softmax and a VAE alone, before this one was fixed.)

A density model of Fashion-MNIST may find MNIST likelier than its own test images (Nalisnick et al. 2019), so that its score ranks below
chance there.

The lite budget trains on 10,000 of about 36,000 images and scores at most 2,000 images of each test set, drawn with a seed of the task.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.ood.base import Labelled, OODDetection

CARD = TaskCard(
    name="ood/fashion-mnist",
    title="Six classes of Fashion-MNIST against the other four, MNIST, notMNIST and noise",
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
    data=("fashion-mnist", "mnist", "notmnist"),
    papers=("069",),
    full="all images for 30 epochs; no paper's own setting",
    work={"lite": (10_000, 75_000), "full": (35_500, 229_000)},
    examples={
        "smoke": {"*/*": "100 against 100", "*": 100},
        "lite": {"*/validation": "500 against 500", "*/*": "2,000 against 2,000", "*": 2000},
        "full": {"*/validation": "500 against 500", "*/*": "6,000 against 4,000 to 10,000", "*": 6000},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 8, "batch_size": 64, "validate_every": 4}, "task": {"n_train": 10_000, "n_valid": 500, "n_test": 2000}},
    "full": {"train": {"epochs": 30, "batch_size": 128, "validate_every": 5}, "task": {"n_valid": 500}},
}


class FashionMNISTOOD(OODDetection):
    """See the module."""

    held_out = (4, 5, 6, 8)
    foreign = ("mnist", "notmnist")

    def source(self, split: str) -> Labelled:
        return loaders.fashion_mnist(split)

    def strangers(self) -> tuple[np.ndarray, ...]:
        return loaders.mnist("test")[0], loaders.notmnist()[0]
