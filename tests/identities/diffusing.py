"""Points, noise and times for tests of diffusions."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from elboard.methods.parts.diffusion_paths import Target

TARGETS = get_args(Target)
DOUBLE = torch.float64


def some(n: int = 6, d: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Data, noise and times between the ends of all paths."""
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, n, d, generator=generator, dtype=DOUBLE)
    return x, noise, torch.linspace(0.01, 0.98, n, dtype=DOUBLE)[:, None]
