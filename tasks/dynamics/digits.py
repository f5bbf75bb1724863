"""In which directions the noise of training is large: principal directions, flatness and curvature of a small network on 8x8 digits.

1,000 training images of scikit-learn's digits, all in each step, and no other noise than the method's. At the end of training, with R the
loss of these images without noise, theta* the last weights, and two sets S of vectors, past weights (``weights``) and gradients at theta*
by new draws of the noise (``gradients``):

* ``flatness_correlation/...``: Spearman's rho of the variances of S along its first ``directions`` principal directions and their flatness,
  the length of the interval around theta* on which R stays below 2 R(theta*); of R, so that masks have no part in it.
  ``flatness_power/...``: minus the slope of log variance against log flatness.
* ``curvature_correlation/...``: of the variance of S along the eigenvectors of the Hessian of R, exact, and its ``directions`` largest
  eigenvalues.
* ``alignment``: d Tr(H Sigma) / (Tr H Tr Sigma), Sigma the covariance of the gradients: 1 of isotropic noise.

R(theta*) is not to be 0, else no interval is left: ``descent_loss``. Splits are those of posterior/digits; validation images are of no
account for what is measured. The last epoch is kept.

Evidence: of each set the variances along both kinds of directions and the flatness, the eigenvalues, the traces.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import Batch, OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.kinds.dynamics import DescentSpec
from elboard.bench.metrics.calibration import class_nll
from elboard.bench.metrics.dynamics import spearman
from elboard.bench.metrics.rates import rate
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed
from elboard.tasks.data.loaders import digits
from elboard.tasks.data.task import DataTask, images, permutation

CARD = TaskCard(
    name="dynamics/digits",
    title="Noise, flatness and curvature of a small network on digits 8x8",
    needs=("NoisyDescent",),
    primary="descent_loss",
    metrics=(
        "descent_loss",
        "flatness_correlation/gradients",
        "flatness_correlation/weights",
        "curvature_correlation/gradients",
        "curvature_correlation/weights",
        "flatness_power/gradients",
        "alignment",
    ),
    selection="class_nll",
    data=("digits",),
    papers=("009",),
    full="the data of lite for 40,000 instead of 3,000 steps, and 5,000 instead of 500 gradients; no paper's own setting",
    work={"lite": (1000, 500_000), "full": (1000, 5_000_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "keep": "last"}, "task": {"n_train": 100, "steps": 10, "samples": 20, "directions": 5}},
    "lite": {"train": {"epochs": 15, "keep": "last", "validate_every": 0}},
    "full": {"train": {"epochs": 200, "keep": "last", "validate_every": 0}, "task": {"samples": 5000}},
}
N_VALID, N_TEST, LEVELS, SPLIT_SEED = 300, 497, 17, 3  # of posterior/digits
NEAREST, DOUBLINGS, HALVINGS = 1e-3, 30, 25  # first distance of the search; how often it doubles, and is halved then
AT_ONCE = 50  # products with the Hessian


class WholeBatches(OwnBatches):
    """All training examples in each of ``steps`` batches."""

    def __init__(self, data: Batch, steps: int, seed: int):
        super().__init__(seed, steps)
        self.data = data

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        return self.data


class Digits(DataTask):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 1000
        steps: Count = 200  # of an epoch
        keep: Annotated[float, Range(above=0, below=1)] = 0.8
        samples: Annotated[int, Range(2)] = 500  # gradients
        directions: Annotated[int, Range(3)] = 50

    def load_train(self) -> Data:
        x, y = digits()
        order = permutation(len(y), SPLIT_SEED)[N_TEST:]

        def part(of: np.ndarray) -> Batch:
            return {"x": images(x[of], LEVELS), "y": torch.from_numpy(y[of])}

        train = part(order[N_VALID:][: self.config.n_train])
        spec = DescentSpec((1, 8, 8), len(train["y"]), n_classes=10, keep=self.config.keep)
        return Data(spec, train, part(order[:N_VALID]))

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> WholeBatches:
        return WholeBatches(data.train, self.config.steps, seed)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        p = method.probabilities(data.valid["x"].to(self.device)).cpu().numpy()
        return {"class_nll": class_nll(p, data.valid["y"].numpy())}

    def observe(self, method: Any, data: Data, test: dict[str, Any], history: list[dict[str, float]]) -> Observed:
        at, k = method.weights(), self.config.directions
        values, vectors = torch.linalg.eigh(hessian_of(method.risk, at).double())
        arrays = {"risk": method.risk(at).double().cpu().numpy(), "curvature": values.flip(0)[:k].cpu().numpy()}
        for name, found in (("weights", method.iterates()), ("gradients", method.gradients(self.config.samples))):
            centred = found.double() - found.double().mean(0)
            variances, along = principal(centred, k)
            projected = (centred @ vectors.flip(1)).square().sum(0) / max(1, len(found) - 1)
            arrays |= {
                f"variance_{name}": variances.cpu().numpy(),
                f"flatness_{name}": flatness(method.risk, at, along.to(at)).cpu().numpy(),
                f"projected_{name}": projected[:k].cpu().numpy(),
            }
            if name == "gradients":
                arrays["traces"] = torch.stack([projected @ values.flip(0), values.sum(), projected.sum()]).cpu().numpy()
                arrays["weights"] = np.array(len(at))
        return Observed(arrays)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        product, of_hessian, of_noise = observed["traces"]
        found = {
            "descent_loss": float(observed["risk"]),
            "alignment": float(observed["weights"] * product / (of_hessian * of_noise)),
        }
        for name in ("weights", "gradients"):
            variance, flat = observed[f"variance_{name}"], observed[f"flatness_{name}"]
            found[f"flatness_correlation/{name}"] = spearman(variance, flat)
            found[f"flatness_power/{name}"] = rate(flat, variance, 1e-300)
            found[f"curvature_correlation/{name}"] = spearman(observed["curvature"], observed[f"projected_{name}"])
        return found


def principal(centred: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of vectors ``(K, P)`` whose mean is 0 the ``k`` largest variances and their directions ``(k, P)``, fewer where K is less."""
    if len(centred) > centred.shape[1]:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        along = vectors.T
    else:
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        along = vectors.T @ centred / values.clamp(min=1e-30).sqrt()[:, None]
    return values.flip(0)[:k].clamp(min=0) / max(1, len(centred) - 1), along.flip(0)[:k]


