"""The least of multimodal data, enumerated: a shared bit, a private bit of each modality, and what a bound loses that does not see it.

    s, u_1 .. u_M fair bits,   x_m = (s, u_m repeated D times),   Bernoulli decoder that factorises over all M (D + 1) pixels

A mixture-based bound has encoders that see a subset A of the modalities only. Then E log p(x|z) <= -H(X_rest | X_A) (Daunhawer et al.
2022), and where private content spans several pixels (D >= 2) the whole bound stays below -H(X), whatever the encoders and the decoder:
the gap. With D = 1 the decoder's noise can itself be the private bit, and with D = 0 the modalities determine each other: no gap.

Laws: M = 2 with D = 0 to 6 (codes of 16 states), and D = 2 with M = 1, 3, 4 (2^(M + 2) states), as slices ``/m2-d3``, in bits:

* ``tabular_elbo``, the exact bound of the tables that the method found, and ``tabular_gap`` = -H(X) - bound.
* ``gap_step/private`` and ``/modalities``: the least growth of the gap from one D to the next (from 1 on), from one M to the next.
* ``tabular_slack``: over laws, the least of the theorem's bound on the reconstruction term minus that term.

A method gives tables; the task computes the bounds by summing over all examples, subsets and states. ``full`` is the same.
Evidence: ``laws`` (C, 2), M and D, and by law the bound, its reconstruction term, H(X) and the unseen information, in bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.multimodal import Bits, BitsSpec, Table
from elboard.bench.task import Data, Observed, Task, Test

CARD = TaskCard(
    name="multimodal/toy",
    title="Mixture-based bounds of shared and private bits, enumerated",
    needs=("TabularMixture",),
    primary="tabular_gap/m2-d6",
    metrics=(
        "tabular_gap/m2-d6",
        "tabular_gap/m2-d0",
        "tabular_gap/m2-d1",
        "tabular_gap/m2-d2",
        "tabular_gap/m2-d3",
        "tabular_gap/m2-d4",
        "tabular_gap/m3-d2",
        "tabular_gap/m4-d2",
        "gap_step/private",
        "gap_step/modalities",
        "tabular_slack",
    ),
    selection="tabular_gap/m2-d6",
    papers=("067",),
    full="the laws of lite, which are enumerated whole; no paper's own setting",
    work={"lite": (8, 10), "full": (8, 10)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 1}, "method": {"restarts": 2, "iterations": 20}},
    "lite": {"train": {"epochs": 1}},
    "full": {"train": {"epochs": 1}},
}
PRIVATE, MODALITIES, SEVERAL = (0, 1, 2, 3, 4, 5, 6), (1, 3, 4), 2
CASES = tuple(Bits(2, d, 16) for d in PRIVATE) + tuple(Bits(m, SEVERAL, 2 ** (m + 2)) for m in MODALITIES)
BY_LAW = ("elbo_bits", "reconstruction_bits", "entropy_bits", "unseen_bits")


def examples(case: Bits) -> Tensor:
    """All examples, equally likely: ``(2^(M + 1), M, D + 1)`` of 0 and 1."""
    rows = torch.tensor(list(itertools.product((0.0, 1.0), repeat=case.modalities + 1)), dtype=torch.float64)
    shared = rows[:, :1, None].expand(-1, case.modalities, -1)
    return torch.cat([shared, rows[:, 1:, None].expand(-1, -1, case.private)], dim=2)


def entropy(rows: Tensor) -> float:
    """Of equally likely ``rows`` (X, P), in bits."""
    share = torch.unique(rows, dim=0, return_counts=True)[1].double() / len(rows)
    return float(-(share * share.log2()).sum())


def bounds(x: Tensor, table: Table) -> tuple[float, float]:
    """The mixture-based bound of ``table`` on equally likely examples ``x`` (X, M, P), and its reconstruction term, in bits."""
    x, on, off = x.flatten(1), table.pixels.log2().T, torch.log1p(-table.pixels).T / math.log(2)
    likelihood = x @ on + (1 - x) @ off
    reconstruction = (table.posteriors * likelihood).sum(2).mean()
    divergence = (torch.xlogy(table.posteriors, table.posteriors) - torch.xlogy(table.posteriors, table.prior)).sum(2).mean()
    return float(reconstruction - divergence / math.log(2)), float(reconstruction)


class Toy(Task):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        pass

    def load_train(self) -> Data:
        shared = {case.name: examples(case) for case in CASES}
        return Data(BitsSpec((2 * (SEVERAL + 1),), 2**3, cases=CASES), shared=shared)

    def load_test(self, data: Data) -> Test:
        return dict(data.shared)

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        rows = []
        for case in CASES:
            x, table = examples(case), method.table(case)  # the law itself, of which a part would be another one
            table = Table(*(getattr(table, part).cpu() for part in ("prior", "pixels", "subsets", "posteriors")))
            whole = entropy(x.flatten(1))
            unseen = np.mean([whole - entropy(x[:, mask].flatten(1)) for mask in table.subsets])
            rows.append((*bounds(x, table), whole, float(unseen)))
        laws = np.array([(case.modalities, case.private) for case in CASES], np.uint8)
        return Observed({"laws": laws, **dict(zip(BY_LAW, np.array(rows).T.copy(), strict=True))})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        laws = [tuple(law) for law in observed["laws"].tolist()]
        elbo = dict(zip(laws, observed["elbo_bits"].tolist(), strict=True))
        gap = {law: -of - elbo[law] for law, of in zip(laws, observed["entropy_bits"].tolist(), strict=True)}
        found = {f"tabular_elbo/m{m}-d{d}": value for (m, d), value in elbo.items()}
        found |= {f"tabular_gap/m{m}-d{d}": value for (m, d), value in gap.items()}
        by = {"private": sorted(d for m, d in laws if m == 2 and d), "modalities": sorted(m for m, d in laws if d == SEVERAL)}
        paths = {"private": [gap[2, d] for d in by["private"]], "modalities": [gap[m, SEVERAL] for m in by["modalities"]]}
        found |= {f"gap_step/{name}": float(np.diff(path).min()) for name, path in paths.items()}
        found["tabular_slack"] = float((-observed["unseen_bits"] - observed["reconstruction_bits"]).min())
        return found
