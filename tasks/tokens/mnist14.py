"""MNIST on 14 x 14 pixels of 16 levels of grey as sequences of 196 tokens: samples by the steps they are drawn in, and a bound.

Means of 2 x 2 pixels, rounded to multiples of a fifteenth; splits are those of ``generation/mnist``. For each number N of evaluations of
the network:

* ``fd/eN``: Frechet distance of ``samples`` samples from the test images, in features of a network of 28 x 28, which sees images scaled.
* ``idle_share/eN``: share of the N steps in which no pixel of a sample changes, mean over samples.
* ``bits_per_dim[bound]``: the bound on log p of test images, mean of ``draws`` draws of each.

The last epoch's weights (an average over steps) are judged; options are chosen by the distance of 500 samples from validation images, in 16
evaluations whatever ``steps``. A run takes up to 300 s at lite, a quarter of it for samples.

Evidence: the distances, which only running the method again checks; idle shares of each sample and nats of each image, single precision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.text import TokenSpec
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.metrics.likelihood import bits_per_dim
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.task import DataTask, halved
from elboard.tasks.parts import features
from elboard.tasks.parts.images import digits_of
from elboard.tasks.parts.moments import moments_of
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="tokens/mnist14",
    title="MNIST on 14 x 14 pixels as tokens of 16 levels of grey",
    needs=("TokenModel", "SteppedTokens"),
    primary="fd/e16",
    metrics=("fd/e16", "fd/e64", "idle_share/e16", "idle_share/e64", "bits_per_dim"),
    selection="fd[mnist-cnn,n=500]/e16",
    data=("mnist",),
    papers=("082",),
    full="MNIST instead of the paper's CIFAR-10 with 256 levels, in 128 and 512 evaluations; 100 epochs",
    work={"lite": (20_000, 81_600), "full": (50_000, 7_216_000)},
    examples={
        "smoke": {"bits_per_dim": 10, "*": "20 samples"},
        "lite": {"bits_per_dim": 200, "*": "1000 samples"},
        "full": {"bits_per_dim": 1000, "*": "10,000 samples"},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 1, "batch_size": 25, "keep": "last"},
        "method": {"width": 8, "depth": 1, "heads": 2},
        "task": {"n_train": 100, "n_valid": 60, "n_test": 60, "n_bound": 10, "draws": 4, "samples": 20},
    },
    "lite": {"train": {"epochs": 3, "batch_size": 50, "keep": "last", "validate_every": 0}, "method": {"width": 16}},
    "full": {
        "train": {"epochs": 100, "batch_size": 128, "keep": "last", "validate_every": 50},
        "method": {"width": 64},
        "task": {
            "n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "n_bound": 1000, "draws": 16, "samples": 10_000,
            "steps": [16, 64, 128, 512],
        },
    },
}  # fmt: skip
LEVELS, SIDE, SELECT_N, SELECT_STEPS, BATCH = 16, 14, 500, 16, 500
NETWORK = "mnist-cnn"


class MNIST14Tokens(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {
        "images": Examples(("nats",), ("bits_per_dim",)),
        "samples": Examples(("idle",), ("idle_share/*",)),
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 20_000
        n_valid: Count = 2000
        n_test: Count = 2000
        n_bound: Count = 200  # test images of the bound
        draws: Count = 8  # of the bound of an image
        samples: Count = 1000
        steps: list[Count] = field(default_factory=lambda: [16, 64])

    def tokens(self, split: str, n: int) -> Tensor:
        """``(n, 196)`` int64."""
        x = halved(digits_of(split, n, self.config.n_valid, self.budget)[0])
        return torch.from_numpy((x.astype(np.int64) * (LEVELS - 1) + 127) // 255).flatten(1)

    def load_train(self) -> Data:
        train = self.tokens("train", self.config.n_train)
        spec = TokenSpec((SIDE * SIDE,), len(train), letters=LEVELS, image=(SIDE, SIDE))
        return Data(spec, {"x": train}, {"x": self.tokens("valid", self.config.n_valid)})

    def load_test(self, data: Data) -> Test:
        return {"x": self.tokens("test", self.config.n_test)}

    def _moments(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the features of ``x`` (N, 196)."""
        of = features.load(NETWORK, self.device)[2]
        return moments_of(torch.cat([of(part.to(self.device)) for part in grey(x).split(BATCH)]).double().cpu().numpy())

    def _drawn(self, method: Any, n: int, steps: int) -> tuple[Tensor, Tensor]:
        """Samples and their idle shares."""
        parts = [method.sample_in(len(part), steps) for part in torch.arange(n).split(BATCH)]
        return tuple(torch.cat(of).cpu() for of in zip(*parts, strict=True))

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        """The card's n, or as many samples as there are validation images where these are fewer, as at smoke."""
        fake, _ = self._drawn(method, min(SELECT_N, len(data.valid["x"])), SELECT_STEPS)
        return {CARD.selection: frechet_distance(*self._moments(data.valid["x"]), *self._moments(fake))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c, (distance, network, _) = self.config, features.load(NETWORK, self.device)
        real, distances, idle, rows = self._moments(test["x"]), [], [], []
        for steps in c.steps:
            fake, of_each = self._drawn(method, c.samples, steps)
            distances.append(frechet_distance(*real, *self._moments(fake)))
            idle.append(of_each)
            rows.append(grey(fake[:10]))
        nats = method.nats(test["x"][: c.n_bound].to(self.device), c.draws)
        arrays = {
            f"{distance}[{network}": np.array(distances),
            "samples": np.array(c.samples),
            "steps": np.array(c.steps),
            "idle": torch.stack(idle, 1).float().numpy(),
            "nats": nats.mean(1).float().cpu().numpy(),
            "exact": np.array(method.exact),
        }
        return Observed(arrays, {"samples": grid(torch.cat(rows), len(rows[0]))})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        key = next(name for name in observed if name.startswith("fd["))
        kind, nats = "exact" if observed["exact"] else "bound", observed["nats"].astype(np.float64)
        found = {f"bits_per_dim[{kind}]": bits_per_dim(float(nats.mean()), SIDE * SIDE)}
        idle = observed["idle"].astype(np.float64).mean(0)
        for i, steps in enumerate(observed["steps"].tolist()):
            found[f"{key},n={int(observed['samples'])}]/e{steps}"] = float(observed[key][i])
            found[f"idle_share/e{steps}"] = float(idle[i])
        return found


def grey(x: Tensor) -> Tensor:
    """Images ``(N, 1, 14, 14)`` in [0, 1] of tokens ``(N, 196)``."""
    return (x.float() / (LEVELS - 1)).view(-1, 1, SIDE, SIDE)
