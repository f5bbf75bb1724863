"""What methods share that train one network by a loss of their own in the place of cross-entropy."""

from __future__ import annotations

from torch import Tensor

from elboard.bench.task import Batch
from elboard.methods.parts.classifier import ClassifierMethod


class RobustLoss(ClassifierMethod):
    """The shared classifier; its loss is the mean of :meth:`losses` over a batch."""

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """Losses ``(B,)`` of logits ``(B, C)`` at the given labels ``(B,)``."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self(batch["x"])
        accuracy = (logits.argmax(1) == batch["y"]).float().mean()
        return {"loss": self.losses(logits, batch["y"]).mean(), "accuracy": accuracy}
