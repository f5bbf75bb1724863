"""What must hold exactly for spike-and-slab networks: the divergence, the law that is drawn, a linear model's optimum, padding."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from elboard.bench.kinds.curves import CurveFit, CurvesSpec
from elboard.methods.bayesian.spike_slab import SpikeSlabVI

IDENTITIES = {
    "spike-slab-vi": (
        "test_the_divergence_is_that_of_gates_and_slabs",
        "test_drawn_functions_have_the_moments_of_spike_and_slab",
        "test_no_gradient_is_left_at_the_tempered_posterior_of_a_linear_model",
        "test_padding_changes_nothing",
    )
}
FITS = (CurveFit("a", 10, 2), CurveFit("a", 20, 3))


def build(fits: tuple[CurveFit, ...] = FITS, noise: float = 0.5, **options: Any) -> SpikeSlabVI:
    torch.manual_seed(0)
    return SpikeSlabVI(SpikeSlabVI.Config(**options), CurvesSpec((1,), 20, fits=fits, noise=noise))


def scatter(method: SpikeSlabVI) -> None:
    """Other values of all parameters, of padding too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (*method.mean, *method.log_sd, *method.gate):
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))


def test_the_divergence_is_that_of_gates_and_slabs() -> None:
    """By torch's distributions, of 2 (1 + 1) + 2 (2 + 1) + (2 + 1) = 13 weights of the first network and 22 of the second one."""
    method = build(slab_sd=0.7, kept=2.0)
    scatter(method)
    assert [int(sum(own[i].sum() for own in method.own)) for i in (0, 1)] == [13, 22]
    for i, (width, total) in enumerate(((2, 13), (3, 22))):
        expected = 0.0
        for mean, log_sd, gate, own in zip(method.mean, method.log_sd, method.gate, method.own, strict=True):
            slab = kl_divergence(Normal(mean[i], log_sd[i].exp()), Normal(0.0, 0.7))
            phi = gate[i].sigmoid()
            each = kl_divergence(Bernoulli(phi), Bernoulli(torch.full_like(phi, 2.0 * width / total))) + phi * slab
            expected += each[own[i] > 0].sum().item()
        assert method.divergence()[i].item() == pytest.approx(expected, rel=1e-5)


def test_without_spikes_the_divergence_is_that_of_gaussians() -> None:
    method = build(prior="dense")
    scatter(method)
    expected = sum(
        kl_divergence(Normal(mean[0], log_sd[0].exp()), Normal(0.0, 1.0))[own[0] > 0].sum()
        for mean, log_sd, own in zip(method.mean, method.log_sd, method.own, strict=True)
    )
    assert method.divergence()[0].item() == pytest.approx(expected.item(), rel=1e-5)
    assert not any(gate.requires_grad for gate in method.gate)


def test_drawn_functions_have_the_moments_of_spike_and_slab() -> None:
    """Of a linear model f(x) = w x + b: E f and E f^2 by all four supports of (w, b)."""
    method = build(layers=0)
    scatter(method)
    x, draws = torch.tensor([[-1.0, 0.3]] * 2), 20_000
    drawn = method.functions(x, draws).double()
    for i in (0, 1):
        m, s, phi = (of[0][i, :, 0].double() for of in (method.mean, [method.log_sd[0].exp()], [method.gate[0].sigmoid()]))
        for j, at in enumerate(x[i].tolist()):
            row, first, second = torch.tensor([at, 1.0]).double(), 0.0, 0.0
            for support in itertools.product((0.0, 1.0), repeat=2):
                open_ = torch.tensor(support).double()
                p = (phi * open_ + (1 - phi) * (1 - open_)).prod()
                mean, variance = (row * open_ * m).sum(), (row * open_ * s).square().sum()
                first, second = first + p * mean, second + p * (mean**2 + variance)
            f = drawn[:, i, j]
            assert abs(f.mean() - first) < 5 * f.std() / math.sqrt(draws)
            assert abs(f.square().mean() - second) < 5 * f.square().std() / math.sqrt(draws)


