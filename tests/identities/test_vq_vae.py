"""What must hold exactly for codes of a codebook, and for the prior that is fitted to them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.parts.categoricals import CategoricalMixture
from elboard.methods.vae.autoencoder import Autoencoder
from elboard.methods.vae.vq_vae import VQVAE

IDENTITIES = {
    "vq-vae": (
        "test_with_an_entry_for_each_code_it_is_the_autoencoder",
        "test_the_gradient_of_the_reconstruction_goes_straight_to_the_encoder",
        "test_moving_averages_without_memory_are_a_step_of_k_means",
        "test_the_masses_of_all_codes_sum_to_one",
    ),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
SMALL = {"hidden": [8], "latent_dim": 6, "positions": 3, "codes": 5, "components": 2}


def build(**options: object) -> VQVAE:
    torch.manual_seed(0)
    method = VQVAE(VQVAE.Config(**{**SMALL, **options}), SPEC)
    method.prepare(Data(SPEC, {"x": images(50)}))
    return method


def images(n: int = 7) -> torch.Tensor:
    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def test_entries_are_the_nearest_by_brute_force() -> None:
    method, x = build(), images(50)
    with torch.no_grad():
        z = method.positions(x)
        expected = torch.stack([(z - e).square().sum(-1) for e in method.codebook], -1).argmin(-1)
        assert torch.equal(method.indices(x), expected) and len(expected.unique()) > 2


def test_with_an_entry_for_each_code_it_is_the_autoencoder() -> None:
    """With the same loss and gradients: nothing is lost by quantisation, and neither distance counts."""
    method, x = build(codes=21), images()
    plain = Autoencoder(Autoencoder.Config(hidden=[8], latent_dim=6), SPEC)
    plain.load_state_dict({name: value for name, value in method.state_dict().items() if name in plain.state_dict()}, strict=False)
    with torch.no_grad():
        method.codebook.copy_(method.positions(x).flatten(0, 1))
    found, expected = method.loss({"x": x}), plain.loss({"x": x})
    torch.testing.assert_close(found["loss"], expected["loss"])
    assert found["commitment"].item() == pytest.approx(0, abs=1e-9) and found["perplexity"].item() == pytest.approx(21, abs=1e-3)
    found["loss"].backward()
    expected["loss"].backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(dict(method.named_parameters())[name].grad, parameter.grad, msg=name)


def test_the_gradient_of_the_reconstruction_goes_straight_to_the_encoder() -> None:
    """What reaches z_e is the gradient at the decoder's input, and 2 beta (z_e - e) / B of the commitment; entries have none of the
    reconstruction, but 2 (e - z_e) / B for each code of theirs."""
    method, x = build(commitment=0.7), images()
    z = method.positions(x).detach().requires_grad_()
    k = method.nearest(z)
    e = method.codebook[k].detach().requires_grad_()
    at_input = torch.autograd.grad(method.distortion(x, e.flatten(1)).mean(), e)[0]
    method.positions = lambda x: z
    method.loss({"x": x})["loss"].backward()
    torch.testing.assert_close(z.grad, at_input + 2 * 0.7 * (z - e).detach() / 7)
    expected = torch.zeros_like(method.codebook).index_add_(0, k.flatten(), (2 * (e - z).detach() / 7).flatten(0, 1))
    torch.testing.assert_close(method.codebook.grad, expected)


def test_moving_averages_without_memory_are_a_step_of_k_means() -> None:
    method, x = build(update="ema", decay=0.0), images(50)
    assert not method.codebook.requires_grad
    with torch.no_grad():
        z, k, before = method.positions(x).flatten(0, 1), method.indices(x).flatten(), method.codebook.clone()
    method.training_step({"x": x}, 0)
    for j, entry in enumerate(method.codebook):
        torch.testing.assert_close(entry, z[k == j].mean(0) if (k == j).any() else before[j])


def test_moving_averages_are_those_of_the_appendix() -> None:
    method = build(update="ema", decay=0.8)
    count, total = np.ones(5), method.codebook.detach().double().numpy().copy()
    rng = np.random.default_rng(0)
    for _ in range(4):
        z, k = rng.normal(size=(9, 2)), rng.integers(0, 4, 9)  # the last is never used
        method.average(torch.from_numpy(z).float(), torch.from_numpy(k))
        count = 0.8 * count + 0.2 * np.bincount(k, minlength=5)
        total = 0.8 * total + 0.2 * np.stack([z[k == j].sum(0) for j in range(5)])
    np.testing.assert_allclose(method.codebook, total / count[:, None], atol=1e-5)
    for _ in range(3000):
        method.average(torch.from_numpy(z).float(), torch.from_numpy(k))
    assert method.codebook.isfinite().all(), "an entry that nothing uses stays where it was"


def test_a_loss_changes_nothing() -> None:
    method = build(update="ema")
    state = {name: value.clone() for name, value in method.state_dict().items()}
    method.loss({"x": images()})
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())


def test_perplexity_is_the_number_of_codes_that_are_used_alike() -> None:
    method, x = build(), images()
    method.nearest = lambda z: torch.arange(21).view(7, 3) % 3
    assert method.loss({"x": x})["perplexity"].item() == pytest.approx(3, abs=1e-4)
    method.nearest = lambda z: torch.zeros(7, 3, dtype=torch.long)
    assert method.loss({"x": x})["perplexity"].item() == pytest.approx(1, abs=1e-6)


def test_samples_come_from_codes_that_are_fitted_once_an_epoch() -> None:
    method = build()
    method.before_validation()
    sample = method.sample(6)
    assert sample.shape == (6, 1, 4, 4) and sample.min() >= 0 and sample.max() <= 1 and method.fitted
    with torch.no_grad():
        k = method.indices(images(50))
        every = {
            one.numpy().round(5).tobytes()
            for one in method.decode(method.codebook[torch.cartesian_prod(*[torch.arange(5)] * 3)].flatten(1))
        }
        assert method.prior.log_prob(k).mean() > -3 * math.log(5), "better than uniform"
        assert {one.numpy().round(5).tobytes() for one in method.sample(50)} <= every, "nothing but decoded entries"


def test_the_prior_is_fitted_to_more_codes_than_a_mixture_learns_by_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    method, seen = build(), []
    method.prepare(Data(SPEC, {"x": images(6000)}))
    monkeypatch.setattr(method.prior, "fit", seen.append)
    method.fit_prior()
    assert torch.equal(seen[0], method.indices(images(6000)))


@pytest.mark.parametrize(("options", "said"), [({"positions": 4}, "no multiple"), ({"update": "emma"}, "ema")])
def test_options_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(**options)


# --- the prior ------------------------------------------------------------------------------------


def codes(n: int = 400) -> torch.Tensor:
    """Two kinds of rows, of three positions with four codes."""
    rng = np.random.default_rng(0)
    of = [rng.choice(4, (n, 3), p=p) for p in ([0.7, 0.1, 0.1, 0.1], [0.05, 0.05, 0.3, 0.6])]
    return torch.from_numpy(np.where(rng.random((n, 1)) < 0.4, *of))


def test_the_masses_of_all_codes_sum_to_one() -> None:
    mixture = CategoricalMixture(3, 4, 5)
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))
    torch.testing.assert_close(mixture.log_prob(every), torch.full((64,), -3 * math.log(4), dtype=torch.float64))
    mixture.fit(codes())
    assert mixture.log_prob(every).exp().sum().item() == pytest.approx(1, abs=1e-12)
    weights, tables = mixture.log_weights.exp(), mixture.log_tables.exp()
    expected = [sum(weights[c] * math.prod(tables[g, one[g], c].item() for g in range(3)) for c in range(5)).item() for one in every]
    np.testing.assert_allclose(mixture.log_prob(every).exp(), expected, rtol=1e-9)


def test_one_component_is_the_product_of_the_frequencies() -> None:
    k, mixture = codes(), CategoricalMixture(3, 4, 1)
    mixture.fit(k)
    counts = np.stack([np.bincount(column, minlength=4) for column in k.T.numpy()]) + 1 / 4
    np.testing.assert_allclose(mixture.log_tables[..., 0].exp(), counts / 401, atol=1e-12)


def test_each_step_of_the_fit_raises_the_posterior() -> None:
    k, found = codes(), []
    for iterations in (0, 1, 2, 5, 20):
        mixture = CategoricalMixture(3, 4, 6)
        mixture.fit(k, iterations, tolerance=-math.inf)
        found.append((mixture.log_prob(k).sum() + mixture.log_tables.sum() / 4).item())  # a Dirichlet law of parameters 1 + 1 / K
    assert all(a < b for a, b in zip(found, found[1:], strict=False))


def test_two_kinds_of_rows_are_found_and_sampled() -> None:
    mixture = CategoricalMixture(3, 4, 2)
    mixture.fit(codes(20_000), tolerance=1e-7)
    assert sorted(mixture.log_weights.exp().tolist()) == pytest.approx([0.4, 0.6], abs=0.02)
    torch.manual_seed(0)
    every, drawn = torch.tensor(list(itertools.product(range(4), repeat=3))), mixture.sample(50_000, torch.zeros(()))
    shares = np.bincount((drawn @ torch.tensor([16, 4, 1])).numpy(), minlength=64) / 50_000
    expected = mixture.log_prob(every).exp().numpy()
    assert np.abs(shares - expected).max() < 5 * math.sqrt(expected.max() / 50_000)
