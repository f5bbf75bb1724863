"""R-Drop: two passes with independent masks that must agree (Liang et al. 2021).

    L = (1/B) sum_i CE(a_i, y_i) + CE(b_i, y_i) + alpha (KL(p_a || p_b) + KL(p_b || p_a)) / 2        (their equations 2 to 4)

a and b are the logits of one batch that holds each example twice, so that each copy has masks of its own; the gradient flows through both
sides of both divergences, which are summed over classes and averaged over examples. Prediction is without masks. With ``alpha=0`` it is
dropout whose loss is summed over two masks.

Differences from the paper: the shared network, Adam at a constant rate instead of SGD with a cosine (its vision transformers). ``alpha`` is
its value for them, 0.6 (the public script has 0.3; neither verified beside the paper's text); for translation it is 5. ``dropout`` is the
rate of Monte-Carlo dropout here; the paper's is 0.1 to 0.3. Two passes of m = 2 alone, not its ablation of m = 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.masks import MaskedPasses
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="r-drop",
    title="Regularised dropout",
    family="dropout",
    home="calibration/mnist",
    paper="018",
    cite="Liang et al. 2021",
    splits=True,
    defaults="convention",
)


class RDrop(ClassifierMethod, MaskedPasses, MaximumProbability):
    """The shared classifier with dropout, whose predictions under two masks are drawn together."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        dropout: float = 0.25
        alpha: NonNegative = 0.6

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        y = batch["y"]
        a, b = self(torch.cat([batch["x"], batch["x"]])).log_softmax(1).chunk(2)
        divergence = 0.5 * ((a.exp() - b.exp()) * (a - b)).sum(1).mean()
        nll = F.nll_loss(a, y) + F.nll_loss(b, y)
        accuracy = 0.5 * sum((of.argmax(1) == y).float().mean() for of in (a, b))
        return {"loss": nll + self.config.alpha * divergence, "nll": 0.5 * nll, "divergence": divergence, "accuracy": accuracy}
