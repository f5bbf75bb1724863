"""What must hold exactly for variational autoencoders and probabilistic PCA."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch.distributions import Normal, kl_divergence

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian
from elboard.methods.vae.base import GaussianVAE
from elboard.methods.vae.infovae import InfoVAE, mmd2
from elboard.methods.vae.iwae import IWAE
from elboard.methods.vae.ppca import PPCA
from elboard.methods.vae.vae import VAE
from elboard.methods.vae.vae_k import VAEk

IDENTITIES = {
    "vae": (
        "test_vae_with_beta_one_descends_the_elbo_and_with_beta_zero_is_an_autoencoder",
        "test_a_linear_vae_at_the_optimum_reaches_the_evidence",
    ),
    "vae-k": ("test_vae_on_k_samples_is_the_mean_of_the_log_weights_and_with_one_sample_iwae",),
    "iwae": ("test_iwae_with_one_sample_is_the_elbo_estimator", "test_the_gradient_of_the_bound_is_the_weighted_one"),
    "infovae": ("test_infovae_with_alpha_zero_and_lambda_one_is_the_vae", "test_infovae_weights_of_its_terms"),
    "ppca": ("test_ppca_evidence_is_scipys", "test_ppca_is_the_maximum_of_the_likelihood"),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")


def build(cls: type, spec: DataSpec = SPEC, **options: object) -> GaussianVAE:
    torch.manual_seed(0)
    return cls(cls.Config(**({"hidden": [8], "latent_dim": 3} | options)), spec)


def batch(n: int = 7) -> dict[str, torch.Tensor]:
    return {"x": (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()}


def same_noise(function, *args):
    torch.manual_seed(5)
    return function(*args)


def test_iwae_with_one_sample_is_the_elbo_estimator() -> None:
    """L_1 = log p(x, z) - log q(z|x) for the same z, and its mean is the elbo that is reported."""
    method = build(IWAE, k=1)
    out = same_noise(method.loss, batch())
    assert out["loss"].item() == pytest.approx(-out["elbo"].item(), abs=1e-6)
    mean, logvar = method.encode(batch()["x"])
    torch.manual_seed(5)
    z = mean + torch.randn(7, 1, 3)[:, 0] * torch.exp(0.5 * logvar)
    log_p = method.likelihood.log_prob(batch()["x"].flatten(1), method.output(z)) + Normal(0, 1).log_prob(z).sum(1)
    log_q = Normal(mean, torch.exp(0.5 * logvar)).log_prob(z).sum(1)
    assert out["elbo"].item() == pytest.approx((log_p - log_q).mean().item(), abs=1e-4)


def test_vae_on_k_samples_is_the_mean_of_the_log_weights_and_with_one_sample_iwae() -> None:
    """Under the same noise, by Jensen's inequality, its bound is below that of IWAE."""
    for k in (1, 6):
        mean, weighted = (same_noise(build(cls, k=k).loss, batch()) for cls in (VAEk, IWAE))
        assert mean["elbo"].item() == -mean["loss"].item() == pytest.approx(weighted["elbo"].item(), abs=1e-6)
        if k == 1:
            assert mean["loss"].item() == pytest.approx(weighted["loss"].item(), abs=1e-6)
        else:
            assert mean["loss"].item() > weighted["loss"].item() + 1e-3


def test_more_samples_lower_the_variance_of_the_gradient_and_not_its_mean() -> None:
    """Whose mean is that of the VAE: against the closed form of the KL, over many draws of the noise."""

    def gradients(method: GaussianVAE, draws: int) -> torch.Tensor:
        torch.manual_seed(3)
        found = [torch.autograd.grad(method.loss(batch())["loss"], method.posterior.weight)[0].flatten() for _ in range(draws)]
        return torch.stack(found)

    plain, one, many = gradients(build(VAE), 1500), gradients(build(VAEk, k=1), 1500), gradients(build(VAEk, k=16), 300)
    error = (plain.var(0) / 1500 + many.var(0) / 300).sqrt()
    assert ((plain.mean(0) - many.mean(0)).abs() < 5 * error).all()
    assert (one.var(0).sum() / many.var(0).sum()).item() == pytest.approx(16, rel=0.3)


def test_vae_with_beta_one_descends_the_elbo_and_with_beta_zero_is_an_autoencoder() -> None:
    method = build(VAE)
    out, terms = same_noise(method.loss, batch()), same_noise(method.elbo, batch()["x"])
    assert out["loss"].item() == -out["elbo"].item() == pytest.approx(-terms["elbo"].mean().item(), abs=1e-6)
    plain = build(VAE, beta=0.0)
    assert same_noise(plain.loss, batch())["loss"].item() == pytest.approx(terms["reconstruction"].mean().item(), abs=1e-6)


def test_kl_warmup_goes_from_zero_to_one() -> None:
    method = build(VAE, kl_warmup=0.5)
    terms = {name: value.mean().item() for name, value in same_noise(method.elbo, batch()["x"]).items()}
    for progress, beta in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)):
        method.progress = progress
        expected = terms["reconstruction"] + beta * terms["kl"]
        assert same_noise(method.loss, batch())["loss"].item() == pytest.approx(expected, abs=1e-5)


