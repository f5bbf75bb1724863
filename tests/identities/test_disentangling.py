"""What must hold exactly for methods of disentanglement, and for the convolutional networks that their boards name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from elboard.bench.errors import UserError
from elboard.bench.kinds.disentanglement import FactorSpec
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.registry import find
from elboard.bench.task import Data
from elboard.methods.parts.convolutions import widths
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.vae.annealed_vae import AnnealedVAE
from elboard.methods.vae.base import GaussianVAE
from elboard.methods.vae.beta_tc_vae import BetaTCVAE, total_correlation
from elboard.methods.vae.beta_vae import BetaVAE
from elboard.methods.vae.dip_vae import DIPVAE, inferred_covariance
from elboard.methods.vae.factor_vae import FactorVAE, permute_dimensions
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "beta-vae": ("test_without_its_extra_weight_each_method_is_the_vae", "test_beta_weighs_the_divergence"),
    "dip-vae": ("test_without_its_extra_weight_each_method_is_the_vae", "test_the_penalties_of_dip_vae_by_brute_force"),
    "beta-tc-vae": ("test_without_its_extra_weight_each_method_is_the_vae", "test_total_correlation_by_brute_force"),
    "factor-vae": ("test_without_its_extra_weight_each_method_is_the_vae", "test_neither_loss_of_factor_vae_moves_the_other_network"),
    "annealed-vae": ("test_annealed_vae_draws_the_divergence_to_a_target_that_rises",),
}

SPEC = FactorSpec((1, 8, 8), 1000, likelihood="bernoulli", network="conv-4-8")
FLAT = LikelihoodSpec((1, 4, 4), 1000, likelihood="bernoulli")


def build(cls: type, spec: LikelihoodSpec = FLAT, **options: object) -> GaussianVAE:
    torch.manual_seed(0)
    return cls(cls.Config(**({"hidden": [8], "latent_dim": 3} | options)), spec)


def batch(n: int = 16, shape: tuple[int, ...] = (1, 4, 4)) -> dict[str, torch.Tensor]:
    return {"x": (torch.rand(n, *shape, generator=torch.Generator().manual_seed(1)) < 0.5).float()}


def loss(method: GaussianVAE, of: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return method.loss(of or batch())


@pytest.mark.parametrize(
    ("cls", "options"),
    [(BetaVAE, {"beta": 1.0}), (DIPVAE, {"lambda_od": 0.0}), (DIPVAE, {"lambda_od": 0.0, "variant": "i"}), (BetaTCVAE, {"beta": 1.0})],
)
def test_without_its_extra_weight_each_method_is_the_vae(cls: type, options: dict[str, object]) -> None:
    """Value and gradient; of FactorVAE those of the autoencoder."""
    plain = build(VAE)
    pairs = [(cls, options)] if cls is not BetaVAE else [(cls, options), (FactorVAE, {"gamma": 0.0})]
    expected = loss(plain)
    expected["loss"].backward()
    for kind, chosen in pairs:
        method = build(kind, **chosen)
        method.load_state_dict(plain.state_dict(), strict=False)
        found = loss(method)
        own = found.get("discriminator", torch.zeros(()))
        assert (found["loss"] - own).item() == pytest.approx(expected["loss"].item(), rel=1e-6)
        assert found["elbo"].item() == pytest.approx(expected["elbo"].item(), rel=1e-6)
        found["loss"].backward()
        for of, like in ((method.posterior, plain.posterior), (method.out, plain.out)):
            torch.testing.assert_close(of.weight.grad, like.weight.grad, rtol=1e-4, atol=1e-6)


def test_beta_weighs_the_divergence() -> None:
    one, four = loss(build(BetaVAE, beta=1.0)), loss(build(BetaVAE, beta=4.0))
    assert (four["loss"] - one["loss"]).item() == pytest.approx(3 * one["kl"].item(), rel=1e-5)
    assert one["loss"].item() == -one["elbo"].item() and four["elbo"].item() == one["elbo"].item()


# --- DIP-VAE ------------------------------------------------------------------------------------


def posterior(n: int = 40, seed: int = 0) -> Gaussian:
    noise = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, 3, generator=noise) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.4, 0.2], [0.0, 0.0, 2.0]])
    return Gaussian(mean, torch.randn(n, 3, generator=noise) - 1)


def test_the_covariance_of_the_inferred_prior_is_that_of_its_samples() -> None:
    """The law of total covariance, against 400 samples of each posterior; and NumPy's biased covariance of the means."""
    q = posterior()
    np.testing.assert_allclose(inferred_covariance(q, False), np.cov(q.mean.numpy().T, bias=True), atol=1e-5)
    torch.manual_seed(0)
    z = q.sample(20_000).z.reshape(-1, 3).double().numpy()
    np.testing.assert_allclose(inferred_covariance(q, True), np.cov(z.T), atol=0.03)


