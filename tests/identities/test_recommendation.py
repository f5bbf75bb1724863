"""What must hold exactly for recommenders."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Multinomial, Normal, kl_divergence

from elboard.bench.registry import find
from elboard.bench.task import Data, DataSpec
from elboard.methods.recommendation.base import layers, multinomial_log_likelihood
from elboard.methods.recommendation.ease import EASE
from elboard.methods.recommendation.gauss_vae import GaussVAE
from elboard.methods.recommendation.logistic_vae import LogisticVAE
from elboard.methods.recommendation.mult_dae import MultDAE
from elboard.methods.recommendation.mult_vae import MultVAE
from elboard.methods.recommendation.popularity import Popularity
from elboard.methods.recommendation.wmf import WMF

IDENTITIES = {
    "ease": ("test_ease_is_a_ridge_regression_of_each_item_on_all_others",),
    "wmf": ("test_wmf_folds_a_user_in_by_a_weighted_ridge_regression", "test_wmf_without_weights_is_the_singular_value_decomposition"),
    "popularity": ("test_popularity_counts",),
    "mult-vae": ("test_the_loss_is_the_bound_with_beta", "test_without_noise_and_with_beta_zero_it_is_an_autoencoder"),
    "mult-dae": ("test_mult_dae_is_one_tanh_layer_and_its_penalty_spares_biases", "test_the_penalty_of_the_paper"),
    "gauss-vae": ("test_other_likelihoods_change_nothing_else",),
    "logistic-vae": ("test_other_likelihoods_change_nothing_else",),
}

ITEMS, USERS = 12, 40


def clicks(n: int = USERS, seed: int = 1) -> torch.Tensor:
    """Rows with at least one click; the items differ in popularity."""
    chance = torch.linspace(0.1, 0.6, ITEMS)
    x = (torch.rand(n, ITEMS, generator=torch.Generator().manual_seed(seed)) < chance).float()
    x[:, 0] = torch.where(x.sum(1) == 0, 1.0, x[:, 0])
    return x


def build(cls: type, **options: object):
    """A small network; ``hidden`` is a field of Mult-VAE and its kin alone."""
    torch.manual_seed(0)
    sizes = {"hidden": 10, "latent_dim": 4} if issubclass(cls, MultVAE) else {"latent_dim": 4} if cls is MultDAE else {}
    return cls(cls.Config(**(sizes | options)), DataSpec((ITEMS,), USERS))


def fitted(cls: type, x: torch.Tensor, **options: object):
    method = build(cls, **options)
    method.fit(Data(method.spec, {"x": x}), None)
    return method


def same_noise(function, *args):
    torch.manual_seed(5)
    return function(*args)


# --- closed forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lambda_", [0.5, 20.0, 200.0])
def test_ease_is_a_ridge_regression_of_each_item_on_all_others(lambda_: float) -> None:
    """Steck 2019, eq. 3: the zero diagonal leaves item j out of its own regression."""
    x = clicks()
    found = fitted(EASE, x, lambda_=lambda_).weights.numpy()
    rows = x.double().numpy()
    for j in range(ITEMS):
        others = np.delete(np.arange(ITEMS), j)
        a = rows[:, others]
        expected = np.linalg.solve(a.T @ a + lambda_ * np.eye(ITEMS - 1), a.T @ rows[:, j])
        np.testing.assert_allclose(found[others, j], expected, atol=1e-4)
        assert found[j, j] == 0
    np.testing.assert_allclose(fitted(EASE, x, lambda_=lambda_).scores(x).numpy(), rows @ found, atol=1e-4)


def test_ease_with_a_huge_penalty_orders_items_by_cooccurrence() -> None:
    x = clicks()
    weights = fitted(EASE, x, lambda_=1e7).weights * 1e7
    torch.testing.assert_close(weights, (x.T @ x).fill_diagonal_(0), atol=1e-3, rtol=1e-4)


def objective(x: np.ndarray, users: np.ndarray, items: np.ndarray, alpha: float, lambda_: float) -> float:
    """Hu, Koren and Volinsky 2008, eq. 3."""
    return float(((1 + alpha * x) * (x - users @ items.T) ** 2).sum() + lambda_ * ((users**2).sum() + (items**2).sum()))


@pytest.mark.parametrize(("alpha", "lambda_"), [(0.0, 1.0), (10.0, 0.1), (40.0, 5.0)])
def test_wmf_folds_a_user_in_by_a_weighted_ridge_regression(alpha: float, lambda_: float) -> None:
    """Eq. 4 in full: (Y^T C Y + lambda I)^-1 Y^T C p, with a diagonal matrix of confidences for each user."""
    x = clicks()
    method = fitted(WMF, x, factors=3, alpha=alpha, lambda_=lambda_)
    v = method.weights.double().numpy()
    for row, found in zip(clicks(9, seed=3).numpy(), method.scores(clicks(9, seed=3)), strict=True):
        c = np.diag(1 + alpha * row)
        user = np.linalg.solve(v.T @ c @ v + lambda_ * np.eye(3), v.T @ c @ row)
        np.testing.assert_allclose(found.numpy(), v @ user, atol=1e-4)


def test_no_step_of_wmf_raises_its_objective_and_more_than_one_batch_of_rows_is_solved() -> None:
    x, values = clicks(1203), []
    for iterations in range(1, 6):
        method = fitted(WMF, x, factors=4, alpha=5.0, lambda_=2.0, iterations=iterations)
        users = method.solve(x, method.weights.double())
        assert users.shape == (1203, 4)
        values.append(objective(x.numpy(), users.numpy(), method.weights.double().numpy(), 5.0, 2.0))
    assert all(after <= before + 1e-6 for before, after in zip(values, values[1:], strict=False)) and values[-1] < values[0]


def test_wmf_without_weights_is_the_singular_value_decomposition() -> None:
    """alpha = 0 and no penalty: the best approximation of rank K in squared error (Eckart and Young)."""
    x = clicks()
    method = fitted(WMF, x, factors=3, alpha=0.0, lambda_=1e-9, iterations=300)
    left = ((x - method.scores(x)) ** 2).sum().item()
    assert left == pytest.approx((torch.linalg.svdvals(x.double())[3:] ** 2).sum().item(), rel=1e-4)


def test_popularity_counts() -> None:
    x = clicks()
    scores = fitted(Popularity, x).scores(clicks(3, seed=2))
    assert scores.shape == (3, ITEMS)
    for row in scores:
        assert row.tolist() == [int(x[:, i].sum()) for i in range(ITEMS)]


# --- the likelihood ---------------------------------------------------------------------------------


def test_the_likelihood_is_torchs_without_the_coefficient() -> None:
    x, logits = clicks(), torch.randn(USERS, ITEMS)
    for row, out, found in zip(x, logits, multinomial_log_likelihood(x, logits), strict=True):
        n = int(row.sum())
        coefficient = math.lgamma(n + 1) - torch.lgamma(row + 1).sum().item()
        assert found.item() == pytest.approx(Multinomial(n, logits=out).log_prob(row).item() - coefficient, abs=1e-4)


def test_the_likelihood_is_summed_over_clicks() -> None:
    """A user with twice the clicks weighs twice as much; nothing is divided by the number of items."""
    logits = torch.zeros(1, ITEMS)
    few, many = torch.zeros(1, ITEMS), torch.zeros(1, ITEMS)
    few[0, :3], many[0, :6] = 1.0, 1.0
    assert multinomial_log_likelihood(few, logits).item() == pytest.approx(-3 * math.log(ITEMS), abs=1e-5)
    assert multinomial_log_likelihood(many, logits).item() == pytest.approx(-6 * math.log(ITEMS), abs=1e-5)


# --- networks -----------------------------------------------------------------------------------------


def test_layers_and_their_initial_values() -> None:
    torch.manual_seed(0)
    network = layers([400, 300, 200])
    assert [type(part) for part in network] == [nn.Linear, nn.Tanh, nn.Linear]
    for linear in (network[0], network[2]):
        fan = sum(linear.weight.shape)
        assert linear.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.05)
        assert linear.bias.abs().max() <= 0.002
        assert linear.bias.std().item() == pytest.approx(0.00088, rel=0.15)  # a normal cut at two deviations has 0.88 of its deviation


def test_architectures_of_the_paper() -> None:
    spec = DataSpec((1000,), 10)
    vae, dae = MultVAE(MultVAE.Config(), spec), MultDAE(MultDAE.Config(), spec)

    def widths(network: nn.Module) -> list[tuple[int, int]]:
        return [(part.in_features, part.out_features) for part in network if isinstance(part, nn.Linear)]

    assert widths(vae.encoder) == [(1000, 600), (600, 400)] and widths(vae.decoder) == [(200, 600), (600, 1000)]
    assert widths(dae.encoder) == [(1000, 200)] and widths(dae.decoder) == [(200, 1000)]
    assert vae.drop.p == dae.drop.p == 0.5


@pytest.mark.parametrize("cls", [MultVAE, MultDAE, GaussVAE, LogisticVAE])
def test_dropout_follows_the_normalisation_and_is_scaled(cls: type) -> None:
    """The encoder sees x / |x| with entries either dropped or divided by the share that is kept."""
    method, x, seen = build(cls, dropout=0.3), clicks(2000), []
    method.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    normal = x / (x**2).sum(1, keepdim=True).sqrt()
    method.train().loss({"x": x})
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0][kept], (normal / 0.7)[kept])
    assert kept.sum().item() / (x > 0).sum().item() == pytest.approx(0.7, abs=0.02) and not kept[x == 0].any()
    method.eval().scores(x)
    torch.testing.assert_close(seen[1], normal)


@pytest.mark.parametrize("cls", [MultVAE, MultDAE])
def test_the_scale_of_a_history_does_not_matter(cls: type) -> None:
    method, x = build(cls).eval(), clicks()
    torch.testing.assert_close(method.scores(3 * x), method.scores(x))


# --- Mult-VAE -------------------------------------------------------------------------------------------


def parts(method: MultVAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log likelihood and KL of each user under the noise of seed 5, from distributions."""
    out = method.encoder(F.normalize(x, dim=1))
    posterior = Normal(out[:, :4], torch.exp(0.5 * out[:, 4:]))
    torch.manual_seed(5)
    z = posterior.loc + posterior.scale * torch.randn(len(x), 4)
    log_softmax = method.decoder(z) - method.decoder(z).logsumexp(1, keepdim=True)
    return (x * log_softmax).sum(1), kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)


