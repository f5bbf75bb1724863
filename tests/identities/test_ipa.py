"""What must hold exactly of hierarchies of codes, of partial encoders of them, and of completions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.vae.completing import PartialEncoder, log_prob, seen
from elboard.methods.vae.cvae_scratch import CVAEScratch
from elboard.methods.vae.hvae import HVAE
from elboard.methods.vae.inpainting_net import InpaintingNet
from elboard.methods.vae.ipa import IPA

IDENTITIES = {
    "hvae": ("test_the_bound_of_the_hierarchy_by_hand", "test_the_bound_of_many_samples_is_above_that_of_one"),
    "ipa": (
        "test_a_copy_of_q_that_sees_all_costs_nothing",
        "test_ipa_is_the_conditional_bound_but_for_what_is_held_fixed",
        "test_the_divergence_covers_and_its_reverse_settles",
        "test_ipa_r_by_hand",
    ),
    "cvae-scratch": ("test_ipa_is_the_conditional_bound_but_for_what_is_held_fixed",),
    "inpainting-net": ("test_a_deterministic_net_has_one_completion_and_an_exact_likelihood",),
}
SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
SMALL = {"hidden": [7], "latent_dim": 2, "width": 5, "groups": 3}


def hvae() -> HVAE:
    torch.manual_seed(0)
    return HVAE(HVAE.Config(**SMALL), SPEC).eval()


def ipa(base: HVAE, **options: Any) -> IPA:
    torch.manual_seed(1)
    return IPA(IPA.Config(**options), SPEC, {"model": base})


def batch(n: int = 9, share: float = 0.5) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(2)
    return {"x": (torch.rand(n, 1, 4, 4, generator=noise) < 0.4).float(), "mask": (torch.rand(n, 1, 4, 4, generator=noise) < share).float()}


def same_noise(function: Any, *args: Any) -> Any:
    torch.manual_seed(5)
    return function(*args)


def normal(of: Gaussian) -> Independent:
    return Independent(Normal(of.mean, torch.exp(0.5 * of.logvar)), 1)


def by_hand(base: Any, choose: Any, against: Any, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Last state, sum of divergences and log-ratio, group after group, by PyTorch's distributions."""
    state, kl, ratio = base.decoder.start.expand(n, -1), torch.zeros(n), torch.zeros(n)
    for i in range(3):
        q, p = normal(choose(i, state)), normal(against(i, state))
        z = q.mean + q.stddev * torch.randn_like(q.mean)
        kl, ratio = kl + kl_divergence(q, p), ratio + p.log_prob(z) - q.log_prob(z)
        state = state + base.decoder.updates[i](torch.cat([state, z], 1))
    return state, kl, ratio


def test_the_bound_of_the_hierarchy_by_hand() -> None:
    method, x = hvae(), batch()["x"]
    found = same_noise(method.elbo, x)
    state, kl, _ = same_noise(by_hand, method, method.q(x), method.decoder.prior, len(x))
    reconstruction = F.binary_cross_entropy_with_logits(method.out(state), x.flatten(1), reduction="none").sum(1)
    torch.testing.assert_close(found["kl"], kl)
    torch.testing.assert_close(found["elbo"], -reconstruction - kl)
    assert same_noise(method.loss, {"x": x})["loss"].item() == pytest.approx(-found["elbo"].mean().item(), rel=1e-6)
    assert method.sample(6).shape == (6, 1, 4, 4)


def test_the_bound_of_many_samples_is_above_that_of_one() -> None:
    """Of one sample it is the log-weight of by_hand; of many it grows to log p(x), which sums to 1 over all images."""
    method, x = hvae(), batch()["x"]
    with torch.no_grad():
        state, _, ratio = same_noise(by_hand, method, method.q(x), method.decoder.prior, len(x))
        single = same_noise(method.log_evidence, x, 1)
        torch.testing.assert_close(single, method.log_likelihood(x, state) + ratio, rtol=1e-4, atol=1e-4)
        many = torch.stack([method.elbo(x)["elbo"] for _ in range(300)]).mean(0)
        assert (method.log_evidence(x, 300) > many).all()
        small = HVAE(HVAE.Config(**SMALL), LikelihoodSpec((1, 2, 2), 10, likelihood="bernoulli"))
        for p in (*small.posterior.parameters(), *small.decoder.priors.parameters()):
            p *= 0.1  # q near the prior, so that weights have no heavy tail
        every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).reshape(16, 1, 2, 2)
        assert small.log_evidence(every, 3000).exp().sum().item() == pytest.approx(1, abs=0.03)


def test_a_copy_of_q_that_sees_all_costs_nothing() -> None:
    """It begins as q, to which a mask says nothing; only where something is hidden there is a divergence."""
    method, of = ipa(hvae()), batch()
    all_seen = {**of, "mask": torch.ones_like(of["mask"])}
    assert method.loss(all_seen)["loss"].abs().item() < 1e-6 < method.loss(of)["loss"].item()
    assert ipa(hvae(), copy=False).loss(all_seen)["loss"].item() > 1e-3


