"""Out-of-distribution detection: scores of test images of the training classes against scores of images of other kinds.

Protocol, common to the family:

* In distribution (ID) are some classes of a data set, numbered from 0. Classifiers learn their labels, generative models their images; the
  scores of both compete. The classes held out are in neither the training nor the validation images.
* Test sets: ``held-out``, the test images of the classes held out (near), and images of other kinds (far), among them ``noise``, uniform
  over the levels. All sets are whole grey levels, level / (levels - 1), so that a score cannot tell them apart by their precision.
* Metrics of :mod:`elboard.bench.metrics.ood` for each set against the ID test images; ``/near`` and ``/far`` are means over the sets of the
  group, ``/mean`` is the mean over all sets. For classifiers also accuracy, NLL and calibration on the ID test images.
* Oracles: a method whose card says that it is one is told the images of each set before it scores them and the ID images against them
  (:class:`elboard.bench.kinds.ood.OutlierOracle`); of validation the jigsaws. Boards show it unranked. No other method is handed any.
* Selection: ``auroc/validation``, ID validation images against their jigsaws: cut into squares that are put together in another order.
  Selection on OOD test images would be leakage; jigsaws need no OOD data and belong to no test set. Methods do not see them. The key is
  also among the metrics of a run, since methods that are not trained by gradients have no epochs; it counts in no mean.

Splits, subsets, noise and jigsaws are drawn with seeds of the task: runs with other seeds see the same images.
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
from elboard.bench.kinds.classification import Predictor
from elboard.bench.kinds.ood import OODSpec, OutlierOracle
from elboard.bench.metrics.calibration import CLASSIFICATION, accuracy, classification_metrics
from elboard.bench.metrics.ood import ood_metrics
from elboard.bench.options import Count, Natural
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.task import DataTask, HalfPrecision, images, permutation, upsampled_digits
from elboard.tasks.parts.open_set import Labelled, separate

CHUNK = 250  # images scored at once: on CPUs faster than larger batches
DIGITS_TEST = 497  # of scikit-learn's digits, which have no split of their own
SPLIT_SEED, SUBSET_SEED, NOISE_SEED, JIGSAW_SEED = 0, 1, 2, 3


def jigsaw(x: np.ndarray, block: int, seed: int) -> np.ndarray:
    """Images ``(N, H, W)`` or ``(N, H, W, C)`` cut into squares of ``block`` x ``block`` pixels, put together in an order drawn for each
    image."""
    n, height, width, *channels = x.shape
    rows, columns = height // block, width // block
    squares = x.reshape(n, rows, block, columns, block, *channels).swapaxes(2, 3).reshape(n, rows * columns, block, block, *channels)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(rows * columns), (n, 1)), axis=1)
    mixed = squares[np.arange(n)[:, None], order]
    return mixed.reshape(n, rows, columns, block, block, *channels).swapaxes(2, 3).reshape(x.shape)


def noise(n: int, shape: tuple[int, ...], levels: int, seed: int) -> np.ndarray:
    """``n`` images of ``shape`` (H, W) or (H, W, C), each value a level of 0 to ``levels - 1`` with equal probability."""
    return np.random.default_rng(seed).integers(0, levels, (n, *shape), dtype=np.uint8)


def split_digits(x: np.ndarray, y: np.ndarray, split: str) -> Labelled:
    """scikit-learn's digits in any size: 1,300 images for training and validation ("train"), 497 for the test."""
    order = permutation(len(y), SPLIT_SEED)
    part = order[DIGITS_TEST:] if split == "train" else order[:DIGITS_TEST]
    return x[part], y[part]


