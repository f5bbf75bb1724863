"""Generators in latents on few images, as tests take them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.task import Data
from elboard.methods.latents.base import LatentFlow
from elboard.methods.latents.latent_vae import LatentVAEFlow
from elboard.methods.selfsup.simclr import SimCLR

SPEC = ClassSpec((1, 14, 14), 12, n_classes=10)
SMALL = {"width": 16, "depth": 1}


def teacher() -> SimCLR:
    torch.manual_seed(7)
    return SimCLR(SimCLR.Config(), SPEC).eval()


def images(n: int = 12) -> Tensor:
    return torch.rand(n, 1, 14, 14, generator=torch.Generator().manual_seed(1))


def build(cls: type, seed: int = 0, **options: Any) -> LatentFlow:
    torch.manual_seed(seed)
    bases = {} if cls is LatentVAEFlow else {"encoder": teacher()}
    torch.manual_seed(seed)
    method = cls(cls.Config(**{**SMALL, **options}), SPEC, bases).train()
    method.prepare(Data(SPEC, {"x": images(), "y": torch.arange(12) % 10}))
    return method


def gradients(method: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    method.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def seeded(of: Any, *given: Any) -> Any:
    torch.manual_seed(3)
    return of(*given)
