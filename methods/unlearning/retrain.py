"""Retraining: the same network, trained from the start on the examples that remain (exact unlearning; Bourtoule et al. 2021).

    L = - sum_{i in D_r} log softmax head(g(x_i))_{y_i} / |D_r|   over a batch, of which D_r is what remains

It has the batches of the original model without what is to be forgotten in them, its initial weights and its options, so that they differ
in these examples alone. What others undo it never saw: it is the oracle that they are judged by, at the cost of a whole training.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.unlearning import RetrainingOracle
from elboard.bench.task import Batch
from elboard.methods.unlearning.base import Network

CARD = MethodCard(
    name="retrain",
    title="Training without what is to be forgotten",
    family="unlearning",
    home="unlearning/mnist",
    cite="Bourtoule et al. 2021; reference of Shen et al. 2024",
    defaults="convention",
    oracle="a training that never sees what is to be forgotten",
)


class Retrain(RetrainingOracle, Network):
    """The shared network."""

    def chosen(self, batch: Batch) -> Tensor:
        return ~batch["forget"]
