"""Identities of the variational last layers: KL, bounds and predictives against torch.distributions, SciPy and Monte Carlo."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import multivariate_normal
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.bayesian.vbll import VBLL
from elboard.methods.bayesian.vbll_heads import DiscriminativeHead, GenerativeHead, VariationalHead
from elboard.methods.parts.divergences import kl_to_isotropic

IDENTITIES = {
    "vbll": (
        "test_moments_of_the_logits",
        "test_without_variance_the_bound_is_the_cross_entropy",
        "test_the_discriminative_bound_lies_below_the_expectation",
        "test_the_generative_predictive_is_bayes_rule_with_scipys_densities",
    ),
}

H, C, B = 6, 4, 9
SPEC = ClassSpec((1, 8, 8), 500, n_classes=C)
KINDS = ("diagonal", "dense", "generative")


def head(kind: str) -> VariationalHead:
    """A head in double precision whose every parameter is away from its start."""
    torch.manual_seed(0)
    made = GenerativeHead(H, C, 1.0) if kind == "generative" else DiscriminativeHead(H, C, kind, 1.0)
    made = made.double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        made.log_diagonal += 1
    return made


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, H, generator=generator, dtype=torch.float64), torch.arange(B) % C


def covariances(made: VariationalHead) -> torch.Tensor:
    """S_k as full matrices ``(C, H, H)``."""
    factor = made.factor().detach()
    factor = factor if factor.ndim == 3 else torch.diag_embed(factor)
    return factor @ factor.transpose(1, 2)


def method_of(**options: object) -> VBLL:
    torch.manual_seed(0)
    return VBLL(VBLL.Config(**options), SPEC).eval()


def images() -> dict[str, torch.Tensor]:
    return {"x": torch.rand(B, 1, 8, 8, generator=torch.Generator().manual_seed(2)), "y": torch.arange(B) % C}


@pytest.mark.parametrize("kind", KINDS)
def test_kl_is_torchs(kind: str) -> None:
    made = head(kind)
    prior = MultivariateNormal(torch.zeros(H).double(), made.prior * torch.eye(H).double())
    expected = kl_divergence(MultivariateNormal(made.mean, covariances(made)), prior)
    torch.testing.assert_close(kl_to_isotropic(made.mean, made.factor(), made.prior), expected)
    torch.testing.assert_close(made.kl(), expected.sum())
    if kind != "dense":
        q = Independent(Normal(made.mean, made.log_diagonal.exp()), 1)
        torch.testing.assert_close(expected, kl_divergence(q, Independent(Normal(torch.zeros(C, H).double(), made.prior**0.5), 1)))


def test_starting_values() -> None:
    torch.manual_seed(0)
    discriminative, generative = DiscriminativeHead(400, 10, "dense", 1.0), GenerativeHead(400, 10, 1.0)
    assert discriminative.prior == 2 / 400 and generative.prior == 1.0
    for made, std in ((discriminative, (2 / 400) ** 0.5), (generative, 0.1)):
        assert made.mean.std().item() == pytest.approx(std, rel=0.05)
        assert made.log_diagonal.mean().item() == pytest.approx(-math.log(400), abs=1e-3)
    torch.testing.assert_close(discriminative.factor(), torch.diag_embed(discriminative.log_diagonal.exp()))
    assert generative.log_noise.shape == (400,) and discriminative.log_noise.shape == (10,)
    assert generative.log_noise.mean().item() == pytest.approx(-1, abs=0.2)


def test_prior_of_the_noise_is_an_inverse_wishart_up_to_its_constant() -> None:
    """Differences of log p(Sigma) between two diagonal Sigma: (dof + size + 1) / 2 log|Sigma^-1| - scale / 2 tr Sigma^-1."""
    from scipy.stats import invwishart

    made, dof = DiscriminativeHead(H, C, "diagonal", 0.7).double(), C + 3.0
    values = []
    for shift in (0.0, 0.4):
        with torch.no_grad():
            made.log_noise.copy_(torch.linspace(-1, 0.5, C) + shift)
        sigma = np.diag(made.noise().detach().numpy())
        # SciPy needs dof >= size where the method has dof = 1: compare with the difference in dof added
        extra = 0.5 * (dof - 1) * -np.log(np.linalg.det(sigma))
        values.append((made.log_prior_of_noise().item() + extra, invwishart(dof, 0.7 * np.eye(C)).logpdf(sigma)))
    (mine, theirs), (mine_shifted, theirs_shifted) = values
    assert mine - mine_shifted == pytest.approx(theirs - theirs_shifted, abs=1e-9)


@pytest.mark.parametrize("kind", ("diagonal", "dense"))
def test_moments_of_the_logits(kind: str) -> None:
    made, (x, _) = head(kind), batch()
    expected = torch.einsum("bh,khj,bj->bk", x, covariances(made), x) + made.noise()
    torch.testing.assert_close(made.variance(x), expected)
    torch.manual_seed(3)
    w = MultivariateNormal(made.mean.detach(), covariances(made)).sample((40_000,))
    z = torch.einsum("skh,bh->sbk", w, x) + made.noise().detach().sqrt() * torch.randn(40_000, B, C).double()
    torch.testing.assert_close(z.mean(0), made(x).detach(), atol=0.1, rtol=0.02)
    torch.testing.assert_close(made.predict(x, 40_000).mean(0).detach(), z.softmax(2).mean(0), atol=0.01, rtol=0)


@pytest.mark.parametrize("kind", ("diagonal", "dense"))
def test_without_variance_the_bound_is_the_cross_entropy(kind: str) -> None:
    made, (x, y) = head(kind), batch()
    with torch.no_grad():
        made.log_diagonal.fill_(-30)
        made.log_noise.fill_(-30)
        if made.lower is not None:
            made.lower.zero_()
    torch.testing.assert_close(-made.bound(x, y), F.cross_entropy(made(x), y, reduction="none"))
    torch.testing.assert_close(made.predict(x, 2)[1], made(x).softmax(1))


@pytest.mark.parametrize("kind", ("diagonal", "dense"))
def test_the_discriminative_bound_lies_below_the_expectation(kind: str) -> None:
    """bound <= E log softmax(z)_y <= log E softmax(z)_y, and the gap of the first closes as the variance does."""
    made, (x, y) = head(kind), batch()
    gaps = []
    for shift in (0.0, -1.0, -2.0):
        with torch.no_grad():
            made.log_diagonal += shift
            made.log_noise += shift
            if made.lower is not None:
                made.lower *= math.exp(shift)
            p = made.predict(x, 40_000)[:, torch.arange(B), y]
            expected, error = p.log().mean(0), 4 * p.log().std(0) / 200
            assert (made.bound(x, y) < expected + error).all() and (expected < p.mean(0).log()).all()
            gaps.append((expected - made.bound(x, y)).mean().item())
    assert gaps[0] > 5 * gaps[1] > 0


def test_the_generative_predictive_is_bayes_rule_with_scipys_densities() -> None:
    made, (x, y) = head("generative"), batch()
    sigma, spread = np.diag(made.noise().detach().numpy()), covariances(made).numpy()
    mean = made.mean.detach().numpy()
    density = np.stack([multivariate_normal(mean[k], sigma + spread[k]).pdf(x.numpy()) for k in range(C)], 1)
    p = made.predict(x, 5).detach().numpy()
    assert p.shape == (1, B, C)
    np.testing.assert_allclose(p[0], density / density.sum(1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(made.log_density(x).detach(), np.log(density.mean(1)), rtol=1e-9)
    own = np.array([multivariate_normal(mean[k], sigma).logpdf(x[i].numpy()) for i, k in enumerate(y.tolist())])
    trace = np.array([np.trace(np.linalg.inv(sigma) @ spread[k]) for k in y.tolist()])
    np.testing.assert_allclose(made.bound(x, y).detach(), own - 0.5 * trace - np.log(density.sum(1)), rtol=1e-8)


def test_the_generative_bound_lies_below_the_expectation() -> None:
    made, (x, y) = head("generative"), batch()
    with torch.no_grad():
        mu = made.mean + made.factor() * torch.randn(20_000, C, H, generator=torch.Generator().manual_seed(0)).double()
        scores = Normal(mu[:, None], made.noise().sqrt()).log_prob(x[:, None]).sum(3)
        log_p = scores.log_softmax(2)[:, torch.arange(B), y]
        assert (made.bound(x, y) < log_p.mean(0) + 4 * log_p.std(0) / 20_000**0.5).all()


# --- the method --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"covariance": "dense"}, {"variant": "generative"}])
def test_the_penalty_is_divided_by_the_size_of_the_training_set(options: dict) -> None:
    method, batch = method_of(**options), images()
    out = method.loss(batch)
    penalty = (out["kl"] - method.head.log_prior_of_noise()).item()
    assert out["loss"].item() == pytest.approx(-out["bound"].item() + penalty / 500, rel=1e-5)
    method.spec = replace(SPEC, n_train=50)
    assert method.loss(batch)["loss"].item() == pytest.approx(-out["bound"].item() + penalty / 50, rel=1e-5)
    half = {name: tensor[:4] for name, tensor in batch.items()}
    gap = method.loss(half)["loss"] + method.loss(half)["bound"]
    assert gap.item() == pytest.approx(penalty / 50, rel=1e-3), "the penalty must not depend on the batch"


@pytest.mark.parametrize("options", [{}, {"covariance": "dense"}, {"variant": "generative"}])
def test_gradients_reach_every_parameter(options: dict) -> None:
    method = method_of(**options)
    method.loss(images())["loss"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_head_has_no_weight_decay() -> None:
    method = method_of(weight_decay=0.3)
    groups = method.make_optimizer(method.parameter_groups()).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len(list(method.parameters()))
    assert all(decay[id(p)] == (0.0 if name.startswith("head.") else 0.3) for name, p in method.named_parameters())


def test_predictions_and_scores() -> None:
    x = images()["x"]
    p = method_of().predict(x, 7)
    assert p.shape == (7, B, C) and not torch.equal(p[0], p[1])
    torch.testing.assert_close(p.sum(2), torch.ones(7, B))
    closed, density = method_of(variant="generative"), method_of(variant="generative", ood="density")
    torch.testing.assert_close(closed.ood_score(x), 1 - closed.predict(x)[0].max(1).values)
    torch.testing.assert_close(density.ood_score(x), -density.head.log_density(density.features(x)))


@pytest.mark.parametrize(
    "options", [{"variant": "both"}, {"covariance": "full"}, {"ood": "density"}, {"variant": "generative", "covariance": "dense"}]
)
def test_wrong_options_are_refused(options: dict) -> None:
    with pytest.raises(UserError):
        method_of(**options)
