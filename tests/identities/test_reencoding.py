"""What must hold exactly for autoencoders that read what they write, and oracles of the task that they are measured on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import bernoulli

from elboard.bench.errors import UserError
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.vae.augmented_training import AugmentedTraining
from elboard.methods.vae.generated_loss import GeneratedLoss
from elboard.methods.vae.multiscale_vae import MultiscaleVAE
from elboard.methods.vae.vae import VAE
from elboard.tasks.reencoding.mnist import ReencodingMNIST, losses, own_entropy

IDENTITIES = {
    "generated-loss": (
        "test_each_model_is_the_vae_of_its_weight",
        "test_the_generated_loss_of_an_exact_posterior_is_the_entropy_of_the_model",
        "test_a_weight_is_a_scale_of_noise",
        "test_a_collapsed_model_has_the_entropy_of_its_pixels_as_generated_loss",
    ),
    "augmented-training": (
        "test_without_variants_it_is_plain_training",
        "test_no_gradient_goes_through_variants",
    ),
    "multiscale-vae": (
        "test_with_one_scale_it_is_the_vae_of_that_weight",
        "test_the_width_of_a_linear_posterior_rises_with_its_scale",
        "test_without_a_condition_it_is_in_expectation_the_vae_of_the_mean_weight",
    ),
}
BETAS = (0.5, 1.0, 3.0)
SPEC = BetaSpec((1, 4, 4), 7, likelihood="bernoulli", betas=BETAS)
X = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(1))
SMALL: dict[str, Any] = {"hidden": [8], "latent_dim": 3}


def made(cls: type, **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(cls.Config(**SMALL, **options), SPEC)


def loss_and_gradients(method: Any, loss: Any = None) -> tuple[float, list[torch.Tensor]]:
    method.zero_grad()
    torch.manual_seed(3)
    value = loss() if loss else method.loss({"x": X})["loss"]
    value.backward()
    return value.item(), [p.grad.clone() for p in method.parameters()]


def same(one: tuple[float, list[torch.Tensor]], other: tuple[float, list[torch.Tensor]]) -> bool:
    close = [torch.allclose(a, b, atol=1e-5) for a, b in zip(one[1], other[1], strict=True)]
    return one[0] == pytest.approx(other[0], rel=1e-5) and all(close)


def test_each_model_is_the_vae_of_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """With images of grey levels, the same for all models or one's own."""
    method, noise = made(GeneratedLoss), torch.randn(3, 7, 3)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise if like.ndim == 3 else noise[i])
    out, own = method.loss({"x": X})["loss"].item(), losses(method, X.expand(3, *X.shape))
    total = 0.0
    for i, beta in enumerate(BETAS):
        vae = VAE(VAE.Config(**SMALL, activation="relu", beta=beta), LikelihoodSpec((1, 4, 4), 7, likelihood="bernoulli"))
        ours = (method.encoder[0], method.encoder[2], method.decoder[0], method.decoder[2])
        with torch.no_grad():
            for layer, theirs in zip((vae.encoder[1], vae.posterior, vae.decoder[1], vae.out), ours, strict=True):
                layer.weight.copy_(theirs.weight[i].T)
                layer.bias.copy_(theirs.bias[i, 0])
        alone = vae.loss({"x": X})["loss"].item()
        assert own[i].mean().item() == pytest.approx(alone, rel=1e-5)
        total += alone
    assert out == pytest.approx(total, rel=1e-5)


def test_a_collapsed_model_has_the_entropy_of_its_pixels_as_generated_loss() -> None:
    """Whatever its weight: of decoded means exactly, of binary samples up to the error of their number."""
    method = made(GeneratedLoss)
    with torch.no_grad():
        for layer in (method.decoder[2], method.encoder[2]):
            layer.weight.zero_()
        method.decoder[2].bias.copy_(torch.linspace(-3, 3, 16))
    fake = method.decode(method.prior_codes(20_000))
    entropy = bernoulli(torch.linspace(-3, 3, 16).sigmoid().numpy()).entropy().sum()
    torch.testing.assert_close(losses(method, fake).mean(1).double(), torch.full((3,), entropy, dtype=torch.float64), atol=1e-3, rtol=0)
    sampled = losses(method, torch.bernoulli(fake))
    error = (sampled.std(1) / 20_000**0.5).max().item()
    assert (sampled.mean(1) - entropy).abs().max().item() < 4 * error
    assert own_entropy(fake[0])[0].item() == pytest.approx(entropy, abs=1e-4)


