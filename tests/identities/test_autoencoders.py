"""What must hold exactly for deterministic autoencoders, learned priors, mixtures and flows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.parts.mixtures import GaussianMixture
from elboard.methods.vae.autoencoder import Autoencoder
from elboard.methods.vae.gaussian_mixture import Mixture
from elboard.methods.vae.rae_l2 import RAE
from elboard.methods.vae.real_nvp import RealNVP
from elboard.methods.vae.trained import Trained
from elboard.methods.vae.vae import VAE
from elboard.methods.vae.vamp_prior import VampPrior
from elboard.methods.vae.wae_gan import WAEGAN
from elboard.methods.vae.wae_mmd import SCALES, WAE, discrepancy

IDENTITIES = {
    "autoencoder": (
        "test_penalties_of_no_weight_leave_the_autoencoder",
        "test_the_distortion_of_real_vectors_is_half_the_squared_error",
        "test_codes_have_the_law_that_is_fitted_to_them",
    ),
    "rae-l2": ("test_penalties_of_no_weight_leave_the_autoencoder", "test_the_penalties_of_the_regularised_autoencoder"),
    "wae-mmd": ("test_the_discrepancy_by_brute_force", "test_the_discrepancy_of_equal_laws_is_zero_in_expectation"),
    "wae-gan": (
        "test_without_a_penalty_the_adversarial_autoencoder_is_an_autoencoder",
        "test_a_discriminator_that_knows_gives_the_gradient_of_the_divergence",
    ),
    "vamp-prior": ("test_the_learned_prior_is_the_mixture_of_posteriors", "test_one_pseudo_input_at_the_standard_posterior_is_the_vae"),
    "gaussian-mixture": ("test_the_density_of_a_mixture_is_scipys", "test_one_component_is_the_normal_law_of_the_moments"),
    "real-nvp": (
        "test_the_flow_is_inverted_and_its_determinant_is_the_jacobians",
        "test_an_untrained_flow_is_the_normal_law_of_the_moments",
    ),
    "trained": ("test_a_trained_generator_gives_the_samples_of_its_model",),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
REAL = LikelihoodSpec((3,), 100, likelihood="gaussian")
SMALL = {"hidden": [8], "latent_dim": 3}


def build(cls: type, spec: LikelihoodSpec = SPEC, **options: object):
    torch.manual_seed(0)
    return cls(cls.Config(**options), spec)


def images(n: int = 7) -> torch.Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_penalties_of_no_weight_leave_the_autoencoder() -> None:
    plain, penalised = build(Autoencoder, **SMALL), build(RAE, **SMALL, beta=0.0, weight=0.0)
    assert plain.loss({"x": images()})["loss"].item() == penalised.loss({"x": images()})["loss"].item()


def test_the_penalties_of_the_regularised_autoencoder() -> None:
    method = build(RAE, **SMALL, beta=0.5, weight=0.1)
    out, z = method.loss({"x": images()}), method.code(images())
    weights = torch.cat([p.flatten() for part in (method.decoder, method.out) for p in part.parameters()])
    expected = out["distortion"] + 0.25 * (z**2).sum(1).mean() + 0.1 * (weights**2).sum()
    assert out["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    vae = build(VAE, **SMALL)
    at = method.distortion(images(), z)
    expected = -vae.likelihood.log_prob(images().flatten(1), method.output(z))
    torch.testing.assert_close(at, expected)


def test_the_distortion_of_real_vectors_is_half_the_squared_error() -> None:
    method, x = build(Autoencoder, REAL, **SMALL), torch.randn(6, 3)
    with torch.no_grad():
        z = method.code(x)
        expected = 0.5 * (x - method.output(z)).square().sum(1) + 1.5 * math.log(2 * math.pi)
        torch.testing.assert_close(method.distortion(x, z), expected)
    method.loss({"x": x})["loss"].backward()
    assert all(p.grad is None for p in method.likelihood.parameters()), "a variance would go to zero"


def test_codes_have_the_law_that_is_fitted_to_them() -> None:
    """Of one component the maximum of the likelihood: mean and covariance of the codes."""
    method = build(Autoencoder, **SMALL, components=1)
    method.prepare(Data(SPEC, {"x": images(500)}))
    untouched = method.prior.means.clone()
    method.before_validation()
    assert torch.equal(method.prior.means, untouched), "an epoch whose samples nobody asks for costs no fit"
    assert method.sample(5).shape == (5, 1, 4, 4)
    with torch.no_grad():
        z = method.code(images(500)).double().numpy()
    np.testing.assert_allclose(method.prior.means[0], z.mean(0), atol=1e-8)
    factor = method.prior.factors[0]
    np.testing.assert_allclose(factor @ factor.T, np.cov(z.T, bias=True) + 1e-6 * np.eye(3), atol=1e-8)
    torch.manual_seed(0)
    drawn = method.prior.sample(200_000, torch.zeros(())).double().numpy()
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(z.T, bias=True), rtol=0.03, atol=0.003)
    fitted = method.prior.means.clone()
    with torch.no_grad():
        method.posterior.bias.add_(1.0)
    method.sample(5)
    assert torch.equal(method.prior.means, fitted), "one fit an epoch"
    method.before_validation()
    method.sample(5)
    torch.testing.assert_close(method.prior.means, fitted + 1, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cls", [Autoencoder, WAE])
def test_weights_of_an_epoch_bring_the_law_of_their_codes(cls: type) -> None:
    """Whether they were kept before samples were first drawn or after: another epoch's density is never that of weights put back."""
    method = build(cls, **SMALL, components=1)
    method.prepare(Data(SPEC, {"x": images(500)}))
    method.before_validation()
    kept = {name: of.clone() for name, of in method.state_dict().items()}
    with torch.no_grad():
        method.posterior.bias.add_(1.0)
    method.before_validation()
    method.sample(2)
    drawn = {name: of.clone() for name, of in method.state_dict().items()}
    other = build(cls, **SMALL, components=1)
    other.prepare(Data(SPEC, {"x": images(500)}))
    for state in (drawn, kept, drawn):
        other.load_state_dict(state)
        torch.manual_seed(0)
        drawn_codes = other.draw_prior(20_000)
        if cls is Autoencoder:
            with torch.no_grad():
                torch.testing.assert_close(drawn_codes.mean(0), other.code(images(500)).mean(0), atol=0.05, rtol=0)
        else:
            assert other.fitted and drawn_codes.mean().abs() < 0.05, "a law of its own is never fitted"


