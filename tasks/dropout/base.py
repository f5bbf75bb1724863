"""What random masks do to a classifier: what it fits, how far its masked networks lie apart, what it predicts without masks.

Protocol, common to the family:

* Predictions are those without masks. accuracy, class_nll: of all test images.
* ``train_nll``: of ``n_fit`` training images, without masks and augmentation, so that a method is not worse for the noise it trains with.
* ``mask_divergence``: the mean symmetric KL of two passes with masks, over the test images and ``n_masks / 2`` pairs.
* ``mc_gap``: the difference of the NLL of the mean over ``n_masks`` masks and of the NLL without masks, of the same test images. The mean
  of few masks is worse than that of many, and the more so the more masks differ: with rates of a half after two hidden layers the first
  NLL was below the other one by 0.012 with 8 masks, 0.020 with 32 and 0.022 with 128 (one network of 5,000 images).
* The last epoch is kept: methods differ in when they begin to over-fit, which is part of what is measured.

Evidence: of each test image whether it is ``hit``, its ``nll``, ``masked_nll`` and ``divergence``; ``fit_nll`` of training images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.calibration import FLOOR, accuracy, class_nll
from elboard.bench.metrics.masks import symmetric_divergence
from elboard.bench.options import Count, Natural, Range
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import fashion_mnist
from elboard.tasks.data.task import DataTask, labelled, permutation, stand_in

CHUNK = 250  # images a forward pass


class Masks(DataTask):
    """The family's protocol on Fashion-MNIST, at smoke on digits scaled up to 28 x 28."""

    sets: ClassVar[Sets] = {
        "test": Examples(("hit", "nll", "masked_nll", "divergence"), ("accuracy", "class_nll", "mask_divergence", "mc_gap")),
        "fit": Examples(("fit_nll",), ("train_nll",)),
    }
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = dict.fromkeys(
        ("class_nll", "mask_divergence", "mc_gap", "train_nll"), (1e-5, 0.0)
    )

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Natural = 0  # training images; 0: all that validation leaves
        n_valid: Count = 5000
        n_test: Count = 10_000  # the first test images
        n_fit: Count = 5000  # training images whose NLL is measured
        n_masks: Annotated[int, Range(2)] = 32  # passes with masks, two by two; of an odd number one fewer

    def _source(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return stand_in(split) if self.budget == "smoke" else fashion_mnist(split)

    def load_train(self) -> Data:
        c, (x, y) = self.config, self._source("train")
        order = permutation(len(y), 1)
        held_out, kept = order[: c.n_valid], order[c.n_valid :][: c.n_train or None]
        spec = ClassSpec((1, *x.shape[1:]), len(kept), n_classes=10)
        return Data(spec, labelled(x, y, kept), labelled(x, y, held_out))

    def load_test(self, data: Data) -> Test:
        return labelled(*self._source("test"), np.s_[: self.config.n_test])

    def probabilities(self, method: Any, x: Tensor) -> np.ndarray:
        """Probabilities without masks, ``(N, C)``."""
        return torch.cat([method.predict(part.to(self.device)).mean(0).cpu() for part in x.split(CHUNK)]).numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        p, y = self.probabilities(method, data.valid["x"]), data.valid["y"].numpy()
        return {"accuracy": accuracy(p, y), "class_nll": class_nll(p, y)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        y, few = test["y"].numpy(), {name: value[: self.config.n_fit] for name, value in data.train.items()}
        p, n = self.probabilities(method, test["x"]), self.config.n_masks - self.config.n_masks % 2
        masked = np.concatenate([method.masked(part.to(self.device), n).cpu().numpy() for part in test["x"].split(CHUNK)], axis=1)
        seen = {
            "hit": p.argmax(1) == y,
            "nll": _nll(p, y),
            "masked_nll": _nll(masked.mean(0), y),
            "divergence": symmetric_divergence(masked[::2], masked[1::2]).mean(0),
            "fit_nll": _nll(self.probabilities(method, few["x"]), few["y"].numpy()),
        }
        return Observed(seen)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        means = {name: float(observed[name].astype(np.float64).mean()) for name in ("hit", "nll", "masked_nll", "divergence", "fit_nll")}
        return {
            "accuracy": means["hit"],
            "class_nll": means["nll"],
            "train_nll": means["fit_nll"],
            "mask_divergence": means["divergence"],
            "mc_gap": abs(means["masked_nll"] - means["nll"]),
        }

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        each = {name: array for name, array in observed.items() if name in ("nll", "masked_nll", "divergence", "fit_nll")}
        singles = {name: array.astype(np.float32) for name, array in each.items()}
        return {**observed, **singles, "hit": observed["hit"].astype(np.uint8)}


def _nll(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the probability of each class ``(N,)``, as :func:`elboard.bench.metrics.calibration.class_nll` floors it."""
    return -np.log(np.clip(p[np.arange(len(y)), y].astype(np.float64), FLOOR, 1.0))
