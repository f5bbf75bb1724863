"""Averages of weights over the steps of training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SOON = 10  # the average forgets its start: of step n it keeps at most (1 + n) / (10 + n)


def follow(average: nn.Module, network: nn.Module, step: Tensor, most: float) -> None:
    """Take the weights of ``network`` into ``average`` after ``step``, a scalar tensor from 1 on: an exponential
    average of decay ``most``."""
    kept = torch.clamp((1 + step) / (SOON + step), max=most)
    with torch.no_grad():
        for mean, now in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(now, 1 - kept)
