"""Mini-batches: sliced from tensors that are held in memory or on the device, or made one by one; no worker processes, no collation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]
Transform = Callable[[Batch, torch.Generator], Batch]


class OwnBatches:
    """An iterable of ``steps`` dict batches an epoch, each made by :meth:`make`: ragged sequences, episodes; by default empty ones, for a
    method that draws itself what it learns from.

    A batch depends on (seed, epoch, number) alone, so that a run that is resumed, within an epoch too, sees the same ones. Of processes
    that train together each takes its share of every batch, so that the number of devices does not change the mathematics.

    Attributes:
        epoch: gives the number of the epoch that begins.
    """

    def __init__(self, seed: int, steps: int = 1):
        self.seed, self.steps = seed, steps
        self.epoch: Callable[[], int] = lambda: 0
        self.device, self.rank, self.world = torch.device("cpu"), 0, 1
        self.position = 0
        self._resume: dict[str, Any] = {}

    def make(self, epoch: int, i: int, generator: torch.Generator) -> Batch:
        """Batch ``i`` of ``epoch``, on the CPU, with ``generator`` the only source of randomness."""
        return {}

    def share(self, batch: Batch) -> Batch:
        """The share of this process, by default of tensors with one leading dimension. Raises ValueError where it would be nothing."""
        n = size(batch)
        if batch and n < self.world:
            raise ValueError(f"a batch of {n} cannot be shared by {self.world} processes; set trainer.devices=1")
        return {name: value[self.rank * (n // self.world) : (self.rank + 1) * (n // self.world)] for name, value in batch.items()}

    def place(self, device: torch.device, rank: int = 0, world: int = 1) -> None:
        """Give batches on ``device``, and of each the share of process ``rank`` of ``world``."""
        self.device, self.rank, self.world = device, rank, world

    def state_dict(self) -> dict[str, Any]:
        """Where the present epoch stands, for a checkpoint from which a run goes on within the epoch."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iterator go on from ``state``."""
        self._resume = state

    def resumed(self) -> dict[str, Any]:
        """The state from which an iterator that begins now goes on, empty at the beginning of an epoch."""
        state, self._resume = self._resume, {}
        self.position = state.get("position", 0) % len(self)
        return state if self.position else {}

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        self.resumed()
        epoch = self.epoch()
        for i in range(self.position, len(self)):
            self.position = i + 1
            generator = torch.Generator().manual_seed(((self.seed * 1_000_003 + epoch) * 1_000_003 + i) % 2**63)
            batch = self.make(epoch, i, generator)
            yield {name: value.to(self.device) for name, value in (self.share(batch) if self.world > 1 else batch).items()}


def size(batch: Batch) -> int:
    """The number of examples of a batch; 1 for an empty one."""
    return next((len(value) for value in batch.values()), 1)


class Batches(OwnBatches):
    """Batches sliced from tensors; every epoch is a permutation that depends on (seed, epoch) alone, so a resumed run sees the same order.

    Args:
        data: tensors with one leading dimension N.
        batch_size: examples per optimiser step over all processes; each of ``world`` processes takes its share of every batch,
            so that the number of devices does not change the mathematics. 0: all examples in one batch.
        transform: applied to each batch on the device with a generator of that device, seeded like the permutation
            (dynamic binarisation, crops and flips).
        drop_last: leave out a last batch that is smaller; by default only where it would hold a single example, which batch
            normalisation cannot take, and where a process would go without.
    """

    def __init__(self, data: Batch, batch_size: int, seed: int, transform: Transform | None = None, drop_last: bool = False):
        super().__init__(seed)
        self.data, self.transform, self.drop_last = data, transform, drop_last
        self.n = size(data)
        self.batch_size = min(batch_size or self.n, self.n)
        self._noise = torch.Generator()

    def place(self, device: torch.device, rank: int = 0, world: int = 1) -> None:
        """Move the data to ``device`` once and take the share of process ``rank`` of ``world``."""
        super().place(device, rank, world)
        self.data = {name: tensor.to(device) for name, tensor in self.data.items()}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "noise": self._noise.get_state()}

    def __len__(self) -> int:
        full, rest = divmod(self.n, self.batch_size)
        return full + (not self.drop_last and rest > max(1, self.world - 1))

    def __iter__(self) -> Iterator[Batch]:
        seed = (self.seed * 1_000_003 + self.epoch()) % 2**63
        device = next(iter(self.data.values())).device
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(seed)).to(device)
        self._noise = noise = torch.Generator(device=device).manual_seed(seed + 1 + self.rank)
        if state := self.resumed():
            noise.set_state(state["noise"].cpu())
        for i in range(self.position, len(self)):
            self.position = i + 1
            index = order[i * self.batch_size : (i + 1) * self.batch_size]
            if self.world > 1:
                index = self.share({"": index})[""]
            batch = {name: tensor[index] for name, tensor in self.data.items()}
            yield self.transform(batch, noise) if self.transform else batch
