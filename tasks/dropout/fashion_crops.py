"""Random masks where a small network under-fits: 12,000 images of Fashion-MNIST, shifted and mirrored at random, 30 epochs.

Beside the family's metrics it follows, over the epochs, which way the gradients of mini-batches point (Liu et al. 2023, section 3):

    GDV = 2 / (G (G - 1)) sum_{i < j} (1 - cos(g_i, g_j)) / 2        GDE = (1 / G) sum_i (1 - cos(g_i, g)) / 2

g_i are gradients of ``batches`` fixed mini-batches of ``size`` training images, with the masks of the method at that epoch; g is the
gradient of ``n_full`` training images, those of the mini-batches among them, without masks. All are shifted and mirrored as in training,
once and for all. Without a slice they are of the last epoch, ``/early`` is the mean over those validated of the first ``early`` epochs, or
the first one validated: at lite they end after 120, 240 and 360 steps, at full after 550.

Evidence beside the family's: ``epoch_gdv``, ``epoch_gde`` and how many of the epochs are ``early_epochs``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.metrics.masks import direction_error, direction_variance
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.dropout.base import Masks
from elboard.tasks.parts.augmentation import crop_and_flip

CARD = TaskCard(
    name="dropout/fashion-crops",
    title="Random masks on augmented Fashion-MNIST, with directions of gradients",
    needs=("MaskedClassifier",),
    primary="class_nll",
    metrics=("class_nll", "accuracy", "train_nll", "gdv/early", "gde/early", "gdv", "gde", "mask_divergence", "mc_gap"),
    selection="class_nll",
    data=("fashion-mnist",),
    papers=("028",),
    full="all of Fashion-MNIST for 100 epochs; no paper's own setting",
    work={"lite": (12_000, 50_000), "full": (55_000, 335_000)},
    examples={
        "smoke": {"train_nll": "200 training images", "gd*": "4 mini-batches", "*": 200},
        "lite": {"train_nll": "5,000 training images", "gd*": "16 mini-batches", "*": 5000},
        "full": {"train_nll": "5,000 training images", "gd*": "50 mini-batches", "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 50},
        "task": {"n_train": 400, "n_valid": 100, "n_test": 200, "n_fit": 200, "n_masks": 4, "batches": 4, "size": 20, "n_full": 100},
    },
    "lite": {
        "train": {"epochs": 30, "batch_size": 100},
        "task": {"n_train": 12_000, "n_valid": 1000, "n_test": 5000, "n_masks": 8, "batches": 16, "n_full": 2000, "early": 3},
    },
    "full": {"train": {"epochs": 100, "batch_size": 100, "validate_every": 1}},
}
AT_ONCE = 500  # images of the reference gradient at a time


class MasksFashionCrops(Masks):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Masks.Config):
        batches: Annotated[int, Range(2)] = 50  # mini-batches whose gradients are compared
        size: Count = 100  # images of each
        n_full: Count = 20_000  # images of the gradient that they are compared with
        early: Count = 1  # epochs that the early directions are the mean over

    def load_train(self) -> Data:
        data = super().load_train()
        data.on_batch = crop_and_flip
        return data

    def track(self, method: Any, data: Data, test: Test) -> dict[str, float]:
        c = self.config
        few = {name: value[: max(c.n_full, c.batches * c.size)].cpu() for name, value in data.train.items()}
        shown = data.on_batch(few, torch.Generator().manual_seed(0))
        x, y = shown["x"], shown["y"]

        def gradient(start: int, n: int, masks: bool) -> torch.Tensor:
            part = slice(start, start + n)
            return method.gradient({"x": x[part].to(self.device), "y": y[part].to(self.device)}, masks).cpu().double()

        n = min(c.n_full, len(y))
        parts = [(start, min(AT_ONCE, n - start)) for start in range(0, n, AT_ONCE)]
        whole = sum(gradient(start, size, False) * size for start, size in parts) / n
        each = torch.stack([gradient(i * c.size % max(1, len(y) - c.size + 1), c.size, True) for i in range(c.batches)])
        return {"gdv": direction_variance(each.numpy()), "gde": direction_error(each.numpy(), whole.numpy())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen = super().observe(method, data, test, history)
        rows = [row for row in history if "track/gdv" in row]
        if rows:
            early = sum(row["epoch"] < self.config.early for row in rows)
            seen.arrays |= {f"epoch_{name}": np.array([row[f"track/{name}"] for row in rows]) for name in ("gdv", "gde")}
            seen.arrays["early_epochs"] = np.array(max(1, early))
        return seen

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = super().measure(observed, asked)
        for name in ("gdv", "gde") if "early_epochs" in observed else ():
            over = observed[f"epoch_{name}"].astype(np.float64)
            found |= {name: float(over[-1]), f"{name}/early": float(over[: int(observed["early_epochs"])].mean())}
        return found
