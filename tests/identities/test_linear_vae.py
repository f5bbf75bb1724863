"""What must hold exactly for linear variational autoencoders: thresholds of collapse, against independent minimisation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.distributions import MultivariateNormal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.collapse import GridSpec, Setting
from elboard.bench.metrics.collapse import gaps, one_level, two_levels
from elboard.methods.vae.linear_cvae import LinearCVAE
from elboard.methods.vae.linear_mhvae import LinearMHVAE
from elboard.methods.vae.linear_vae import LinearModels, LinearVAE
from elboard.tasks.collapse.base import name_of
from elboard.tasks.collapse.linear import Linear
from elboard.tasks.collapse.linear_conditional import LinearConditional
from elboard.tasks.collapse.linear_hierarchical import LinearHierarchical

IDENTITIES = {
    "linear-vae": (
        "test_the_closed_form_is_the_minimum_of_one_mode",
        "test_the_objective_is_the_weighted_bound",
        "test_no_gradient_is_left_at_the_optimum_in_closed_form",
    ),
    "linear-cvae": ("test_a_condition_that_says_nothing_leaves_the_autoencoder", "test_the_condition_leaves_its_residuals"),
    "linear-mhvae": (
        "test_the_closed_form_is_the_minimum_of_one_mode_of_two_levels",
        "test_both_variances_learned_collapse_the_upper_level",
    ),
}
D = 3
THETA2 = torch.tensor([3.0, 1.2, 0.4])


def spec(*settings: Setting, condition: int = 0) -> GridSpec:
    return GridSpec((D,), 50, settings=settings, latent_dim=D, condition=condition)


def vectors(n: int = 50) -> torch.Tensor:
    """``(n, 1, D)`` with second moments diag(THETA2)."""
    z = torch.randn(n, D, generator=torch.Generator().manual_seed(1)).double()
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / n)).T
    return (z * THETA2.sqrt())[:, None].float()


def build(cls: type, *settings: Setting, condition: int = 0, **options: object) -> LinearModels:
    torch.manual_seed(0)
    return cls(cls.Config(**options), spec(*settings, condition=condition))


@pytest.mark.parametrize(("theta2", "beta", "noise", "held"), list(itertools.product([2.0, 0.5], [0.4, 1.5], [0.5, 1.1], [0.0, 0.3])))
def test_the_closed_form_is_the_minimum_of_one_mode(theta2: float, beta: float, noise: float, held: float) -> None:
    """L = ((u w - 1)^2 theta^2 + u^2 sigma^2) / eta^2 + beta (w^2 theta^2 + sigma^2 - log sigma^2), minimised by SciPy from many points."""

    def objective(at: np.ndarray) -> float:
        u, w = at[:2]
        sigma2 = held or np.exp(at[2])
        rest = beta * (w**2 * theta2 + sigma2 - np.log(sigma2))
        return ((u * w - 1) ** 2 * theta2 + u**2 * sigma2) / noise**2 + rest

    found = min((minimize(objective, start, tol=1e-12) for start in np.random.default_rng(0).normal(size=(8, 3))), key=lambda of: of.fun)
    u, w, sigma2 = found.x[0], found.x[1], held or np.exp(found.x[2])
    predicted = one_level(np.array([theta2]), beta, noise, held)
    assert abs(u) == pytest.approx(predicted.decoder[0], abs=2e-3)
    assert w**2 * theta2 / (w**2 * theta2 + sigma2) == pytest.approx(predicted.share[0], abs=2e-3)
    threshold = np.sqrt(theta2) > np.sqrt(beta * held) * noise if held else theta2 > beta * noise**2
    assert predicted.active == threshold


@pytest.mark.parametrize(
    ("theta2", "beta", "top", "held"),
    [(2.0, 1.0, 1.5, 0.5), (2.0, 0.4, 3.0, 0.5), (0.2, 0.4, 3.0, 0.3), (0.05, 1.0, 1.1, 0.6), (2.0, 1.0, 1.5, 0.0), (0.2, 1.0, 3.0, 0.0)],
)
def test_the_closed_form_is_the_minimum_of_one_mode_of_two_levels(theta2: float, beta: float, top: float, held: float) -> None:
    """Both levels active, the lower one alone, none, the upper one modelling the lower one's noise, and both variances learned."""
    noise2 = 0.36

    def objective(at: np.ndarray) -> float:
        u1, w1, u2, w2 = at[:4]
        sigma1, sigma2 = held or np.exp(at[4]), np.exp(at[5])
        s = w1**2 * theta2 + sigma1
        lower = ((1 - u2 * w2) ** 2 * s + u2**2 * sigma2) / noise2 - np.log(sigma1)
        upper = w2**2 * s + sigma2 - np.log(sigma2)
        return ((u1 * w1 - 1) ** 2 * theta2 + u1**2 * sigma1) / noise2 + beta * lower + top * upper

    starts = np.random.default_rng(0).normal(size=(12, 6))
    found = min((minimize(objective, start, method="L-BFGS-B", bounds=[(-20, 20)] * 6) for start in starts), key=lambda of: of.fun)
    u1, w1, u2, w2 = found.x[:4]
    sigma1, sigma2 = held or np.exp(found.x[4]), np.exp(found.x[5])
    s = w1**2 * theta2 + sigma1
    lower, upper = two_levels(np.array([theta2]), beta, top, np.sqrt(noise2), held)
    assert abs(u1) == pytest.approx(lower.decoder[0], abs=0.01) and abs(u2) == pytest.approx(upper.decoder[0], abs=0.01)
    assert 1 - sigma1 / s == pytest.approx(lower.share[0], abs=0.01)
    assert w2**2 * s / (w2**2 * s + sigma2) == pytest.approx(upper.share[0], abs=0.01)