@pytest.mark.parametrize(("variant", "ratio"), [("i", 10.0), ("ii", 1.0)])
def test_the_penalties_of_dip_vae_by_brute_force(variant: str, ratio: float) -> None:
    method = build(DIPVAE, variant=variant, lambda_od=3.0)
    q = posterior()
    mean, variance = q.mean.double().numpy(), q.logvar.double().exp().numpy()
    expected, n = 7.0, len(mean)
    for i in range(3):
        for j in range(3):
            m = sum(mean[b, i] * mean[b, j] for b in range(n)) / n - mean[:, i].mean() * mean[:, j].mean()
            m += variance[:, i].mean() if i == j and variant == "ii" else 0.0
            expected += 3.0 * ratio * (m - 1) ** 2 if i == j else 3.0 * m**2
    found = method.regulariser(q, None, torch.tensor(7.0))
    assert found["loss"].item() == pytest.approx(expected, rel=1e-5)
    chosen = build(DIPVAE, variant=variant, lambda_od=3.0, ratio=ratio)
    assert chosen.regulariser(q, None, torch.tensor(7.0))["loss"].item() == found["loss"].item()


def test_the_prior_itself_costs_dip_vae_ii_nothing() -> None:
    """Units of which the posterior is the prior have M_ii = 1 in II, and are drawn away from it in I."""
    q = Gaussian(torch.zeros(9, 3), torch.zeros(9, 3))
    zero = torch.zeros(())
    assert build(DIPVAE, lambda_od=5.0).regulariser(q, None, zero)["loss"].item() == 0.0
    assert build(DIPVAE, lambda_od=5.0, variant="i").regulariser(q, None, zero)["loss"].item() == pytest.approx(3 * 50.0)
    with pytest.raises(UserError, match="variant='iii': did you mean 'ii' or 'i'"):
        build(DIPVAE, variant="iii")


def test_gradients_of_dip_vae_go_through_both_terms() -> None:
    q = posterior()
    mean, logvar = q.mean.requires_grad_(), q.logvar.requires_grad_()
    of_mean, of_logvar = torch.autograd.grad(inferred_covariance(Gaussian(mean, logvar), True)[0, 0], (mean, logvar))
    torch.testing.assert_close(of_mean[:, 0], 2 * (mean[:, 0] - mean[:, 0].mean()).detach() / 40)
    torch.testing.assert_close(of_logvar[:, 0], logvar[:, 0].exp().detach() / 40)


def test_covariances_are_in_single_precision_in_mixed_runs() -> None:
    """Means of a standard deviation of 1.3 about 3, as a network in bfloat16 gives them, against the moments of just these in double."""
    noise = torch.Generator().manual_seed(0)
    half = Gaussian((1.3 * torch.randn(64, 3, generator=noise) + 3).bfloat16(), (torch.randn(64, 3, generator=noise) - 1).bfloat16())
    double = Gaussian(half.mean.double(), half.logvar.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = inferred_covariance(half, True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), inferred_covariance(double, True), rtol=1e-5, atol=1e-6)


# --- total correlation -------------------------------------------------------------------------


def test_total_correlation_by_brute_force() -> None:
    q, n = posterior(6), 500
    z = q.sample().z
    total = 0.0
    for i in range(6):
        joint = sum(Normal(q.mean[j], q.logvar[j].mul(0.5).exp()).log_prob(z[i]).sum().exp().item() for j in range(6)) / (n * 6)
        single = [
            sum(Normal(q.mean[j, d], q.logvar[j, d].mul(0.5).exp()).log_prob(z[i, d]).exp().item() for j in range(6)) / (n * 6)
            for d in range(3)
        ]
        total += math.log(joint) - sum(map(math.log, single))
    assert total_correlation(z, q, n).item() == pytest.approx(total / 6, rel=1e-4)


def test_total_correlation_of_all_examples_is_that_of_the_gaussian() -> None:
    """Equal narrow posteriors about correlated means, N = M = 4,000: but for the constant (Z - 1) log N, -1/2 log(1 - r^2)."""
    torch.manual_seed(0)
    n, r = 4000, 0.8
    mean = torch.randn(n, 2) @ torch.linalg.cholesky(torch.tensor([[1.0, r], [r, 1.0]])).T
    q = Gaussian(mean, torch.full((n, 2), math.log(0.05)))
    noisy = r / 1.05
    found = total_correlation(q.sample().z, q, n).item() - math.log(n)
    assert found == pytest.approx(-0.5 * math.log(1 - noisy**2), abs=0.04)


def test_permuted_dimensions_keep_each_marginal() -> None:
    z = torch.randn(500, 3)
    z[:, 1] = z[:, 0]
    torch.manual_seed(0)
    found = permute_dimensions(z)
    torch.testing.assert_close(found.sort(0).values, z.sort(0).values)
    assert torch.corrcoef(found.T)[0, 1].abs() < 0.15