def test_the_loss_is_the_bound_with_beta() -> None:
    method, x = build(MultVAE, dropout=0.0), clicks()
    log_likelihood, kl = parts(method, x)
    for progress in (0.0, 0.1, 0.5, 1.0):
        method.progress = progress
        out = same_noise(method.loss, {"x": x})
        expected = (-log_likelihood + method.beta() * kl).mean()
        assert out["loss"].item() == pytest.approx(expected.item(), abs=1e-4)
        assert out["kl"].item() == pytest.approx(kl.mean().item(), abs=1e-5)
        assert out["elbo"].item() == pytest.approx((log_likelihood - kl).mean().item(), abs=1e-4), "reported with beta = 1"


def test_without_noise_and_with_beta_zero_it_is_an_autoencoder() -> None:
    method, x = build(MultVAE, beta=0.0, dropout=0.0), clicks()
    with torch.no_grad():
        method.encoder[-1].weight[4:].zero_()
        method.encoder[-1].bias[4:] = -80.0  # log-variances: exp(-40) adds nothing to a float
    method.progress = 1.0
    logits = method.decoder(method.encoder(F.normalize(x, dim=1))[:, :4])
    expected = F.cross_entropy(logits, x, reduction="none").mean()  # x are the targets' weights, so summed over clicks
    assert method.loss({"x": x})["loss"].item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(method.eval().scores(x), logits)


