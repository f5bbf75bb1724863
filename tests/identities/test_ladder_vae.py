"""What must hold exactly for the autoencoder with two stochastic layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch.distributions import Normal, kl_divergence

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.vae.ladder_vae import LadderVAE, merge
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "ladder-vae": (
        "test_the_merge_is_the_product_of_densities",
        "test_a_linear_ladder_with_the_exact_posterior_reaches_the_evidence",
        "test_weights_over_both_layers_are_the_ratio_of_the_joint_densities",
        "test_a_lower_layer_that_the_encoder_does_not_correct_costs_nothing",
    ),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
SMALL = {"hidden": [8], "hidden_upper": [6], "latent_dim": 2, "lower_dim": 3}


def build(**options: object) -> LadderVAE:
    torch.manual_seed(0)
    return LadderVAE(LadderVAE.Config(**{**SMALL, **options}), SPEC)


def images(n: int = 7) -> torch.Tensor:
    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def test_the_merge_is_the_product_of_densities() -> None:
    """Up to a constant, whatever the point; and as the paper writes it."""
    q, p = Gaussian(torch.randn(5, 3), 2 * torch.randn(5, 3)), Gaussian(torch.randn(5, 3), 2 * torch.randn(5, 3))
    merged = merge(q, p)
    precision = torch.exp(-q.logvar) + torch.exp(-p.logvar)
    torch.testing.assert_close(merged.logvar, -precision.log())
    torch.testing.assert_close(merged.mean, (q.mean * torch.exp(-q.logvar) + p.mean * torch.exp(-p.logvar)) / precision)

    def log_density(of: Gaussian, z: torch.Tensor) -> torch.Tensor:
        return Normal(of.mean.double(), torch.exp(0.5 * of.logvar.double())).log_prob(z).sum(1)

    left = [log_density(q, z) + log_density(p, z) - log_density(merged, z) for z in torch.randn(4, 5, 3).double()]
    for one in left[1:]:
        torch.testing.assert_close(one, left[0], atol=1e-3, rtol=1e-4)


def exact() -> tuple[LadderVAE, torch.Tensor, np.ndarray]:
    """A linear ladder whose posterior is exact, points, and their log evidence.

    x = W z_1 + b + sigma e, z_1 = A z_2 + c + s e. W and A have orthogonal columns, so that both posteriors are diagonal: z_1 given z_2 and
    x is the merge of p(z_1|z_2) with the likelihood, of precision |w_j|^2 / sigma^2 and mean w_j (x - b) / |w_j|^2.
    """
    torch.manual_seed(0)
    d, upper, lower, sigma, s = 6, 2, 3, 0.7, 0.4
    spec = LikelihoodSpec((d,), 100, likelihood="gaussian")
    method = LadderVAE(LadderVAE.Config(hidden=[], hidden_upper=[], latent_dim=upper, lower_dim=lower), spec).double()
    w = torch.linalg.qr(torch.randn(d, lower, dtype=torch.float64))[0] * 1.3
    a = torch.linalg.qr(torch.randn(lower, upper, dtype=torch.float64))[0] * 0.9
    b, c = torch.randn(d, dtype=torch.float64), torch.randn(lower, dtype=torch.float64)
    noise = s**2 + sigma**2 / 1.3**2  # of W^T (x - b) / |w|^2 about A z_2 + c
    gain = a.T / (0.9**2 + noise)  # of z_2 by that

    def put(layer: torch.nn.Linear, weight: torch.Tensor, bias: torch.Tensor, variance: float) -> None:
        layer.weight.copy_(torch.cat([weight, torch.zeros_like(weight)]))
        layer.bias.copy_(torch.cat([bias, torch.full_like(bias, math.log(variance))]))

    with torch.no_grad():
        method.out.weight.copy_(w)
        method.out.bias.copy_(b)
        method.likelihood.log_std.fill_(math.log(sigma))
        put(method.conditional[-1], a, c, s**2)
        put(method.lower, w.T / 1.3**2, -w.T @ b / 1.3**2, sigma**2 / 1.3**2)
        put(method.posterior[-1], gain @ w.T / 1.3**2, -gain @ (w.T @ b / 1.3**2 + c), noise / (0.9**2 + noise))
    covariance = w @ (a @ a.T + s**2 * torch.eye(lower)) @ w.T + sigma**2 * torch.eye(d)
    law = multivariate_normal((w @ c + b).numpy(), covariance.numpy())
    x = torch.from_numpy(law.rvs(50, random_state=1))
    return method, x, law.logpdf(x.numpy())


def test_a_linear_ladder_with_the_exact_posterior_reaches_the_evidence() -> None:
    """Every weight over both layers is then the evidence itself, for any number of samples; the bound reaches it on average."""
    method, x, evidence = exact()
    with torch.no_grad():
        for k in (1, 5):
            np.testing.assert_allclose(method.log_weights(x, k), np.repeat(evidence[:, None], k, 1), atol=1e-4)
            np.testing.assert_allclose(method.log_evidence(x, k), evidence, atol=1e-4)
        bounds = torch.stack([method.elbo(x)["elbo"].mean() for _ in range(400)])
    assert bounds.mean().item() == pytest.approx(evidence.mean(), abs=5 * bounds.std().item() / 20)
    method.config.merge = False
    assert method.log_weights(x, 1).mean().item() < evidence.mean() - 0.1, "the encoder alone is not the posterior"


def test_weights_over_both_layers_are_the_ratio_of_the_joint_densities() -> None:
    method, x, k = build(), images(), 4
    with torch.no_grad():
        torch.manual_seed(3)
        found = method.log_weights(x, k)
        torch.manual_seed(3)
        (upper, top), (q, p, draw) = method.layers(x, k)
        z_2, z_1 = top.z.flatten(0, 1), draw.z
        rows = x.flatten(1).repeat_interleave(k, 0)
        log_p = torch.distributions.Bernoulli(logits=method.output(z_1)).log_prob(rows).sum(1)
        log_p = log_p + Normal(p.mean, torch.exp(0.5 * p.logvar)).log_prob(z_1).sum(1) + Normal(0, 1).log_prob(z_2).sum(1)
        mean, logvar = (value.repeat_interleave(k, 0) for value in (upper.mean, upper.logvar))
        log_q = Normal(mean, torch.exp(0.5 * logvar)).log_prob(z_2).sum(1)
        log_q = log_q + Normal(q.mean, torch.exp(0.5 * q.logvar)).log_prob(z_1).sum(1)
    torch.testing.assert_close(found, (log_p - log_q).view(7, k), atol=1e-4, rtol=1e-4)


def test_the_bound_is_the_mean_weight() -> None:
    method, x = build(), images(300)
    with torch.no_grad():
        terms = [method.elbo(x) for _ in range(100)]
        bounds, weights = torch.stack([one["elbo"] for one in terms]), torch.cat([method.log_weights(x, 20) for _ in range(5)], 1)
        assert method.log_evidence(x, 50).mean() > bounds.mean()
    error = (bounds.mean(1).var() / 100 + weights.mean(0).var() / 100).sqrt().item()
    assert bounds.mean().item() == pytest.approx(weights.mean().item(), abs=5 * error)
    for one in terms:
        torch.testing.assert_close(one["elbo"], -one["reconstruction"] - one["kl"])
        assert (one["kl"] >= one["kl_upper"]).all()


def test_a_lower_layer_that_the_encoder_does_not_correct_costs_nothing() -> None:
    """Of an encoder without precision the merge is the prior; with a lower layer that hardly varies the bound is then that of the VAE
    whose decoder goes through the mean of z_1, under the same noise."""
    method, plain = build(), VAE(VAE.Config(hidden=[8], latent_dim=2), SPEC)
    with torch.no_grad():
        method.lower.weight.zero_()
        method.lower.bias.fill_(12.0)
        method.conditional[-1].weight[3:] = 0
        method.conditional[-1].bias[3:] = -12.0
        x = images()
        torch.manual_seed(2)
        found = method.elbo(x)
        torch.testing.assert_close(found["kl"], found["kl_upper"], atol=1e-4, rtol=0)
        plain.encoder = method.encoder
        plain.posterior = method.posterior
        plain.output = lambda z: method.output(method.conditional(z).mean)
        torch.manual_seed(2)
        torch.testing.assert_close(found["elbo"], plain.elbo(x)["elbo"], atol=0.1, rtol=0)


def test_the_divergence_of_two_gaussians_is_torchs() -> None:
    values = [torch.randn(5, 4) for _ in range(4)]
    laws = [Normal(mean, torch.exp(0.5 * logvar)) for mean, logvar in (values[:2], values[2:])]
    torch.testing.assert_close(kl_diagonal(*values), kl_divergence(*laws).sum(1))


def test_the_warm_up_weights_both_divergences() -> None:
    method = build(kl_warmup=0.5)
    for progress, beta in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        method.progress = progress
        torch.manual_seed(4)
        out = method.loss({"x": images()})
        reconstruction = -out["elbo"] - out["kl"]
        assert out["loss"].item() == pytest.approx((reconstruction + beta * out["kl"]).item(), abs=1e-4)


def test_samples_go_down_both_layers() -> None:
    sample = build().sample(5)
    assert sample.shape == (5, 1, 4, 4) and sample.min() >= 0 and sample.max() <= 1