def test_both_variances_learned_collapse_the_upper_level() -> None:
    """For top > beta, and there is no finite optimum else; a fixed lower one brings it back from the stated threshold on."""
    theta2 = np.array([9.0, 2.0, 0.5])
    for top in (1.01, 2.0, 7.0):
        assert two_levels(theta2, 1.0, top, 0.5)[1].active == 0
    for top in (0.5, 1.0):
        with pytest.raises(ValueError, match="no finite optimum"):
            two_levels(theta2, 1.0, top, 0.5)
    threshold = max(2.0**2 * 0.5**4 / (1.0 * 0.3), 2.0 * 0.5**2)
    above, below = two_levels(np.array([threshold * 1.05, threshold * 0.95]), 1.0, 2.0, 0.5, 0.3)[1].share
    assert above > 0 and below == 0


def test_the_objective_is_the_weighted_bound() -> None:
    """Twice minus the bound, with the KL weighted and without what does not depend on the parameters, by torch's distributions."""
    setting = Setting(beta=1.7, noise=0.6)
    method = build(LinearVAE, setting)
    y = vectors()[:, 0]
    with torch.no_grad():
        method.logvar.uniform_(-1, 1)
        q = MultivariateNormal(y @ method.w[0].T, torch.diag(method.logvar[0].exp()))
        kl = kl_divergence(q, MultivariateNormal(torch.zeros(D), torch.eye(D))).mean()
        torch.manual_seed(0)
        z = q.sample((20_000,))
        error = ((z @ method.u[0].T - y) ** 2).sum(-1).mean()
        expected = error / setting.noise**2 + setting.beta * (2 * kl + D)
        assert method.objectives({"y": vectors()}).item() == pytest.approx(expected.item(), rel=2e-3)


