"""A population of small networks on MNIST and what becomes of it when each network is made sparse (Honegger, Schuerholt and Borth 2023).

Protocol:

* A run is a whole population. Accuracies and agreements are of test images; of each version of the population the sparsity is the mean
  over its networks, and a quantity at a sparsity lies on the line between the versions around it: pruning sets its sparsity, variational
  dropout does not. ``accuracy/s70``: at 70 % of weights that are 0, within 0.1 % since shares of layers are rounded to whole weights; only
  what was reached is there.
* Without a slice: of the last version. ``accuracy/original``: of the first. ``sparsity/layer-1`` and so on: of the last version.
* ``rank_correlation``, ``linear_correlation``: of the accuracies of originals and twins over the population.
* Selection: the population's mean accuracy on validation images, of the last version.

lite trains on 4,000 images, 1,000 validate, 5,000 are tested; a run, of dozens of networks, may take five minutes of one core. Evidence: of
each version and network how many images are right, and on how many it agrees with the original; how many weights of each layer are 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Sets
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.masks import correlation
from elboard.bench.metrics.zoo import along, kendall
from elboard.bench.options import Count, Natural
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import mnist
from elboard.tasks.data.task import DataTask, labelled, permutation, stand_in

CARD = TaskCard(
    name="compression/mnist-zoo",
    title="MNIST, a population of small networks made sparse",
    needs=("Population",),
    primary="accuracy",
    metrics=(
        "accuracy",
        "sparsity",
        "accuracy/original",
        "accuracy/s50",
        "accuracy/s70",
        "accuracy/s90",
        "agreement/s70",
        "rank_correlation/s70",
    ),
    selection="accuracy",
    data=("mnist",),
    papers=("001",),
    full="all of MNIST for 50 epochs of batches of 10, the length and batch of the authors' zoo; 16 networks instead of 1,000",
    work={"lite": (4000, 55_000), "full": (55_000, 110_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 100, "n_test": 200}},
    "lite": {
        "train": {"epochs": 6, "batch_size": 32, "validate_every": 3},
        "task": {"n_train": 4000, "n_valid": 1000, "n_test": 5000},
    },
    "full": {"train": {"epochs": 50, "batch_size": 10, "validate_every": 5}},
}
CHUNK = 250  # images a forward pass
SPARSITIES = (50, 60, 70, 80, 85, 90, 95)  # per cent
SLACK = 0.001


class MNISTZoo(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Natural = 0  # training images; 0: all that validation leaves
        n_valid: Count = 5000
        n_test: Count = 10_000  # the first test images

    def _source(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return stand_in(split) if self.budget == "smoke" else mnist(split)

    def load_train(self) -> Data:
        c, (x, y) = self.config, self._source("train")
        order = permutation(len(y), 1)
        held_out, kept = order[: c.n_valid], order[c.n_valid :][: c.n_train or None]
        return Data(ClassSpec((1, *x.shape[1:]), len(kept), n_classes=10), labelled(x, y, kept), labelled(x, y, held_out))

    def load_test(self, data: Data) -> Test:
        return labelled(*self._source("test"), np.s_[: self.config.n_test])

    def classes(self, method: Any, x: Tensor) -> np.ndarray:
        """``(S, G, N)``."""
        return torch.cat([method.classes(part.to(self.device)).cpu() for part in x.split(CHUNK)], 2).numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"accuracy": float((self.classes(method, data.valid["x"])[-1] == data.valid["y"].numpy()).mean())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        found, (zeros, sizes) = self.classes(method, test["x"]), method.zeros()
        arrays = {
            "right": (found == test["y"].numpy()).sum(2),
            "agreed": (found == found[0]).sum(2),
            "zeros": zeros.cpu().numpy(),
            "sizes": sizes.cpu().numpy(),
            "n": np.array(len(test["y"])),
        }
        return Observed(arrays)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        n, sizes = int(observed["n"]), observed["sizes"].astype(np.float64)
        accuracy, zeros = observed["right"] / n, observed["zeros"].astype(np.float64)
        path = {
            "sparsity": zeros.sum(2).mean(1) / sizes.sum(),
            "accuracy": accuracy.mean(1),
            "agreement": (observed["agreed"] / n).mean(1),
            "rank_correlation": np.array([kendall(accuracy[0], of) for of in accuracy]),
            "linear_correlation": np.array([correlation(accuracy[0][:, None], of[:, None])[0] for of in accuracy]),
        }
        found = {name: float(values[-1]) for name, values in path.items()} | {"accuracy/original": float(path["accuracy"][0])}
        found |= {f"sparsity/layer-{i}": float(of) for i, of in enumerate(zeros[-1].mean(0) / sizes, 1)}
        for per_cent in SPARSITIES:
            at = {name: along(path["sparsity"], values, per_cent / 100, SLACK) for name, values in path.items() if name != "sparsity"}
            found |= {f"{name}/s{per_cent}": value for name, value in at.items() if value is not None}
        return found

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        counts = ("right", "agreed", "zeros", "sizes")
        return {name: of.astype(np.uint16) if name in counts else of for name, of in observed.items()}
