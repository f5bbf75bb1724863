"""What must hold exactly for the hierarchical model of bottom-up inference, and for scores that start from a model of the likelihood."""

from __future__ import annotations

import copy
import io
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Bernoulli, Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import BinaryLikelihood, LikelihoodSpec
from elboard.bench.method import Method
from elboard.bench.options import Options
from elboard.bench.task import Data
from elboard.methods.ood.densities import DensityScore
from elboard.methods.ood.hvae_llr import HVAELLR
from elboard.methods.ood.input_complexity import InputComplexity, png_bits
from elboard.methods.ood.likelihood import Likelihood
from elboard.methods.ood.likelihood_regret import LikelihoodRegret
from elboard.methods.ood.typicality import Typicality
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.vae.bottom_up_hvae import BottomUpHVAE
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "bottom-up-hvae": (
        "test_weights_above_are_ratios_of_densities",
        "test_the_bound_approaches_the_evidence_from_below",
        "test_the_terms_of_the_bound_are_torchs",
    ),
    "hvae-llr": (
        "test_leaving_no_layer_out_changes_nothing",
        "test_the_ratio_is_of_two_log_means",
        "test_a_layer_that_nobody_reads_costs_nothing",
    ),
    "likelihood": ("test_the_likelihood_is_in_nats_and_its_score_falls_with_it",),
    "input-complexity": ("test_complexity_and_likelihood_are_both_in_bits", "test_a_png_holds_the_image"),
    "typicality": ("test_typicality_is_symmetric_about_the_entropy_of_training_images",),
    "likelihood-regret": (
        "test_without_a_step_there_is_no_regret",
        "test_each_image_has_an_encoder_of_its_own",
    ),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
SMALL = {"hidden": [8], "latent_dim": 2, "lower_dims": [4, 3]}


def build(**options: Any) -> BottomUpHVAE:
    """With conditional priors and heads far from one another, so that each term counts."""
    torch.manual_seed(0)
    method = BottomUpHVAE(BottomUpHVAE.Config(**{**SMALL, **options}), SPEC).double()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return method.eval()


def images(n: int = 7) -> torch.Tensor:
    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).double()


def scorer(cls: type, base: Any, **options: Any) -> Any:
    return cls(cls.Config(**options), SPEC, {"model": base}).double().eval()


def score(method: DensityScore, x: torch.Tensor, seed: int = 3) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return method.ood_score(x)


