"""What must hold exactly for regularisers of the aggregate posterior and their baselines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from elboard.bench.errors import UserError
from elboard.bench.kinds.collapse import BetaSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.vae.bn_vae import BNVAE
from elboard.methods.vae.dg_vae import DGVAE, density_gap
from elboard.methods.vae.free_bits import FreeBits
from elboard.methods.vae.vae_grid import VAEGrid

IDENTITIES = {
    "dg-vae": (
        "test_chunks_of_one_give_the_divergence_of_each_posterior",
        "test_the_gap_is_the_divergence_of_the_chunks_marginals",
        "test_a_chunk_of_alike_posteriors_is_one_posterior",
    ),
    "free-bits": ("test_without_free_bits_it_is_the_vae", "test_free_units_have_no_gradient"),
    "bn-vae": ("test_batch_norm_keeps_the_divergence_up",),
}
BETAS = (0.5, 2.0)
SPEC = BetaSpec((1, 4, 4), 12, likelihood="bernoulli", betas=BETAS)
X = (torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def made(cls: type, **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(cls.Config(hidden=[8], latent_dim=3, **options), SPEC)


def posteriors(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, n, 3, generator=generator).double(), (0.5 * torch.randn(2, n, 3, generator=generator) - 1).double()


def drawn(mean: torch.Tensor, logvar: torch.Tensor, samples: int) -> torch.Tensor:
    torch.manual_seed(4)
    return mean + torch.randn(samples, *mean.shape, dtype=mean.dtype) * (0.5 * logvar).exp()


def within(samples: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether means over the first axis agree within 4 standard errors."""
    return bool(((samples.mean(0) - expected).abs() < 4 * samples.std(0) / math.sqrt(len(samples))).all())


def test_chunks_of_one_give_the_divergence_of_each_posterior() -> None:
    """Sample by sample the Monte Carlo estimate of the KL."""
    mean, logvar = posteriors()
    z = drawn(mean, logvar, 2000)
    log_q = norm.logpdf(z.numpy(), mean.numpy(), np.exp(0.5 * logvar.numpy()))
    each = (log_q - norm.logpdf(z.numpy())).sum(-1).mean(2)
    np.testing.assert_allclose(density_gap(z, mean, logvar, 1).numpy(), each.mean(0), rtol=1e-9)
    assert within(torch.from_numpy(each), kl_to_standard_normal(mean, logvar).mean(1))


def test_the_gap_is_the_divergence_of_the_chunks_marginals() -> None:
    """By quadrature, dimension by dimension, mean over two chunks of three."""
    mean, logvar = posteriors()
    expected = torch.zeros(2, dtype=torch.float64)
    for g in range(2):
        for chunk in (slice(0, 3), slice(3, 6)):
            for d in range(3):
                m, s = mean[g, chunk, d].numpy(), np.exp(0.5 * logvar[g, chunk, d].numpy())

                def integrand(z: float, m: np.ndarray = m, s: np.ndarray = s) -> float:
                    q = norm.pdf(z, m, s).mean()
                    return q * (np.log(max(q, 1e-300)) - norm.logpdf(z))

                expected[g] += quad(integrand, -12, 12, limit=400)[0] / 2
    samples = torch.stack([density_gap(z[None], mean, logvar, 3) for z in drawn(mean, logvar, 3000)])
    assert within(samples, expected)


def test_a_chunk_of_alike_posteriors_is_one_posterior() -> None:
    mean, logvar = (part[:, :1].expand(2, 6, 3) for part in posteriors())
    z = drawn(mean, logvar, 5)
    torch.testing.assert_close(density_gap(z, mean, logvar, 6), density_gap(z, mean, logvar, 1))


def test_far_posteriors_pay_less_by_the_logarithm_of_their_number() -> None:
    """In each dimension in which they are far from each other; in the logarithm of densities that underflow."""
    mean, logvar = posteriors()
    mean = mean + 100 * torch.arange(6)[None, :, None]
    z = drawn(mean, logvar, 5)
    gap = density_gap(z, mean, logvar, 1) - density_gap(z, mean, logvar, 6)
    torch.testing.assert_close(gap, torch.full((2,), 3 * math.log(6), dtype=torch.float64), rtol=1e-6, atol=0)


def test_chunks_that_do_not_divide_the_batch() -> None:
    mean, logvar = posteriors(7)
    z = drawn(mean, logvar, 3)
    torch.testing.assert_close(density_gap(z, mean, logvar, 3), density_gap(z[:, :, :6], mean[:, :6], logvar[:, :6], 3))
    torch.testing.assert_close(
        density_gap(z, mean, logvar, 50), density_gap(z, mean, logvar, 7), msg="a batch that is too small is one chunk"
    )


def test_the_gradient_goes_through_the_aggregate_and_the_weight_rises() -> None:
    """With z held, a posterior's mean still moves the aggregate; at the beginning there is no regulariser."""
    mean, logvar = posteriors()
    z, leaf = drawn(mean, logvar, 3), mean.clone().requires_grad_()
    density_gap(z, leaf, logvar, 3).sum().backward()
    assert leaf.grad.abs().min() > 0
    method = made(DGVAE, aggregate=4, samples=2)
    torch.manual_seed(3)
    start = method.loss({"x": X})
    assert start["loss"].item() == pytest.approx(-2 * (start["elbo"] + start["kl"]).item(), rel=1e-5)
    method.progress = 0.1
    torch.manual_seed(3)
    assert method.loss({"x": X})["loss"].item() != pytest.approx(start["loss"].item(), rel=1e-4)


def test_without_free_bits_it_is_the_vae() -> None:
    found = []
    for method in (made(FreeBits, free=0.0), made(VAEGrid)):
        torch.manual_seed(3)
        found.append(method.loss({"x": X})["loss"].item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_free_units_have_no_gradient() -> None:
    """With all units below the floor the objective is the reconstruction and a constant."""
    method = made(FreeBits, free=300.0)
    torch.manual_seed(3)
    out = method.loss({"x": X})
    assert out["loss"].item() == pytest.approx(sum(BETAS) * 300 - 2 * (out["elbo"] + out["kl"]).item(), rel=1e-5)


def test_batch_norm_keeps_the_divergence_up() -> None:
    """At least gamma^2 / 2 a unit, over the batch; the variance of the means is gamma^2 exactly."""
    method = made(BNVAE, gamma=0.7)
    mean, logvar = method.posteriors(X)
    torch.testing.assert_close(mean.var(1, correction=0), torch.full((2, 3), 0.49), atol=1e-3, rtol=0)
    assert (kl_to_standard_normal(mean, logvar).mean(1) > 3 * 0.49 / 2 - 1e-3).all()
    method.eval()
    mean, _ = method.posteriors(X[:1])
    assert torch.isfinite(mean).all(), "running means, of one example too"


def test_a_chunk_has_at_least_one_example() -> None:
    with pytest.raises(UserError, match="aggregate=0"):
        made(DGVAE, aggregate=0)