def gaussian(cls: type, betas: tuple[float, ...], noise: float = 0.5, **options: Any) -> tuple[Any, torch.Tensor]:
    """Linear networks in double precision with the decoder W z and noise of a given deviation; and W (Z, D), of orthogonal rows."""
    spec = BetaSpec((1, 2, 3), 7, likelihood="gaussian", betas=betas)
    torch.manual_seed(0)
    method = cls(cls.Config(hidden=[], latent_dim=2, betas=list(betas), **options), spec).double()
    rows = torch.linalg.qr(torch.randn(6, 2).double()).Q.T * torch.tensor([[1.5], [0.7]])
    with torch.no_grad():
        method.likelihood.log_std.fill_(np.log(noise))
        method.decoder[0].weight.copy_(rows)
        method.decoder[0].bias.zero_()
    return method, rows


def set_posterior(method: Any, rows: torch.Tensor, noise: float = 0.5) -> None:
    """That of beta = 1, exactly, for all models."""
    precision = 1 + rows.square().sum(1) / noise**2
    with torch.no_grad():
        layer = method.encoder[0]
        layer.weight.zero_()
        layer.weight[:, :, :2] = rows.T / noise**2 / precision
        layer.bias.copy_(torch.cat([torch.zeros(2), -precision.log()]))


def test_the_generated_loss_of_an_exact_posterior_is_the_entropy_of_the_model() -> None:
    """At beta = 1, of samples x ~ p(x|z), within 3 standard errors; with any other encoder it is larger."""
    method, rows = gaussian(GeneratedLoss, (1.0,))
    set_posterior(method, rows)
    fake = (method.decode(method.prior_codes(100_000).double()) + 0.5 * torch.randn(1, 100_000, 1, 2, 3)).double()
    entropy = 0.5 * torch.logdet(2 * np.pi * np.e * (rows.T @ rows + 0.25 * torch.eye(6))).item()
    found = losses(method, fake)
    error = 3 * found.std().item() / 100_000**0.5
    assert found.mean().item() == pytest.approx(entropy, abs=error)
    with torch.no_grad():
        method.encoder[0].weight[:, :, :2] *= 0.7
    assert losses(method, fake).mean().item() > entropy + error


def test_a_weight_is_a_scale_of_noise() -> None:
    """l_beta / beta with noise s^2 and l_1 with beta s^2 differ by a constant, whatever the networks."""
    x, constants = torch.randn(7, 1, 2, 3).double(), []
    for encoder in (1.0, 0.3):
        method, rows = gaussian(GeneratedLoss, (1.0, 3.0))
        with torch.no_grad():
            method.encoder[0].weight[:] = encoder * method.encoder[0].weight[1]
            method.encoder[0].bias[:] = 0.1 - encoder
        torch.manual_seed(3)
        weighted = losses(method, x)[1] / 3
        method.betas = (1.0, 1.0)
        with torch.no_grad():
            method.likelihood.log_std += 0.5 * np.log(3)
        torch.manual_seed(3)
        constants.append(weighted - losses(method, x)[1])
    expected = 6 / 2 * (np.log(2 * np.pi * 0.25) / 3 - np.log(2 * np.pi * 0.75))
    torch.testing.assert_close(torch.cat(constants), torch.full((14,), expected, dtype=torch.float64))


