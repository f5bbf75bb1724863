"""The aggregate posterior of autoencoders that have few images: 500 of MNIST, binarised anew each time they are shown.

Where there are few images an autoencoder can set their codes apart, at the expense of the fit of q(z) = E_x q(z|x) to the prior (Zhao, Song
and Ermon 2019). Training goes on for all epochs and the last weights are measured: it is of where an objective leads. ``task.n_train`` is
the number of images; test images and splits are those of generation/mnist.

* ``aggregate_mmd2``, ``log_det_gap``: of the codes of the test images; in the slice ``train`` of the training images themselves.
* ``reconstruction``, ``kl``, ``elbo``: of the test images, beside them. A q(z) that is the prior because codes carry nothing is no merit.

Evidence: the terms of each test image, and mean and log variance of codes in half precision (``test_mean``, ``train_mean`` ...).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.metrics import codes
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.parts.binarised import BinarisedMNIST
from elboard.tasks.parts.images import TERMS, binarise, mean_of

CARD = TaskCard(
    name="aggregate/mnist",
    title="Aggregate posterior from 500 images of binarised MNIST",
    needs=("LatentModel", "GaussianPosterior", "BinaryLikelihood"),
    primary="aggregate_mmd2",
    metrics=("aggregate_mmd2", "log_det_gap", "aggregate_mmd2/train", "log_det_gap/train", "reconstruction", "kl", "elbo"),
    selection="aggregate_mmd2",
    data=("mnist",),
    papers=("007",),
    full="the data of lite for 2,000 instead of 300 epochs, and the bound of all test images; the paper's length is not known here",
    work={"lite": (500, 2500), "full": (500, 11_500)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 50, "keep": "last"}, "task": {"n_train": 100, "n_valid": 50, "n_test": 60}},
    "lite": {"train": {"epochs": 300, "batch_size": 100, "validate_every": 50, "keep": "last"}},
    "full": {"train": {"epochs": 2000, "batch_size": 100, "validate_every": 200, "keep": "last"}, "task": {"n_test": 10_000}},
}
CODES = 1000  # at most, of either set: pairs are what costs


class AggregateMNIST(BinarisedMNIST):
    """See the module."""

    sets: ClassVar[Sets] = {
        "images": Examples(arrays=TERMS, metrics=TERMS),
        "codes": Examples(arrays=("test_*",), metrics=("aggregate_mmd2", "log_det_gap")),
        "trained": Examples(arrays=("train_*",), metrics=("aggregate_mmd2/*", "log_det_gap/*")),
    }
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {  # of codes to half precision
        **dict.fromkeys(TERMS, (1e-3, 0.0)),
        "aggregate_mmd2": (1e-4, 0.0),
        "log_det_gap": (2e-2, 0.0),
    }

    @dataclass(kw_only=True)
    class Config(BinarisedMNIST.Config):
        n_train: Count = 500
        n_valid: Count = 1000
        n_test: Count = 1000

    def load_test(self, data: Data) -> Test:
        fixed = torch.Generator().manual_seed(1)
        test = binarise({"x": self._grey("test")[: self.config.n_test]}, fixed)
        return {**test, "train": binarise(data.train, fixed)["x"]}

    def _codes(self, method: Any, x: torch.Tensor) -> dict[str, np.ndarray]:
        mean, logvar = method.encode(x[:CODES].to(self.device))
        return {"mean": mean.cpu().numpy(), "logvar": logvar.cpu().numpy()}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"aggregate_mmd2": codes.aggregate_mmd2(*self._codes(method, data.valid["x"]).values())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        parts = [method.elbo(part.to(self.device)) for part in test["x"].split(500)]
        arrays = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in TERMS}
        for of, x in (("test", test["x"]), ("train", test["train"])):
            arrays |= {f"{of}_{name}": values for name, values in self._codes(method, x).items()}
        return Observed(arrays)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = {f"{name}[n={len(observed[name])}]": mean_of(observed[name]) for name in TERMS}
        for of, part in (("test", ""), ("train", "/train")):
            if f"{of}_mean" in observed:
                pair = observed[f"{of}_mean"], observed[f"{of}_logvar"]
                found[f"aggregate_mmd2{part}"] = codes.aggregate_mmd2(*pair)
                found[f"log_det_gap{part}"] = codes.log_det_gap(*pair)
        return found

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array.astype(np.float16 if name.endswith(("mean", "logvar")) else np.float32) for name, array in observed.items()}
