"""What must hold exactly of priors that are told the factors of an image."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.disentanglement import FactorSpec
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.parts.divergences import kl_diagonal, kl_to_standard_normal
from elboard.methods.vae.auxiliary import AuxiliaryVAE
from elboard.methods.vae.idvae import IDVAE
from elboard.methods.vae.ivae import IVAE

IDENTITIES = {
    "idvae": ("test_the_bound_does_not_move_the_prior_of_idvae", "test_the_second_vae_is_one", "test_a_standard_prior_is_the_vae"),
    "ivae": ("test_the_bound_alone_moves_the_prior_of_ivae", "test_a_standard_prior_is_the_vae"),
}
SPEC = FactorSpec((1, 8, 8), 1000, likelihood="bernoulli", network="conv-4-8", factors=(3, 4))


def build(cls: type = IDVAE, **options: Any) -> AuxiliaryVAE:
    torch.manual_seed(0)
    return cls(cls.Config(**({"latent_dim": 3, "head": 8, "prior_hidden": [6]} | options)), SPEC)


def batch(known: int, n: int = 12) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(1)
    factors = torch.stack([torch.randint(size, (n,), generator=noise) for size in SPEC.factors], 1)
    factors[known:] = -1
    return {"x": (torch.rand(n, *SPEC.shape, generator=noise) < 0.5).float(), "factors": factors}


def loss(method: AuxiliaryVAE, of: dict[str, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(5)
    return method.loss(of)


def moved(method: AuxiliaryVAE, value: Tensor) -> set[str]:
    """Names of the networks that ``value`` has a gradient in."""
    names, parameters = zip(*method.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    return {".".join(name.split(".")[:2]) for name, g in zip(names, found, strict=True) if g is not None and g.abs().sum() > 0}


def test_the_divergence_of_two_gaussians_is_torchs() -> None:
    noise = torch.Generator().manual_seed(0)
    m, v, other_m, other_v = (torch.randn(7, 3, generator=noise) for _ in range(4))
    of = [Independent(Normal(mean, (0.5 * logvar).exp()), 1) for mean, logvar in ((m, v), (other_m, other_v))]
    torch.testing.assert_close(kl_diagonal(m, v, other_m, other_v), kl_divergence(*of))
    torch.testing.assert_close(kl_diagonal(m, v, torch.zeros(3), torch.zeros(3)), kl_to_standard_normal(m, v))


@pytest.mark.parametrize("known", [0, 5, 12])
def test_the_bound_does_not_move_the_prior_of_idvae(known: int) -> None:
    """With labels or without; only L_u does, and only where there are labels."""
    method = build()
    out = loss(method, batch(known))
    bound = moved(method, out["loss"] - out["labels"])
    assert not {name for name in bound if name.startswith(("told", "factors_of"))} and "encoder.image" in bound
    assert ("encoder.logits" in bound) == (known < 12), "the reader learns by the bound where factors are read"
    of_labels = moved(method, out["labels"]) if known else set()
    assert of_labels == ({name for name in of_labels if name.startswith(("told", "factors_of", "encoder.reading", "encoder.logits"))})
    assert bool(known) == any(name.startswith("told") for name in of_labels)


def test_the_bound_alone_moves_the_prior_of_ivae() -> None:
    method = build(IVAE)
    out = loss(method, batch(12))
    assert any(name.startswith("told") for name in moved(method, out["loss"] - out["labels"]))
    assert not any(name.startswith("told") for name in moved(method, out["labels"]))


def test_the_second_vae_is_one() -> None:
    """L_u by hand: squared error of a sample, and the divergence from N(0, I); in standardised factors of mean 0 and variance 1."""
    method = build(gamma=3.0, scale=2.0)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(4)) / method.encoder.sizes
    u = method.encoder.standard(every)
    torch.testing.assert_close(u.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(u.square().mean(0), torch.ones(2))
    torch.manual_seed(3)
    found = method.of_factors(u)
    q = method.told(u)
    torch.manual_seed(3)
    z = q.mean + torch.exp(0.5 * q.logvar) * torch.randn_like(q.mean)
    kl = 0.5 * (q.mean**2 + q.logvar.exp() - 1 - q.logvar).sum(1)
    torch.testing.assert_close(found, 4 * (u - method.factors_of(z)).square().sum(1) + 3 * kl)


@pytest.mark.parametrize("cls", [IDVAE, IVAE])
def test_a_standard_prior_is_the_vae(cls: type) -> None:
    """Where the prior's network is constant at N(0, I) the loss of labelled images is minus the bound that is reported, given u."""
    method, of = build(cls, alpha=0.0), batch(12)
    with torch.no_grad():
        for p in method.told.parameters():
            p.zero_()
    out = loss(method, of)
    u = of["factors"] / method.encoder.sizes
    torch.manual_seed(5)
    method.encoder.read(of["x"]).sample()
    q = method.posterior(method.encoder(of["x"], u))
    reconstruction = F.binary_cross_entropy_with_logits(method.output(q.sample().z), of["x"].flatten(1), reduction="none").sum(1)
    wanted = (reconstruction + kl_to_standard_normal(q.mean, q.logvar)).mean()
    assert (out["loss"] - out["labels"]).item() == pytest.approx(wanted.item(), rel=1e-5)
    mean, _ = method.encode_given(of["x"], of["factors"])
    torch.testing.assert_close(mean, q.mean)


