"""Calibration: how well the predictive probabilities of a classifier are those of its test labels, in and out of distribution.

Protocol, common to the family:

* Methods train on clean images. The test images are shown clean and rotated by fixed angles (Ovadia et al. 2019 rotate MNIST in steps of
  15 degrees): rotated images keep their labels, so a calibrated method must become less confident as it becomes less accurate.
* The predictive is the mean of ``n_samples`` draws of ``predict``; deterministic methods give one.
* accuracy, class_nll, brier, ece, adaptive_ece, classwise_ece, entropy: of the clean test images without a slice, of those rotated by a
  degrees as ``/rot<a>``, and as ``/shift`` the mean of that metric over the angles (not the metric of the pooled images).
* Only ``n_shift`` of the test images, evenly spaced, are rotated: every angle shows the same ones.
* The last epoch is kept (``train.keep=last``): stopping where the validation NLL is least would calibrate the point estimate, which is
  what is to be measured, and would cut short methods whose learning rate ends at zero. The validation NLL, of ``valid_samples`` draws, is
  for the choice of hyper-parameters.

Evidence: log-probabilities in half precision, which near probability one resolve far more than halves of the probabilities themselves.
All metrics follow from it, up to rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.calibration import FLOOR, classification_metrics
from elboard.bench.metrics.conventions import parse
from elboard.bench.options import Count, Natural, Range
from elboard.bench.task import EXACT, Data, Observed, Test
from elboard.tasks.calibration.diagram import reliability_diagram
from elboard.tasks.data.task import DataTask, labelled, permutation, stand_in, tie_slack
from elboard.tasks.parts.shifts import rotate, spread

BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 50},
        "task": {"n_train": 400, "n_valid": 100, "n_test": 200, "n_shift": 50, "angles": [30, 90], "n_samples": 4, "valid_samples": 2},
    },
    "lite": {
        "train": {"epochs": 15, "batch_size": 50},
        "task": {"n_train": 5000, "n_valid": 1000, "n_test": 5000, "n_shift": 500, "n_samples": 16, "valid_samples": 4},
    },
    "full": {"train": {"epochs": 50, "batch_size": 50}},
}
CHUNK = 250  # images a forward pass
TRACKED = ("class_nll", "accuracy", "ece")  # over epochs, on validation images

Labelled = tuple[np.ndarray, np.ndarray]


class Calibration(DataTask):
    """The family's protocol; a subclass gives the images.

    Attributes:
        split_seed: of the permutation by which training images are told from validation images.
    """

    split_seed: ClassVar[int] = 1

    sets: ClassVar[Sets] = {
        "shift": Examples(arrays=("log_p_rot*", "y_shift"), metrics=("*/*",)),
        "test": Examples(arrays=("log_p", "y"), metrics=("*",)),
    }
    # Over seven runs, 5,000 clean and 500 rotated images: accuracy, ECE and adaptive ECE differed by 1.07 / n at most, classwise ECE by
    # 0.19 / n, NLL by 1.7e-4, Brier score and entropy by 1.1e-5. Of predictions that are all nearly uniform, as after a few steps, the
    # logarithms round alike, by half a step of 2^-9 at most.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {
        "accuracy": (0.0, 3.0),
        "class_nll": (5e-4, 0.0),
        "brier": (5e-5, 0.0),
        "ece": (5e-4, 3.0),
        "adaptive_ece": (5e-4, 3.0),
        "classwise_ece": (2e-4, 1.0),
        "entropy": (1e-3, 0.0),
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Natural = 0  # training images; 0: all that validation leaves
        n_valid: Count = 5000
        n_test: Count = 10_000  # clean test images, evenly spaced
        n_shift: Natural = 2000  # of these, evenly spaced, those that are rotated
        angles: list[Annotated[int, Range(-180, 180)]] = field(default_factory=lambda: [15, 30, 45, 60, 75, 90])  # degrees
        n_samples: Count = 32  # draws of the predictive
        valid_samples: Count = 8

    def source(self, split: str) -> Labelled:
        """Images ``(N, H, H)`` or ``(N, H, H, C)`` uint8 with their labels, of "train" or "test"."""
        raise NotImplementedError

    def _source(self, split: str) -> Labelled:
        """:meth:`source`, at smoke digits scaled up to 28 x 28."""
        return stand_in(split) if self.budget == "smoke" else self.source(split)

    def load_train(self) -> Data:
        c, (x, y) = self.config, self._source("train")
        order = permutation(len(y), self.split_seed)
        train, valid = (labelled(x, y, part) for part in (order[c.n_valid :][: c.n_train or None], order[: c.n_valid]))
        return Data(ClassSpec(tuple(train["x"].shape[1:]), len(train["y"]), n_classes=int(y.max()) + 1), train, valid)

    def load_test(self, data: Data) -> Test:
        x, y = self._source("test")
        few = spread(len(y), self.config.n_test)
        return labelled(x, y, few)

    def probabilities(self, method: Any, x: Tensor, n_samples: int) -> np.ndarray:
        """Averaged predictive probabilities ``(N, C)``."""
        return torch.cat([method.predict(part.to(self.device), n_samples).mean(0).cpu() for part in x.split(CHUNK)]).numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        p = self.probabilities(method, data.valid["x"], self.config.valid_samples)
        return {name: value for name, value in classification_metrics(p, data.valid["y"].numpy()).items() if name in TRACKED}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c, y = self.config, test["y"].numpy()
        p = self.probabilities(method, test["x"], c.n_samples)
        few = spread(len(y), c.n_shift)
        turned = {a: self.probabilities(method, rotate(test["x"][few], a), c.n_samples) for a in c.angles}
        arrays = {"p": p, "y": y, "angles": np.array(c.angles), **{f"p_rot{a}": q for a, q in turned.items()}, "y_shift": y[few]}
        pooled = np.concatenate(list(turned.values())), np.tile(y[few], len(turned))
        return Observed(arrays, {"reliability": reliability_diagram({"clean": (p, y), "rotated": pooled})})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        def p(of: str) -> np.ndarray:
            return observed[of] if of in observed else _exp(observed[f"log_{of}"])

        turned = {int(a): p(f"p_rot{a}") for a in observed["angles"]}
        return _metrics(p("p"), observed["y"], turned, observed["y_shift"])

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        logs = {f"log_{name}": _log(array) for name, array in observed.items() if name.startswith("p")}
        rest = {name: array for name, array in observed.items() if not name.startswith("p")}
        return {**logs, **rest, **{name: rest[name].astype(np.uint8) for name in ("y", "y_shift")}}

    @classmethod
    def tolerance(cls, metric: str, evidence: Mapping[str, np.ndarray]) -> float:
        allowed, of = super().tolerance(metric, evidence), parse(metric)
        if of.name != "adaptive_ece" or allowed == EXACT:
            return allowed
        turned = [name for name in evidence if name.startswith("log_p_") and of.slice in ("shift", name[6:])]
        slack = [tie_slack(_exp(evidence[name]), evidence["y_shift"]) for name in turned] or [
            tie_slack(_exp(evidence["log_p"]), evidence["y"])
        ]
        return allowed + float(np.mean(slack))


def _metrics(p: np.ndarray, y: np.ndarray, turned: Mapping[int, np.ndarray], y_turned: np.ndarray) -> dict[str, float]:
    """The family's metrics from averaged probabilities ``(N, C)`` of clean images and, by angle, ``(M, C)`` of rotated ones."""
    metrics, at_angles = classification_metrics(p, y), {a: classification_metrics(q, y_turned) for a, q in turned.items()}
    means = {f"{name}/shift": float(np.mean([scores[name] for scores in at_angles.values()])) for name in metrics}
    slices = {f"{name}/rot{a}": value for a, scores in at_angles.items() for name, value in scores.items()}
    return {**metrics, **means, **slices}


def _log(p: np.ndarray) -> np.ndarray:
    return np.log(np.clip(p.astype(np.float64), FLOOR, 1.0)).astype(np.float16)


def _exp(log_p: np.ndarray) -> np.ndarray:
    """Probabilities of the evidence's halves. The floor is kept: ``exp`` of a rounded logarithm may fall below it."""
    return np.clip(np.exp(log_p.astype(np.float64)), FLOOR, 1.0)
