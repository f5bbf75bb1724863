"""What must hold exactly of couplings of data and prior, and of the autoencoder that is trained on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.parts import transport
from elboard.methods.parts.likelihoods import Gaussian, likelihood, pairs
from elboard.methods.vae.coupled_vae import CoupledVAE

IDENTITIES = {
    "coupled-vae": (
        "test_data_of_the_model_are_coupled_by_its_joint",
        "test_without_iterations_the_coupling_is_the_exact_posterior",
        "test_each_atom_has_its_share_of_the_examples",
    )
}
N = 600


def examples() -> Tensor:
    """Two clusters of unequal size."""
    x = 0.3 * torch.randn(N, 2, generator=torch.Generator().manual_seed(1))
    return x + torch.where(torch.arange(N) < 450, 1.0, -1.0)[:, None]


def build(**options: Any) -> CoupledVAE:
    torch.manual_seed(0)
    method = CoupledVAE(CoupledVAE.Config(**({"hidden": [8], "atoms": 20} | options)), LikelihoodSpec((2,), N, likelihood="gaussian"))
    method.prepare(Data(method.spec, {"x": examples()}))
    with torch.no_grad():
        method.out.weight.mul_(3.0)  # codes tell examples apart
    return method


def plan(cost: Tensor, f: Tensor, g: Tensor, eps: float) -> Tensor:
    return torch.exp((f[:, None] + g - cost) / eps) / cost.numel()


def test_data_of_the_model_are_coupled_by_its_joint() -> None:
    """Of a channel p(x|z) under which equally likely codes give equally likely x, the coupling is p(z) p(x|z) and its potentials are
    constant: p(x) = 1/N, f(x) = -log N p(x), g = log N, after one iteration."""
    n = 6
    column = torch.tensor([0.4, 0.25, 0.15, 0.1, 0.06, 0.04], dtype=torch.float64)
    channel = torch.stack([column.roll(j) for j in range(n)], dim=1)  # p(x_i | z_j)
    f, g = transport.sinkhorn(-channel.log(), torch.zeros(n, dtype=torch.float64), iterations=1)
    torch.testing.assert_close(g, torch.full_like(g, math.log(n)))
    torch.testing.assert_close(f, torch.zeros_like(f), atol=1e-12, rtol=0)
    torch.testing.assert_close(plan(-channel.log(), f, g, 1.0), channel / n)


@pytest.mark.parametrize("eps", [1.0, 0.3])
def test_potentials_are_those_of_matrix_scaling(eps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against scaling exp(-c / eps) until rows and columns have their masses, in as many pieces as there are."""
    rng = np.random.default_rng(0)
    cost = rng.exponential(size=(40, 30))
    kernel, u, v = np.exp(-cost / eps), np.ones(40), np.ones(30)
    for _ in range(3000):
        v = 1 / 30 / (kernel.T @ u)
        u = 1 / 40 / (kernel @ v)
    for pieces in (7, 1000):
        monkeypatch.setattr(transport, "ROWS", pieces)
        f, g = transport.sinkhorn(torch.from_numpy(cost), torch.zeros(40, dtype=torch.float64), 3000, eps)
        found = plan(torch.from_numpy(cost), f, g, eps).numpy()
        np.testing.assert_allclose(found, u[:, None] * kernel * v, rtol=1e-8)
        np.testing.assert_allclose(found.sum(0), 1 / 30, rtol=1e-8)
        np.testing.assert_allclose(found.sum(1), 1 / 40, rtol=1e-12)


def test_large_costs_neither_overflow_nor_vanish() -> None:
    """Costs of images are hundreds of nats."""
    cost = 500 + 100 * torch.rand(50, 40, generator=torch.Generator().manual_seed(0))
    f, g = transport.sinkhorn(cost, torch.zeros(50), 20)
    assert f.isfinite().all() and g.isfinite().all() and plan(cost, f, g, 1.0).sum().item() == pytest.approx(1.0, abs=1e-3)


def test_without_iterations_the_coupling_is_the_exact_posterior() -> None:
    """g = 0, and f is minus the log of the mean likelihood of an example over the atoms."""
    method = build(iterations=0)
    method.couple()
    with torch.no_grad():
        log_p = method.likelihood.log_prob(examples()[:, None], method.output(method.atoms))
    assert not method.weights.any()
    torch.testing.assert_close(method.potential, math.log(20) - torch.logsumexp(log_p, dim=1), rtol=1e-4, atol=1e-4)
    torch.manual_seed(1)
    drawn = torch.stack([transport.choose(-log_p[:1], method.weights) for _ in range(4000)])
    frequency = torch.bincount(drawn[:, 0], minlength=20) / 4000
    torch.testing.assert_close(frequency, log_p[0].softmax(0), atol=0.03, rtol=0)


def test_each_atom_has_its_share_of_the_examples() -> None:
    """30 of 600 in expectation; without the constraint some have many and others none."""
    spread = {}
    for iterations in (0, 100):
        method = build(iterations=iterations)
        method.couple()
        spread[iterations] = torch.bincount(method.chosen, minlength=20).float().std().item()
    assert spread[100] < 2 * math.sqrt(30) < spread[0] / 2, spread


def test_potentials_go_on_from_one_coupling_to_the_next() -> None:
    method = build(iterations=1)
    method.couple()
    first = method.potential.clone()
    f, _ = transport.sinkhorn(method.cost(examples(), method.atoms).detach(), first, 1)
    method.couple()
    assert not torch.equal(method.potential, first) and not torch.equal(method.potential, f), "with fresh atoms"


def test_an_example_is_decoded_from_the_atom_that_was_drawn_for_it() -> None:
    method = build()
    method.couple()
    index = torch.tensor([5, 590, 17])
    found = method.loss({"x": examples()[index], "index": index})["loss"]
    wanted = method.cost(examples()[index], method.atoms)[torch.arange(3), method.chosen[index]].mean()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    found.backward()
    assert method.out.weight.grad.abs().sum() > 0 and not method.atoms.requires_grad


def test_codes_of_examples_are_distributed_as_the_atoms() -> None:
    """Also of such as were not trained on: those of the same law."""
    method = build(iterations=100, atoms=200)
    method.couple()
    codes, atoms = method.draw_codes(examples()), method.atoms
    assert (codes.mean(0) - atoms.mean(0)).abs().max() < 0.15 and (codes.std(0) - atoms.std(0)).abs().max() < 0.15


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian", "discretised-logistic"])
def test_pairs_are_likelihoods_of_each_with_each(kind: str) -> None:
    model = likelihood(LikelihoodSpec((5,), 10, likelihood=kind))
    if isinstance(model, Gaussian):
        with torch.no_grad():
            model.log_std.fill_(-0.7)
    x, out = torch.rand(40, 5), torch.randn(30, 5)
    torch.testing.assert_close(pairs(model, x, out), model.log_prob(x[:, None], out), rtol=1e-4, atol=1e-4)
