"""Two linear maps of ten dimensions, learned at all ranks at once: truncated singular value decompositions, and principal components.

* ``svd``: y = A x with singular values 10, 9, .., 1 and x ~ N(0, I). The best map of rank b is the truncated SVD of A.
* ``pca``: y = x with x ~ N(0, C), whose principal standard deviations are 10, 9, .., 1, divided by 5 so that the loss is of the size of a
  few. The best map of rank b is the projector on the first b principal directions.

``truncation_error/svd``, ``/pca``: the largest over b of the relative distance of the map of the first b components from the best one of
rank b, which is known (:func:`elboard.bench.metrics.compression.best_maps`). Inputs are drawn anew for each batch; maps belong to the task,
and the seed draws starts and inputs. Options are chosen by ``rank_mse``, the squared error of the maps of all ranks on validation examples,
which the best maps minimise at each rank.

Evidence: ``products`` (2, 10, 10, 10), the map of each number of components.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import Batch, OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.compression import best_maps, truncation_errors
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test

CARD = TaskCard(
    name="compression/linear",
    title="Linear maps at all ranks, against their truncated decompositions",
    needs=("RankedMaps",),
    primary="truncation_error",
    metrics=("truncation_error", "truncation_error/svd", "truncation_error/pca", "rank_mse"),
    selection="rank_mse",
    papers=("066",),
    full="200,000 instead of 20,000 steps; no paper's own setting",
    work={"lite": (32_000, 20), "full": (32_000, 20)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "keep": "last"}, "task": {"steps": 10, "batch": 8, "n_valid": 100}},
    "lite": {"train": {"epochs": 40, "keep": "last", "validate_every": 10}},
    "full": {"train": {"epochs": 400, "keep": "last", "validate_every": 50}},
}
WORLDS, DIMENSIONS, SCALE = ("svd", "pca"), 10, 5.0


def rotation(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.RandomState(seed).standard_normal((DIMENSIONS, DIMENSIONS)))[0]


@functools.cache
def worlds() -> tuple[np.ndarray, np.ndarray]:
    """Maps A and roots C^(1/2) of covariances, both ``(W, D, D)``."""
    values, eye = np.arange(DIMENSIONS, 0, -1) / SCALE, np.eye(DIMENSIONS)
    axes = rotation(2)
    return np.stack([rotation(0) * values @ rotation(1).T, eye]), np.stack([eye, axes * values @ axes.T])


class Draws(OwnBatches):
    """New examples in each of ``steps`` batches."""

    def __init__(self, size: int, steps: int, seed: int):
        super().__init__(seed, steps)
        self.size = size

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        return examples(self.size, generator)


@functools.cache
def _tensors() -> tuple[Tensor, Tensor]:
    """:func:`worlds` in single precision."""
    a, roots = (torch.from_numpy(of).float() for of in worlds())
    return a, roots


def examples(n: int, generator: Generator) -> Batch:
    """``x`` and ``y``, both (n, W, D)."""
    a, roots = _tensors()
    x = torch.einsum("nwj,wij->nwi", torch.randn(n, len(WORLDS), DIMENSIONS, generator=generator), roots)
    return {"x": x, "y": torch.einsum("nwj,wij->nwi", x, a)}


class LinearMaps(Task):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        steps: Count = 500  # of an epoch
        batch: Count = 64
        n_valid: Count = 2000

    def load_train(self) -> Data:
        c = self.config
        spec = DataSpec((len(WORLDS), DIMENSIONS), c.steps * c.batch)
        return Data(spec, valid=examples(c.n_valid, Generator().manual_seed(1)))

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> OwnBatches:
        return Draws(self.config.batch, self.config.steps, seed)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"rank_mse": rank_mse(method.products(), *(data.valid[name].to(self.device) for name in ("x", "y")))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed({"products": method.products().float().cpu().numpy()})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found: dict[str, float] = {}
        maps, roots = worlds()
        loss = 0.0
        for name, products, a, root in zip(WORLDS, observed["products"].astype(np.float64), maps, roots, strict=True):
            found[f"truncation_error/{name}"] = float(truncation_errors(products, best_maps(a, root @ root)).max())
            loss += float(np.square((products - a) @ root).sum((1, 2)).mean()) / DIMENSIONS
        return {**found, "truncation_error": max(found.values()), "rank_mse": loss / len(WORLDS)}


def rank_mse(products: Tensor, x: Tensor, y: Tensor) -> float:
    """Mean squared error of ``products`` (W, D, D, D) on examples ``x``, ``y`` (N, W, D), over ranks, maps and coordinates."""
    return (torch.einsum("wbij,nwj->nwbi", products, x) - y[:, :, None]).square().mean().item()
