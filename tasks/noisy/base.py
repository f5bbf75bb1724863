"""What the noisy-label tasks share: corruption, splits, curves, metrics.

A corruption draws each given label independently from the row of the true class in a transition matrix,

    P(given = j | true = i) = T[i, j].

It belongs to the task: seeds of runs do not change which labels are wrong, nor the split. All training images are labelled before the
split, so that an image has the same wrong label at every budget. The validation labels, cut off the training set, are as wrong as the
training labels: nothing that selects an epoch, a prefix or a hyper-parameter sees a clean label. The test labels are clean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.noisy import PrefixClassifier, SampleSelector
from elboard.bench.metrics import noisy as noisy_metrics
from elboard.bench.metrics.calibration import CLASSIFICATION, accuracy, classification_metrics
from elboard.bench.options import Count, Natural
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.data.loaders import digits
from elboard.tasks.data.task import DataTask, HalfPrecision

CORRUPTION_SEED, SPLIT_SEED, DIGITS_SEED = 2018, 2021, 8
DIGITS_TEST = 497
CHUNK = 250  # examples a forward pass: on CPUs about three times as fast as 1,000

Labelled = tuple[np.ndarray, np.ndarray]


def symmetric(n_classes: int, rate: float) -> np.ndarray:
    """Transition matrix ``(C, C)`` of symmetric noise: with probability ``rate`` the label becomes one of the OTHER classes, all alike.

    The expected share of wrong labels is ``rate`` exactly; where a flip may hit the true class it would be ``rate (C - 1) / C``.
    """
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def asymmetric(n_classes: int, rate: float, flips: dict[int, int]) -> np.ndarray:
    """Transition matrix ``(C, C)`` that turns class ``i`` into ``flips[i]`` with probability ``rate`` and leaves the others alone.

    With equally many examples a class the expected share of wrong labels is ``rate * len(flips) / n_classes``.
    """
    matrix = np.eye(n_classes)
    for true, given in flips.items():
        matrix[true, true], matrix[true, given] = 1 - rate, rate
    return matrix


def corrupt(clean: np.ndarray, transition: np.ndarray, seed: int = CORRUPTION_SEED) -> np.ndarray:
    """Given labels ``(N,)`` for true labels ``(N,)``. ``RandomState``, whose stream is frozen over NumPy's versions."""
    return drawn_labels(transition[clean], np.random.RandomState(seed))