def test_the_width_of_a_linear_posterior_rises_with_its_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variance beta s^2 / (beta s^2 + |w_j|^2) of each scale is stationary; noise of +-1 has the moments that are needed exactly."""
    betas = (0.5, 1.0, 3.0)
    method, rows = gaussian(MultiscaleVAE, betas)
    noise = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]).double()
    monkeypatch.setattr(torch, "randn_like", lambda like: noise)
    scales = 0.25 * torch.tensor(betas)[:, None].double()
    variance = scales / (scales + rows.square().sum(1))
    assert (variance.diff(dim=0) > 0).all()
    layer = method.encoder[0]
    with torch.no_grad():
        layer.weight[:, :, 2:] = 0.0
        layer.bias[:, :, 2:] = 0.0
        layer.weight[0, 6:, 2:] = variance.log()
    x = torch.randn(1, 1, 2, 3).double().expand(4, 1, 2, 3)
    for k, beta in enumerate(betas):
        method.zero_grad()
        reconstruction, kl = method.losses(x, torch.full((4,), k))
        (reconstruction + beta * kl).mean().backward()
        torch.testing.assert_close(layer.weight.grad[0, 6 + k, 2:], torch.zeros(2).double(), atol=1e-12, rtol=0)


def test_without_variants_it_is_plain_training() -> None:
    """With lambda = 0, and before the warm-up is over."""
    plain = loss_and_gradients(made(GeneratedLoss))
    for options, progress in (({"weight": 0.0}, 0.5), ({}, 0.1)):
        method = made(AugmentedTraining, **options)
        method.progress = progress
        assert same(loss_and_gradients(method), plain)
    method.progress = 0.5
    assert not same(loss_and_gradients(method), plain)


def test_no_gradient_goes_through_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient is that with variants which were stored before."""
    method = made(AugmentedTraining)
    method.progress = 0.5
    stored = method.variants(X).detach().clone()
    found = loss_and_gradients(method)
    monkeypatch.setattr(method, "variants", lambda x: stored)
    assert same(found, loss_and_gradients(method))


def test_copies_are_plain_training_with_two_samples_an_image() -> None:
    method = made(AugmentedTraining, variants="copies")
    method.progress = 0.5
    torch.manual_seed(3)
    twice = [method.objectives(X)[0], method.objectives(X)[0]]
    assert loss_and_gradients(method)[0] == pytest.approx((sum(twice) / 2).mean(1).sum().item(), rel=1e-5)


def test_with_one_scale_it_is_the_vae_of_that_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randn(7, 3)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise.view_as(like))
    multi, plain = made(MultiscaleVAE, betas=[3.0], condition="none"), made(GeneratedLoss, betas=[3.0])
    multi.load_state_dict(plain.state_dict())
    assert same(loss_and_gradients(multi), loss_and_gradients(plain))


def test_without_a_condition_it_is_in_expectation_the_vae_of_the_mean_weight() -> None:
    """By enumeration of the scales, with the same noise."""
    method = made(MultiscaleVAE, betas=list(BETAS), condition="none")

    def enumerated() -> torch.Tensor:
        total = 0.0
        for k, beta in enumerate(BETAS):
            torch.manual_seed(3)
            reconstruction, kl = method.losses(X, torch.full((7,), k))
            total = total + (reconstruction + beta * kl).mean() / len(BETAS)
        return total

    def of_the_mean() -> torch.Tensor:
        torch.manual_seed(3)
        reconstruction, kl = method.losses(X, torch.zeros(7, dtype=torch.long))
        return (reconstruction + sum(BETAS) / len(BETAS) * kl).mean()

    assert same(loss_and_gradients(method, enumerated), loss_and_gradients(method, of_the_mean))


