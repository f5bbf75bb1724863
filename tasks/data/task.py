"""What tasks on stored data sets share: checksums for provenance, fixed splits, conversion to tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.task import Task
from tasks.data.fetch import checksums


class DataTask(Task):
    """A task whose card names its data sets."""

    @classmethod
    def checksums(cls) -> dict[str, str]:
        return checksums(cls.card.data)


def permutation(n: int, seed: int) -> np.ndarray:
    """A permutation that belongs to the task: the same for every run."""
    return np.random.default_rng(seed).permutation(n)


def images(x: np.ndarray, levels: int = 256) -> Tensor:
    """uint8 ``(N, H, W)`` or ``(N, H, W, C)`` -> float32 ``(N, C, H, W)`` with level / (levels - 1)."""
    tensor = torch.from_numpy(np.ascontiguousarray(x)).float().div_(levels - 1)
    return tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def upsampled_digits(size: int = 28, levels: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits scaled up to ``size`` x ``size`` uint8 by bilinear interpolation: the smoke budgets' stand-in for MNIST."""
    from tasks.data.loaders import digits

    x, y = digits()
    big = torch.nn.functional.interpolate(torch.from_numpy(x)[:, None].float() / 16, (size, size), mode="bilinear")
    return (big[:, 0] * (levels - 1)).round().byte().numpy(), y
