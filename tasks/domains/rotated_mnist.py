"""Rotated MNIST: labels at 0, 15 and 30 degrees, tests at 45 and 60 too (Ghifary et al. 2015; DomainBed, Gulrajani and Lopez-Paz 2021).

A covariate shift: turning an image leaves its class, so that one classifier is right in all domains. DomainBed turns by 0 to 75 degrees
and leaves out one angle at a time; here the two largest are left out together, which no interpolation reaches.
"""

from __future__ import annotations

from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

from elboard.bench.card import TaskCard
from elboard.tasks.domains.base import BUDGETS, Domains  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.parts.shifts import rotate

CARD = TaskCard(
    name="domains/rotated-mnist",
    title="Rotated MNIST, labels at 0 to 30 degrees",
    needs=("DomainPredictor",),
    primary="accuracy/target",
    metrics=(
        "accuracy/target",
        "accuracy/worst",
        "accuracy/source",
        "class_nll/target",
        "class_nll/worst",
        "domain_accuracy",
        "domain_gap",
    ),
    selection="accuracy/source",
    data=("mnist",),
    papers=("057",),
    full="10,000 images of each angle for 100 epochs and all test images; DomainBed's are 28 x 28, and no task of the paper's",
    work={"lite": (7500, 10_000), "full": (50_000, 100_000)},
)
ANGLES = (0, 15, 30, 45, 60)


class RotatedMNIST(Domains):
    """See the module."""

    sources, targets = 3, 2

    def view(self, x: Tensor, y: Tensor, domain: int, generator: Generator) -> tuple[Tensor, Tensor]:
        return avg_pool2d(rotate(x[:, None], ANGLES[domain]), 2), y
