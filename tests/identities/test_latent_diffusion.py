"""What must hold exactly for diffusions of the codes of several modalities (paper 116)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.multimodal import Modality, MultimodalSpec
from elboard.bench.registry import discover
from elboard.bench.task import Data
from elboard.methods.multimodal.mld import EARLIEST, MLD
from elboard.methods.multimodal.multimodal_autoencoder import MultimodalAutoencoder
from elboard.methods.parts.diffusion_paths import VPLinear
from elboard.methods.parts.diffusion_solvers import euler_maruyama, times_of

IDENTITIES = {
    "mld": (
        "test_what_is_given_of_a_gaussian_has_its_conditional",
        "test_joint_samples_are_those_of_one_diffusion_of_all_codes",
        "test_a_masked_loss_is_the_mean_over_what_is_not_given",
    ),
    "multimodal-autoencoder": (
        "test_the_conditional_is_that_of_regression",
        "test_the_loss_is_the_bound_of_a_code_without_noise",
    ),
}
SHAPE, Z = (1, 3, 3), 2


def autoencoder(modalities: int = 2) -> MultimodalAutoencoder:
    torch.manual_seed(0)
    names = tuple(Modality(f"m{m + 1}", SHAPE) for m in range(modalities))
    spec = MultimodalSpec(SHAPE, 8, likelihood="laplace", modalities=names, scale=0.3)
    base = MultimodalAutoencoder(MultimodalAutoencoder.Config(hidden=[6, 5], latent_dim=Z), spec)
    base.prepare(Data(spec, batch(modalities, 64)))
    base.before_validation()
    return base.eval().requires_grad_(False)


def batch(modalities: int = 2, n: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {f"m{m + 1}": torch.rand(n, *SHAPE, generator=generator) for m in range(modalities)}


def made(modalities: int = 2, **options: Any) -> MLD:
    base = autoencoder(modalities)
    torch.manual_seed(2)
    method = MLD(MLD.Config(**{"width": 16, "blocks": 2, "steps": 5, **options}), base.spec, {"autoencoders": base})
    for network in (method.network, method.average):
        torch.manual_seed(3)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return method


def seeded(function: Any, *given: Any) -> Any:
    torch.manual_seed(5)
    return function(*given)


GIVEN = {modalities: torch.tensor([True] + [False] * (modalities - 1)) for modalities in (2, 3)}


# --- the autoencoders ----------------------------------------------------------------------------------


def test_the_conditional_is_that_of_regression() -> None:
    """Of the codes themselves: the mean is the least-squares prediction with an intercept, the covariance that of its residuals."""
    base, generator = autoencoder(3), torch.Generator().manual_seed(3)
    z = torch.randn(64, 3 * Z, generator=generator) @ torch.randn(3 * Z, 3 * Z, generator=generator)
    base.mean.copy_(z.mean(0))
    base.covariance.copy_(torch.cov(z.T))
    there = base.there(dict.fromkeys(("m1", "m3")))
    mean, covariance = base.conditional(z, there)
    z = z.double()
    inputs = torch.cat([torch.ones(64, 1, dtype=torch.float64), z[:, there]], dim=1)
    fitted = inputs @ torch.linalg.lstsq(inputs, z[:, ~there]).solution
    torch.testing.assert_close(mean, fitted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(covariance, torch.cov((z[:, ~there] - fitted).T), rtol=1e-3, atol=1e-4)


def test_the_gaussian_is_of_the_training_codes() -> None:
    base = autoencoder()
    z = base.codes(batch(2, 64))
    torch.testing.assert_close(base.mean, z.mean(0))
    torch.testing.assert_close(base.covariance, torch.cov(z.T) + 1e-5 * torch.eye(2 * Z))


def test_what_is_given_keeps_its_code() -> None:
    base, x = autoencoder(3), batch(3)
    drawn = base.sample_given({"m2": x["m2"]})
    torch.testing.assert_close(drawn["m2"], base.decode(base.codes(x))["m2"])
    torch.testing.assert_close(base.sample_given(x), base.decode(base.codes(x)))


def test_the_loss_is_the_bound_of_a_code_without_noise() -> None:
    base, x = autoencoder(), batch()
    expected = sum(
        -torch.distributions.Laplace(base.decode(base.codes(x))[name], 0.3).log_prob(x[name]).flatten(1).sum(1).mean() for name in x
    )
    torch.testing.assert_close(base.loss(x)["loss"], expected)


# --- training ------------------------------------------------------------------------------------------


def test_codes_are_standardised_by_dimension() -> None:
    method, x = made(), batch(2, 64)
    z = method.standardised(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(2 * Z), atol=1e-4, rtol=0)
    variance = method.base.codes(x).var(0)
    torch.testing.assert_close(z.var(0), variance / (variance + 1e-5), rtol=1e-3, atol=0)
    torch.testing.assert_close(method.decode(z), method.base.decode(method.base.codes(x)))


def test_without_masks_the_loss_is_that_of_one_diffusion_of_all_codes() -> None:
    """In each variant the same."""
    x = batch()
    losses = []
    for options in ({}, {"times": "shared"}, {"condition": "inpaint"}):
        method = made(masked=0.0, **options)
        losses.append(seeded(method.loss, x)["loss"])
    torch.manual_seed(5)
    z, path = method.standardised(x), VPLinear()
    t = EARLIEST + (1 - EARLIEST) * torch.rand(len(z))
    noise = torch.randn_like(z)
    eps = method.network(path.noised(z, noise, t[:, None]), t[:, None].expand(-1, 2))
    expected = (noise - eps).square().mean()
    for loss in losses:
        torch.testing.assert_close(loss, expected)


def test_a_masked_loss_is_the_mean_over_what_is_not_given() -> None:
    """So that of errors of one size joint and masked batches have the same loss; and what is given has neither noise nor time."""
    method, x = made(3), batch(3)
    z, t, noise = method.standardised(x), torch.rand(8), torch.randn(8, 3 * Z)
    given = GIVEN[3]
    seen = []
    method.network.forward = lambda code, times: seen.append((code, times)) or noise + 2.0  # type: ignore[method-assign]
    for of in (given, ~given, torch.zeros(3, dtype=torch.bool)):
        assert method.error(z, t, noise, of).item() == pytest.approx(4.0, rel=1e-6)
    code, times = seen[0]
    assert torch.equal(code[:, :Z], z[:, :Z]) and not torch.isclose(code[:, Z:], z[:, Z:]).any(1).all()
    assert (times[:, 0] == 0).all() and torch.equal(times[:, 1], t) and torch.equal(times[:, 2], t)
    method.config.times = "shared"
    method.error(z, t, noise, given)
    assert torch.equal(seen[-1][1], t[:, None].expand(-1, 3)) and torch.equal(seen[-1][0], code)


def test_half_of_the_batches_have_clean_modalities_of_each_proper_subset() -> None:
    method = made(3)
    torch.manual_seed(0)
    drawn = torch.stack([method.drawn_given() for _ in range(4000)])
    assert drawn.any(1).double().mean().item() == pytest.approx(0.5, abs=4 * (0.25 / 4000) ** 0.5)
    assert not drawn.all(1).any()
    subsets, counts = torch.unique(drawn[drawn.any(1)], dim=0, return_counts=True)
    assert len(subsets) == 6 and counts.min() > 250
    assert not torch.stack([made(3, masked=0.0).drawn_given() for _ in range(20)]).any()


# --- sampling ------------------------------------------------------------------------------------------


def test_joint_samples_are_those_of_one_diffusion_of_all_codes() -> None:
    """The steps of Euler and Maruyama that other diffusions take, of the same noise."""
    method = made()
    found = seeded(method.solved, torch.zeros(6, 2 * Z), torch.zeros(2, dtype=torch.bool))
    path, times = VPLinear(), times_of(VPLinear(), 5, "time", EARLIEST)

    def model(z: Tensor, t: Tensor) -> Any:
        return path.view("noise", method.average(z, t.expand(len(z), 2)), z, t)

    torch.manual_seed(5)
    with torch.no_grad():
        torch.testing.assert_close(found, euler_maruyama(model, path, torch.randn(6, 2 * Z), times), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("times", ["by-modality", "shared"])
def test_what_is_given_is_clean_at_each_step(times: str) -> None:
    method, x = made(times=times), batch()
    clean, seen = method.standardised(x), []
    method.average.forward = lambda z, of: seen.append((z, of)) or torch.zeros_like(z)  # type: ignore[method-assign]
    method.sample_given({"m1": x["m1"]})
    assert len(seen) == 5 and all(torch.equal(z[:, :Z], clean[:, :Z]) for z, _ in seen)
    assert all((of[:, 0] == 0).all() == (times == "by-modality") and (of[:, 1] > 0).all() for _, of in seen)


def test_inpainting_noises_what_is_given_to_the_present_time() -> None:
    method, x = made(condition="inpaint", resamples=3), batch(2, 4000)
    clean, seen = method.standardised(x), []
    method.average.forward = lambda z, of: seen.append((z, of)) or torch.zeros_like(z)  # type: ignore[method-assign]
    found = method.solved(clean, GIVEN[2])
    assert len(seen) == 5 * 3 and torch.equal(found[:, :Z], clean[:, :Z])
    for z, times in seen[::4]:
        t = times[0, 0]
        assert (times == t).all()
        noise = (z - method.path.alpha(t) * clean)[:, :Z] / method.path.sigma(t)
        assert noise.std().item() == pytest.approx(1.0, abs=0.05)


C = torch.tensor([[1.0, 0.8], [0.8, 1.0]])


def exact(path: VPLinear, given: bool) -> Any:
    """eps of two codes N(0, C), the first given without noise, or both noised."""

    def network(z: Tensor, times: Tensor) -> Tensor:
        t = times[0, 1]
        alpha, sigma = path.alpha(t), path.sigma(t)
        if not given:
            return sigma * z @ torch.linalg.inv(alpha**2 * C + sigma**2 * torch.eye(2))
        eps = sigma * (z[:, 1] - alpha * 0.8 * z[:, 0]) / (alpha**2 * 0.36 + sigma**2)
        return torch.stack([torch.zeros_like(eps), eps], dim=1)

    return network


def drawn(condition: str, value: float, resamples: int = 1) -> Tensor:
    """The second code of 6,000 examples whose first one is ``value``."""
    method = made(condition=condition, resamples=resamples, steps=100)
    method.__dict__["bases"] = {"autoencoders": type("Codes", (), {"mean": torch.zeros(2), "covariance": torch.eye(2)})}
    method.average.forward = exact(method.path, condition == "masked")  # type: ignore[method-assign]
    clean = torch.full((6000, 2), value)
    return seeded(method.solved, clean, GIVEN[2])[:, 1]


def test_what_is_given_of_a_gaussian_has_its_conditional() -> None:
    """With the exact score: N(0.8 z_1, 0.36), up to the error of a hundred steps; inpainting misses its mean, and less if it resamples."""
    z = drawn("masked", 1.5)
    assert z.mean().item() == pytest.approx(1.2, abs=0.03) and z.std().item() == pytest.approx(0.6, abs=0.03)
    short = [1.2 - drawn("inpaint", 1.5, resamples).mean().item() for resamples in (1, 5)]
    assert short[0] > 0.05 and short[1] < 0.6 * short[0]


def test_recipes_are_the_variants_of_the_paper() -> None:
    card = discover("method")["mld"].card
    assert card.recipe("mld-inpaint") == {"masked": 0.0, "condition": "inpaint"} and card.recipe("mld-uni") == {"times": "shared"}