def test_ipa_is_the_conditional_bound_but_for_what_is_held_fixed() -> None:
    """The loss of the conditional model from scratch, with the networks of a trained one, is that of IPA minus E_q log p(x|z)."""
    base, of = hvae(), batch()
    method = ipa(base, copy=False)
    scratch = CVAEScratch(CVAEScratch.Config(**SMALL), SPEC)
    scratch.load_state_dict(base.state_dict(), strict=False)
    scratch.partial.load_state_dict(method.partial.state_dict())
    conditional, own = same_noise(scratch.loss, of), same_noise(method.loss, of)
    log_likelihood = -same_noise(base.elbo, of["x"])["reconstruction"].mean()
    assert conditional["loss"].item() == pytest.approx((own["loss"] - log_likelihood).item(), rel=1e-5)
    for one in (method, scratch):
        bound = same_noise(one.bound, of["x"], of["mask"])
        assert bound.shape == (9,) and bound.mean().item() == pytest.approx(-conditional["loss"].item(), rel=1e-5), "as it is reported"
    conditional["loss"].backward()
    own["loss"].backward()
    for name, p in method.partial.named_parameters():
        torch.testing.assert_close(p.grad, scratch.partial.get_parameter(name).grad, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in base.parameters()), "the trained model is held fixed"
    assert all(p.grad is not None for p in scratch.parameters()), "and learned here"


def test_the_divergence_covers_and_its_reverse_settles() -> None:
    """The direction of the KL: with q of one image in the place of c and the other way round the values are those of KL(q || c)."""
    base, of = hvae(), batch()
    method = ipa(base, copy=False)
    c = method.partial.given(seen(of["x"], of["mask"]))
    _, forward, _ = same_noise(by_hand, base, base.q(of["x"]), c, len(of["x"]))
    assert same_noise(method.loss, of)["loss"].item() == pytest.approx(forward.mean().item(), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_ipa_r_by_hand(share: float) -> None:
    """Codes from c, likelihood of the seen pixels alone, divergence from the unconditional prior; gradients through the fixed decoder."""
    base, of = hvae(), batch(share=share)
    method = ipa(base, objective="reverse")
    c = method.partial.given(seen(of["x"], of["mask"]))
    state, kl, _ = same_noise(by_hand, base, c, base.decoder.prior, len(of["x"]))
    missed = F.binary_cross_entropy_with_logits(base.out(state), of["x"].flatten(1), reduction="none") * of["mask"].flatten(1)
    out = same_noise(method.loss, of)
    assert out["loss"].item() == pytest.approx((missed.sum(1) + kl).mean().item(), rel=1e-5)
    out["loss"].backward()
    assert all(p.grad is not None for p in method.partial.parameters()) and all(p.grad is None for p in base.parameters())
    assert share or out["reconstruction"].item() == 0


def test_what_is_hidden_is_not_read_and_what_is_seen_stays() -> None:
    base, of = hvae(), batch()
    x, mask = of["x"], of["mask"]
    other = torch.where(mask > 0, x, 1 - x)
    net = InpaintingNet(InpaintingNet.Config(hidden=[6]), SPEC)
    scratch = CVAEScratch(CVAEScratch.Config(**SMALL), SPEC)
    with torch.no_grad():
        for method in (ipa(base), scratch, net):
            found = same_noise(method.complete, x, mask, 4)
            assert found.shape == (9, 4, 1, 4, 4) and torch.equal(
                found[(mask[:, None] > 0).expand_as(found)], x[:, None].expand_as(found)[(mask[:, None] > 0).expand_as(found)]
            )
            hidden = (mask[:, None] == 0).expand_as(found)
            assert torch.equal(found[hidden], same_noise(method.complete, other, mask, 4)[hidden])
    black = seen(torch.zeros_like(x), torch.ones_like(mask)), seen(torch.zeros_like(x), torch.zeros_like(mask))
    assert not torch.equal(*black), "black pixels are not hidden ones"


def test_the_likelihood_of_hidden_pixels_is_that_of_the_mean_of_codes() -> None:
    """With nothing hidden it is 0; of k codes the log of the mean likelihood, by hand."""
    method, of = ipa(hvae(), copy=False), batch()
    x, mask = of["x"], of["mask"]
    with torch.no_grad():
        assert method.log_missing(x, torch.ones_like(mask), 3).abs().max().item() == 0
        state = same_noise(method.states, x, mask, 3)
        each = log_prob(x.flatten(1).repeat_interleave(3, 0), method.model.out(state), (1 - mask).flatten(1).repeat_interleave(3, 0))
        wanted = each.reshape(9, 3).exp().mean(1).log()
        torch.testing.assert_close(same_noise(method.log_missing, x, mask, 3), wanted)


def test_a_deterministic_net_has_one_completion_and_an_exact_likelihood() -> None:
    torch.manual_seed(0)
    net, of = InpaintingNet(InpaintingNet.Config(hidden=[6]), SPEC), batch()
    x, mask = of["x"], of["mask"]
    with torch.no_grad():
        found = net.complete(x, mask, 3)
        assert torch.equal(found[:, 0], found[:, 2])
        p = torch.where(x > 0, found[:, 0], 1 - found[:, 0])
        wanted = (p.log() * (1 - mask)).sum((1, 2, 3))
        torch.testing.assert_close(net.log_missing(x, mask, 1), wanted, rtol=1e-4, atol=1e-4)
        assert torch.equal(net.log_missing(x, mask, 1), net.log_missing(x, mask, 50))
        assert net.loss(of)["loss"].item() == pytest.approx(-wanted.mean().item(), rel=1e-4)


def test_c_is_never_a_point_and_options_are_checked() -> None:
    partial = PartialEncoder(hvae())
    with torch.no_grad():
        partial.heads[0][-1].bias.fill_(-99.0)
        assert partial.given(torch.zeros(1, 32))(0, torch.zeros(1, 5)).logvar.unique().item() == pytest.approx(-8)
    with pytest.raises(UserError, match="forward"):
        ipa(hvae(), objective="forwards")
    assert math.isfinite(ipa(hvae()).loss(batch())["loss"].item())
