"""What must hold exactly of densities that are fitted to codes afterwards, and of decoders that are held smooth."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.vae.autoencoder import Autoencoder
from elboard.methods.vae.ex_post import ExPostDensity
from elboard.methods.vae.gaussian_mixture import Mixture
from elboard.methods.vae.rae import SmoothRAE
from elboard.methods.vae.rae_l2 import RAE
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "ex-post": ("test_the_prior_is_the_model_itself", "test_one_gaussian_has_the_moments_of_the_codes"),
    "rae": (
        "test_the_penalty_of_a_linear_decoder_is_the_norm_of_its_weights",
        "test_without_penalties_it_is_the_autoencoder",
        "test_no_layer_of_a_spectral_decoder_stretches",
    ),
}
SPEC = LikelihoodSpec((6,), 300, likelihood="bernoulli")


def build(cls: type, *args: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(cls.Config(**({"hidden": [8]} | options)), SPEC, *args)


def examples(n: int = 300) -> Tensor:
    return torch.rand(n, 6, generator=torch.Generator().manual_seed(1)).round()


class Untrained:
    def run(self, method: Any) -> None:
        raise AssertionError("nothing is trained by gradients")


def seeded(function: Any, *args: Any) -> Any:
    torch.manual_seed(5)
    return function(*args)


@torch.no_grad()
def test_the_prior_is_the_model_itself() -> None:
    vae = build(VAE, latent_dim=3)
    method = build(ExPostDensity, {"model": vae}, density="prior")
    method.fit(Data(SPEC, {"x": examples()}), Untrained())
    assert torch.equal(seeded(method.sample, 7), seeded(vae.sample, 7))
    assert torch.equal(seeded(method.draw_codes, examples()), seeded(vae.draw_codes, examples()))


@torch.no_grad()
def test_one_gaussian_has_the_moments_of_the_codes() -> None:
    """Of draws of the posterior, not of its means, which are narrower."""
    vae = build(VAE, latent_dim=3)
    method = build(ExPostDensity, {"model": vae}, components=1)
    torch.manual_seed(5)
    method.fit(Data(SPEC, {"x": examples()}), Untrained())
    codes = seeded(vae.draw_codes, examples()).double()
    factor = method.density.factors[0]
    torch.testing.assert_close(method.density.means[0], codes.mean(0))
    torch.testing.assert_close(factor @ factor.T, torch.cov(codes.T, correction=0), atol=1e-5, rtol=1e-5)
    means = vae.encode(examples())[0].double()
    assert (factor @ factor.T).trace() > 2 * torch.cov(means.T).trace()


def test_the_mixture_of_a_deterministic_model_is_its_own() -> None:
    """Both are fitted to codes of training examples with ten components."""
    rae = build(RAE, latent_dim=2)
    rae.prepare(Data(SPEC, {"x": examples()}))
    rae.before_validation()
    rae.draw_prior(1)
    method = build(ExPostDensity, {"model": rae})
    method.fit(Data(SPEC, {"x": examples()}), Untrained())
    with torch.no_grad():
        torch.testing.assert_close(method.density.log_prob(rae.code(examples())), rae.prior.log_prob(rae.code(examples())))


def test_the_second_stage_is_a_vae_of_codes_and_leaves_the_first_as_it_is() -> None:
    vae = build(VAE, latent_dim=3)
    method = build(ExPostDensity, {"model": vae}, density="second")
    torch.manual_seed(5)
    out = method.loss({"x": examples()})
    torch.manual_seed(5)
    bound = method.density.elbo(vae.draw_codes(examples()))["elbo"].mean()
    assert out["loss"].item() == pytest.approx(-bound.item(), rel=1e-6)
    out["loss"].backward()
    assert all(p.grad is None for p in vae.parameters()) and method.density.out.weight.grad.abs().sum() > 0
    with torch.no_grad():
        method.density.likelihood.log_std.fill_(-30.0)
        torch.testing.assert_close(seeded(method.sample, 4), vae.decode(seeded(method.density.sample, 4)))
        method.density.likelihood.log_std.fill_(0.7)
        method.density.out.weight.zero_()
        drawn = method.draw_prior(20_000)
        torch.testing.assert_close(drawn.std(0), torch.full((3,), 0.7).exp(), atol=0.05, rtol=0)


def test_models_without_codes_and_other_words_are_mistakes() -> None:
    with pytest.raises(UserError, match="no codes"):
        build(ExPostDensity, {"model": Mixture(Mixture.Config(), SPEC)})
    for cls, options, args in ((ExPostDensity, {"density": "mixtur"}, [{"model": build(VAE)}]), (SmoothRAE, {"smooth": "spectrl"}, [])):
        with pytest.raises(UserError, match="did you mean"):
            build(cls, *args, **options)


def test_the_penalty_of_a_linear_decoder_is_the_norm_of_its_weights() -> None:
    method = build(SmoothRAE, hidden=[], latent_dim=3)
    torch.manual_seed(2)
    found = method.slope(torch.randn(40_000, 3))
    wanted = method.out.weight.square().sum()
    error = found.std() / 200
    assert abs(found.mean() - wanted) < 4 * error and error < 0.02 * wanted


def test_without_penalties_it_is_the_autoencoder() -> None:
    method, plain = build(SmoothRAE, beta=0.0, weight=0.0), build(Autoencoder)
    plain.load_state_dict(method.state_dict())
    assert method.loss({"x": examples()})["loss"].item() == pytest.approx(plain.loss({"x": examples()})["loss"].item(), rel=1e-6)


def test_the_penalty_changes_the_decoder() -> None:
    slopes = []
    for weight in (0.0, 1.0):
        method = build(SmoothRAE, weight=weight)
        torch.manual_seed(3)
        method.loss({"x": examples()})["loss"].backward()
        slopes.append(method.out.weight.grad.clone())
    difference = slopes[1] - slopes[0]
    assert (difference * method.out.weight.detach()).sum() > 0, "along the weights: a step against it makes them smaller"


def test_no_layer_of_a_spectral_decoder_stretches() -> None:
    method = build(SmoothRAE, hidden=[8, 7], smooth="spectral")
    method.train()
    for _ in range(300):
        method.output(torch.randn(4, 16))
    method.eval()
    layers = [method.out, *(part for part in method.decoder if isinstance(part, torch.nn.Linear))]
    norms = [torch.linalg.matrix_norm(layer.weight, 2).item() for layer in layers]
    assert len(norms) == 3 and norms == pytest.approx([1.0] * 3, abs=1e-3)
    z = torch.randn(2, 50, 16)
    with torch.no_grad():
        assert ((method.output(z[0]) - method.output(z[1])).norm(dim=1) <= (z[0] - z[1]).norm(dim=1) * 1.01).all()
