"""What tasks share whose labels are corrupted several times, so that what the noise alone does to predictions shows.

All training and validation images have ``draws`` labels, independent draws of one corruption; classifiers are trained on one draw each, in
all else alike. The draws belong to the task. With p_r the prediction of the r-th on clean test images, averages over images,

    draw_variance = 1/(R-1) sum_r |p_r - mean p|^2,    draw_brier = 1/R sum_r |p_r - onehot(y)|^2 = draw_bias + draw_variance

The accuracy is the mean of the single classifiers'. Chosen by the mean accuracy on the validation images, each by its own noisy labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.noisy import RedrawnSpec
from elboard.bench.metrics.noisy import over_draws
from elboard.bench.options import Count, Natural, Range
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.noisy.base import CHUNK, CORRUPTION_SEED, NoisyLabels, corrupt


class Redrawn(NoisyLabels):
    """A task of noisy labels with several draws of them; a subclass has the images and the noise of one that draws once."""

    sets: ClassVar[Sets] = {"test": Examples(arrays=("draws", "y"), metrics=("draw_*", "accuracy"))}
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {
        "accuracy": (0.0, 4.0),
        **dict.fromkeys(("draw_brier", "draw_variance", "draw_bias"), (1e-3, 0.0)),
    }
    track = Task.track

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Natural = 0  # training images; 0: all that validation leaves
        n_valid: Count = 5000  # validation images, cut off the training set
        draws: Annotated[int, Range(2)] = 4

    def load_train(self) -> Data:
        x, clean = self._read("train")
        given = np.stack([corrupt(clean, self.transition, CORRUPTION_SEED + 1 + r) for r in range(self.config.draws)], axis=1)
        held_out, kept = self._split(len(clean))
        train, valid = ({"x": self._batch(x[of], given[of])["x"], "labels": torch.from_numpy(given[of])} for of in (kept, held_out))
        classes, draws = len(self.transition), self.config.draws
        spec = RedrawnSpec(self.shape, len(kept), n_classes=classes, noise_rate=self.noise_rate, draws=draws)
        return Data(spec, {**train, "index": torch.arange(len(kept))}, valid)

    def load_test(self, data: Data) -> Test:
        return self._batch(*self._read("test"))

    def predictions(self, method: Any, x: Tensor) -> np.ndarray:
        """Probabilities ``(N, R, C)``."""
        return torch.cat([method.draws(part.to(self.device)).transpose(0, 1).cpu() for part in x.split(CHUNK)]).numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"accuracy": _accuracy(self.predictions(method, data.valid["x"]), data.valid["labels"].numpy())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """Arrays: ``draws`` (N, R, C), probabilities of the test images, and ``y``."""
        return Observed({"draws": self.predictions(method, test["x"]), "y": test["y"].numpy()})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        p, y = observed["draws"], observed["y"]
        return {**over_draws(p, y), "accuracy": _accuracy(p, y[:, None])}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Probabilities in half precision, classes as bytes."""
        return {**super().rounded(observed), "draws": observed["draws"].astype(np.float16)}


def _accuracy(p: np.ndarray, y: np.ndarray) -> float:
    """Mean over draws of the share of ``p`` (N, R, C) that are right by the classes ``y`` (N, R) or (N, 1)."""
    return float((p.argmax(2) == y).mean())