def test_codes_that_count_read_no_label() -> None:
    """``encode`` depends on the image alone, by the factors that are read from it; told those it is ``encode_given``."""
    method, of = build(), batch(12)
    with torch.no_grad():
        method.encoder.logits.weight.zero_()
        u = torch.tensor([1 / 3, 3 / 4])
        method.encoder.logits.bias.copy_(torch.cat([u.logit(), torch.zeros(2)]))
    told = method.encode_given(of["x"], torch.tensor([[1, 3]]).expand(12, 2))
    torch.testing.assert_close(method.encode(of["x"])[0], told[0])
    assert (method.encode_given(of["x"], of["factors"])[0] - told[0]).abs().max() > 1e-3


def test_unlabelled_images_pay_by_the_entropy_of_what_is_read() -> None:
    """A wider q(l|x) lowers the loss by half of its log-variance, but for what its samples do."""
    method, of = build(), batch(0)
    found = []
    with torch.no_grad():
        for p in (*method.posterior.parameters(), *method.told.parameters(), method.encoder.logits.weight):
            p.zero_()
        for logvar in (-1.0, 1.5):
            method.encoder.logits.bias[2:] = logvar
            found.append(loss(method, of)["loss"].item())
    assert found[0] - found[1] == pytest.approx(0.5 * 2.5 * 2, rel=1e-4)


def test_bounds_are_those_of_a_prior_that_is_told_nothing() -> None:
    method, of = build(), batch(12)
    with torch.no_grad():
        out = method.elbo(of["x"])
        torch.testing.assert_close(out["kl"], kl_to_standard_normal(*method.encode(of["x"])))
        assert (method.log_evidence(of["x"], 2000) > out["elbo"].mean() - 1).all()


def test_the_prior_s_variance_is_bounded_and_other_data_are_refused() -> None:
    method = build()
    with torch.no_grad():
        method.told[-1].bias.fill_(50.0)
    assert method.told(torch.zeros(1, 2)).logvar.max().item() == 4.0
    with pytest.raises(UserError, match="LikelihoodSpec"):
        IDVAE(IDVAE.Config(), LikelihoodSpec((1, 8, 8), 10, likelihood="bernoulli"))
    groups = method.parameter_groups()
    assert groups[1]["betas"] == (0.5, 0.9) and sum(len(group["params"]) for group in groups) == len(list(method.parameters()))
    assert math.isfinite(loss(method, {"x": batch(0)["x"]})["loss"].item()), "data without labels"


@pytest.mark.parametrize("cls", [IDVAE, IVAE])
def test_the_networks_of_budget_full_take_a_step_and_score_a_batch(cls: type) -> None:
    """64 x 64 images and the factors of dSprites; in half the precision too."""
    spec = FactorSpec((1, 64, 64), 200_000, likelihood="bernoulli", network="conv-32-32-64-64", factors=(3, 6, 40, 32, 32))
    method = cls(cls.Config(), spec)
    of = {"x": (torch.rand(3, 1, 64, 64) < 0.1).float(), "factors": torch.tensor([[0, 5, 39, 31, 31], [-1] * 5, [2, 0, 0, 0, 0]])}
    optimizer = torch.optim.Adam(method.parameter_groups(), 1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        loss(method, of)["loss"].backward()
    optimizer.step()
    with torch.no_grad():
        assert all(value.isfinite().all() for value in (*method.encode(of["x"]), method.elbo(of["x"])["elbo"]))