def drawn_labels(p: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Labels ``(N,)`` of the probabilities ``p`` (N, C)."""
    given = (random.random_sample(len(p))[:, None] >= p.cumsum(axis=1)).sum(axis=1)
    return np.minimum(given, p.shape[1] - 1)  # where rounding leaves the row's sum just below 1


def split_digits(split: str) -> Labelled:
    """The digits of scikit-learn, levels 0 to 16: 1,300 for training and validation ("train"), 497 for the test, a fixed random split."""
    x, y = digits()
    order = np.random.RandomState(DIGITS_SEED).permutation(len(y))
    part = order[:-DIGITS_TEST] if split == "train" else order[-DIGITS_TEST:]
    return x[part], y[part]


def enlarge(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Digits ``(N, 8, 8)`` of levels 0 to 16 in another task's ``shape`` (C, H, W): pixels repeated, zeros around, bytes."""
    channels, height, width = shape
    times = min(height, width) // 8
    large = (x.astype(np.int64) * 255 // 16).astype(np.uint8).repeat(times, axis=1).repeat(times, axis=2)
    high, wide = height - 8 * times, width - 8 * times
    large = np.pad(large, ((0, 0), (high // 2, high - high // 2), (wide // 2, wide - wide // 2)))
    return large if channels == 1 else large[..., None].repeat(channels, axis=3)


class NoisyLabels(HalfPrecision, DataTask):
    """A classification task whose training and validation labels are corrupted.

    Attributes:
        shape: of an image, (C, H, W).
        levels: grey value that becomes 1.
        n_classes: C.
        noise_rate: expected share of wrong labels, which methods may know.
        transition: the corruption's matrix ``(C, C)``, where one holds for all images of a class.
    """

    shape: tuple[int, ...] = (1, 28, 28)
    levels = 255
    n_classes = 10
    noise_rate: float
    transition: np.ndarray
    sets: ClassVar[Sets] = {
        "test": Examples(arrays=("p", "y"), metrics=CLASSIFICATION),
        "train": Examples(arrays=("train_*",), metrics=("memorised", "label_precision")),
    }

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Natural = 0  # training images; 0: all that validation leaves
        n_valid: Count = 5000  # validation images, cut off the training set
        n_track: Natural = 0  # test images, evenly spaced, whose accuracy is followed over epochs; 0: all
        n_samples: Count = 8  # draws whose predictions a stochastic method averages

    @abstractmethod
    def read(self, split: str) -> Labelled:
        """Images ``(N, H, W)`` or ``(N, H, W, C)`` with clean labels, of "train" or "test"."""

    def stand_in(self, split: str) -> Labelled:
        """What the smoke budget takes in the place of :meth:`read`: digits in the task's shape."""
        x, y = split_digits(split)
        return enlarge(x, self.shape), y

    def _read(self, split: str) -> Labelled:
        return self.stand_in(split) if self.budget == "smoke" else self.read(split)

    def corrupted(self, x: np.ndarray, clean: np.ndarray) -> np.ndarray:
        """The given labels ``(N,)`` of all training images, which are as :meth:`read` gives them."""
        return corrupt(clean, self.transition)

    def load_train(self) -> Data:
        x, clean = self._read("train")
        given = self.corrupted(x, clean)
        held_out, kept = self._split(len(clean))
        train = {**self._batch(x[kept], given[kept]), "index": torch.arange(len(kept))}
        spec = ClassSpec(self.shape, len(kept), n_classes=self.n_classes, noise_rate=self.noise_rate)
        return Data(spec, train, self._batch(x[held_out], given[held_out]))

    def load_test(self, data: Data) -> Test:
        """Test images, and as ``clean`` the true labels of the training images."""
        _, clean = self._read("train")
        _, kept = self._split(len(clean))
        return {**self._batch(*self._read("test")), "clean": torch.from_numpy(clean[kept])}

    def _split(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the validation and of the training images."""
        order = np.random.RandomState(SPLIT_SEED).permutation(n)
        return order[: self.config.n_valid], order[self.config.n_valid :][: self.config.n_train or None]

    def _batch(self, x: np.ndarray, y: np.ndarray) -> dict[str, Tensor]:
        scaled = torch.from_numpy(x).float().div_(self.levels)
        scaled = scaled[:, None] if x.ndim == 3 else scaled.permute(0, 3, 1, 2).contiguous()
        return {"x": scaled, "y": torch.from_numpy(y)}

    def probabilities(self, method: Any, x: Tensor) -> np.ndarray:
        """Averaged predictive probabilities ``(N, C)``."""
        return torch.cat([method.predict(part.to(self.device), self.config.n_samples).mean(0).cpu() for part in x.split(CHUNK)]).numpy()

    def _accuracy(self, method: Any, x: Tensor, y: Tensor) -> float:
        return accuracy(self.probabilities(method, x), y.numpy())

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"accuracy": self._accuracy(method, **data.valid)}

    def track(self, method: Any, data: Data, test: Test) -> dict[str, float]:
        step = max(1, len(test["y"]) // (self.config.n_track or len(test["y"])))
        return {"accuracy": self._accuracy(method, test["x"][::step], test["y"][::step])}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """For metrics of the weights kept and of the curve over epochs.

        ``accuracy``, ``class_nll``, ``ece``: of the weights kept, on all test images. ``accuracy_last``, ``_best``, ``_peak``, ``_last10``:
        over the epochs validated, on the tracked test images; where there was no epoch (a closed form) all equal ``accuracy``.
        ``memorised``: of the weights kept, in evaluation mode. ``label_precision`` of a method that selects: the examples from which it
        learned in the last epoch. ``prefix_share``, ``prefix_needed`` and ``prefix_defect`` of one that predicts by the first of its
        features: the prefix is the method's choice, by noisy labels, the curve over all prefixes is of the clean test images; of a pair
        both are of its first network.

        Arrays: averaged probabilities ``p`` and ``y`` of the test images, ``train_predicted``, ``train_given``, ``train_clean`` and where
        there is one ``train_selected``; the accuracies of the epochs validated, ``epoch_test`` and ``epoch_valid``; ``prefix_test``, the
        accuracy with each prefix, and ``prefix_chosen``.
        """
        p, y = self.probabilities(method, test["x"]), test["y"].numpy()
        predicted = self.probabilities(method, data.train["x"]).argmax(1)
        given, clean = data.train["y"].numpy(), test["clean"].numpy()
        measured = {"p": p, "y": y, "train_predicted": predicted, "train_given": given, "train_clean": clean}
        rows = [(row["track/accuracy"], row["valid/accuracy"]) for row in history if "track/accuracy" in row] or [(accuracy(p, y), 0.0)]
        measured["epoch_test"], measured["epoch_valid"] = np.array(rows).T
        if isinstance(method, SampleSelector) and bool(method.selection().any()):
            measured["train_selected"] = method.selection().cpu().numpy()
        if isinstance(method, PrefixClassifier):
            measured["prefix_test"] = method.prefix_accuracies(test["x"], test["y"]).cpu().numpy()
            measured["prefix_chosen"] = np.array(method.chosen_prefix())
        return Observed(measured)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        metrics = classification_metrics(observed["p"], observed["y"])
        if "epoch_test" in observed:
            test, valid = observed["epoch_test"].tolist(), observed["epoch_valid"].tolist()
            metrics |= {"accuracy_last": test[-1], **noisy_metrics.accuracy_over_epochs(test, valid)}
        given, clean = observed["train_given"], observed["train_clean"]
        metrics["memorised"] = noisy_metrics.memorised(observed["train_predicted"], given, clean)
        if "train_selected" in observed:
            metrics["label_precision"] = noisy_metrics.label_precision(observed["train_selected"], given, clean)
        if "prefix_test" in observed:
            curve, chosen = observed["prefix_test"], int(observed["prefix_chosen"])
            metrics |= {"prefix_share": chosen / len(curve), "prefix_defect": noisy_metrics.prefix_defect(curve, chosen)}
            metrics["prefix_needed"] = float(np.argmax(curve >= curve[chosen - 1] - 0.01) + 1) / len(curve)
        return metrics
