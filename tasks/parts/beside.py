"""What is said of a generator beside its samples: its size, and what its codes are like where it has them.

* ``model_size``, the number of trainable parameters, and ``sample_flops``, the operations that one sample takes.
* ``mse`` of giving test examples back, for a ``Reconstructor``.
* ``prior_mmd2`` of codes of at most 2,000 test examples, one draw each, and as many draws of the prior, for an ``AggregatePosterior``.

Evidence keeps sums of squared errors over at most 20 groups of examples; the discrepancy needs the codes themselves, which only running
the method again gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from elboard.bench.cost import count_parameters
from elboard.bench.kinds.codes import AggregatePosterior
from elboard.bench.kinds.representation import Reconstructor
from elboard.bench.metrics.points import mmd2

BATCH, CODES, GROUPS = 500, 2000, 20


def beside(method: Any, x: Tensor, device: Any) -> dict[str, np.ndarray]:
    """Arrays for :func:`measured`, of test examples ``x`` (N, ...)."""
    arrays = {"model_size": np.array(count_parameters(method)), "sample_flops": np.array(sample_flops(method))}
    if isinstance(method, Reconstructor):
        parts = [(method.reconstruct(part.to(device)).cpu() - part).flatten(1).square().mean(1) for part in x.split(BATCH)]
        groups = np.array_split(torch.cat(parts).double().numpy(), min(len(x), GROUPS))
        arrays |= {"squared_error": np.array([group.sum() for group in groups]), "reconstructed": np.array(len(x))}
    if isinstance(method, AggregatePosterior):
        x = x[:CODES]
        codes = torch.cat([method.draw_codes(part.to(device)) for part in x.split(BATCH)])
        arrays |= {"aggregate_codes": codes.cpu().numpy(), "prior_codes": method.draw_prior(len(x)).cpu().numpy()}
    return arrays


def sample_flops(method: Any, n: int = 100) -> float:
    """Operations of one sample, as the mean of ``n`` drawn together."""
    learned = [p for p in method.parameters() if p.requires_grad]
    try:
        for p in learned:  # the counter cannot look at modules that are given a parameter itself where no gradients are taken
            p.requires_grad_(False)
        with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
            method.sample(n)
    finally:
        for p in learned:
            p.requires_grad_(True)
    return counter.get_total_flops() / n


def measured(observed: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics that the arrays give."""
    found = {name: float(observed[name]) for name in ("model_size", "sample_flops") if name in observed}
    if "squared_error" in observed:
        n = int(observed["reconstructed"])
        found[f"mse[n={n}]"] = float(observed["squared_error"].sum() / n)
    if "aggregate_codes" in observed:
        codes, prior = (observed[name].astype(np.float64) for name in ("aggregate_codes", "prior_codes"))
        scale = codes.shape[1] ** -0.5
        found[f"prior_mmd2[n={len(codes)}]"] = mmd2(codes * scale, prior * scale)
    return found


def kept(observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``observed`` without codes."""
    return {name: array for name, array in observed.items() if not name.endswith("_codes")}
