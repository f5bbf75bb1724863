"""What tasks of known posteriors share: a density of the plane as the oracle, exact draws, and errors of a sampler against them.

A method is given the density alone and as many steps as the budget says; its draws at the end of training are compared with exact ones.

* ``mmd2``: the squared discrepancy of 900 draws from as many exact ones, as of points of the plane; the same of validation draws is for the
  choice of options.
* ``mean_error``, ``variance_error``, ``marginal_ratio``, ``correlation``: of the moments of 20,000 draws, against the posterior's own.
* ``chain_correlation``: of Markov chains, of their positions themselves, which no method can recombine.
* ``iat``: of these too, integrated autocorrelation time of the coordinates, in steps, mean over both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from elboard.bench.batches import OwnBatches
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.posterior import MarkovChain, TargetSpec
from elboard.bench.metrics.chains import integrated_autocorrelation
from elboard.bench.metrics.points import mmd2
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test

BUDGETS = {
    "smoke": {"train": {"epochs": 2, "keep": "last"}, "task": {"steps": 30, "draws": 500}},
    "lite": {"train": {"epochs": 20, "keep": "last", "validate_every": 10}},
    "full": {"train": {"epochs": 200, "keep": "last", "validate_every": 50}},
}
VALID_SEED, TEST_SEED, SHOWN = 1, 2, 900


class KnownPosterior(Task):
    """A subclass is the density: ``log_prob``, exact draws, and its moments."""

    sets: ClassVar[Sets] = {"points": Examples(arrays=("samples", "exact"), metrics=("mmd2",))}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        steps: Count = 500  # of an epoch
        draws: Count = 20_000  # of which the moments are

    @classmethod
    @abstractmethod
    def log_prob(cls, z: Tensor) -> Tensor:
        """Unnormalised log density ``(N,)`` of ``(N, 2)``."""

    @classmethod
    @abstractmethod
    def exact(cls, n: int, seed: int) -> Tensor:
        """``n`` independent draws ``(n, 2)``."""

    @classmethod
    @abstractmethod
    def moments(cls) -> tuple[np.ndarray, np.ndarray]:
        """Mean (2,) and covariance (2, 2)."""

    def load_train(self) -> Data:
        return Data(TargetSpec((2,), 1), oracle=type(self))

    def load_test(self, data: Data) -> Test:
        return {"exact": self.exact(SHOWN, TEST_SEED)}

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> OwnBatches:
        return OwnBatches(seed, self.config.steps)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"mmd2": mmd2(method.draw(SHOWN).cpu().numpy(), self.exact(SHOWN, VALID_SEED).numpy())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        z = method.draw(self.config.draws).double().cpu().numpy()
        arrays = {"samples": z[:SHOWN].astype(np.float32), "exact": test["exact"].numpy(), "mean": z.mean(0), "covariance": np.cov(z.T)}
        trace = method.trace().cpu().numpy() if isinstance(method, MarkovChain) else ()
        if len(trace) > 1:  # else there is no chain, or it has no law and no time of its own
            arrays["chain_covariance"] = np.cov(trace.reshape(-1, 2).T.astype(np.float64))
            arrays["iat"] = integrated_autocorrelation(trace) * method.stride
        return Observed(arrays)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        (mean, covariance), found = cls.moments(), observed["covariance"]
        deviation, variance, of_chain = np.sqrt(covariance.diagonal()), found.diagonal(), {}
        if "iat" in observed:
            chain = observed["chain_covariance"]
            of_chain["chain_correlation"] = float(np.abs(chain[0, 1]) / np.sqrt(chain.diagonal().prod()))
            of_chain["iat"] = float(observed["iat"].mean())
        return {
            "mmd2": mmd2(observed["samples"], observed["exact"]),
            "mean_error": float(np.abs((observed["mean"] - mean) / deviation).max()),
            "variance_error": float(np.abs(variance / deviation**2 - 1).max()),
            "marginal_ratio": float((variance / deviation**2).max()),
            "correlation": float(found[0, 1] / np.sqrt(variance.prod())),
            **of_chain,
        }