def hessian_of(risk: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The Hessian ``(P, P)``, by products with unit vectors."""
    slope, units = torch.func.grad(risk), torch.eye(len(at), device=at.device, dtype=at.dtype)
    product = torch.func.vmap(lambda v: torch.func.jvp(slope, (at,), (v,))[1])
    found = torch.cat([product(part) for part in units.split(AT_ONCE)])
    return (found + found.T) / 2


def flatness(risk: Callable[[Tensor], Tensor], at: Tensor, along: Tensor) -> Tensor:
    """Lengths ``(K,)`` of the intervals around ``at`` (P,) on which the risk stays below twice its value there, along unit vectors
    ``along`` (K, P). Distances double until the risk is above, at most :data:`DOUBLINGS` times, and are halved then."""
    many, level, length = torch.func.vmap(risk), 2 * risk(at), at.new_zeros(len(along))
    for side in (-1, 1):
        below, above = torch.zeros_like(length), torch.full_like(length, NEAREST)
        for _ in range(DOUBLINGS):
            inside = many(at + side * above[:, None] * along) < level
            below, above = torch.where(inside, above, below), torch.where(inside, 2 * above, above)
            if not inside.any():
                break
        for _ in range(HALVINGS):
            middle = (below + above) / 2
            inside = many(at + side * middle[:, None] * along) < level
            below, above = torch.where(inside, middle, below), torch.where(inside, above, middle)
        length += (below + above) / 2
    return length
