"""A batch's loss in parts: what an attempt does after one that ran out of memory.

The configured batch stays as it is, and with it the key of the run: a mean over examples is the weighted mean of the means over parts. The
activations of each part are dropped, and computed again with the same noise when its gradient is (Chen et al. 2016, arXiv:1604.06174), so
that memory holds those of one part at a time. A third more work; noise other than the whole batch draws, of the same distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from elboard.bench.batches import size
from elboard.bench.record import Record

Loss = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def in_parts(loss: Loss, batch: dict[str, Tensor], parts: int) -> dict[str, Tensor]:
    """``loss(batch)`` for a loss whose scalars are means over examples (or the same for any batch); each value of ``batch`` is (n, ...)."""
    n = size(batch)
    total: dict[str, Tensor] = {}
    for index in torch.arange(n).tensor_split(min(parts, n)):
        part = {name: value[index.to(value.device)] for name, value in batch.items()}
        for name, value in checkpoint(loss, part, use_reentrant=False).items():
            share = value * (len(index) / n)
            total[name] = total[name] + share if name in total else share
    return total


def may_split(method: Any) -> bool:
    """Whether the loss of ``method`` is a mean over examples: its card says so, and no layer mixes those of a batch."""
    mixes = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules())
    return method.card.splits and method.automatic_optimization and not mixes


def parts_after(attempts: Iterable[Record]) -> int:
    """2 to the number of those ``attempts`` that ran out of memory."""
    return 2 ** sum(record.status == "failed" and record.failure["class"] == "oom" for record in attempts)
