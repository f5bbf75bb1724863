"""What is said of a generator beside its samples: against values that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elboard.bench.kinds.codes import AggregatePosterior
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.representation import Reconstructor
from elboard.bench.metrics.conventions import convention
from elboard.tasks.parts.beside import beside, kept, measured


class Linear(nn.Module, Generator, Reconstructor, AggregatePosterior):
    """Decodes 3 units to 5 dimensions; gives examples back with an error of ``off``, and codes that lie ``off`` the prior."""

    def __init__(self, off: float):
        super().__init__()
        self.out, self.off = nn.Linear(3, 5), off

    def all_bases(self) -> list:
        return []

    def sample(self, n: int) -> Tensor:
        return self.out(torch.randn(n, 3))

    def reconstruct(self, x: Tensor) -> Tensor:
        return x + self.off

    def draw_codes(self, x: Tensor) -> Tensor:
        return torch.randn(len(x), 3) + self.off

    def draw_prior(self, n: int) -> Tensor:
        return torch.randn(n, 3)


@torch.no_grad()
def test_known_values() -> None:
    torch.manual_seed(0)
    x = torch.rand(1234, 5)
    good, bad = (beside(Linear(off), x, "cpu") for off in (0.0, 0.5))
    found, off = measured(good), measured(bad)
    assert found["model_size"] == 20 and found["sample_flops"] == 2 * 3 * 5
    assert found["mse[n=1234]"] == pytest.approx(0, abs=1e-12) and off["mse[n=1234]"] == pytest.approx(0.25, rel=1e-5)
    assert abs(found["prior_mmd2[n=1234]"]) < 2e-3 < 2e-2 < off["prior_mmd2[n=1234]"]
    assert all(convention(key) for key in found)


@torch.no_grad()
def test_evidence_keeps_all_but_codes() -> None:
    arrays = beside(Linear(0.5), torch.rand(777, 5), "cpu")
    small = kept(arrays)
    assert measured(small) == {key: value for key, value in measured(arrays).items() if not key.startswith("prior_mmd2")}
    assert sum(array.nbytes for array in small.values()) < 300


@torch.no_grad()
def test_only_what_the_method_offers() -> None:
    class Bare(nn.Module, Generator):
        def all_bases(self) -> list:
            return []

        def sample(self, n: int) -> Tensor:
            return torch.zeros(n, 5)

    assert measured(beside(Bare(), torch.rand(10, 5), "cpu")) == {"model_size": 0.0, "sample_flops": 0.0}
    assert np.isfinite(list(measured(beside(Linear(0.0), torch.rand(3, 5), "cpu")).values())).all()
