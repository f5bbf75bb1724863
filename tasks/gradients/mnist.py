"""How noisy estimators of the ELBO's gradient are, at one and the same point: variational autoencoders of binarised MNIST.

A method trains by one of its estimators; of the trained weights the task asks for gradients by each of them, with respect to the parameters
of q(z|x), of one fixed batch of binarised test images and with noise drawn anew (``draws`` times). Splits, binarisation and likelihood are
those of generation/mnist, of fewer images.

* ``gradient_variance/x``: trace of the covariance over the draws, of the estimator x.
* ``variance_ratio/x-y``: that of x over that of y. Estimators are compared by it, since it is of one point in one run.
* ``elbo`` of the test images, by which boards are ordered and epochs chosen: the point is a trained one.

Evidence: ``elbo`` (n,), and ``deviation_x`` (draws,), the squared distance of each gradient from their mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.parts.binarised import BinarisedMNIST
from elboard.tasks.parts.images import mean_of

CARD = TaskCard(
    name="gradients/mnist",
    title="Noise of gradient estimators on binarised MNIST",
    needs=("GradientEstimators", "BinaryLikelihood"),
    primary="elbo",
    metrics=("elbo", "gradient_variance/a", "gradient_variance/b", "gradient_variance/reinforce", "variance_ratio/a-b"),
    selection="elbo",
    data=("mnist",),
    papers=("025",),
    full="50,000 training images for 100 epochs instead of 5,000 for 15, and 1,000 draws; no paper's own setting",
    work={"lite": (5000, 60_500), "full": (50_000, 610_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 50, "keep": "best"},
        "task": {"n_train": 200, "n_valid": 50, "n_test": 60, "batch": 20, "draws": 5},
    },
    "lite": {"train": {"epochs": 15, "batch_size": 100, "validate_every": 5, "keep": "best"}},
    "full": {
        "train": {"epochs": 100, "batch_size": 100, "validate_every": 10, "keep": "best"},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "draws": 1000},
    },
}
AT_ONCE = 200  # draws whose gradients are held at once


class GradientsMNIST(BinarisedMNIST):
    """See the module."""

    sets: ClassVar[Sets] = {"images": Examples(arrays=("elbo",), metrics=("elbo",))}
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {"elbo": (5e-4, 0.0)}

    @dataclass(kw_only=True)
    class Config(BinarisedMNIST.Config):
        batch: Count = 100  # images of the batch whose gradient is estimated
        draws: Annotated[int, Range(2)] = 200

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"elbo": method.elbo(data.valid["x"][:500].to(self.device))["elbo"].mean().item()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c, x = self.config, test["x"].to(self.device)
        seen = {"elbo": torch.cat([method.elbo(part)["elbo"] for part in x.split(500)]).cpu().numpy()}
        for name in method.estimators:
            seen[f"deviation_{name}"] = self._deviations(method, x[: c.batch], name)
        return Observed(seen)

    def _deviations(self, method: Any, x: torch.Tensor, name: str) -> np.ndarray:
        """Squared distances of gradients from their mean, ``(draws,)``; the same noise is drawn twice where not all are held at once."""
        sizes = [min(AT_ONCE, self.config.draws - start) for start in range(0, self.config.draws, AT_ONCE)]
        with torch.random.fork_rng():
            states = torch.randint(2**31, (len(sizes),)).tolist()

            def part(i: int) -> torch.Tensor:
                torch.manual_seed(states[i])
                return method.gradients(x, name, sizes[i])

            held = [part(0)] if len(sizes) == 1 else []
            mean = sum(g.sum(0) for g in held or map(part, range(len(sizes)))) / self.config.draws
            return np.concatenate([(g - mean).double().square().sum(1).cpu().numpy() for g in held or map(part, range(len(sizes)))])

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = {"elbo": mean_of(observed["elbo"])}
        names = [name.removeprefix("deviation_") for name in observed if name.startswith("deviation_")]
        of = {name: float(observed[f"deviation_{name}"].sum() / (len(observed[f"deviation_{name}"]) - 1)) for name in sorted(names)}
        found |= {f"gradient_variance/{name}": variance for name, variance in of.items()}
        pairs = [pair for a, b in combinations(of, 2) for pair in ((a, b), (b, a))]
        return found | {f"variance_ratio/{a}-{b}": of[a] / of[b] for a, b in pairs if of[b] > 0}
