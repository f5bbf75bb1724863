"""What learners of task sequences share: the hook at the end of a task, and the network of their boards."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.continual import ContinualLearner, SequenceSpec
from elboard.bench.method import Bases, Method, at_least_single
from elboard.bench.task import Batch, Data
from elboard.methods.parts.networks import MLP


class Sequential(Method, ContinualLearner):
    """Is told of the end of each task by :meth:`end_task`, by default without consequences."""

    def __init__(self, config: Any, spec: SequenceSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.__dict__["train_data"] = {}  # not in checkpoints

    def prepare(self, data: Data) -> None:
        self.__dict__["train_data"] = data.train

    def before_validation(self) -> None:
        epoch, epochs = self.current_epoch, self.trainer.max_epochs
        if self.spec.ends(epoch, epochs):
            self.finish(self.spec.task_of(epoch, epochs))

    def finish(self, task: int) -> None:
        """Call :meth:`end_task` with the examples of ``task``, on the device of the weights."""
        mine = self.train_data["stage"] == task
        self.end_task(task, {name: value[mine].to(self.device) for name, value in self.train_data.items()})

    def end_task(self, task: int, examples: Batch) -> None:
        return


class Network(Sequential):
    """The board's network, fully connected with ReLU, by maximum likelihood."""

    def __init__(self, config: Any, spec: SequenceSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        inputs = torch.Size(spec.shape).numel()
        body = MLP([inputs, *spec.hidden])
        self.net = nn.Sequential(body, nn.Linear(body.n_features, spec.n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, C)``."""
        return at_least_single(self.net(x))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self(batch["x"])
        return {"loss": F.cross_entropy(logits, batch["y"]), "accuracy": hit(logits, batch["y"])}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return self(x).softmax(1)[None]


def hit(logits: Tensor, y: Tensor) -> Tensor:
    """The share of right answers."""
    return (logits.argmax(1) == y).float().mean()