def test_the_discrepancy_by_brute_force() -> None:
    a, b = torch.randn(5, 3), torch.randn(5, 3)

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return sum(6 * s / (6 * s + ((x - y) ** 2).sum().item()) for s in SCALES)

    inner = [np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j]) for x in (a, b)]
    cross = np.mean([k(x, y) for x in a for y in b])
    assert discrepancy(a, b).item() == pytest.approx(inner[0] + inner[1] - 2 * cross, abs=1e-5)


def test_the_discrepancy_of_equal_laws_is_zero_in_expectation() -> None:
    torch.manual_seed(0)
    found = torch.stack([discrepancy(torch.randn(20, 4), torch.randn(20, 4)) for _ in range(1000)])
    assert abs(found.mean().item()) < 4 * found.std().item() / math.sqrt(1000)
    moved = torch.stack([discrepancy(torch.randn(20, 4), torch.randn(20, 4) + 1) for _ in range(100)])
    assert moved.mean().item() > 10 * found.std().item() / math.sqrt(100)


def test_rounding_does_not_bias_the_discrepancy() -> None:
    """Far from the origin no code is at distance 0 from itself by the expansion of squares."""
    torch.manual_seed(0)
    pairs = [(torch.randn(10, 8) + 1000, torch.randn(10, 8) + 1000) for _ in range(100)]
    errors = [(discrepancy(a, b) - discrepancy(a.double(), b.double())).item() for a, b in pairs]
    assert abs(np.mean(errors)) < 0.015