def test_the_gradient_of_the_bound_is_the_weighted_one() -> None:
    """Burda et al. 2016, eq. 14: weights are the normalised importance weights."""
    method = build(IWAE, k=4)
    same_noise(method.loss, batch())["loss"].backward()
    found = method.out.weight.grad.clone()
    method.zero_grad()
    log_w = same_noise(method.log_weights, batch()["x"], 4)
    (-(log_w.softmax(1).detach() * log_w).sum(1).mean()).backward()
    torch.testing.assert_close(method.out.weight.grad, found)


def test_bounds_rise_with_k_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(VAE)
    x = batch(200)["x"]
    torch.manual_seed(0)
    with torch.no_grad():
        bounds = [torch.stack([method.log_evidence(x, k).mean() for _ in range(30)]).mean().item() for k in (1, 5, 50)]
        assert bounds[0] < bounds[1] < bounds[2]
        log_w = same_noise(method.log_weights, x, 6)
        np.testing.assert_allclose(logsumexp(log_w.double(), 1) - np.log(6), same_noise(method.log_evidence, x, 6), atol=1e-4)
        monkeypatch.setattr("elboard.methods.vae.base.ROWS", 400)
        chunked = same_noise(lambda: torch.cat([method.log_weights(x, 2) for _ in range(3)], 1))
        np.testing.assert_allclose(logsumexp(chunked.double(), 1) - np.log(6), same_noise(method.log_evidence, x, 6), atol=1e-4)


def test_infovae_with_alpha_zero_and_lambda_one_is_the_vae() -> None:
    method = build(InfoVAE, alpha=0.0, lambda_=1.0)
    assert same_noise(method.loss, batch())["loss"].item() == same_noise(build(VAE).loss, batch())["loss"].item()


def test_infovae_weights_of_its_terms() -> None:
    method = build(InfoVAE, alpha=0.3, lambda_=20.0)
    out = same_noise(method.loss, batch())
    reconstruction = -out["elbo"] - out["kl"]
    expected = reconstruction + 0.7 * out["kl"] + 19.3 * out["mmd2"]
    assert out["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_mmd_by_brute_force() -> None:
    a, b = torch.randn(5, 3), torch.randn(6, 3)

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return math.exp(-((x - y) ** 2).sum().item() / 3)

    def mean(x: torch.Tensor, y: torch.Tensor) -> float:
        return float(np.mean([k(i, j) for i in x for j in y]))

    assert mmd2(a, b).item() == pytest.approx(mean(a, a) + mean(b, b) - 2 * mean(a, b), abs=1e-6)
    assert mmd2(a, a).item() == pytest.approx(0.0, abs=1e-6)


def test_kl_is_torchs() -> None:
    mean, logvar = torch.randn(5, 4), torch.randn(5, 4)
    expected = kl_divergence(Normal(mean, torch.exp(0.5 * logvar)), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, logvar), expected)


def test_bernoulli_is_torchs() -> None:
    x, out = batch()["x"].flatten(1), torch.randn(7, 16) * 5
    expected = -F.binary_cross_entropy_with_logits(out, x, reduction="none").sum(1)
    torch.testing.assert_close(Bernoulli().log_prob(x, out), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("levels", "log_scale", "out"), [(17, -2.0, 0.3), (256, -6.0, -4.0), (256, 1.0, 9.0), (2, -1.0, 0.0)])
def test_masses_of_the_levels_sum_to_one(levels: int, log_scale: float, out: float) -> None:
    likelihood = DiscretisedLogistic(1, levels)
    with torch.no_grad():
        likelihood.log_scale.fill_(log_scale)
        x = torch.arange(levels)[:, None] / (levels - 1)
        masses = likelihood.log_prob(x, torch.full((levels, 1), out)).exp()
    assert masses.sum().item() == pytest.approx(1.0, abs=1e-4)


def test_discretised_logistic_is_a_difference_of_distribution_functions() -> None:
    likelihood, level = DiscretisedLogistic(1, 256).double(), 100
    edges = (torch.tensor([level - 0.5, level + 0.5]).double() / 255 - 0.4) * math.exp(2.0)
    expected = math.log(float(edges[1].sigmoid() - edges[0].sigmoid()))
    out = torch.tensor([[0.4]]).double().logit()
    assert likelihood.log_prob(torch.tensor([[level / 255]]).double(), out).item() == pytest.approx(expected, abs=1e-6)


def test_gaussian_is_torchs() -> None:
    likelihood = Gaussian()
    with torch.no_grad():
        likelihood.log_std.fill_(-0.7)
    x, out = torch.randn(5, 6), torch.randn(5, 6)
    expected = Normal(out, math.exp(-0.7)).log_prob(x).sum(1)
    torch.testing.assert_close(likelihood.log_prob(x, out), expected)


