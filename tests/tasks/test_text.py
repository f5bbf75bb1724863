"""Tasks of text: blocks, windows, columns, and what the chain's conditionals are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.tasks.data import fetch
from elboard.tasks.text.enumerated import LETTERS, Chain
from elboard.tasks.text.shakespeare import Shakespeare, chain_text


def made(budget: str = "smoke", **options: int) -> Shakespeare:
    entry = find("task", "text/shakespeare")
    return entry.load()(entry.load().Config(**{**entry.budgets()[budget].get("task", {}), **options}), budget, 0)


class Uniform:
    """All letters alike, said to be ``exact`` or a bound."""

    def __init__(self, exact: bool, letters: int):
        self.exact, self.letters = exact, letters

    def nats(self, x: Tensor, draws: int) -> Tensor:
        nats = torch.full((len(x), 1 if self.exact else draws), x.shape[1] * math.log(self.letters))
        return nats if self.exact else nats + torch.tensor([-1.0, 1.0]).repeat(draws // 2)

    def sample(self, n: int) -> Tensor:
        return torch.randint(0, self.letters, (n, 12), generator=torch.Generator().manual_seed(0))


def test_exact_values_and_bounds_are_different_columns() -> None:
    task = made()
    data, test = loaded(task)
    exact, bound = (scored(Shakespeare, task.observe(Uniform(of, 6), data, test, [])) for of in (True, False))
    assert exact.metrics["bits_per_char[exact]"] == pytest.approx(math.log2(6), abs=1e-6)
    assert bound.metrics["bits_per_char[bound]"] == pytest.approx(math.log2(6), abs=1e-6)
    assert "bits_per_char[bound]" not in exact.metrics and "bits_per_char[exact]" not in bound.metrics
    deviation = math.sqrt(8 / 7) / (12 * math.log(2))
    assert bound.metrics["bits_sd"] == pytest.approx(deviation, abs=1e-6) and "bits_sd" not in exact.metrics
    assert exact.metrics["trigram_excess"] > 0.3, "uniform letters are less probable than the chain's"
    for seen in (exact, bound):
        assert Shakespeare.score(seen.evidence) == pytest.approx(seen.metrics, abs=1e-9)


def test_parts_are_blocks_of_the_text() -> None:
    task = made(stride=5)
    x = torch.from_numpy(chain_text())
    data, test = loaded(task)
    assert torch.equal(data.train["x"], x[:10_800].unfold(0, 12, 5))
    assert torch.equal(data.valid["x"], x[10_800:11_400].unfold(0, 12, 12)[:20])
    assert torch.equal(test["x"], x[11_400:].unfold(0, 12, 12)[:40])
    assert data.spec.letters == 6 and data.spec.shape == (12,) and data.spec.n_train == len(data.train["x"])


def test_the_real_text() -> None:
    if not fetch.available("tiny-shakespeare"):
        pytest.skip("tiny-shakespeare is neither cached nor in ELBOARD_DATA")
    task = made("lite")
    data, test = loaded(task)
    letters = np.unique(np.frombuffer(bytes(fetch_text()), np.uint8))
    assert bytes(letters[data.train["x"][0].numpy()]).startswith(b"First Citizen:")
    assert (data.spec.letters, len(data.train["x"]), len(data.valid["x"]), len(test["x"])) == (65, 15_685, 200, 800)


def fetch_text() -> np.ndarray:
    from elboard.tasks.data.loaders import arrays

    return arrays("tiny-shakespeare")["text"]


def test_the_true_conditionals_are_those_of_the_chain() -> None:
    chain = Chain(np.random.default_rng(0))
    assert chain.p.sum().item() == pytest.approx(1)
    z = torch.tensor([[LETTERS, 1, LETTERS, 0]])
    expected = torch.zeros(LETTERS).double()
    for x, p in zip(chain.x, chain.p, strict=True):
        if x[1] == 1 and x[3] == 0:
            expected[x[0]] += p
    torch.testing.assert_close(chain.true(z)[0, 0].exp(), expected / expected.sum())
    torch.testing.assert_close(chain.other(z).exp().sum(2), torch.ones(1, 4).double())