def test_without_a_penalty_the_adversarial_autoencoder_is_an_autoencoder() -> None:
    """Whose gradients are those of the reconstruction, whatever the discriminator learns beside it."""
    plain, adversarial = build(Autoencoder, **SMALL), build(WAEGAN, **SMALL, lambda_=0.0, discriminator=[8])
    out = adversarial.loss({"x": images()})
    expected = plain.loss({"x": images()})["loss"]
    assert out["distortion"].item() == expected.item()
    out["loss"].backward()
    expected.backward()
    for (name, a), b in zip(plain.named_parameters(), adversarial.parameters(), strict=False):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_a_discriminator_that_knows_gives_the_gradient_of_the_divergence() -> None:
    """Of codes by N(m, 1) the logit is z m - m^2 / 2 from the prior's side with a minus: of the best one -log D has the gradient
    m sigmoid(m z - m^2 / 2) in each code. The discriminator's loss has none for the encoder, and the penalty none for the discriminator."""
    method, m = build(WAEGAN, hidden=[8], latent_dim=1, discriminator=[2], lambda_=1.0), 0.7
    with torch.no_grad():  # max(z, 0) - max(-z, 0) = z
        method.critic.body[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        method.critic.body[1].bias.zero_()
        method.critic.out.weight.copy_(-m * torch.tensor([[1.0, -1.0]]))
        method.critic.out.bias.fill_(m**2 / 2)
    z = torch.randn(9, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    method.code = lambda x: z
    method.distortion = lambda x, code: torch.zeros(len(x))
    method.loss({"x": images(9)})["loss"].backward()
    torch.testing.assert_close(z.grad, m * torch.sigmoid(m * z.detach() - m**2 / 2) / 9)
    found = []
    for method.config.lambda_ in (0.0, 50.0):
        torch.manual_seed(1)
        method.zero_grad()
        method.loss({"x": images(9)})["loss"].backward()
        found.append([p.grad.clone() for p in method.critic.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True)), "nothing of the penalty"


def test_the_learned_prior_is_the_mixture_of_posteriors() -> None:
    method = build(VampPrior, **SMALL, components=5)
    method.prepare(Data(SPEC, {"x": images(50)}))
    z = torch.randn(6, 2, 3)
    with torch.no_grad():
        mean, logvar = method.encode(method.inputs())
        logs = [multivariate_normal(m, np.diag(v)).logpdf(z) for m, v in zip(mean.numpy(), logvar.exp().numpy(), strict=True)]
        np.testing.assert_allclose(method.prior.log_prob(z), logsumexp(logs, axis=0) - math.log(5), atol=1e-4)
        normal = method.prior.log_prob(z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = method.prior.log_prob(z)
        assert half.dtype == torch.float32 and (half - normal).abs().max() < 0.2
    assert method.inputs().min() >= 0 and method.inputs().max() <= 1
    method.loss({"x": images()})["loss"].backward()
    assert (method.pseudo.grad.abs() > 0).all(), "all pixels of pseudo-inputs are learned, also those that start at a bound"


def test_one_pseudo_input_at_the_standard_posterior_is_the_vae() -> None:
    """With an encoder that does not look, its prior is the standard normal law: the same bound under the same noise, on average."""
    vamp, vae = build(VampPrior, **SMALL, components=1), build(VAE, **SMALL)
    for method in (vamp, vae):
        with torch.no_grad():
            method.posterior.weight.zero_()
            method.posterior.bias.zero_()
    found = []
    for method in (vamp, vae):
        torch.manual_seed(2)
        found.append(method.elbo(images())["elbo"])
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-5)


def test_the_density_of_a_mixture_is_scipys() -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(200, 3), 0.3 * torch.randn(100, 3) + 4])
    method = build(Mixture, REAL, components=2)
    method.fit(Data(REAL, {"x": x}), None)
    m = method.mixture
    laws = [multivariate_normal(mean, factor @ factor.T) for mean, factor in zip(m.means.numpy(), m.factors.numpy(), strict=True)]
    expected = logsumexp([math.log(w) + law.logpdf(x.numpy()) for w, law in zip(m.weights, laws, strict=True)], axis=0)
    np.testing.assert_allclose(method.log_evidence(x, 1), expected, atol=1e-4)
    terms = method.elbo(x)
    np.testing.assert_allclose(terms["elbo"], expected, atol=1e-4)
    torch.testing.assert_close(terms["elbo"], -terms["reconstruction"] - terms["kl"], atol=1e-4, rtol=1e-5)
    assert sorted(m.weights.tolist()) == pytest.approx([1 / 3, 2 / 3], abs=0.01)


