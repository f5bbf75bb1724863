"""What must hold exactly for ARD-VAE, its relevance of axes and the task of known dimensions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.dimension import relevance, relevant
from elboard.bench.task import Data
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.vae.ard_vae import ARDVAE, AxisNormal
from elboard.methods.vae.vae import VAE
from elboard.tasks.dimension.base import FEATURES, manifold
from elboard.tasks.dimension.manifold_2 import Manifold2

IDENTITIES = {
    "ard-vae": (
        "test_with_unit_variances_it_is_the_beta_vae",
        "test_the_divergence_is_torchs_and_smallest_at_the_second_moments",
        "test_the_objective_of_real_vectors_is_the_squared_error",
        "test_examples_that_give_the_variances_are_not_trained_on",
    ),
}
SPEC = LikelihoodSpec((6,), 40, likelihood="bernoulli")
REAL = LikelihoodSpec((6,), 40, likelihood="gaussian")


def build(cls: type = ARDVAE, spec: LikelihoodSpec = SPEC, **options: object) -> ARDVAE:
    torch.manual_seed(0)
    method = cls(cls.Config(**({"hidden": [8], "latent_dim": 3} | options)), spec)
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(1))
    method.prepare(Data(spec, {"x": x.round() if spec is SPEC else x}))
    return method


def loss(method: ARDVAE, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return method.loss(batch)


def test_with_unit_variances_it_is_the_beta_vae() -> None:
    x = build()._data.train["x"]
    assert loss(build(beta=0.5), {"x": x})["loss"].item() == pytest.approx(loss(build(VAE, beta=0.5), {"x": x})["loss"].item(), rel=1e-6)


def test_the_divergence_is_torchs_and_smallest_at_the_second_moments() -> None:
    """The mean KL over codes, as a function of v, has its minimum at v = E[mu^2 + sigma^2], which b / a estimates."""
    prior, q = AxisNormal(3), Gaussian(torch.randn(50, 3), torch.randn(50, 3))
    prior.variance.copy_(torch.tensor([0.3, 1.0, 4.0]))
    expected = kl_divergence(Normal(q.mean, (0.5 * q.logvar).exp()), Normal(0.0, prior.variance.sqrt())).sum(1)
    torch.testing.assert_close(prior.divergence(q, None), expected)
    z = torch.randn(5, 3)
    torch.testing.assert_close(prior.log_prob(z), Normal(0.0, prior.variance.sqrt()).log_prob(z).sum(1))
    best = (q.mean**2 + q.logvar.exp()).mean(0)
    values = []
    for factor in (0.9, 1.0, 1.1):
        prior.variance.copy_(factor * best)
        values.append(prior.divergence(q, None).mean().item())
    assert values[1] < min(values[0], values[2])


def test_the_objective_of_real_vectors_is_the_squared_error() -> None:
    """|x - Dec(z)|^2 + beta KL, up to a constant: the gradients are the same."""
    method, beta = build(spec=REAL, beta=0.4), 0.4
    x = method._data.train["x"]
    (found,) = torch.autograd.grad(loss(method, {"x": x})["loss"], method.out.weight)
    torch.manual_seed(5)
    terms = method.elbo(x)
    error = ((x - method.output(terms["z"])) ** 2).sum(1)
    (expected,) = torch.autograd.grad((error + beta * terms["kl"]).mean(), method.out.weight)
    torch.testing.assert_close(found, expected)
    assert not method.likelihood.log_std.requires_grad


def test_variances_are_of_sampled_codes_and_carry_no_gradient() -> None:
    method = build()
    method.held[:20] = True
    torch.manual_seed(3)
    method.estimate()
    q = method.posterior(method.encoder(method._data.train["x"][:20]))
    torch.manual_seed(3)
    torch.testing.assert_close(method.prior.variance, (q.sample().z ** 2).mean(0).detach())
    torch.testing.assert_close(method.centre, q.mean.mean(0).detach())
    assert not torch.allclose(method.prior.variance, (q.mean**2).mean(0)) and not method.prior.variance.requires_grad


def test_variances_are_there_before_the_first_step() -> None:
    """With a0 = b0 = 0 there is no prior before there are codes."""
    method = build()
    assert (method.prior.variance == 1).all() and not method.held.any()
    method.on_train_epoch_start()
    assert method.held.sum() == 8 and (method.prior.variance != 1).all() and (method.prior.variance > 0).all()


def test_examples_that_give_the_variances_are_not_trained_on() -> None:
    method, index = build(), torch.arange(40)
    method.__dict__["_trainer"] = None
    method.hold()
    assert method.held.sum() == 8
    x = method._data.train["x"]
    rest = loss(method, {"x": x[~method.held]})["loss"].item()
    assert loss(method, {"x": x, "index": index})["loss"].item() == pytest.approx(rest, rel=1e-6) != loss(method, {"x": x})["loss"].item()


def test_the_same_epoch_holds_the_same_examples_and_the_next_one_others(monkeypatch: pytest.MonkeyPatch) -> None:
    method, seen = build(), []
    for epoch in (0, 0, 1):
        monkeypatch.setattr(ARDVAE, "current_epoch", property(lambda self, epoch=epoch: epoch))
        method.hold()
        seen.append(method.held)
    assert seen[0].equal(seen[1]) and not seen[0].equal(seen[2])


def test_samples_vary_on_relevant_axes_alone() -> None:
    method = build(spec=REAL)
    with torch.no_grad():
        method.used.copy_(torch.tensor([False, False, False]))
        method.centre.fill_(0.7)
        torch.testing.assert_close(method.sample(4), method.decode(torch.full((4, 3), 0.7)))
        method.used[1] = True
        assert method.sample(200).std(0).max() > 0


# --- relevance ------------------------------------------------------------------------------------


def test_relevance_of_a_linear_decoder_in_closed_form() -> None:
    """w_l = v_l |column l|^2, and rescaling an axis changes nothing."""
    matrix, v, z = torch.randn(5, 3), torch.tensor([0.5, 2.0, 1.0]), torch.randn(7, 3)
    expected = v * (matrix**2).sum(0)
    torch.testing.assert_close(relevance(lambda code: code @ matrix.T, z, v), expected)
    scale = torch.tensor([10.0, 0.1, 3.0])
    torch.testing.assert_close(relevance(lambda code: (code / scale) @ matrix.T, z * scale, v * scale**2), expected)


def test_absolute_jacobians_are_averaged_before_they_are_squared() -> None:
    """Of z^2 at z = 1 and -3: (mean of |2z|)^2 = 16, neither the square of the mean, 4, nor the mean of the squares, 20."""
    assert relevance(lambda z: z**2, torch.tensor([[1.0], [-3.0]]), torch.ones(1)).item() == pytest.approx(16.0)


def test_the_fewest_axes_with_the_share() -> None:
    assert relevant(np.array([0.0, 5.0, 4.9, 0.05, 0.04])).tolist() == [False, True, True, False, False]
    assert relevant(np.array([1.0, 1.0, 0.0])).sum() == 2 and relevant(np.zeros(3)).sum() == 0
    assert relevant(np.array([1.0, 0.5, 0.2]), share=0.5).sum() == 1


# --- the task: a perfect code, a rotated one, noise -------------------------------------------------


class Codes:
    """A linear code of Gaussian data, decoded by ``matrix`` (D, Z)."""

    def __init__(self, matrix: torch.Tensor):
        self.matrix = matrix

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = torch.randn(len(x), self.matrix.shape[1], generator=torch.Generator().manual_seed(0))
        return z, torch.full_like(z, -math.inf)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.matrix.T

    def log_evidence(self, x: torch.Tensor, k: int) -> torch.Tensor:
        return torch.zeros(len(x))


def test_a_perfect_code_a_rotated_one_and_noise() -> None:
    task = Manifold2(Manifold2.Config(n_train=10, n_valid=10, n_test=100, k=2), "smoke", 0)
    test = task.load_test(task.load_train())
    perfect = torch.zeros(FEATURES, 6)
    perfect[:2, :2] = torch.eye(2)
    turned = perfect @ torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    found = [task.score(task.observe(Codes(matrix), None, test, []).arrays) for matrix in (perfect, turned, torch.zeros_like(perfect))]
    assert [of["dimension"] for of in found] == [2.0, 6.0, 0.0], "axes count, so that a rotation over all of them is not forgiven"
    assert [of["dimension_error"] for of in found] == [0.0, 4.0, 2.0]


@pytest.mark.parametrize("intrinsic", [2, 4])
def test_the_manifold_has_its_dimension(intrinsic: int) -> None:
    """Near one of its points: with the noise taken away, the local covariance has ``intrinsic`` large eigenvalues."""
    x = manifold(intrinsic, 20_000, 0)
    near = x[((x - x[0]) ** 2).sum(1).argsort()[:60]]
    values = torch.linalg.svdvals(near - near.mean(0)) ** 2
    assert values[:intrinsic].sum() / values.sum() > (0.97 if intrinsic == 2 else 0.8)
    assert values[intrinsic - 1] > 2 * values[intrinsic]
    assert not manifold(intrinsic, 5, 1).equal(manifold(intrinsic, 5, 2)) and x.std(0).mean() == pytest.approx(1.0, abs=0.05)