@pytest.mark.parametrize("condition", ["encoder", "none", "both"])
def test_what_scales_are_told(condition: str) -> None:
    """Encoders differ by scale, decoders only where they are told too; the loss is that of the drawn scales."""
    method = made(MultiscaleVAE, betas=list(BETAS), condition=condition)
    mean, _ = method.posteriors(X)
    assert bool((mean[0] - mean[2]).abs().max() > 1e-3) == (condition != "none")
    out = method.decode(torch.ones(3, 2, 3))
    assert bool((out[0] - out[2]).abs().max() > 1e-4) == (condition == "both")
    torch.manual_seed(3)
    k = torch.randint(3, (7,))
    reconstruction, kl = method.losses(X, k)
    expected = (reconstruction + torch.tensor(BETAS)[k] * kl).mean().item()
    torch.manual_seed(3)
    assert method.loss({"x": X})["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_convolutional_network_has_one_for_each_weight() -> None:
    torch.manual_seed(0)
    spec = BetaSpec((1, 8, 8), 7, likelihood="bernoulli", betas=(0.5, 2.0))
    method = GeneratedLoss(GeneratedLoss.Config(network="conv-4-8", latent_dim=3), spec)
    x = torch.rand(5, 1, 8, 8)
    method.terms(x)[0][1].sum().backward()
    touched = {name.split(".")[1] for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert touched == {"1"} and method.decode(method.prior_codes(5)).shape == (2, 5, 1, 8, 8)


def test_unknown_words_are_a_users_mistake() -> None:
    with pytest.raises(UserError, match="variants='copy'"):
        made(AugmentedTraining, variants="copy")
    with pytest.raises(UserError, match="condition='decoder'"):
        made(MultiscaleVAE, condition="decoder")
    with pytest.raises(UserError, match="network='conv-16-32'"):
        made(MultiscaleVAE, network="conv-16-32")
    task = ReencodingMNIST(ReencodingMNIST.Config(n_train=20, n_valid=10, n_test=10), "smoke", 0)
    with pytest.raises(UserError, match="model of beta=1"):
        task.validate(made(GeneratedLoss, betas=[0.5]), task.load_train())


class Known:
    """Two models that encode and decode without an error: one with beta KL = 4, one with 40."""

    betas = (1.0, 10.0)

    def posteriors(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat = x.flatten(1).expand(2, -1, -1) if x.ndim == 4 else x.flatten(2)
        return flat, torch.zeros_like(flat)

    def terms(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n = x.shape[0] if x.ndim == 4 else x.shape[1]
        return torch.full((2, n), 7.0), torch.full((2, n), 4.0)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z.unflatten(-1, (1, 28, 28))

    def prior_codes(self, n: int) -> torch.Tensor:
        return torch.full((2, n, 784), 0.5)


def test_a_model_without_errors_leaves_images_as_they_are() -> None:
    task = ReencodingMNIST(ReencodingMNIST.Config(n_train=100, n_valid=30, n_test=40), "smoke", 0)
    data = task.load_train()
    gaps = ((9.0, 9.0), (), (1.0, 3.0), (1.5, 2.0))  # by epoch, of which one was not validated
    history = [dict(zip(("valid/generated_gap/beta1", "valid/generated_gap/beta10"), of, strict=False)) for of in gaps]
    history = [{**row, "train/loss": loss} for row, loss in zip(history, (50.0, 20.0, 30.0, 40.0), strict=True)]
    with torch.no_grad():
        found = task.score(task.observe(Known(), data, task.load_test(data), history).arrays)
    for of in ("beta1", "beta10"):
        assert found[f"confidence_gain/{of}-t10"] == found[f"iterated_gain/{of}-t5"] == found[f"iterated_excess_gain/{of}-t1to10"] == 0
        assert found[f"accuracy/{of}-t0"] == found[f"accuracy/{of}-t10"] and found[f"generated_gap/{of}"] == 0
        assert found[f"class_entropy/{of}"] == pytest.approx(0, abs=1e-9), "samples that are all alike are of one class"
    assert (found["test_loss/beta1"], found["test_loss/beta10"]) == (11, 47)
    assert found["generated_excess/beta1"] == pytest.approx(11 - 784 * np.log(2)) and found["kl/beta10"] == 4
    assert (found["gap_growth/beta1"], found["gap_growth/beta10"], found["crosses"]) == (-7.5, -7.0, 0), "from the first validated one on"
    assert found["training_fall"] == 10 and found["excess_gap/beta1"] == pytest.approx(
        found["generated_excess/beta1"] - found["test_excess/beta1"]
    )
    assert {key.partition("[")[0] for key in found} >= {"fd", "crossing_fd", "gen_recall"}
