"""Batches for models side by side: each model has examples of its own, stacked along the first axis."""

from __future__ import annotations

from elboard.bench.batches import Batch, OwnBatches

STEPS = 20


class StackedBatches(OwnBatches):
    """Batches are tensors ``(models, batch_size, ...)``, an epoch :data:`STEPS` of them, whatever numbers of examples the models have."""

    def __init__(self, seed: int, batch_size: int):
        super().__init__(seed, STEPS)
        self.batch_size = batch_size

    def share(self, batch: Batch) -> Batch:
        """Of each model's examples. Raises ValueError where it would be nothing."""
        if self.batch_size < self.world:
            raise ValueError(f"a batch of {self.batch_size} cannot be shared by {self.world} processes; set trainer.devices=1")
        n = self.batch_size // self.world
        return {name: x[:, self.rank * n : (self.rank + 1) * n] for name, x in batch.items()}