@pytest.mark.parametrize("cls", [GaussVAE, LogisticVAE])
def test_other_likelihoods_change_nothing_else(cls: type) -> None:
    """The same network under the same noise, the same KL; the losses differ by the likelihoods alone, which are those of torch."""
    theirs, ours, x = build(cls, dropout=0.0), build(MultVAE, dropout=0.0), clicks()
    theirs.load_state_dict(ours.state_dict())
    theirs.progress = ours.progress = 0.4
    out, plain = same_noise(theirs.loss, {"x": x}), same_noise(ours.loss, {"x": x})
    assert out["kl"].item() == plain["kl"].item()
    mean, logvar = ours.code(x).chunk(2, dim=1)
    torch.manual_seed(5)
    output = ours.decoder(mean + torch.randn_like(mean) * torch.exp(0.5 * logvar))
    if cls is LogisticVAE:
        expected = Bernoulli(logits=output).log_prob(x).sum(1)
    else:  # a normal of variance 1 / c, without its constant
        deviation = torch.where(x == 1, theirs.config.weight, 1.0) ** -0.5
        expected = (Normal(output, deviation).log_prob(x) + deviation.log() + 0.5 * math.log(2 * math.pi)).sum(1)
    change = (multinomial_log_likelihood(x, output) - expected).mean()
    assert (out["loss"] - plain["loss"]).item() == pytest.approx(change.item(), abs=1e-4)
    torch.testing.assert_close(theirs.eval().scores(x), ours.eval().scores(x))