def test_no_gradient_is_left_at_the_tempered_posterior_of_a_linear_model() -> None:
    """Dense and without hidden layers: the tempered posterior is Gaussian, and the best factors have its mean and the diagonal of its
    precision. The mean of many gradients, each by one draw, is within five of its standard errors of 0 there, and not elsewhere."""
    generator = torch.Generator().manual_seed(3)
    x, noise, alpha, prior = 2 * torch.rand(20, generator=generator) - 1, 0.5, 0.6, 1.3
    y = 0.8 * x - 0.3 + noise * torch.randn(20, generator=generator)
    method = build((CurveFit("a", 20, 1),), noise, prior="dense", layers=0, tempering=alpha, slab_sd=prior, anneal=0.0)
    rows = torch.stack([x, torch.ones(20)])
    precision = alpha / noise**2 * rows @ rows.T + torch.eye(2) / prior**2
    batch = {"x": x[None], "y": y[None]}

    def largest(scale: float) -> float:
        """The mean gradient in units of its standard error, with the precision times ``scale``."""
        with torch.no_grad():
            method.mean[0][0, :, 0] = torch.linalg.solve(precision, alpha / noise**2 * rows @ y)
            method.log_sd[0][0, :, 0] = -0.5 * (scale * precision.diagonal()).log()
        found = []
        for _ in range(1000):
            gradients = torch.autograd.grad(method.loss(batch)["loss"], [method.mean[0], method.log_sd[0]])
            found.append(torch.cat([each.flatten() for each in gradients]))
        drawn = torch.stack(found)
        return float((drawn.mean(0) / (drawn.std(0) / math.sqrt(len(drawn)))).abs().max())

    assert largest(1.0) < 5 < largest(1.5)


def test_padding_changes_nothing() -> None:
    """A network beside a wider one is the one that it is alone."""
    method = build(prior="dense")
    scatter(method)
    alone = build(FITS[:1], prior="dense")
    with torch.no_grad():
        for name in ("mean", "log_sd"):
            for wide, narrow in zip(getattr(method, name), getattr(alone, name), strict=True):
                rows = [*range(narrow.shape[1] - 1), wide.shape[1] - 1]
                narrow.copy_(wide[:1, rows][:, :, : narrow.shape[2]])
                if name == "log_sd":
                    wide.fill_(-60.0)
                    narrow.fill_(-60.0)
    x = torch.linspace(-1, 1, 7)
    torch.testing.assert_close(method.functions(x.expand(2, -1), 1)[0, 0], alone.functions(x[None], 1)[0, 0])


def test_what_enters_units_has_the_moments_of_spike_and_slab() -> None:
    """In training, of a linear model, where that is the function: means and variances by hand, of weights in closed form."""
    method = build(layers=0)
    scatter(method)
    m, s, phi = method.mean[0].detach(), method.log_sd[0].detach().exp(), method.gate[0].detach().sigmoid()
    ((mean, variance),) = method.moments()
    torch.testing.assert_close(mean.detach(), phi * m)
    torch.testing.assert_close(variance.detach(), phi * (m.square() + s.square()) - (phi * m).square())
    x, draws = torch.tensor([[-1.0, 0.3]] * 2), 20_000
    drawn = torch.stack([method.locally(x).detach() for _ in range(draws)]).double()
    wanted = torch.stack([torch.ones(2), x[0].square()]).flip(0)  # of w and of b
    exact = torch.einsum("rn,fr->fn", torch.stack([x[0], torch.ones(2)]), mean[..., 0].detach()).double()
    assert (drawn.mean(0) - exact).abs().max() < 5 * drawn.std(0).max() / math.sqrt(draws)
    spread = torch.einsum("rn,fr->fn", wanted, variance[..., 0].detach()).double()
    assert ((drawn.var(0) / spread) - 1).abs().max() < 0.06


def test_the_divergence_comes_in_by_and_by() -> None:
    method, batch = build(), {"x": torch.zeros(2, 4), "y": torch.zeros(2, 4)}
    found = []
    for progress in (0.0, 0.15, 0.3, 1.0):
        method.progress = progress
        torch.manual_seed(2)
        found.append(method.loss(batch)["loss"].item())
    whole = (method.divergence() / torch.tensor([10.0, 20.0])).sum().item()
    assert [value - found[0] for value in found] == pytest.approx([0, whole / 2, whole, whole], rel=1e-4)


def test_first_kinks_are_in_the_interval() -> None:
    method = build((CurveFit("a", 10, 200),))
    weight, bias = method.mean[0].detach()[0]
    kinks = -bias / weight
    assert kinks.abs().max() <= 1 and abs(kinks.mean()) < 0.15 and kinks.square().mean().item() == pytest.approx(1 / 3, abs=0.1)
