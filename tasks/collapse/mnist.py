"""Collapse on MNIST: what the codes of variational autoencoders carry as the weight of the KL term grows.

A method trains one autoencoder for each weight beta in one run, all on the same batches, binarised anew each time (a batch shows all
models the same pixels). Splits, binarisation and likelihood are those of generation/mnist. By beta, as slices ``/beta0.5``, and as the mean
over betas where the slice is ``/mean``, of the test images:

* ``nll[k=50]``: the evidence bound of each model with its own weight out of it, by 50 samples;
* ``kl``, the mean of KL(q(z|x) || p(z)); ``unit_kl``, that of the unit with the largest; ``aggregate_kl``, KL(q(z) || p(z)), as KL minus
  the mutual information, which saturates at the logarithm of their number;
* ``active_units`` (variance of the posterior mean above 0.01) and ``collapsed_units[eps=...,delta=...]`` (KL of the unit below eps for at
  least 1 - delta of the images);
* ``beta_trend``: Kendall's tau of KL and beta, -1 where it falls with each step of beta.

The primary metric is the mean NLL, which also selects: that few units collapse is no merit by itself.

Evidence: ``betas``, ``log_evidence`` (n, G), and of each model and unit, over the images, the mean KL and the share of KL below eps, and
the variance of the posterior mean, (G, Z) each; ``information`` (G,).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.metrics import collapse, likelihood
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.parts.binarised import BinarisedMNIST

CARD = TaskCard(
    name="collapse/mnist",
    title="Collapse of autoencoders on binarised MNIST, by the weight of the KL term",
    needs=("PosteriorGrid",),
    primary="nll/mean",
    metrics=(
        "nll/mean",
        "kl/mean",
        "active_units/mean",
        "collapsed_units/mean",
        "mutual_information/mean",
        "aggregate_kl/mean",
        "beta_trend",
    ),
    selection="nll[k=50]/mean",
    data=("mnist",),
    papers=("004",),
    full="50,000 training images for 300 epochs instead of 5,000 for 15, and all test images; no paper's own setting",
    work={"lite": (5000, 25_500), "full": (50_000, 510_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 50, "keep": "best"}, "task": {"n_train": 200, "n_valid": 50, "n_test": 60}},
    "lite": {"train": {"epochs": 15, "batch_size": 100, "validate_every": 5, "keep": "best"}},
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 20, "keep": "best"},
        "task": {"n_train": 50_000, "n_test": 10_000},
    },
}
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
K, EPS, DELTA = 50, 0.01, 0.05


class CollapseMNIST(BinarisedMNIST):
    """See the module."""

    sets: ClassVar[Sets] = {"images": Examples(arrays=("log_evidence",), metrics=("nll/*",))}
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {"nll": (5e-4, 0.0)}

    def make_spec(self, shape: tuple[int, ...], n_train: int) -> BetaSpec:
        return BetaSpec(shape, n_train, likelihood="bernoulli", betas=BETAS)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        x = data.valid["x"][:500].to(self.device)
        return {f"nll[k={K}]/mean": -torch.cat([method.log_evidences(part, K) for part in x.split(100)], 1).mean().item()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x = test["x"].to(self.device)
        parts = [method.posteriors(part) for part in x.split(500)]
        mean, logvar = (torch.cat([part[i] for part in parts], 1).double().cpu() for i in (0, 1))  # (G, N, Z)
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar)
        z = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, dtype=mean.dtype)
        of_each = zip(mean.numpy(), logvar.numpy(), z.numpy(), strict=True)
        log_p = torch.cat([method.log_evidences(part, K) for part in x.split(100)], 1)
        arrays = {
            "log_evidence": log_p.T.cpu().numpy(),
            "unit_kl": kl.mean(1).float().numpy(),
            "unit_below": (kl < EPS).double().mean(1).float().numpy(),
            "unit_variance": mean.var(1, correction=0).float().numpy(),
            "information": np.array([likelihood.mutual_information(*of) for of in of_each]),
        }
        return Observed({**arrays, "betas": np.array(data.spec.betas)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        kl = observed["unit_kl"].astype(np.float64)
        totals = kl.sum(1)
        by_beta = {
            "kl": totals,
            "unit_kl": kl.max(1),
            "active_units": (observed["unit_variance"] > 0.01).sum(1),
            f"collapsed_units[eps={EPS},delta={DELTA}]": (observed["unit_below"] >= 1 - DELTA).sum(1),
            "mutual_information": observed["information"],
            "aggregate_kl": totals - observed["information"],
            f"nll[k={K}]": -observed["log_evidence"].astype(np.float64).mean(0),
        }
        found = {f"{key}/mean": float(values.mean()) for key, values in by_beta.items()}
        for i, beta in enumerate(observed["betas"].tolist()):
            found |= {f"{key}/beta{beta:g}": float(values[i]) for key, values in by_beta.items()}
        return {**found, "beta_trend": collapse.kendall(observed["betas"], totals)}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**observed, "log_evidence": observed["log_evidence"].astype(np.float32)}