def test_evaluation_uses_the_mean() -> None:
    method, x = build(MultVAE).eval(), clicks()
    expected = method.decoder(method.encoder(F.normalize(x, dim=1))[:, :4])
    assert torch.equal(method.scores(x), method.scores(x))
    torch.testing.assert_close(method.scores(x), expected)


@pytest.mark.parametrize(("progress", "beta"), [(0.0, 0.0), (0.1, 0.04), (0.25, 0.1), (0.5, 0.2), (0.75, 0.2), (1.0, 0.2)])
def test_annealing_reaches_the_cap_at_half_of_training(progress: float, beta: float) -> None:
    method = build(MultVAE)
    method.progress = progress
    assert method.beta() == pytest.approx(beta)


def test_annealing_of_other_lengths() -> None:
    method = build(MultVAE, beta=1.0, anneal=0.25)
    method.progress = 0.125
    assert method.beta() == 0.5
    assert build(MultVAE, anneal=0.0).beta() == 0.2  # none: the cap from the start


def test_shapes_of_the_code() -> None:
    method = build(MultVAE)
    assert method.code(clicks(7)).shape == (7, 8) and method.scores(clicks(7)).shape == (7, ITEMS)


def test_more_noise_in_the_posterior_moves_the_training_loss_alone() -> None:
    method, x = build(MultVAE, dropout=0.0), clicks()
    scores, losses = method.scores(x), {same_noise(method.loss, {"x": x})["loss"].item()}
    with torch.no_grad():
        method.encoder[-1].bias[4:] += 2.0
    losses.add(same_noise(method.loss, {"x": x})["loss"].item())
    assert len(losses) == 2 and torch.equal(method.scores(x), scores)


# --- Mult-DAE -------------------------------------------------------------------------------------------


def test_mult_dae_is_one_tanh_layer_and_its_penalty_spares_biases() -> None:
    method, x = build(MultDAE, dropout=0.0, l2=0.3), clicks()
    w, b, v, c = (p.detach() for p in method.parameters())
    logits = torch.tanh(F.normalize(x, dim=1) @ w.T + b) @ v.T + c
    torch.testing.assert_close(method.eval().scores(x), logits)
    expected = F.cross_entropy(logits, x, reduction="none").mean() + 0.3 * ((w**2).sum() + (v**2).sum())
    assert method.loss({"x": x})["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    with torch.no_grad():
        method.encoder[0].bias.zero_()
        method.decoder[0].bias.fill_(7.0)  # the same for all items: the softmax does not see it
    without = (F.normalize(x, dim=1) @ w.T).tanh() @ v.T
    expected = F.cross_entropy(without, x, reduction="none").mean() + 0.3 * ((w**2).sum() + (v**2).sum())
    assert method.loss({"x": x})["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_penalty_of_the_paper() -> None:
    assert MultDAE.Config().l2 == pytest.approx(0.01 / 500) and MultDAE.Config().weight_decay == MultVAE.Config().weight_decay == 0


@pytest.mark.parametrize("name", ["mult-vae", "mult-dae"])
def test_more_training_fits_the_clicks_better_than_popularity(name: str) -> None:
    """Gradient steps on groups of users with disjoint tastes: each group's own items end on top."""
    x = torch.zeros(40, ITEMS)
    x[:20, :6], x[20:, 6:] = 1.0, 1.0
    method = build(find("method", name).load(), lr=0.02)
    optimizer = method.make_optimizer(method.parameter_groups())
    for step in range(60):
        method.progress = step / 60
        optimizer.zero_grad()
        method.loss({"x": x})["loss"].backward()
        optimizer.step()
    scores = method.eval().scores(x)
    assert scores[:20, :6].min() > scores[:20, 6:].max() and scores[20:, 6:].min() > scores[20:, :6].max()


def test_a_schedule_follows_the_updates_of_a_training() -> None:
    """``progress`` is set before each update, so beta rises from 0 within the first epoch."""
    method, seen = build(MultVAE), []
    method.__dict__["_trainer"] = SimpleNamespace(num_training_batches=4, max_epochs=2, current_epoch=0)
    for index in range(4):
        method.on_train_batch_start({}, index)
        seen.append(method.beta())
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.15])