def test_one_component_is_the_normal_law_of_the_moments() -> None:
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 2]]) + 1
    mixture = GaussianMixture(3, 1, floor=0.0)
    mixture.fit(x)
    expected = multivariate_normal(x.double().mean(0).numpy(), np.cov(x.double().numpy().T, bias=True)).logpdf(x.numpy())
    np.testing.assert_allclose(mixture.log_prob(x), expected, atol=1e-4)


def test_each_step_of_the_fit_raises_the_likelihood() -> None:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).abs()
    found = []
    for iterations in (0, 1, 2, 5, 20):
        mixture = GaussianMixture(2, 6, floor=0.0)
        mixture.fit(x, iterations, tolerance=-math.inf)
        found.append(mixture.log_prob(x).mean().item())
    assert all(a < b for a, b in zip(found, found[1:], strict=False))


def flow(**options: object) -> RealNVP:
    method = build(RealNVP, REAL, hidden=[8], couplings=3, **options)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return method


def test_the_flow_is_inverted_and_its_determinant_is_the_jacobians() -> None:
    method = flow()
    method.prepare(Data(REAL, {"x": torch.randn(50, 3) * torch.tensor([1.0, 2.0, 5.0]) + 1}))

    def code(x: torch.Tensor) -> torch.Tensor:
        z = (x - method.mean) / method.deviation
        for coupling in method.couplings:
            z, _ = coupling(z)
        return z

    x = torch.randn(4, 3)
    for one in x:
        jacobian = torch.autograd.functional.jacobian(lambda v: code(v[None])[0], one)
        expected = torch.linalg.slogdet(jacobian)[1] - 0.5 * (code(one[None]) ** 2 + math.log(2 * math.pi)).sum()
        assert method.log_density(one[None]).item() == pytest.approx(expected.item(), abs=1e-4)
    z = code(x)
    for coupling in reversed(method.couplings):
        z = coupling.inverse(z)
    torch.testing.assert_close(z * method.deviation + method.mean, x, atol=1e-4, rtol=1e-4)


def test_an_untrained_flow_is_the_normal_law_of_the_moments() -> None:
    x = torch.randn(200, 3) * torch.tensor([1.0, 2.0, 5.0]) + 1
    method = build(RealNVP, REAL)
    method.prepare(Data(REAL, {"x": x}))
    expected = multivariate_normal(x.mean(0).numpy(), np.diag(x.std(0).numpy() ** 2)).logpdf(x.numpy())
    np.testing.assert_allclose(method.log_evidence(x, 1).detach(), expected, atol=1e-4)


def test_a_trained_generator_gives_the_samples_of_its_model() -> None:
    model = build(VAE, **SMALL)
    method = Trained(Trained.Config(), SPEC, {"model": model})
    method.fit(Data(SPEC, {"x": images()}), None)
    found = []
    for one in (method, model):
        torch.manual_seed(3)
        found.append(one.sample(4))
    assert torch.equal(*found) and not list(method.parameters())