def averages(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """``{group: {set: {metric: value}}}`` -> ``metric/set``, ``metric/group`` (mean over its sets) and ``metric/mean`` (over all sets)."""
    metrics = {f"{name}/{of}": value for sets in found.values() for of, row in sets.items() for name, value in row.items()}
    everything = {of: row for sets in found.values() for of, row in sets.items()}
    for group, sets in {**found, "mean": everything}.items():
        rows = list(sets.values())
        metrics |= {f"{name}/{group}": float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return metrics


class Detection(DataTask):
    """The family's protocol, of images with or without classes.

    Attributes:
        near: names of the near sets.
        foreign: names of the far sets, without ``noise``.
        levels: grey levels of a pixel.
        block: side of a jigsaw's squares, in pixels.
    """

    near: tuple[str, ...]
    foreign: tuple[str, ...]
    levels = 256
    block = 4
    sets: ClassVar[Sets] = {
        "validation": Examples(arrays=("valid_*",), metrics=("*/validation",)),
        "images": Examples(arrays=("score_*",), metrics=("*/*",)),  # at most as many of each test set
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Natural = 0  # ID training images; 0: all that validation leaves
        n_valid: Count = 500  # ID validation images, and as many jigsaws
        n_test: Natural = 0  # images of each test set at most; 0: all

    @abstractmethod
    def source(self, split: str) -> Labelled:
        """Images ``(N, H, W)`` or ``(N, H, W, C)`` with labels, of "train" or "test"."""

    @abstractmethod
    def strangers(self) -> tuple[np.ndarray, ...]:
        """The images of each set of ``foreign``."""

    def stand_in(self, split: str) -> Labelled:
        """What smoke takes in the place of :meth:`source`: digits scaled up."""
        return split_digits(*upsampled_digits(), split)

    def stand_ins(self) -> tuple[np.ndarray, ...]:
        """What smoke takes in the place of :meth:`strangers`: the test images in reversed contrast, and turned."""
        x, _ = self.stand_in("test")
        return 255 - x, np.rot90(x, axes=(1, 2))

    def _few(self, x: np.ndarray) -> Tensor:
        return images(x[permutation(len(x), SUBSET_SEED)[: self.config.n_test or None]], self.levels)

    def told(self, method: Any, outside: Tensor) -> Any:
        """What scores images against ``outside`` (N, ...): an oracle once it was told these, any other ``method`` as it is."""
        return method.told(outside.to(self.device)) if isinstance(method, OutlierOracle) and method.card.oracle else method

    def scores(self, method: Any, x: Tensor) -> np.ndarray:
        """Scores ``(N,)`` in float32."""
        return torch.cat([method.ood_score(part.to(self.device)).float().cpu() for part in x.split(CHUNK)]).numpy()

    def jigsaws(self, x: Tensor) -> Tensor:
        """What the validation images ``x`` (N, C, H, W) are told from at validation."""
        mixed = jigsaw(x.permute(0, 2, 3, 1).numpy(), self.block, JIGSAW_SEED)
        return torch.from_numpy(mixed).permute(0, 3, 1, 2).contiguous()

    def _against_jigsaws(self, method: Any, data: Data) -> dict[str, np.ndarray]:
        """Scores of the validation images and of their jigsaws."""
        x = data.valid["x"]
        jigsaws = self.jigsaws(x)
        scorer = self.told(method, jigsaws)
        return {"valid_id": self.scores(scorer, x), "valid_jigsaw": self.scores(scorer, jigsaws)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return _selection(self._against_jigsaws(method, data))

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """Arrays: ``score_id``, ``score_<set>``, ``valid_id``, ``valid_jigsaw``.

        Of an oracle the ID images have scores against each set, ``score_id_<set>``.
        """
        inside = test["id"]["x"]
        arrays = {"score_id": self.scores(method, inside)}
        for name, x in (test["near"] | test["far"]).items():
            scorer = self.told(method, x)
            arrays[f"score_{name}"] = self.scores(scorer, x)
            if scorer is not method:
                arrays[f"score_id_{name}"] = self.scores(scorer, inside)
        return Observed(arrays | self._against_jigsaws(method, data))

    @classmethod
    def row(cls, inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
        """Metrics of the scores of the ID images against those of one set."""
        return ood_metrics(inside, outside)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        groups = {"near": cls.near, "far": (*cls.foreign, "noise")}
        inside = {of: observed.get(f"score_id_{of}", observed["score_id"]) for sets in groups.values() for of in sets}
        found = averages({group: {of: cls.row(inside[of], observed[f"score_{of}"]) for of in sets} for group, sets in groups.items()})
        return found | (_selection(observed) if "valid_id" in observed else {})


def _selection(observed: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {"auroc/validation": ood_metrics(observed["valid_id"], observed["valid_jigsaw"])["auroc"]}


class OODDetection(HalfPrecision, Detection):
    """Some classes against the others and against images of other kinds, for classifiers too.

    Attributes:
        held_out: classes that are out of distribution.
    """

    held_out: tuple[int, ...]
    near = ("held-out",)
    sets: ClassVar[Sets] = {"labelled": Examples(arrays=("p", "y"), metrics=CLASSIFICATION), **Detection.sets}

    @dataclass(kw_only=True)
    class Config(Detection.Config):
        n_samples: Count = 32  # draws of a stochastic classifier that are averaged

    def load_train(self) -> Data:
        c = self.config
        (x, y), _ = separate(*(self.stand_in("train") if self.budget == "smoke" else self.source("train")), self.held_out)
        order = permutation(len(y), SPLIT_SEED)
        valid, kept = order[: c.n_valid], order[c.n_valid :][: c.n_train or None]
        known = {"likelihood": "discretised-logistic", "levels": self.levels, "n_classes": int(y.max()) + 1}
        train = self._batch(x[kept], y[kept])
        return Data(OODSpec(tuple(train["x"].shape[1:]), len(kept), **known), train, self._batch(x[valid], y[valid]))

    def load_test(self, data: Data) -> Test:
        """ID images with labels as ``id``, the sets of the two groups as ``near`` and ``far``."""
        smoke = self.budget == "smoke"
        (x, y), near = separate(*(self.stand_in("test") if smoke else self.source("test")), self.held_out)
        inside = permutation(len(y), SUBSET_SEED)[: self.config.n_test or None]
        foreign = zip(self.foreign, self.stand_ins() if smoke else self.strangers(), strict=True)
        far = {name: self._few(of) for name, of in foreign}
        far["noise"] = images(noise(len(inside), x.shape[1:], self.levels, NOISE_SEED), self.levels)
        return {"id": self._batch(x[inside], y[inside]), "near": {"held-out": self._few(near)}, "far": far}

    def _batch(self, x: np.ndarray, y: np.ndarray) -> dict[str, Tensor]:
        return {"x": images(x, self.levels), "y": torch.from_numpy(y)}

    def probabilities(self, method: Any, x: Tensor) -> np.ndarray:
        """Averaged predictive probabilities ``(N, C)``."""
        parts = [method.predict(part.to(self.device), self.config.n_samples).mean(0).cpu() for part in x.split(CHUNK)]
        return torch.cat(parts).numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        metrics = super().validate(method, data)
        if isinstance(method, Predictor):
            metrics["accuracy"] = accuracy(self.probabilities(method, data.valid["x"]), data.valid["y"].numpy())
        return metrics

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """Of classifiers also ``p`` and ``y`` of the ID test images."""
        seen = super().observe(method, data, test, history)
        if isinstance(method, Predictor):
            seen.arrays |= {"p": self.probabilities(method, test["id"]["x"]), "y": test["id"]["y"].numpy()}
        return seen

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = super().measure(observed, asked)
        return found | (classification_metrics(observed["p"], observed["y"]) if "p" in observed else {})
