"""What must hold exactly for autoencoders that are trained side by side, and oracles of the task that they are measured on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.collapse import kendall
from elboard.methods.vae.vae import VAE
from elboard.methods.vae.vae_grid import VAEGrid
from elboard.tasks.collapse.mnist import CollapseMNIST

IDENTITIES = {
    "vae-grid": (
        "test_each_model_is_the_vae_of_its_weight",
        "test_no_model_has_a_gradient_from_another",
        "test_the_bound_is_the_vaes",
    ),
}
BETAS = (0.5, 1.0, 3.0)
X = (torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def grid() -> VAEGrid:
    torch.manual_seed(0)
    return VAEGrid(VAEGrid.Config(hidden=[8], latent_dim=3), BetaSpec((1, 4, 4), 7, likelihood="bernoulli", betas=BETAS))


def alone(of: VAEGrid, i: int) -> VAE:
    """The VAE whose weights are those of model ``i``."""
    vae = VAE(VAE.Config(hidden=[8], latent_dim=3, beta=BETAS[i]), LikelihoodSpec((1, 4, 4), 7, likelihood="bernoulli"))
    ours = (vae.encoder[1], vae.posterior, vae.decoder[1], vae.out)
    with torch.no_grad():
        for layer, theirs in zip(ours, (of.encoder[0], of.encoder[2], of.decoder[0], of.decoder[2]), strict=True):
            layer.weight.copy_(theirs.weight[i].T)
            layer.bias.copy_(theirs.bias[i, 0])
    return vae


def test_each_model_is_the_vae_of_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    method, noise = grid(), torch.randn(3, 7, 3)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise if like.ndim == 3 else noise[current])
    out, total = method.loss({"x": X}), 0.0
    for current in range(3):
        total += alone(method, current).loss({"x": X})["loss"].item()
    assert out["loss"].item() == pytest.approx(total, rel=1e-6)
    mean, logvar = method.posteriors(X)
    for i, of in enumerate(zip(mean, logvar, strict=True)):
        for found, expected in zip(of, alone(method, i).encode(X), strict=True):
            torch.testing.assert_close(found, expected)


def test_no_model_has_a_gradient_from_another() -> None:
    method = grid()
    log_p, kl = method.terms(X)
    (kl - log_p)[1].sum().backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad[1].abs().sum() > 0 and parameter.grad[[0, 2]].abs().sum() == 0, name


def test_the_bound_is_the_vaes(monkeypatch: pytest.MonkeyPatch) -> None:
    method, noise = grid(), torch.randn(3, 7, 5, 3)
    monkeypatch.setattr(torch, "randn", lambda *shape, **words: noise if len(shape) == 4 else noise[current])
    found = method.log_evidences(X, 5)
    for current in range(3):
        torch.testing.assert_close(found[current], alone(method, current).log_evidence(X, 5))


def test_kendalls_tau_is_scipys() -> None:
    a, b = np.arange(6.0), np.random.default_rng(0).normal(size=6)
    assert kendall(a, b) == pytest.approx(kendalltau(a, b).statistic) and kendall(a, -a) == -1


class Known:
    """Two models: one that has collapsed, one with a single unit that tells the example."""

    def posteriors(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, logvar = torch.zeros(2, len(x), 4), torch.zeros(2, len(x), 4)
        mean[0, :, 2], logvar[0, :, 2] = torch.linspace(-2, 2, len(x)), -12.0
        return mean, logvar

    def log_evidences(self, x: torch.Tensor, k: int) -> torch.Tensor:
        return torch.full((2, len(x)), -7.0)


def test_a_perfect_code_and_a_collapsed_one() -> None:
    task = CollapseMNIST(CollapseMNIST.Config(n_train=20, n_valid=10, n_test=40), "smoke", 0)
    data = task.load_train()
    data.spec = BetaSpec(data.spec.shape, 20, likelihood="bernoulli", betas=(1.0, 2.0))
    found = task.score(task.observe(Known(), data, task.load_test(data), []).arrays)
    assert (found["active_units/beta1"], found["active_units/beta2"]) == (1, 0)
    assert (found["collapsed_units[eps=0.01,delta=0.05]/beta1"], found["collapsed_units[eps=0.01,delta=0.05]/beta2"]) == (3, 4)
    assert found["mutual_information/beta1"] == pytest.approx(np.log(40), abs=1e-3) and found["kl/beta2"] == 0
    assert found["mutual_information/beta2"] == pytest.approx(0, abs=1e-9) and found["beta_trend"] == -1
    assert found["unit_kl/beta1"] == found["kl/beta1"] > np.log(40) and found["nll[k=50]/mean"] == 7
