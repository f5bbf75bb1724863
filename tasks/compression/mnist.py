"""MNIST by networks of a twentieth, a tenth, a fifth and three tenths of the parameters of the dense one, all from one training.

The dense network has the layers 784-256-128-10 and 235,146 parameters (``backbone=mlp``). A method is asked for a network of each size and
for one as large as the dense one, without further training; the parameters of what it gives are counted as they are, so that a product of
two matrices counts as such, and as one matrix where that is smaller.

* ``accuracy/p10``, ``parameter_share/p10``: of the network that was given for a tenth, and its share of the dense network's parameters,
  which is above a tenth where the method has none so small; without a slice those of the largest.
* ``fitting_accuracy``: the mean over the sizes below the dense one, in which a network that is too large counts 0.

Options are chosen by the accuracy of validation images at a tenth, of what the method gives there. The last epoch is kept. lite trains on
10,000 images for 20 epochs. Smoke runs on digits scaled up to 28 x 28.

Evidence: ``classes`` (N, S) and ``y``, and ``sizes`` (S, 2), asked for and given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.compression import SizedSpec
from elboard.bench.options import Count, Natural
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.loaders import Labelled, mnist
from elboard.tasks.data.task import DataTask, labelled, permutation, stand_in

CARD = TaskCard(
    name="compression/mnist",
    title="MNIST by networks of 5 to 30 % of the parameters",
    needs=("CompressibleClassifier",),
    primary="fitting_accuracy",
    metrics=(
        "fitting_accuracy",
        "accuracy",
        "accuracy/p5",
        "accuracy/p10",
        "accuracy/p20",
        "accuracy/p30",
        "parameter_share",
        "parameter_share/p10",
    ),
    selection="accuracy/p10",
    data=("mnist",),
    papers=("066",),
    full="all of MNIST for 30 epochs; no paper's own setting",
    work={"lite": (10_000, 50_000), "full": (55_000, 50_000)},
    examples={
        "smoke": {"parameter_share*": "the networks", "*": 200},
        "lite": {"parameter_share*": "the networks", "*": 10_000},
        "full": {"parameter_share*": "the networks", "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 50}, "task": {"n_train": 400, "n_valid": 100, "n_test": 200}},
    "lite": {"train": {"epochs": 20, "batch_size": 50, "validate_every": 10}, "task": {"n_train": 10_000, "n_valid": 2000}},
    "full": {"train": {"epochs": 30, "batch_size": 50, "validate_every": 10}},
}
DENSE = 235_146
SHARES = (0.05, 0.1, 0.2, 0.3, 1.0)
CHUNK = 500  # images a forward pass


def slice_of(asked: float) -> str:
    """``/p10`` of a tenth, nothing of the whole."""
    percent = round(100 * asked / DENSE)
    return f"/p{percent}" if percent < 100 else ""


class SizedMNIST(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {"test": Examples(("classes", "y"), ("accuracy", "accuracy/*", "fitting_accuracy"))}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Natural = 0  # training images; 0: all that validation leaves
        n_valid: Count = 5000
        n_test: Count = 10_000  # the first test images

    def _source(self, split: str) -> Labelled:
        return stand_in(split) if self.budget == "smoke" else mnist(split)

    def load_train(self) -> Data:
        c, (x, y) = self.config, self._source("train")
        order = permutation(len(y), 1)
        valid, train = order[: c.n_valid], order[c.n_valid :][: c.n_train or None]
        spec = SizedSpec((1, 28, 28), len(train), n_classes=10, sizes=tuple(int(share * DENSE) for share in SHARES))
        return Data(spec, labelled(x, y, train), labelled(x, y, valid))

    def load_test(self, data: Data) -> Test:
        return labelled(*self._source("test"), np.s_[: self.config.n_test])

    def _seen(self, method: Any, batch: Batch, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
        networks = [method.compressed(asked) for asked in sizes]
        given = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
        classes = [torch.cat([self._classes(network, part) for part in batch["x"].split(CHUNK)]) for network in networks]
        return {"classes": torch.stack(classes, 1).numpy(), "y": batch["y"].numpy(), "sizes": np.stack([sizes, given], axis=1)}

    def _classes(self, network: Any, x: Tensor) -> Tensor:
        return network(x.to(self.device)).argmax(1).cpu()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        found = self.measure(self._seen(method, data.valid, data.spec.sizes), None)
        return {name: value for name, value in found.items() if name.startswith("accuracy")}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed(self._seen(method, test, data.spec.sizes))

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        hits, fitting, found = (observed["classes"] == observed["y"][:, None]).mean(axis=0), [], {}
        for hit, (wanted, given) in zip(hits.tolist(), observed["sizes"].tolist(), strict=True):
            found |= {f"accuracy{slice_of(wanted)}": hit, f"parameter_share{slice_of(wanted)}": given / DENSE}
            if slice_of(wanted):
                fitting.append(hit if given <= wanted else 0.0)
        return {**found, "fitting_accuracy": sum(fitting) / len(fitting)}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Classes as bytes."""
        return {**observed, **{name: observed[name].astype(np.uint8) for name in ("classes", "y")}}