@pytest.mark.parametrize("held", [0.0, 0.3])
def test_no_gradient_is_left_at_the_optimum_in_closed_form(held: float) -> None:
    settings = [Setting(beta=beta, noise=0.7) for beta in (0.5, 1.5, 5.0)]
    method, batch = build(LinearVAE, *settings, held=held), {"y": vectors()}
    with torch.no_grad():
        for i, setting in enumerate(settings):
            modes = one_level(THETA2.double().numpy(), setting.beta, setting.noise, held)
            share = torch.tensor(modes.share)
            variance = torch.full((D,), held) if held else 1 - share
            method.logvar[i] = variance.log()
            method.u[i] = torch.diag(torch.tensor(modes.decoder))
            method.w[i] = torch.diag((share / (1 - share) * variance / THETA2).sqrt())
    method.objectives(batch).sum().backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().max() < 1e-4, name
    assert (method.logvar.requires_grad, method.held) == (not held, (held,))


def test_with_fewer_codes_than_active_modes_the_largest_are_kept() -> None:
    """Of the closed forms with two codes for three active modes, that of the two largest theta has the smallest objective."""
    setting, batch, values = Setting(beta=0.5, noise=0.6), {"y": vectors()}, {}
    modes = one_level(THETA2.double().numpy(), setting.beta, setting.noise)
    assert modes.active == D
    for pair in itertools.combinations(range(D), 2):
        method = LinearVAE(LinearVAE.Config(), GridSpec((D,), 50, settings=(setting,), latent_dim=2))
        share, chosen = torch.tensor(modes.share)[list(pair)], torch.eye(D)[:, list(pair)]
        with torch.no_grad():
            method.logvar[0] = (1 - share).log()
            method.u[0] = chosen * torch.tensor(modes.decoder)[list(pair)]
            method.w[0] = chosen.T * (share / THETA2[list(pair)]).sqrt()[:, None]
        objective = method.objectives(batch).sum()
        objective.backward()
        assert max(parameter.grad.abs().max() for parameter in method.parameters()) < 1e-4, "each pair is a stationary point"
        values[pair] = objective.item()
    assert min(values, key=values.get) == (0, 1)


def test_a_condition_that_says_nothing_leaves_the_autoencoder() -> None:
    setting = Setting(beta=0.8, noise=0.6)
    plain, conditional = build(LinearVAE, setting), build(LinearCVAE, setting, condition=2)
    with torch.no_grad():
        conditional.u1.copy_(plain.u)
        conditional.w.copy_(torch.cat([torch.zeros(1, D, 2), plain.w], dim=2))
        conditional.u2.zero_()
    batch = {"y": vectors(), "x": torch.randn(50, 2)}
    torch.testing.assert_close(conditional.objectives(batch), plain.objectives(batch))
    torch.testing.assert_close(conditional.levels(batch)[0].code, plain.levels(batch)[0].code)


def test_the_condition_leaves_its_residuals() -> None:
    """With U_2 the regression of y on x and W_1 = -W_2 U_2, the objective is that of the autoencoder of y - U_2 x."""
    setting = Setting(beta=0.8, noise=0.6)
    plain, conditional = build(LinearVAE, setting), build(LinearCVAE, setting, condition=2)
    x, noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(3)), vectors()
    y = noise + (x @ torch.randn(2, D, generator=torch.Generator().manual_seed(4)))[:, None]
    u2 = torch.linalg.lstsq(x, y[:, 0]).solution.T
    with torch.no_grad():
        conditional.u1.copy_(plain.u)
        conditional.u2.copy_(u2[None])
        conditional.w.copy_(torch.cat([-plain.w @ u2, plain.w], dim=2))
    residual = {"y": y - (x @ u2.T)[:, None]}
    torch.testing.assert_close(conditional.objectives({"x": x, "y": y}), plain.objectives(residual), rtol=1e-4, atol=1e-4)


def test_one_level_of_the_hierarchy_is_the_autoencoder() -> None:
    """With a collapsed z_2 the lower level is a linear autoencoder whose prior has the variance eta^2."""
    setting = Setting(beta=0.8, top=1.4, noise=0.6)
    plain, deep = build(LinearVAE, setting), build(LinearMHVAE, setting)
    eta = setting.noise
    with torch.no_grad():
        for parameter in (deep.w2, deep.u2, deep.logvar2):
            parameter.zero_()
        deep.w1.copy_(plain.w * eta)
        deep.u1.copy_(plain.u / eta)
        deep.logvar1.copy_(plain.logvar + np.log(eta**2))
    batch = {"y": vectors()}
    constants = setting.top * D - setting.beta * D * np.log(eta**2)
    torch.testing.assert_close(deep.objectives(batch) - constants, plain.objectives(batch), rtol=1e-4, atol=1e-4)
    assert deep.levels(batch)[1].code.abs().max() == 0


