"""Coloured shapes, of which no training picture has both labels: one half is labelled by its shape, the other by its colour.

Pictures are those of :mod:`elboard.tasks.data.coloured_shapes`, 16 x 16, all sixteen pairs of four shapes and four colours equally
likely in each half. Methods are asked for both attributes. ``control_exact``, which ranks, is the share of samples that have both by a
classifier of pictures; ``control_accuracy/shape`` and ``/colour`` of each alone. A method that knows one label and guesses the other has
both in a quarter of its samples, one that knows none in a sixteenth. All budgets draw their pictures; splits come from random streams
of their own. Validation pictures have both labels; methods are asked for these there and learn nothing from them. At lite the two networks
of 16 x 16 pixels take up to five minutes of one core, 1,560 steps of half a batch each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.options import Count
from elboard.tasks.conditional.base import CONTROL, Conditional
from elboard.tasks.data.coloured_shapes import COLOURS, SHAPES, draw
from elboard.tasks.data.task import images
from elboard.tasks.parts.images import mean_of

CARD = TaskCard(
    name="conditional/shapes-colours",
    title="Shapes and colours, each picture with one label",
    needs=("ComposedGenerator",),
    primary="control_exact",
    metrics=(
        "control_exact",
        "control_accuracy",
        "control_accuracy/shape",
        "control_accuracy/colour",
        "fd",
        "kid",
        "gen_precision",
        "gen_recall",
        "diversity",
    ),
    selection="control_accuracy[shapes-cnn]",
    papers=("061",),
    full="50,000 pictures for 300 epochs; no paper's own setting",
    work={"lite": (20_000, 512), "full": (50_000, 5000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64},
        "task": {"n_train": 256, "n_valid": 32, "n_test": 80},
        "method": {"evaluations": 5},
    },
    "lite": {"train": {"epochs": 10, "batch_size": 128, "validate_every": 10}, "task": {}},
    "full": {
        "train": {"epochs": 300, "batch_size": 128, "validate_every": 50},
        "task": {"n_train": 50_000, "n_valid": 1000, "n_test": 5000},
    },
}
STREAMS = {"train": 1, "valid": 2, "test": 3}
UNKNOWN = -1


class ShapesColours(Conditional):
    """See the module."""

    attributes = (len(SHAPES), len(COLOURS))
    classifier = "shapes-cnn"
    pixels = "grey"
    named: ClassVar[tuple[str, ...]] = ("shape", "colour")

    sets: ClassVar[Sets] = {
        **Conditional.sets,
        "samples": Examples(arrays=("hits",), metrics=(*CONTROL, "control_accuracy/shape", "control_accuracy/colour")),
    }

    @dataclass(kw_only=True)
    class Config(Conditional.Config):
        n_valid: Count = 256
        n_test: Count = 512

    def examples(self, split: str, n: int) -> tuple[Tensor, np.ndarray]:
        rng = np.random.default_rng(STREAMS[split])
        y = np.stack([rng.integers(size, size=n) for size in self.attributes], axis=1)
        x = images(draw(y, rng))
        if split == "train":
            y[: n // 2, 1] = y[n // 2 :, 0] = UNKNOWN
        return x, y

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = super().measure(observed, asked)
        whole = next(name for name in found if name.startswith("control_accuracy["))
        return found | {f"{whole}/{name}": mean_of(observed["hits"][:, k]) for k, name in enumerate(cls.named)}
