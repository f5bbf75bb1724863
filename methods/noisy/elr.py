"""Early-learning regularisation (Liu, Niles-Weed, Razavian and Fernandez-Granda 2020, equations 6 and 9).

    L = CE + (lambda / n) sum_i log(1 - <p_i, t_i>),   t_i <- beta t_i + (1 - beta) p_i each time that example i is seen

t_i, from 0 on, is a running mean of the network's own probabilities, a constant in the gradient, which with respect to the logits is

    (1 / n) sum_i (p_i - y_i + lambda g_i),   g_ic = p_ic / (1 - <p_i, t_i>) sum_k (t_ik - t_ic) p_ik.            (lemma 2)

Targets of the epochs in which the clean labels are learned keep the gradient of these examples alive once cross-entropy's vanishes, and
cancel that of wrong labels.

lambda = 3 and beta = 0.7 are the paper's on CIFAR-10 (7 and 0.9 on CIFAR-100), the best by noisy validation of 1, 3, 5, 7, 10 and of 0.5,
0.7, 0.9, 0.99. As in the official code probabilities are cut to [1e-4, 1 - 1e-4], which keeps the logarithm finite.

Differences from the paper: the shared backbone and Adam at a constant rate (SGD with steps there). ELR alone, without the two networks,
weight averages and mixup of ELR+.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative, Range
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.noisy.base import indexed, of_all
from elboard.methods.parts.classifier import ClassifierMethod

CARD = MethodCard(
    name="elr",
    title="Early-learning regularisation",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Liu et al. 2020",
    defaults="paper",
)
LEAST = 1e-4


class EarlyLearning(ClassifierMethod):
    """Attributes: targets: t, ``(n_train, C)``."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        lambda_: NonNegative = 3.0
        beta: Annotated[float, Range(0, below=1)] = 0.7

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("targets", torch.zeros(spec.n_train, spec.n_classes), persistent=False)  # nothing predicts with them

    def fit(self, data: Data, training: Any) -> None:
        training.data = indexed(data)
        super().fit(training.data, training)

    def regularised(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Losses on a batch, and the targets ``(B, C)`` of its examples from now on."""
        logits, y = self(batch["x"]), batch["y"]
        p = logits.softmax(1).clamp(LEAST, 1 - LEAST)
        before = self.targets[batch["index"]] if "index" in batch else torch.zeros_like(p)  # as if seen for the first time
        now = (p / p.sum(1, keepdim=True)).detach()
        targets = self.config.beta * before + (1 - self.config.beta) * now
        ce, penalty = F.cross_entropy(logits, y), (1 - (p * targets).sum(1)).log().mean()
        accuracy = (logits.argmax(1) == y).float().mean()
        return {"loss": ce + self.config.lambda_ * penalty, "penalty": penalty, "accuracy": accuracy}, targets

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.regularised(batch)[0]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Overridden because targets, which ``loss`` must not keep, are kept here: of all processes that train together."""
        out, targets = self.regularised(batch)
        self.accumulate(out)
        index, targets = of_all(self, batch["index"], targets)
        self.targets[index] = targets
        return out["loss"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["targets"] = self.targets

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.targets.copy_(checkpoint["targets"])
