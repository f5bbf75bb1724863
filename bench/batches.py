"""Mini-batches sliced from tensors that are held in memory or on the device: no worker processes, no per-sample collation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]
Transform = Callable[[Batch, torch.Generator], Batch]


class Batches:
    """An iterable of dict batches; every epoch is a permutation that depends on (seed, epoch) alone, so a resumed run sees the same order.

    Args:
        data: tensors with one leading dimension N.
        batch_size: examples per optimiser step over all processes; each of ``world`` processes takes its share of every batch,
            so that the number of devices does not change the mathematics.
        transform: applied to each batch on the device with a generator of that device, seeded like the permutation
            (dynamic binarisation, crops and flips).
        drop_last: leave out a last batch that is smaller; by default only where it would hold a single example, which batch
            normalisation cannot take, and where a process would go without.
    """

    def __init__(self, data: Batch, batch_size: int, seed: int, transform: Transform | None = None, drop_last: bool = False):
        self.data, self.seed, self.transform = data, seed, transform
        self.n = len(next(iter(data.values())))
        self.batch_size = min(batch_size, self.n)
        self.drop_last = drop_last
        self.epoch: Callable[[], int] = lambda: 0
        self.rank, self.world = 0, 1
        self._position, self._noise = 0, torch.Generator()
        self._resume: dict[str, Any] | None = None

    def place(self, device: torch.device, rank: int = 0, world: int = 1) -> None:
        """Move the data to ``device`` once and take the share of process ``rank`` of ``world``."""
        self.data = {name: tensor.to(device) for name, tensor in self.data.items()}
        self.rank, self.world = rank, world

    def state_dict(self) -> dict[str, Any]:
        """Where the present epoch stands, for a checkpoint from which a run goes on within the epoch."""
        return {"position": self._position, "noise": self._noise.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iterator go on from ``state``."""
        self._resume = state

    def __len__(self) -> int:
        full, rest = divmod(self.n, self.batch_size)
        return full + (not self.drop_last and rest > max(1, self.world - 1))

    def __iter__(self) -> Iterator[Batch]:
        seed = (self.seed * 1_000_003 + self.epoch()) % 2**63
        device = next(iter(self.data.values())).device
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(seed)).to(device)
        self._noise = noise = torch.Generator(device=device).manual_seed(seed + 1 + self.rank)
        start = 0
        if self._resume is not None:
            start, state = self._resume["position"] % len(self), self._resume["noise"]
            self._resume = None
            if start:
                noise.set_state(state.cpu())
        for i in range(start, len(self)):
            self._position = i + 1
            index = order[i * self.batch_size : (i + 1) * self.batch_size]
            if self.world > 1:
                share = len(index) // self.world
                index = index[self.rank * share : (self.rank + 1) * share]
            batch = {name: tensor[index] for name, tensor in self.data.items()}
            yield self.transform(batch, noise) if self.transform else batch
