"""MNIST from 50 to 500 images: reconstructions of unseen digits and new ones, by the number of training images.

Digits 1 to 9 on 14 x 14 pixels (means of 2 x 2), in grey, with the cross-entropy as likelihood. A method trains a model for each number
of training images in one run, those of smaller numbers the first of the others. 100 zeros, which are in no other part, are ``prior`` in
the shared data: whoever chooses a prior chooses it by them. The seed draws all parts, test images among the published test images.

By size, as slices ``/n50``, as the mean over sizes ``/mean``, and over those of at most 200 images ``/few``:

* ``recon_nll``: minus the log-likelihood of each test image as reconstructed (Tran et al. 2021), which is no density of images, as each is
  its own input: the same for all methods. Its mean is primary, and that over validation images selects; an epoch at which a method has no
  prediction yet has none.
* ``fd[pca-32,n=...]``: the Frechet distance of samples from 2,000 other test images (at full: from all) in the first 32 principal
  components of training images, the same for all runs.
* ``recon_nll_growth``, ``fd_growth[...]``: the value of the fewest images minus that of the most. Where one method's is smaller than
  another's, its advantage is: the gap closes.

Evidence: ``sizes`` (G,), the log-likelihood of each image (N, G), the distances (G,) under the name ``fd``, and ``samples``. The
picture has a row for each size.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator

from elboard.bench.batches import Batch
from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.few import FewSpec
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import mnist
from elboard.tasks.data.task import DataTask, permutation, stand_in
from elboard.tasks.parts.moments import moments_of
from elboard.tasks.parts.pictures import grid
from elboard.tasks.parts.stacked import StackedBatches

CARD = TaskCard(
    name="generation/mnist-small",
    title="MNIST from few images",
    needs=("FewShotModels",),
    primary="recon_nll/mean",
    metrics=("recon_nll/mean", "recon_nll/n50", "recon_nll/few", "recon_nll_growth", "fd/mean", "fd/few", "fd_growth"),
    selection="recon_nll/mean",
    data=("mnist",),
    varies="seed and split",
    papers=("070",),
    full="six times the steps, and all digits 1 to 9 of the test images; the paper trains convolutional networks on 28 x 28 pixels",
    work={"lite": (500, 9000), "full": (500, 154_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 16, "keep": "best"},
        "task": {"sizes": [20, 50], "n_prior": 20, "n_valid": 40, "n_test": 60, "n_real": 200, "samples": 100},
    },
    "lite": {"train": {"epochs": 300, "batch_size": 64, "validate_every": 10, "keep": "best"}},
    "full": {
        "train": {"epochs": 1800, "batch_size": 64, "validate_every": 100, "keep": "best"},
        "task": {"n_test": 9000, "n_real": 9000, "samples": 10_000},
    },
}
SIDE, COMPONENTS, OF_COMPONENTS = 14, 32, 5000
FEW = 200  # "at most a few hundred training images"


def halved(x: np.ndarray) -> np.ndarray:
    """uint8 ``(N, 28, 28)`` to flat means of 2 x 2 pixels in [0, 1], ``(N, 196)`` float32."""
    return (x.reshape(len(x), SIDE, 2, SIDE, 2).mean((2, 4)) / 255).reshape(len(x), -1).astype(np.float32)


class FewBatches(StackedBatches):
    """For each model a batch of the first images, as many as it may have, drawn with replacement."""

    def __init__(self, data: Data, batch_size: int, seed: int):
        super().__init__(seed, batch_size)
        self.data = data

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        drawn = [torch.randint(n, (self.batch_size,), generator=generator) for n in self.data.spec.sizes]
        return {"x": torch.stack([self.data.train["x"][at] for at in drawn])}


class MNISTSmall(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {"images": Examples(arrays=("log_likelihood",), metrics=("recon_nll*",))}
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {"recon_nll": (1e-4, 0.0), "recon_nll_growth": (1e-4, 0.0)}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        sizes: list[Count] = field(default_factory=lambda: [50, 100, 200, 500])
        n_prior: Count = 100
        n_valid: Count = 500
        n_test: Count = 500
        n_real: Count = 2000
        samples: Count = 1000

    def _pool(self, split: str, zeros: bool = False) -> np.ndarray:
        """Digits 1 to 9, or zeros, ``(N, 196)``."""
        if self.budget == "smoke":
            x, y = stand_in(split)
        else:
            x, y = mnist(split)
        return halved(x[(y == 0) == zeros])

    def _drawn(self, pool: np.ndarray, part: int) -> torch.Tensor:
        return torch.from_numpy(pool[np.random.default_rng([self.seed, part]).permutation(len(pool))])

    def load_train(self) -> Data:
        c, most = self.config, max(self.config.sizes)
        pool, zeros = self._drawn(self._pool("train"), 0), self._drawn(self._pool("train", zeros=True), 1)
        train, valid = pool[c.n_valid :][:most].clone(), pool[: c.n_valid].clone()
        spec = FewSpec((SIDE**2,), most, sizes=tuple(c.sizes))
        return Data(spec, {"x": train}, {"x": valid}, shared={"prior": zeros[: c.n_prior].clone()})

    def load_test(self, data: Data) -> Test:
        """What is reconstructed; what samples are compared with; and the principal components, whose law is that of the training images."""
        c, pool, train = self.config, self._drawn(self._pool("test"), 2), self._pool("train")
        some = torch.from_numpy(train[permutation(len(train), 0)[:OF_COMPONENTS]])
        components = torch.linalg.svd(some - some.mean(0), full_matrices=False)[2][:COMPONENTS].T
        real = pool if c.n_test + c.n_real > len(pool) else pool[c.n_test :]
        return {"x": pool[: c.n_test].clone(), "real": real[: c.n_real].clone(), "components": components.clone()}

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> FewBatches:
        return FewBatches(data, train["batch_size"], seed)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        value = -method.log_likelihoods(data.valid["x"].to(self.device)).mean().item()
        return {} if math.isnan(value) else {CARD.selection: value}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        sizes, n = data.spec.sizes, self.config.samples
        found = torch.cat([method.log_likelihoods(part.to(self.device)) for part in test["x"].split(500)], dim=1)
        fake = method.draw(n).float().cpu().clamp(0, 1)
        moments = [moments_of((x @ test["components"]).double().numpy()) for x in (test["real"], *fake)]
        distances = np.array([frechet_distance(*moments[0], *of) for of in moments[1:]])
        arrays = {"log_likelihood": found.T.float().cpu().numpy(), "fd": distances, "sizes": np.array(sizes), "samples": np.array(n)}
        shown = fake[:, :20].reshape(-1, 1, SIDE, SIDE)
        return Observed(arrays, {"samples": grid(shown, 20)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        nll = -observed["log_likelihood"].mean(0, dtype=np.float64)
        of = {"recon_nll": nll, f"fd[pca-{COMPONENTS},n={int(observed['samples'])}]": observed["fd"]}
        sizes, found = observed["sizes"], {}
        least, most = sizes.argmin(), sizes.argmax()
        for key, values in of.items():
            found |= {f"{key}/mean": float(values.mean()), f"{key}/few": float(values[sizes <= FEW].mean())}
            found |= {f"{key}/n{size}": float(value) for size, value in zip(sizes.tolist(), values, strict=True)}
            name, bracket, rest = key.partition("[")
            found[f"{name}_growth{bracket}{rest}"] = float(values[least] - values[most])
        return found
