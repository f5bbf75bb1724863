"""Several labels of one input, as the frequencies that a cross-entropy is taken against."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.task import Batch, DataSpec


def checked_labels(wanted: int, spec: DataSpec) -> int:
    """``wanted`` labels an input. Raises UserError where the data have fewer."""
    there = getattr(spec, "labels", 1)
    if wanted > there:
        raise UserError(f"labels={wanted}: the data have {there} for each input")
    return wanted


def frequencies(batch: Batch, labels: int, n_classes: int) -> Tensor:
    """Relative frequencies ``(B, C)`` of the first ``labels`` labels of each input: cross-entropy with them is the mean NLL of these."""
    drawn = batch["labels"][:, :labels] if labels > 1 else batch["y"][:, None]
    return F.one_hot(drawn, n_classes).float().mean(1)