def test_neither_loss_of_factor_vae_moves_the_other_network() -> None:
    """The gradient of the sum is that of each network's own loss, so that one optimiser is two."""
    method = build(FactorVAE, gamma=7.0, discriminator=[8])
    out = loss(method)
    own = list(method.discriminator.parameters())
    others = [p for name, p in method.named_parameters() if not name.startswith("discriminator.")]
    autoencoder = method.terms(batch()["x"])[0]["loss"]
    assert all(g is None for g in torch.autograd.grad(autoencoder, own, allow_unused=True))
    assert all(g is None for g in torch.autograd.grad(out["discriminator"], others, retain_graph=True, allow_unused=True))
    groups = method.parameter_groups()
    assert sum(len(group["params"]) for group in groups) == len(list(method.parameters()))
    assert groups[1]["lr"] == method.config.lr and groups[1]["betas"] == (0.5, 0.9), "both networks have one rate (appendix A)"
    assert build(FactorVAE, discriminator_lr=0.02).parameter_groups()[1]["lr"] == 0.02


def test_the_discriminator_s_logit_is_the_log_ratio_of_densities() -> None:
    """Trained alone on correlated Gaussians its mean logit is their total correlation."""
    torch.manual_seed(0)
    method, r = build(FactorVAE, latent_dim=2, discriminator=[32, 32]), 0.8
    factor = torch.linalg.cholesky(torch.tensor([[1.0, r], [r, 1.0]])).T
    optimizer = torch.optim.Adam(method.discriminator.parameters(), 3e-3)
    for _ in range(400):
        z = torch.randn(512, 2) @ factor
        real, permuted = method.discriminator(z), method.discriminator(permute_dimensions(z))
        optimizer.zero_grad()
        (torch.nn.functional.softplus(-real).mean() + torch.nn.functional.softplus(permuted).mean()).backward()
        optimizer.step()
    z = torch.randn(20_000, 2) @ factor
    assert method.discriminator(z).mean().item() == pytest.approx(-0.5 * math.log(1 - r * r), abs=0.1)


# --- capacity and networks ---------------------------------------------------------------------


def test_annealed_vae_draws_the_divergence_to_a_target_that_rises() -> None:
    method = build(AnnealedVAE, gamma=10.0, c_max=4.0, rise=0.5)
    for progress, target in ((0.0, 0.0), (0.25, 2.0), (0.5, 4.0), (1.0, 4.0)):
        method.progress = progress
        out = loss(method)
        expected = -out["elbo"] - out["kl"] + 10 * (out["kl"] - target).abs()
        assert out["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    at_zero = build(AnnealedVAE, gamma=4.0, c_max=0.0)
    assert loss(at_zero)["loss"].item() == pytest.approx(loss(build(BetaVAE, beta=4.0))["loss"].item(), rel=1e-6)


def test_the_network_is_the_one_that_the_task_names() -> None:
    x = batch(5, (1, 8, 8))["x"]
    method = build(VAE, SPEC)
    assert [m.out_channels for m in method.encoder if isinstance(m, torch.nn.Conv2d)] == [4, 8]
    assert method.decode(method.encode(x)[0]).shape == x.shape == method.sample(5).shape
    assert method.log_evidence(x, 7).shape == (5,)
    colour = build(BetaVAE, FactorSpec((3, 8, 16), 10, likelihood="bernoulli", network="conv-4-8-4"))
    assert colour.decode(torch.randn(2, 3)).shape == (2, 3, 8, 16)
    assert isinstance(build(VAE).out, torch.nn.Linear), "a task that names none leaves it to the method"


def test_a_convolutional_decoder_starts_at_the_mean_image() -> None:
    x = torch.rand(50, 1, 8, 8)
    method = build(BetaVAE, SPEC)
    method.prepare(Data(SPEC, {"x": x}))
    with torch.no_grad():
        method.out.weight.zero_()
    torch.testing.assert_close(method.decode(torch.randn(1, 3))[0], x.mean(0))


def test_names_of_networks() -> None:
    assert widths("conv-16-32-64", (1, 32, 32)) == [16, 32, 64]
    for name, shape in (("resnet8", (1, 32, 32)), ("conv-", (1, 32, 32)), ("conv-4-4-4", (1, 12, 12))):
        with pytest.raises(UserError, match=name):
            widths(name, shape)


@pytest.mark.parametrize("cls", [AnnealedVAE, BetaTCVAE, BetaVAE, DIPVAE, FactorVAE])
@pytest.mark.parametrize(("name", "channels"), [("disentanglement/sprites", 1), ("disentanglement/cars3d", 3)])
def test_networks_of_the_full_budget_learn_in_mixed_precision(cls: type, name: str, channels: int) -> None:
    """One step and one evaluation of four images of the full size; every weight has a finite gradient."""
    options = find("task", name).budgets()["full"]["task"]
    shape = (channels, options["width"], options["width"])
    method = build(cls, FactorSpec(shape, 200_000, likelihood="bernoulli", network=options["network"]), latent_dim=10)
    x = batch(4, shape)
    with torch.autocast("cpu", torch.bfloat16):
        loss(method, x)["loss"].backward()
        terms = method.elbo(x["x"])
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert terms["elbo"].shape == (4,) and terms["elbo"].isfinite().all()
