"""Models of few discrete latents, by enumeration of all of these.

* ``nll[exact]``: -log sum_z p(x, z), mean over test examples.
* ``posterior_tv``, ``posterior_kl``: of what the method takes for the posterior, from the posterior of its own model.
* ``latent_perplexity``: of the model's posterior, mean over test examples: S where all latents are used alike.

Evidence: the three numbers of each test example in single precision, and the mean posterior.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.task import Data, Observed, Task, Test

ROWS = 500  # examples at a time
FLOOR = 1e-30  # of probabilities whose logarithm is taken


class Enumerated(Task):
    """A subclass gives the data."""

    sets: ClassVar[Sets] = {
        "examples": Examples(("log_evidence", "tv", "kl", "excess"), ("nll", "nll_excess", "posterior_tv", "posterior_kl"))
    }

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        with torch.no_grad():
            parts = [method.log_joints(part.to(self.device)).double().logsumexp(1) for part in data.valid["x"].split(ROWS)]
        return {"nll[exact]": -torch.cat(parts).mean().item()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        with torch.no_grad():
            parts = [seen(method, part.to(self.device)) for part in test["x"].split(ROWS)]
        arrays = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        of_each = {name: arrays[name].float().cpu().numpy() for name in ("log_evidence", "tv", "kl")}
        return Observed({**of_each, "latents": arrays["posterior"].mean(0).cpu().numpy()})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        mean = {name: float(observed[name].astype(np.float64).mean()) for name in ("log_evidence", "tv", "kl")}
        p = observed["latents"].astype(np.float64)
        p = p[p > 0] / p.sum()
        return {
            "nll[exact]": -mean["log_evidence"],
            "posterior_tv": mean["tv"],
            "posterior_kl": mean["kl"],
            "latent_perplexity": float(np.exp(-(p * np.log(p)).sum())),
        }


def seen(method: Any, x: Tensor) -> dict[str, Tensor]:
    """log p(x), total variation and KL (B,), and the model's own posterior (B, S), in double precision."""
    joints, q = method.log_joints(x).double(), method.posterior(x).double()
    log_evidence = joints.logsumexp(1)
    log_p = joints - log_evidence[:, None]
    p = log_p.exp()
    kl = (torch.xlogy(q, q.clamp_min(FLOOR)) - q * log_p).sum(1).clamp_min(0)
    return {"log_evidence": log_evidence, "tv": 0.5 * (q - p).abs().sum(1).clamp(max=2), "kl": kl, "posterior": p}