def test_a_held_variance_is_positive() -> None:
    with pytest.raises(UserError, match="held=-1.0 is not at least 0"):
        build(LinearVAE, Setting(), held=-1.0)


# --- the tasks ------------------------------------------------------------------------------------


def far(values: np.ndarray, thresholds: list[float]) -> bool:
    return bool(min(np.abs(np.log(values / threshold)).min() for threshold in thresholds) > 0.12)


def test_no_setting_is_near_a_threshold() -> None:
    for cls in (Linear, LinearConditional):
        theta2 = cls(cls.Config(), "lite", 0).theta2()
        held = (1.0, 0.3) if cls is Linear else (1.0,)  # with the sigma^2 that the paper's file holds, theta^2 <= beta sigma^2 eta^2
        assert all(far(theta2[s.world], [s.beta * s.noise**2 * sigma2]) for s in cls.settings() for sigma2 in held)
    held, theta2 = 0.5, LinearHierarchical(LinearHierarchical.Config(), "lite", 0).theta2()
    for s in LinearHierarchical.settings():
        ratio = s.top / s.beta * s.noise**2
        assert s.top > s.beta and far(theta2, [max(ratio * s.top * s.noise**2 / held, s.top * s.noise**2), s.beta * s.noise**2])
        assert far(np.array([held]), [ratio])


@pytest.mark.parametrize("cls", [Linear, LinearConditional, LinearHierarchical])
def test_splits_have_the_stated_moments(cls: type) -> None:
    task = cls(cls.Config(n=60), "lite", 0)
    data = task.load_train()
    for part in (data.train, data.valid, task.load_test(data)):
        y = part["y"].double()
        for world, expected in enumerate(task.theta2()):
            of = y[:, world]
            if "x" in part:
                x = part["x"].double()
                of = of - x @ torch.linalg.lstsq(x, of).solution
            found = torch.linalg.eigvalsh(of.T @ of / len(of)).flip(0)
            np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not data.train["y"].equal(data.valid["y"])


def test_the_optimum_has_no_gap_and_a_flipped_threshold_has_one() -> None:
    """The oracle of the metrics: codes in another basis, as a fixed isotropic Sigma allows, have the modes of the closed form."""
    held, setting = 0.3, Linear.settings()[2]
    task = Linear(Linear.Config(n=60), "lite", 0)
    data = task.load_train()
    method = LinearVAE(LinearVAE.Config(held=held), data.spec)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    y = data.train["y"][:, 0].double()
    vectors_ = torch.linalg.eigh(y.T @ y / len(y)).eigenvectors.flip(1)
    with torch.no_grad():
        for i, of in enumerate(Linear.settings()):
            modes = one_level(task.theta2()[0], of.beta, of.noise, held)
            share = torch.tensor(modes.share)
            w = torch.diag((share / (1 - share) * held / torch.tensor(task.theta2()[0])).sqrt()) @ vectors_.T
            method.w[i], method.u[i] = turn @ w.float(), (vectors_ @ torch.diag(torch.tensor(modes.decoder))).float() @ turn.T
    found = task.score(task.observe(method.requires_grad_(False), data, data.valid, []).arrays)
    assert found["collapse_gap"] == 0 and found["singular_gap"] < 1e-3 and found["share_gap"] < 1e-3
    predicted = one_level(task.theta2()[0], setting.beta, setting.noise, held)
    assert found[f"active_units/{name_of(setting)}"] == predicted.active
    assert gaps(one_level(task.theta2()[0], 30.0, 1.0), predicted, 2.0)["collapse_gap"] == predicted.active
