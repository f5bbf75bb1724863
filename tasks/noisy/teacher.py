"""Labels drawn from a teacher whose probabilities are known, so that what over-fits is told apart: labels, or inputs.

u ~ N(0, I) in the plane is shown as an 8 x 8 image, a bump of width 0.6 at u on the square of side 5. Labels are drawn from
nu(y | u) = softmax(4 A u), A the four directions of the axes. Each training input has 20 independent labels, of which methods see the first
as ``y`` and, if they ask, all. With q the averaged predictive and the M labels that the method says that it learned from, else 1:

    label_gap = E_{train x} E_nu[-log q] - (1/N) sum_i (1/M) sum_m -log q(y_i^m | x_i)                          (the Y-gap)
    input_gap = E_{test x} E_nu[-log q] - E_{train x} E_nu[-log q]                                              (the X-gap)
    expected_nll = E_{test x} E_nu[-log q],   excess_nll = expected_nll - E_{test x} H(nu)

(Alemi et al. 2020). Both gaps and the training NLL add up to ``expected_nll``. ``gap_ratio_log`` is the logarithm of the ratio of the gap
of inputs, less what the teacher's entropies differ by, to that of labels: higher than another method's if its relative reduction of the gap
of inputs is smaller than that of the gap of labels; of gaps that are not positive it says nothing. accuracy, class_nll and ece are of one
drawn test label an input. Seeds draw training, validation and test inputs and labels. The last epoch is kept, so that what over-fits shows;
options are chosen by the NLL of drawn validation labels.

A network that has learned by heart is as sure of wrong labels at its training inputs as elsewhere, which makes its gap of inputs smaller:
with softmax(2 A u) and 200 inputs maximum likelihood had none that could be told from none, with 50 one of the size of its noise. The
steeper teacher and 3,200 steps follow from trials of maximum likelihood alone, with seed 1000: gaps of labels and of inputs were 0.24 and
0.08 after 1,600 steps at a learning rate of 3e-4 (with other labels 0.44 and -0.02), 0.43 and 0.18 after 800 at 1e-3, 1.0 and 0.35 after
1,600.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.teacher import ManyLabels, TaughtSpec
from elboard.bench.metrics.calibration import FLOOR, accuracy, class_nll, ece
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Task, Test

CARD = TaskCard(
    name="noisy/teacher",
    title="Labels of a known teacher: the gaps of labels and of inputs",
    needs=("Classifier",),
    primary="excess_nll",
    metrics=("excess_nll", "expected_nll", "label_gap", "input_gap", "accuracy", "class_nll", "ece"),
    selection="class_nll",
    papers=("035",),
    full="2,000 instead of 200 training inputs; no paper's own setting",
    work={"lite": (200, 9600), "full": (2000, 96_000)},
    varies="seed and split",
    examples={
        "smoke": {
            "label_*": "100 training inputs",
            "input_gap": "100 training, 100 test inputs",
            "gap_*": "100 training, 100 test inputs",
            "*": 100,
        },
        "lite": {
            "label_*": "200 training inputs",
            "input_gap": "200 training, 400 test inputs",
            "gap_*": "200 training, 400 test inputs",
            "*": 400,
        },
        "full": {
            "label_*": "2,000 training inputs",
            "input_gap": "2,000 training, 4,000 test inputs",
            "gap_*": "2,000 training, 4,000 test inputs",
            "*": 4000,
        },
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 25, "keep": "last"}, "task": {"n_train": 100, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 800, "batch_size": 50, "keep": "last", "validate_every": 200}},
    "full": {
        "train": {"epochs": 200, "batch_size": 50, "keep": "last", "validate_every": 50},
        "task": {"n_train": 2000, "n_valid": 2000, "n_test": 4000},
    },
}
CLASSES, LABELS, SIDE, REACH, WIDTH, SLOPE = 4, 20, 8, 2.5, 0.6, 4.0
PARTS = ("train", "valid", "test")
DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
LEAST = 1e-3  # of a gap in a logarithm


def teacher(u: np.ndarray) -> np.ndarray:
    """nu(y | u), ``(N, 4)`` for ``(N, 2)``."""
    logits = SLOPE * u.astype(np.float64) @ DIRECTIONS.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def bumps(u: np.ndarray) -> Tensor:
    """Images ``(N, 1, 8, 8)`` of points ``(N, 2)``; the first coordinate goes along rows."""
    grid = np.linspace(-REACH, REACH, SIDE)
    across, down = (np.exp(-((grid - u[:, [i]]) ** 2) / (2 * WIDTH**2)) for i in (0, 1))
    return torch.from_numpy(down[:, None, :, None] * across[:, None, None, :]).float()


def expected_nll(p: np.ndarray, nu: np.ndarray) -> float:
    """Mean over inputs of E_nu[-log p]; of relative frequencies as ``nu`` the mean NLL of these labels."""
    return float(-(nu * np.log(np.clip(p.astype(np.float64), FLOOR, 1.0))).sum(1).mean())


class Teacher(Task):
    """See the module."""

    sets: ClassVar[Sets] = {"inputs": Examples(arrays=("p", "u", "y", "train_*"), metrics=("*",))}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 200
        n_valid: Count = 300
        n_test: Count = 400
        n_samples: Count = 16  # draws of the predictive

    def _part(self, part: str, n: int) -> dict[str, Any]:
        """Images, their points, and labels of ``n`` inputs."""
        inputs, noise = (np.random.RandomState([PARTS.index(part), of, self.seed]) for of in (0, 1))
        u = inputs.standard_normal((n, 2)).astype(np.float32)
        edges = teacher(u).cumsum(1)[:, None]
        labels = np.minimum((noise.random_sample((n, LABELS))[..., None] >= edges).sum(2), CLASSES - 1)
        return {"x": bumps(u), "u": torch.from_numpy(u), "labels": torch.from_numpy(labels), "y": torch.from_numpy(labels[:, 0].copy())}

    def load_train(self) -> Data:
        c = self.config
        train, valid = self._part("train", c.n_train), self._part("valid", c.n_valid)
        batch: Batch = {name: train[name] for name in ("x", "y", "labels")} | {"index": torch.arange(c.n_train)}
        spec = TaughtSpec((1, SIDE, SIDE), c.n_train, n_classes=CLASSES, labels=LABELS)
        return Data(spec, batch, {name: valid[name] for name in ("x", "y")})

    def load_test(self, data: Data) -> Test:
        return self._part("test", self.config.n_test) | {"train_u": self._part("train", self.config.n_train)["u"]}

    def probabilities(self, method: Any, x: Tensor) -> np.ndarray:
        """Averaged predictive probabilities ``(N, C)``."""
        return method.predict(x.to(self.device), self.config.n_samples).mean(0).cpu().numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        p, y = self.probabilities(method, data.valid["x"]), data.valid["y"].numpy()
        return {"class_nll": class_nll(p, y), "accuracy": accuracy(p, y)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        learned = data.train["labels"][:, : method.labels_learned() if isinstance(method, ManyLabels) else 1].numpy()
        counts = (learned[..., None] == np.arange(CLASSES)).sum(1)
        of_train = {"train_p": self.probabilities(method, data.train["x"]), "train_u": test["train_u"].numpy(), "train_counts": counts}
        return Observed({"p": self.probabilities(method, test["x"]), "u": test["u"].numpy(), "y": test["y"].numpy(), **of_train})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        p, y, nu, nu_train = observed["p"], observed["y"], teacher(observed["u"]), teacher(observed["train_u"])
        counts, at_train = observed["train_counts"].astype(np.float64), expected_nll(observed["train_p"], nu_train)
        at_test, label_gap = expected_nll(p, nu), at_train - expected_nll(observed["train_p"], counts / counts.sum(1, keepdims=True))
        excess = at_test - expected_nll(nu, nu)
        input_excess = excess - (at_train - expected_nll(nu_train, nu_train))
        return {
            "excess_nll": excess,
            "expected_nll": at_test,
            "label_gap": label_gap,
            "input_gap": at_test - at_train,
            "label_gap_log": math.log(max(label_gap, LEAST)),
            "gap_ratio_log": math.log(max(input_excess, LEAST) / max(label_gap, LEAST)),
            "accuracy": accuracy(p, y),
            "class_nll": class_nll(p, y),
            "ece": ece(p, y),
        }

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Labels and their counts as bytes; the rest is in single precision as it is."""
        return {**observed, **{name: observed[name].astype(np.uint8) for name in ("y", "train_counts")}}
