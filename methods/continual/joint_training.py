"""Joint training: each batch is drawn from the examples of all tasks, of the first step on (the upper reference of Li and Hoiem 2017).

    L = - (1/B) sum_i log softmax f(x_i)_{y_i},    x_i from any task

As many steps, of as many examples, as the learners take that see one task after the other. It is an oracle: it sees tasks before their
time, and again after it. Where tasks contradict each other, as the pairs of labels of MNIST and Fashion-MNIST do not but those of others
may, it is no upper bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elboard.bench.batches import size
from elboard.bench.card import MethodCard
from elboard.bench.kinds.continual import ForesightOracle
from elboard.bench.task import Batch
from elboard.methods.continual.base import Network

CARD = MethodCard(
    name="joint-training",
    title="Maximum likelihood on all tasks at once",
    family="continual",
    home="continual/permuted-mnist",
    cite="Li and Hoiem 2017",
    oracle="the examples of all tasks at every step",
    splits=True,
    defaults="convention",
)


class JointTraining(Network, ForesightOracle):
    """The shared network."""

    def everything(self) -> Batch:
        return self.train_data

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        everything = self.everything()
        few = torch.randint(size(everything), (size(batch),))
        return super().loss({name: everything[name][few].to(batch["x"].device) for name in ("x", "y")})
