"""What must hold exactly of chains of images and of priors that are flows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec, RealLikelihood
from elboard.bench.task import Data
from elboard.methods.vae.chain import SMALL, sketch
from elboard.methods.vae.flow_prior import FlowPrior
from elboard.methods.vae.selfvae import SelfVAE
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "selfvae": (
        "test_without_transforms_it_is_the_vae",
        "test_masses_of_all_images_sum_to_the_chance_that_their_transform_agrees",
    )
}
SMALLEST = LikelihoodSpec((1, 2, 2), 50, likelihood="discretised-logistic", levels=3)
LARGER = LikelihoodSpec((1, 8, 8), 50, likelihood="discretised-logistic", levels=17)


def build(spec: LikelihoodSpec = LARGER, **options: Any) -> SelfVAE:
    torch.manual_seed(0)
    return SelfVAE(SelfVAE.Config(**({"hidden": [6], "latent_dim": 2} | options)), spec)


def examples(n: int = 12) -> Tensor:
    return torch.randint(17, (n, 1, 8, 8), generator=torch.Generator().manual_seed(1)) / 16


def test_without_transforms_it_is_the_vae() -> None:
    method = build(transforms=[], prior="normal")
    torch.manual_seed(0)
    vae = VAE(VAE.Config(hidden=[6], latent_dim=2), LARGER)
    vae.load_state_dict(method.top.state_dict())
    bounds = []
    for one in (method, vae):
        one.prepare(Data(LARGER, {"x": examples()}))
        torch.manual_seed(3)
        bounds.append(one.log_evidence(examples(), 7))
    torch.testing.assert_close(*bounds, rtol=1e-5, atol=1e-3)
    torch.manual_seed(4)
    drawn = method.sample(5)
    torch.manual_seed(4)
    torch.testing.assert_close(drawn, vae.sample(5))


@torch.no_grad()
def test_masses_of_all_images_sum_to_the_chance_that_their_transform_agrees() -> None:
    """The weights' mean is p(x, d(x)), so that over all 81 images they sum to the probability that an image has the transform that it
    was drawn with, by drawing u, y, z and x in turn."""
    method = build(SMALLEST)
    for parameter in method.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape))
    for posterior in (method.top.posterior, method.levels[0].posterior):  # wide, so that no weight is much larger than the others
        posterior.weight.mul_(0.3)
        posterior.bias[2:].fill_(1.2)
    every = torch.tensor(list(itertools.product((0.0, 0.5, 1.0), repeat=4))).view(81, 1, 2, 2)
    total = torch.stack([method.log_evidence(every, 1000).exp().sum() for _ in range(8)])
    level, n = method.levels[0], 40_000
    u = method.top.prior.sample(n, like=method.top.out.weight)
    values = torch.tensor([0.0, 0.5, 1.0])
    chance = method.top.likelihood.log_prob(values[:, None], method.top.output(u)[:, None]).exp()
    torch.testing.assert_close(chance.sum(1), torch.ones(n), rtol=1e-4, atol=1e-4)
    y = values[torch.multinomial(chance, 1)].view(n, 1, 1, 1)
    z = level.code(y, u[:, None]).sample().z
    chance = level.likelihood.log_prob(every.flatten(1), level.output(y, z)).exp()
    x = every[torch.multinomial(chance, 1)[:, 0]]
    agree = (method.images(x)[1] == y).float().mean().item()
    error = (total.var() / 8 + agree * (1 - agree) / n).sqrt().item()
    assert 0.05 < agree < 0.95 and abs(total.mean().item() - agree) < 4 * error + 1e-3, (total.mean(), agree)


def test_transforms_are_images_of_the_same_levels() -> None:
    x = torch.tensor([[0.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1]])[None, None]
    method = build(LikelihoodSpec((1, 4, 4), 9, likelihood="discretised-logistic", levels=5), transforms=["downscale", "downscale"])
    chain = method.images(x)
    assert chain[1].tolist() == [[[[0.75, 0.0], [0.25, 1.0]]]] and chain[2].tolist() == [[[[0.5]]]]
    for name in ("downscale", "sketch"):
        (_, y) = build(transforms=[name]).images(examples())
        torch.testing.assert_close(y * 16, (y * 16).round())
        assert y.min() >= 0 and y.max() <= 1
    edge = torch.zeros(1, 1, 6, 6)
    edge[..., 3:] = 0.5
    assert sketch(torch.full((1, 1, 5, 5), 0.7)).max() < 1e-6
    torch.testing.assert_close(sketch(edge)[0, 0, 2], torch.tensor([0.0, 0, 0.5, 0.5, 0, 0]))


def test_the_bound_is_what_its_terms_are() -> None:
    method = build(transforms=["downscale", "sketch"])
    torch.manual_seed(2)
    terms = method.elbo(examples())
    torch.testing.assert_close(terms["elbo"], -terms["reconstruction"] - terms["kl"])
    torch.manual_seed(2)
    torch.testing.assert_close(method.log_evidence(examples(), 1), terms["elbo"], rtol=1e-5, atol=1e-3)
    torch.manual_seed(2)
    assert method.loss({"x": examples()})["loss"].item() == pytest.approx(-terms["elbo"].mean().item(), rel=1e-5)


def test_grey_levels_alone_are_offered() -> None:
    """A point mass has log-probability 0 only where y is discrete."""
    assert not issubclass(SelfVAE, RealLikelihood) and SelfVAE.mro().count(VAE) == 0


def test_log_variances_are_clamped() -> None:
    method = build()
    with torch.no_grad():
        for part in (method.top.posterior, method.levels[0].posterior, method.levels[0].prior):
            part.bias.fill_(50.0)
            assert part(torch.zeros(1, 6)).logvar.max() == SMALL


def test_a_flow_is_a_density_and_begins_as_the_normal_law() -> None:
    torch.manual_seed(0)
    prior, z = FlowPrior(3, 4, [8]).double(), torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(z), prior.normal.log_prob(z))
    with torch.no_grad():
        for coupling in prior.couplings:
            coupling.out.weight.normal_()

    def onward(one: Tensor) -> Tensor:
        for coupling in prior.couplings:
            one, _ = coupling(one[None])
            one = one[0]
        return one

    wanted = torch.stack(
        [prior.normal.log_prob(onward(one)) + torch.autograd.functional.jacobian(onward, one).det().abs().log() for one in z]
    )
    torch.testing.assert_close(prior.log_prob(z), wanted)
    back = onward(z[0])
    for coupling in reversed(prior.couplings):
        back = coupling.inverse(back[None])[0]
    torch.testing.assert_close(back, z[0])
    torch.testing.assert_close(prior.log_prob(z[:, None].expand(-1, 2, -1)), wanted[:, None].expand(-1, 2))


def test_samples_are_images_of_the_task() -> None:
    for chain in ([], ["downscale"], ["downscale", "downscale"], ["sketch"]):
        method = build(transforms=chain)
        method.prepare(Data(LARGER, {"x": examples()}))
        drawn = method.sample(6)
        assert drawn.shape == (6, 1, 8, 8) and drawn.min() >= 0 and drawn.max() <= 1


def test_mistakes_are_one_line() -> None:
    for options, said in (
        ({"transforms": ["downscal"]}, "did you mean 'downscale'"),
        ({"prior": "flows"}, "did you mean 'flow'"),
        ({"transforms": ["downscale"] * 4}, "cannot be halved"),
    ):
        with pytest.raises(UserError, match=said):
            build(**options)