class Pixels(Method, BinaryLikelihood):
    """Independent pixels, white with probability ``p``: a likelihood that is known."""

    def __init__(self, p: float):
        super().__init__(Options(), SPEC)
        self.p = p

    def log_evidence(self, x: torch.Tensor, k: int) -> torch.Tensor:
        return Bernoulli(probs=torch.tensor(self.p, dtype=x.dtype)).log_prob(x).flatten(1).sum(1)

    def elbo(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.log_evidence(x, 1)
        return {"elbo": found, "kl": 0 * found, "reconstruction": -found}


# --- the hierarchical model --------------------------------------------------------------------------


def by_hand(method: BottomUpHVAE, x: torch.Tensor, k: int, n: int) -> torch.Tensor:
    """log p(x|z) + sum over layers above k of log p - log q, by torch's distributions, with the noise in the order of the layers."""
    decoder, state, total = method.decoder, None, torch.zeros(len(x) * n, dtype=x.dtype)
    for i in (2, 1, 0):
        if state is None:
            p = Normal(torch.zeros(len(x) * n, 2, dtype=x.dtype), 1.0)
        else:
            mean, logvar = torch.nn.Sequential.forward(decoder.conditionals[i], state).mean, decoder.conditionals[i](state).logvar
            p = Normal(mean, torch.exp(0.5 * logvar))
        if i >= k:
            of = method.posterior(method.encoder(x))[i]
            q = Normal(*(value.repeat_interleave(n, 0) for value in (of.mean, torch.exp(0.5 * of.logvar))))
            z = q.mean + q.stddev * torch.randn_like(q.mean)
            total = total + (p.log_prob(z) - q.log_prob(z)).sum(1)
        else:
            z = p.mean
        state = decoder.updates[i](z) if state is None else state + decoder.updates[i](torch.cat([state, z], 1))
    rows = x.flatten(1).repeat_interleave(n, 0)
    return (total + Bernoulli(logits=method.out(state)).log_prob(rows).sum(1)).view(len(x), n)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_weights_above_are_ratios_of_densities(k: int) -> None:
    """The terms of skipped layers are dropped, and their codes are modes."""
    method, x = build(), images()
    with torch.no_grad():
        torch.manual_seed(5)
        found = method.log_weights_above(x, k, 6)
        torch.manual_seed(5)
        torch.testing.assert_close(found, by_hand(method, x, k, 6))


def test_the_bound_approaches_the_evidence_from_below() -> None:
    """Of two layers of one unit each, by quadrature; a bound of one draw is biased, one of thousands hardly."""
    method, x = build(lower_dims=[1], latent_dim=1), images(3)
    grid = torch.linspace(-9, 9, 601, dtype=torch.float64)
    with torch.no_grad():
        top = method.decoder.update(1, None, grid[:, None])
        p = method.decoder.prior(0, top, grid[:, None])
        noise = grid[:, None]  # of z_1 given z_2
        z = p.mean.T + noise * torch.exp(0.5 * p.logvar).T  # (noise, z_2)
        state = method.decoder.update(0, top.repeat(len(grid), 1), z.reshape(-1, 1))
        log_p = method.log_likelihood(x[:1].expand(1, *x.shape[1:]), state)[0]
        log_x = [Bernoulli(logits=method.out(state)).log_prob(one.flatten()).sum(1) for one in x]
        torch.testing.assert_close(log_p, log_x[0])
        normal = Normal(0.0, 1.0).log_prob(grid)
        weight = (normal[:, None] + normal[None]).reshape(-1) + 2 * math.log(18 / 600)
        evidence = torch.stack([torch.logsumexp(one + weight, 0) for one in log_x])
        torch.manual_seed(0)
        many = method.log_evidence(x, 40_000)
        once = torch.stack([method.elbo(x)["elbo"] for _ in range(100)])
        few = torch.stack([method.log_evidence(x, 5) for _ in range(100)])
    torch.testing.assert_close(many, evidence, atol=0.06, rtol=0)
    error = 5 * (once.std(0) + few.std(0)) / 10
    assert (few.mean(0) > once.mean(0) - error).all() and (few.mean(0) < evidence + error).all() and (once.mean(0) < evidence).all()


def test_the_terms_of_the_bound_are_torchs() -> None:
    method, x = build(), images()
    with torch.no_grad():
        torch.manual_seed(2)
        found = method.elbo(x)
        torch.manual_seed(2)
        for of in method.descend(x, 0, 1):
            laws = [Normal(one.mean, torch.exp(0.5 * one.logvar)) for one in (of.q, of.p)]
            torch.testing.assert_close(found[f"kl_{of.i + 1}"], kl_divergence(*laws).sum(1))
    torch.testing.assert_close(found["elbo"], -found["reconstruction"] - found["kl_1"] - found["kl_2"] - found["kl_3"])
    assert found["elbo"].shape == (7,)


def test_nats_are_free_at_first_and_cost_in_the_end() -> None:
    method, x = build(free=50.0, kl_warmup=0.0), images()
    for progress, free in ((0.0, 50.0), (0.2, 50.0), (0.3, 25.0), (0.4, 0.0), (1.0, 0.0)):
        method.progress = progress
        torch.manual_seed(4)
        out = method.loss({"x": x})
        floored = sum(max(free, out[f"kl_{i}"].item()) for i in (1, 2, 3))
        assert out["loss"].item() == pytest.approx(out["reconstruction"].item() + floored)
    assert out["loss"].item() == pytest.approx(-out["elbo"].item())
    warm = build(free=0.0, kl_warmup=0.5)
    warm.progress = 0.25
    out = warm.loss({"x": x})
    assert out["loss"].item() == pytest.approx((out["reconstruction"] + 0.5 * out["kl"]).item())


def test_samples_go_down_all_layers() -> None:
    torch.manual_seed(1)
    sample = build().float().sample(5)
    assert sample.shape == (5, 1, 4, 4) and sample.min() >= 0 and sample.max() <= 1


# --- the scores ------------------------------------------------------------------------------------------


def test_leaving_no_layer_out_changes_nothing() -> None:
    for samples in (1, 10):
        found = score(scorer(HVAELLR, build(), k=0, samples=samples), images())
        assert torch.equal(found, torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize("k", [1, 2])
def test_the_ratio_is_of_two_log_means(k: int) -> None:
    """The full bound minus the one that lacks the lower layers, so that out of distribution is positive; noise above k is shared."""
    base, x, n = build(), images(), 6
    torch.manual_seed(3)
    seed = int(torch.randint(2**31, ()))
    with torch.no_grad():
        bounds = []
        for of in (0, k):
            torch.manual_seed(seed)
            bounds.append(by_hand(base, x, of, n).exp().mean(1).log())
    torch.testing.assert_close(score(scorer(HVAELLR, base, k=k, samples=n), x), bounds[0] - bounds[1])
    torch.testing.assert_close(score(scorer(HVAELLR, base, k=k, samples=n, score="bound"), x), -bounds[1])


def test_a_layer_that_nobody_reads_costs_nothing() -> None:
    """A z_1 that the likelihood does not depend on, with q(z_1|x) = p(z_1): both bounds are one."""
    base = build()
    with torch.no_grad():
        base.decoder.updates[0][1].weight[:, -4:] = 0
        for layer in (base.decoder.conditionals[0][-1], base.posterior.heads[0][-1]):
            layer.weight.zero_()
            layer.bias.copy_(torch.linspace(-1, 1, 8))
    torch.testing.assert_close(score(scorer(HVAELLR, base, k=1), images()), torch.zeros(7, dtype=torch.float64), atol=1e-12, rtol=0)
    assert score(scorer(HVAELLR, base, k=2), images()).abs().min() > 0.01


def test_a_model_must_fit_the_score() -> None:
    flat = VAE(VAE.Config(hidden=[8], latent_dim=2), SPEC)
    with pytest.raises(UserError, match="VAE cannot be the base of HVAELLR: it is no HierarchicalLikelihood"):
        scorer(HVAELLR, flat)
    with pytest.raises(UserError, match="k=3 leaves nothing to q: the model has 3 layers"):
        scorer(HVAELLR, build(), k=3)
    with pytest.raises(UserError, match="Pixels cannot be the base of LikelihoodRegret"):
        scorer(LikelihoodRegret, Pixels(0.5))


def test_the_likelihood_is_in_nats_and_its_score_falls_with_it() -> None:
    x = torch.zeros(17, 1, 4, 4, dtype=torch.float64)
    for white in range(17):
        x.view(17, 16)[white, :white] = 1
    found = score(scorer(Likelihood, Pixels(0.2)), x)
    white = torch.arange(17, dtype=torch.float64)
    torch.testing.assert_close(found, -(white * math.log(0.2) + (16 - white) * math.log(0.8)))
    assert (found.diff() > 0).all(), "the less likely, the further out"
    base = build()
    torch.manual_seed(3)
    with torch.no_grad():
        expected = -base.log_evidence(images(), 4)
    torch.testing.assert_close(score(scorer(Likelihood, base, samples=4), images()), expected)
    found = []
    for of in (scorer(Likelihood, base), base):
        torch.manual_seed(3)
        with torch.no_grad():
            found.append(of.elbo(images())["elbo"])
    assert torch.equal(*found), "bounds stay those of the model"


def test_complexity_and_likelihood_are_both_in_bits() -> None:
    """Of a model of coins an image takes one bit a pixel; what compression takes is taken off."""
    x = images()
    method = scorer(InputComplexity, Pixels(0.5))
    torch.testing.assert_close(score(method, x), 16 - png_bits(x, 2).double())
    torch.testing.assert_close(score(method, x), -method.log_p(x) / math.log(2) - method.bits(x).double())
    with pytest.raises(UserError, match="compresses images of one channel"):
        method.bits(torch.zeros(2, 3, 4, 4))


def test_a_png_holds_the_image() -> None:
    """Noise takes about one bit a binary pixel and eight of 256 levels; a constant next to none."""
    rng = np.random.default_rng(0)
    for levels, depth in ((2, 1), (256, 8)):
        noise = torch.from_numpy(rng.integers(0, levels, (3, 1, 64, 64))).float() / (levels - 1)
        noisy, flat = png_bits(noise, levels), png_bits(torch.zeros(1, 1, 64, 64), levels)
        header = 8 * 80
        assert (noisy >= depth * 64 * 64).all() and (noisy < 1.05 * depth * 64 * 64 + 2 * header).all() and flat < 2 * header
    file = io.BytesIO()
    Image.fromarray((noise[0, 0] * 255).round().byte().numpy()).save(file, "png", optimize=True)
    assert png_bits(noise[:1], 256) == 8 * len(file.getvalue())


def test_typicality_is_symmetric_about_the_entropy_of_training_images() -> None:
    """Training images are drawn as training draws them; neither likelier nor less likely ones are typical."""
    grey = torch.full((1000, 1, 4, 4), 0.25, dtype=torch.float64)

    def binarised(batch: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"x": (torch.rand(batch["x"].shape, generator=generator) < batch["x"]).double()}

    method = scorer(Typicality, Pixels(0.25), n_fit=900)
    never = {"x": torch.full((1, 1, 4, 4), torch.nan)}
    method.fit(Data(SPEC, {"x": grey}, never, on_batch=binarised), SimpleNamespace())
    entropy = -16 * (0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert method.entropy.item() == pytest.approx(entropy, abs=0.3)
    plain = scorer(Typicality, Pixels(0.25))
    plain.fit(Data(SPEC, {"x": images(5)}, never), SimpleNamespace())
    assert plain.entropy.item() == pytest.approx(-plain.log_p(images(5)).mean().item())
    x = torch.zeros(17, 1, 4, 4, dtype=torch.float64)
    for white in range(17):
        x.view(17, 16)[white, :white] = 1
    found = score(method, x)
    torch.testing.assert_close(found, (-method.log_p(x) - method.entropy).abs())
    assert found.argmin() == 4 and found[0] > found[4] and found[8] > found[4]


def test_without_a_step_there_is_no_regret() -> None:
    base, x = build(), images()
    assert torch.equal(score(scorer(LikelihoodRegret, base, steps=0, samples=3), x), torch.zeros(7, dtype=torch.float64))
    before = copy.deepcopy(base.state_dict())
    found = score(scorer(LikelihoodRegret, base, steps=20, rate=0.03, samples=20, fitted="encoder"), x)
    assert (found > 0.1).all(), "of an encoder that was never trained each image gains"
    assert all(torch.equal(before[name], of) for name, of in base.state_dict().items()), "the base stays as it is"
    assert all(of.grad is None for of in base.parameters())


@pytest.mark.parametrize("fitted", ["heads", "encoder"])
def test_each_image_has_an_encoder_of_its_own(fitted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each were fitted by itself, with the decoder as it is; at the posterior's mean, where nothing is drawn."""
    monkeypatch.setattr(Gaussian, "sample", lambda self, k=0: Draw(self.mean, torch.zeros_like(self.mean)))
    base, x, steps, rate = build(), images(3), 4, 0.02
    found = score(scorer(LikelihoodRegret, base, steps=steps, rate=rate, samples=3, draws=2, fitted=fitted), x)
    for i in range(3):
        own = copy.deepcopy(base)
        parts = [own.posterior.heads] if fitted == "heads" else [own.encoder, own.posterior]
        optimiser = torch.optim.Adam([of for part in parts for of in part.parameters()], lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            (-own.elbo(x[i : i + 1])["elbo"].sum()).backward()
            optimiser.step()
        with torch.no_grad():
            gained = own.elbo(x[i : i + 1])["elbo"] - base.elbo(x[i : i + 1])["elbo"]
        torch.testing.assert_close(found[i : i + 1], gained)