def test_samples_and_codes_have_the_shape_and_range_of_the_data() -> None:
    for likelihood in ("bernoulli", "discretised-logistic"):
        method = build(VAE, LikelihoodSpec((1, 4, 4), 100, likelihood=likelihood, levels=17))
        sample = method.sample(5)
        assert sample.shape == (5, 1, 4, 4) and sample.min() >= 0 and sample.max() <= 1
        assert method.decode(method.encode(batch()["x"])[0]).shape == (7, 1, 4, 4)


def test_the_bias_starts_at_the_mean_pixel() -> None:
    x = torch.rand(50, 1, 4, 4)
    method = build(VAE)
    method.prepare(Data(SPEC, {"x": x}))
    with torch.no_grad():
        method.out.weight.zero_()
    torch.testing.assert_close(method.decode(torch.randn(1, 3))[0], x.mean(0))


# --- probabilistic PCA: exact evidence ------------------------------------------------------------


def linear_data(n: int = 400, d: int = 6, q: int = 2) -> tuple[torch.Tensor, PPCA]:
    torch.manual_seed(0)
    x = torch.randn(n, q) @ torch.randn(q, d) * 1.5 + 0.3 * torch.randn(n, d) + torch.arange(d)
    method = PPCA(PPCA.Config(latent_dim=q), LikelihoodSpec((d,), n, likelihood="gaussian"))
    method.fit(Data(method.spec, {"x": x}), None)
    return x, method


def test_ppca_evidence_is_scipys() -> None:
    x, method = linear_data()
    covariance = (method.w @ method.w.T + method.variance * torch.eye(6)).numpy()
    expected = multivariate_normal(method.mu.numpy(), covariance).logpdf(x.numpy())
    np.testing.assert_allclose(method.log_evidence(x, 3), expected, atol=1e-4)
    np.testing.assert_allclose(method.elbo(x)["elbo"], expected, atol=1e-4)


def test_ppca_is_the_maximum_of_the_likelihood() -> None:
    x, method = linear_data()
    best = method.log_evidence(x, 1).mean().item()
    for name in ("mu", "w", "variance"):
        for change in (0.99, 1.01):
            old = getattr(method, name).clone()
            getattr(method, name).mul_(change)
            assert method.log_evidence(x, 1).mean().item() < best
            getattr(method, name).copy_(old)


def as_linear_vae(ppca: PPCA) -> VAE:
    """The linear VAE whose decoder is the PPCA model and whose encoder is its exact posterior."""
    d, q = ppca.w.shape
    vae = VAE(VAE.Config(hidden=[], latent_dim=q), ppca.spec)
    m = (ppca.w**2).sum(0) + ppca.variance
    with torch.no_grad():
        vae.out.weight.copy_(ppca.w)
        vae.out.bias.copy_(ppca.mu)
        vae.likelihood.log_std.copy_(0.5 * torch.log(ppca.variance))
        gain = (ppca.w / m).T
        vae.posterior.weight.copy_(torch.cat([gain, torch.zeros(q, d)]))
        vae.posterior.bias.copy_(torch.cat([-gain @ ppca.mu, torch.log(ppca.variance / m)]))
    return vae


def test_a_linear_vae_at_the_optimum_reaches_the_evidence() -> None:
    x, ppca = linear_data()
    vae = as_linear_vae(ppca)
    evidence = ppca.log_evidence(x, 1)
    with torch.no_grad():
        for k in (1, 7):  # with the exact posterior every importance weight is the evidence
            torch.testing.assert_close(vae.log_evidence(x, k), evidence, atol=2e-3, rtol=1e-4)
        elbo = torch.stack([vae.elbo(x)["elbo"].mean() for _ in range(200)]).mean().item()
    assert elbo == pytest.approx(evidence.mean().item(), abs=0.02)
    gradient = torch.autograd.grad(-torch.stack([vae.elbo(x)["elbo"].mean() for _ in range(200)]).mean(), vae.posterior.bias)[0]
    assert gradient.abs().max().item() < 0.02, "the exact posterior is the optimum of the bound"


def test_ppca_on_grey_levels_is_a_bound_below_one() -> None:
    """Masses of all levels of one pixel, by quadrature over the dequantisation noise, sum to the share of the density inside [0, 1]."""
    spec = LikelihoodSpec((2,), 500, likelihood="discretised-logistic", levels=5)
    torch.manual_seed(0)
    x = torch.randint(0, 5, (500, 2)) / 4
    method = PPCA(PPCA.Config(latent_dim=1), spec)
    method.fit(Data(spec, {"x": x}), None)
    grid = torch.cartesian_prod(torch.arange(5), torch.arange(5)) / 4
    masses = method.log_evidence(grid, 4000).exp().sum().item()
    covariance = (method.w @ method.w.T + method.variance * torch.eye(2)).numpy()
    inside = multivariate_normal(method.mu.numpy(), covariance).cdf([1, 1], lower_limit=[0, 0])
    assert masses == pytest.approx(inside, abs=0.01)
    bound = torch.stack([method.elbo(grid)["elbo"].mean() for _ in range(200)]).mean()
    assert bound < method.log_evidence(grid, 500).mean()
