"""Coloured MNIST: a colour that tells the label in training and not, or the contrary, in the test (Arjovsky et al. 2019, section 5.2).

Two classes, digits below five and others, of which a quarter of the labels are wrong. The colour is the channel, of two, that holds the
image. It is the class with the probability 0.9 and 0.8 in the two sources, 0.5 and 0.1 in the two targets; the paper's test is the last.
Whoever goes by the shape has an accuracy of 0.75 at best everywhere, by the colour 0.85 in the sources and 0.1 in the last target.

Colour and shape are tied to the class by chance, so that this is no covariate shift: p(y | x) differs between domains, which is outside of
the theory of Ruan, Dubois and Maddison 2022.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

from elboard.bench.card import TaskCard
from elboard.tasks.domains.base import BUDGETS, Domains  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="domains/colored-mnist",
    title="Coloured MNIST, colours that tell the label and then do not",
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
    full="10,000 images of each domain for 100 epochs and all test images; Arjovsky et al. have 25,000 of each source",
    work={"lite": (6000, 8000), "full": (40_000, 80_000)},
)
AGREE = (0.9, 0.8, 0.5, 0.1)  # probability that the colour is the class
WRONG = 0.25  # labels


class ColouredMNIST(Domains):
    """See the module."""

    sources, targets, n_classes = 2, 2, 2

    def view(self, x: Tensor, y: Tensor, domain: int, generator: Generator) -> tuple[Tensor, Tensor]:
        flips, differs = torch.rand(2, len(y), generator=generator)
        label = (y >= 5) ^ (flips < WRONG)
        colour = label ^ (differs >= AGREE[domain])
        small = avg_pool2d(x[:, None], 2)
        return torch.cat([small * ~colour[:, None, None, None], small * colour[:, None, None, None]], dim=1), label.long()
