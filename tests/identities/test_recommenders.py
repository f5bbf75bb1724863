"""What must hold exactly for neighbourhoods, sparse linear models, pairwise factors and RecVAE."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import ElasticNet
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.task import Data, DataSpec
from elboard.methods.recommendation.base import cooccurrences, largest, multinomial_log_likelihood
from elboard.methods.recommendation.bpr_mf import BPRMF, draw_other
from elboard.methods.recommendation.ease import EASE
from elboard.methods.recommendation.item_knn import ItemKNN
from elboard.methods.recommendation.lightgcn import LightGCN
from elboard.methods.recommendation.mult_vae import MultVAE
from elboard.methods.recommendation.recvae import RecVAE
from elboard.methods.recommendation.slim import SLIM
from elboard.methods.recommendation.user_knn import UserKNN
from elboard.methods.recommendation.wmf import WMF

IDENTITIES = {
    "item-knn": ("test_all_neighbours_without_shrinkage_are_the_cosines_of_all_items", "test_neighbours_of_items_by_brute_force"),
    "user-knn": ("test_neighbours_of_users_by_brute_force",),
    "slim": ("test_slim_without_bound_and_first_norm_is_ease", "test_slim_is_the_elastic_net_of_scikit_learn"),
    "wmf": ("test_penalties_by_frequency_are_those_of_rendle_et_al", "test_frequencies_without_confidences_are_another_penalty"),
    "bpr-mf": ("test_the_gradient_of_one_triple", "test_a_new_user_is_the_mean_of_the_items_of_the_history"),
    "lightgcn": ("test_without_layers_it_is_bpr_mf", "test_layers_are_powers_of_the_normalised_adjacency"),
    "recvae": ("test_under_the_standard_normal_alone_it_is_mult_vae", "test_the_prior_is_the_mixture"),
}
ITEMS, USERS = 12, 40


def clicks(n: int = USERS, seed: int = 1) -> torch.Tensor:
    """Rows and columns with at least one click; the items differ in popularity."""
    chance = torch.linspace(0.1, 0.6, ITEMS)
    x = (torch.rand(n, ITEMS, generator=torch.Generator().manual_seed(seed)) < chance).float()
    x[torch.arange(n), torch.arange(n) % ITEMS] = 1.0
    return x


def build(cls: type, x: torch.Tensor, **options: object):
    torch.manual_seed(0)
    method = cls(cls.Config(**options), DataSpec((ITEMS,), len(x)))
    method.prepare(Data(method.spec, {"x": x, "index": torch.arange(len(x))}))
    return method


def fitted(cls: type, x: torch.Tensor, **options: object):
    method = build(cls, x, **options)
    method.fit(Data(method.spec, {"x": x}), None)
    return method


# --- neighbourhoods ----------------------------------------------------------------------------------


def test_all_neighbours_without_shrinkage_are_the_cosines_of_all_items() -> None:
    x = clicks()
    columns = F.normalize(x.double(), dim=0)
    expected = (columns.T @ columns).fill_diagonal_(0).float()
    method = fitted(ItemKNN, x, neighbours=ITEMS)
    torch.testing.assert_close(method.weights, expected)
    torch.testing.assert_close(method.scores(clicks(5, seed=2)), clicks(5, seed=2) @ expected)


@pytest.mark.parametrize(("neighbours", "shrink"), [(1, 0.0), (3, 0.0), (4, 10.0)])
def test_neighbours_of_items_by_brute_force(neighbours: int, shrink: float) -> None:
    x, history = clicks(), clicks(5, seed=2)
    rows, n = x.numpy().astype(float), x.sum(0).numpy().astype(float)
    found = fitted(ItemKNN, x, neighbours=neighbours, shrink=shrink).scores(history)
    for u, j in np.ndindex(5, ITEMS):
        near = {i: (rows[:, i] @ rows[:, j]) / (np.sqrt(n[i]) * np.sqrt(n[j]) + shrink) for i in range(ITEMS) if i != j}
        kept = sorted(near, key=lambda i: (-near[i], i))[:neighbours]
        assert found[u, j].item() == pytest.approx(sum(near[i] for i in kept if history[u, i]), abs=1e-5)


@pytest.mark.parametrize(("neighbours", "shrink"), [(1, 0.0), (7, 0.0), (5, 2.0), (USERS, 0.0)])
def test_neighbours_of_users_by_brute_force(neighbours: int, shrink: float) -> None:
    x, history = clicks(), clicks(6, seed=2)
    found = fitted(UserKNN, x, neighbours=neighbours, shrink=shrink).scores(history)
    for h, scores in zip(history.numpy(), found.numpy(), strict=True):
        # in single precision, as there: users with equal cosines are to be found equal
        near = [(v * h).sum() / (np.sqrt(h.sum()) * np.sqrt(v.sum()) + np.float32(shrink)) for v in x.numpy()]
        kept = sorted(range(USERS), key=lambda v: (-near[v], v))[:neighbours]
        np.testing.assert_allclose(scores, sum(near[v] * x[v].numpy() for v in kept), atol=1e-5)


def test_of_equal_values_those_with_the_lower_index_stay() -> None:
    values = torch.tensor([[2.0, 3.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    assert largest(values, 2).tolist() == [[2, 3, 0, 0], [1, 1, 0, 0]]
    assert largest(values, 9) is values


def test_counts_are_exact_however_many_rows_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elboard.methods.recommendation.base.AT_ONCE", 7)
    assert torch.equal(cooccurrences(clicks()), clicks().double().T @ clicks().double())


# --- sparse linear models ----------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 1.0])
def test_slim_without_bound_and_first_norm_is_ease(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elboard.methods.recommendation.slim.BLOCK", 5)  # several blocks, the last one shorter
    x = clicks()
    method = fitted(SLIM, x, alpha=alpha, l1_ratio=0.0, non_negative=False, sweeps=500, tolerance=1e-10)
    torch.testing.assert_close(method.weights, fitted(EASE, x, lambda_=alpha * len(x)).weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("non_negative", [True, False])
@pytest.mark.parametrize(("alpha", "l1_ratio"), [(0.05, 0.5), (0.2, 0.02)])
def test_slim_is_the_elastic_net_of_scikit_learn(alpha: float, l1_ratio: float, non_negative: bool) -> None:
    x = clicks()
    weights = fitted(SLIM, x, alpha=alpha, l1_ratio=l1_ratio, non_negative=non_negative, sweeps=500, tolerance=1e-10).weights
    for j in range(ITEMS):
        others = x.double().numpy().copy()
        others[:, j] = 0
        net = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, positive=non_negative, fit_intercept=False, tol=1e-10, max_iter=10_000)
        np.testing.assert_allclose(weights[:, j], net.fit(others, x[:, j].double()).coef_, atol=1e-5)
    assert (weights.diagonal() == 0).all() and (weights == 0).sum() > ITEMS


# --- iALS -----------------------------------------------------------------------------------------------


def minimum(rows: np.ndarray, items: np.ndarray, weight: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """``argmin_u sum_i weight_i (row_i - u . v_i)^2 + penalty |u|^2`` of each row, as an ordinary least-squares problem."""
    k, found = items.shape[1], []
    for row, w, p in zip(rows, weight, penalty, strict=True):
        a = np.concatenate([np.sqrt(w)[:, None] * items, np.sqrt(p) * np.eye(k)])
        found.append(np.linalg.lstsq(a, np.concatenate([np.sqrt(w) * row, np.zeros(k)]), rcond=None)[0])
    return np.stack(found)


@pytest.mark.parametrize("nu", [0.0, 0.5, 1.0])
def test_penalties_by_frequency_are_those_of_rendle_et_al(nu: float) -> None:
    """sum_clicked (1 - y)^2 + alpha_0 sum_all y^2 + lambda_R (|u| + alpha_0 I)^nu |w|^2, its scores times 1 + alpha_0."""
    alpha_0, theirs = 0.25, 0.3
    ours = theirs * alpha_0**nu * (1 + alpha_0) / alpha_0
    method = fitted(WMF, clicks(), factors=3, alpha=1 / alpha_0, lambda_=ours, frequency=nu)
    items, history = method.weights.double().numpy(), clicks(6, seed=3)
    scaled = items / np.sqrt(1 + alpha_0)
    for row, found in zip(history.double().numpy(), method.scores(history), strict=True):
        penalty = theirs * (row.sum() + alpha_0 * ITEMS) ** nu
        gram = scaled.T @ (np.diag(row) + alpha_0 * np.eye(ITEMS)) @ scaled + penalty * np.eye(3)
        expected = (1 + alpha_0) * scaled @ np.linalg.solve(gram, scaled.T @ row)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("alpha", "nu"), [(0.0, 1.0), (3.0, 0.5), (20.0, 1.0)])
def test_rows_are_the_weighted_least_squares_of_their_own_penalty(alpha: float, nu: float) -> None:
    x = clicks(9).double()
    method, items = build(WMF, clicks(9), factors=3, alpha=alpha, lambda_=0.2, frequency=nu), torch.randn(ITEMS, 3).double()
    confidence = (1 + alpha * x).numpy()
    expected = minimum(x.numpy(), items.numpy(), confidence, 0.2 * confidence.sum(1) ** nu)
    np.testing.assert_allclose(method.solve(x, items).numpy(), expected, atol=1e-8)


def test_frequencies_without_confidences_are_another_penalty() -> None:
    """alpha = 0: every row has the penalty lambda m^nu, m its length, so that one penalty is the same for users."""
    x, items = clicks(9).double(), torch.randn(ITEMS, 3, generator=torch.Generator().manual_seed(0)).double()
    by_frequency = build(WMF, clicks(9), factors=3, alpha=0.0, lambda_=0.5, frequency=1.0)
    plain = build(WMF, clicks(9), factors=3, alpha=0.0, lambda_=0.5 * ITEMS)
    torch.testing.assert_close(by_frequency.solve(x, items), plain.solve(x, items))


# --- pairwise factors -----------------------------------------------------------------------------------


def test_the_gradient_of_one_triple(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendle et al. 2009, figure 4: -e^-x / (1 + e^-x) dx_uij / dTheta + lambda Theta, of w_u, h_i and h_j."""
    monkeypatch.setattr("elboard.methods.recommendation.bpr_mf.draw_other", lambda x, row: torch.tensor([7]))
    x = torch.zeros(1, ITEMS)
    x[0, 3] = 1.0
    method = build(BPRMF, clicks(), latent_dim=4, l2=0.3)
    method.loss({"x": x, "index": torch.tensor([5])})["loss"].backward()
    w, h_i, h_j = method.users[5].detach(), method.items[3].detach(), method.items[7].detach()
    x_uij = w @ (h_i - h_j)
    slope = -torch.exp(-x_uij) / (1 + torch.exp(-x_uij))
    torch.testing.assert_close(method.users.grad[5], slope * (h_i - h_j) + 0.3 * w)
    torch.testing.assert_close(method.items.grad[3], slope * w + 0.3 * h_i)
    torch.testing.assert_close(method.items.grad[7], -slope * w + 0.3 * h_j)
    assert method.users.grad.count_nonzero() == 4 and method.items.grad.count_nonzero() == 8


def test_the_other_item_is_any_that_was_not_clicked() -> None:
    torch.manual_seed(0)
    x, row = clicks(3), torch.arange(3).repeat_interleave(6000)
    other = draw_other(x, row)
    assert (x[row, other] == 0).all()
    for u in range(3):
        counts = torch.bincount(other[row == u], minlength=ITEMS)[x[u] == 0] / 6000
        p = 1 / len(counts)
        assert (counts - p).abs().max() < 5 * (p * (1 - p) / 6000) ** 0.5


@pytest.mark.parametrize("cls", [BPRMF, LightGCN])
def test_a_new_user_is_the_mean_of_the_items_of_the_history(cls: type) -> None:
    method, history = build(cls, clicks(), latent_dim=4), clicks(6, seed=2)
    for row, found in zip(history, method.fold_in(history), strict=True):
        torch.testing.assert_close(found, method.items[row.bool()].mean(0))
    if cls is BPRMF:  # of a history of one item, the order is that of products with it
        torch.testing.assert_close(method.scores(torch.eye(ITEMS)), method.items @ method.items.T)
    assert torch.equal(method.fold_in(torch.zeros(1, ITEMS)), torch.zeros(1, 4))


def test_without_layers_it_is_bpr_mf() -> None:
    x = clicks()
    plain, graph = build(BPRMF, x, latent_dim=4, l2=0.1), build(LightGCN, x, latent_dim=4, l2=0.1, layers=0)
    assert torch.equal(graph.factors()[0] @ graph.factors()[1].T, plain.users @ plain.items.T), "the same first values"
    losses = []
    for method in (plain, graph):
        torch.manual_seed(5)
        losses.append(method.loss({"x": x, "index": torch.arange(USERS)})["loss"])
    assert torch.equal(*losses) and torch.equal(plain.scores(clicks(5, seed=2)), graph.scores(clicks(5, seed=2)))


def test_layers_are_powers_of_the_normalised_adjacency() -> None:
    x, k = clicks(), 3
    method = build(LightGCN, x, latent_dim=4, layers=k)
    adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    adjacency[:USERS, USERS:], adjacency[USERS:, :USERS] = x, x.T
    d = adjacency.sum(1).rsqrt()
    normalised, e = d[:, None] * adjacency * d, torch.cat([method.users, method.items])
    expected = sum(torch.matrix_power(normalised, n) @ e for n in range(k + 1)) / (k + 1)
    torch.testing.assert_close(torch.cat(method.factors()), expected)


def test_a_new_user_differs_from_a_training_user_of_the_same_clicks_by_what_was_learned_of_that_one_alone() -> None:
    x, k = clicks(), 2
    method = build(LightGCN, x, latent_dim=4, layers=k)
    users, items = method.factors()
    change = (method.fold_in(x) - method.users) / (k + 1)
    torch.testing.assert_close(method.scores(x), (users + change) @ items.T)


# --- RecVAE ------------------------------------------------------------------------------------------------


def recvae(epoch: int = 0, **options: object) -> RecVAE:
    method = build(RecVAE, clicks(), **{"hidden": 10, "latent_dim": 4, "dropout": 0.0, **options})
    method.__dict__["_trainer"] = SimpleNamespace(current_epoch=epoch)
    return method


def test_under_the_standard_normal_alone_it_is_mult_vae() -> None:
    """The same networks and noise; KL is estimated by the draw, and is Mult-VAE's in the mean over draws."""
    x = clicks()
    method = recvae(mixture=[1.0, 0.0, 0.0], beta=0.2)
    theirs = build(MultVAE, x, hidden=10, latent_dim=4, dropout=0.0, beta=0.2, anneal=0.0)
    theirs.encoder, theirs.decoder = method.encoder, method.decoder
    kls = []
    for seed in range(400):
        torch.manual_seed(seed)
        out = method.loss({"x": x})
        torch.manual_seed(seed)
        plain = theirs.loss({"x": x})
        torch.testing.assert_close(out["loss"] - 0.2 * out["kl"], plain["loss"] - 0.2 * plain["kl"])
        torch.testing.assert_close(out["elbo"], plain["elbo"])
        kls.append(out["kl"].item())
    error = np.std(kls) / len(kls) ** 0.5
    assert np.mean(kls) == pytest.approx(plain["kl"].item(), abs=4 * error) and error < 0.05 * plain["kl"].item()


@pytest.mark.parametrize("mixed", ["coordinates", "codes"])
def test_the_prior_is_the_mixture(mixed: str) -> None:
    method, x, z = recvae(mixed=mixed), clicks(), torch.randn(USERS, 4)
    mean, logvar = method.old(F.normalize(x, dim=1)).chunk(2, dim=1)
    zero = torch.zeros_like(z)
    means = torch.stack([zero, mean, zero], dim=-1)
    scales = torch.stack([zero, logvar, zero + 10], dim=-1).mul(0.5).exp()
    weights = torch.tensor([0.15, 0.75, 0.1])
    if mixed == "codes":
        parts = Independent(Normal(means.mT, scales.mT), 1)
        expected = MixtureSameFamily(Categorical(weights.expand(USERS, 3)), parts).log_prob(z)
    else:
        expected = MixtureSameFamily(Categorical(weights.expand(USERS, 4, 3)), Normal(means, scales)).log_prob(z).sum(1)
    torch.testing.assert_close(method.log_prior(z, x), expected)


def test_the_kl_is_weighted_by_the_number_of_clicks() -> None:
    method, x = recvae(gamma=0.01), clicks()
    mean, logvar = method.encoder(F.normalize(x, dim=1)).chunk(2, dim=1)
    posterior = Normal(mean, (0.5 * logvar).exp())
    torch.manual_seed(5)
    z = posterior.loc + posterior.scale * torch.randn(USERS, 4)
    kl = posterior.log_prob(z).sum(1) - method.log_prior(z, x)
    log_likelihood = multinomial_log_likelihood(x, method.decoder(z))
    torch.manual_seed(5)
    out = method.loss({"x": x})
    torch.testing.assert_close(out["loss"], (0.01 * x.sum(1) * kl - log_likelihood).mean())
    torch.testing.assert_close(out["elbo"], (log_likelihood - kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)).mean())


@pytest.mark.parametrize("epoch", range(8))
def test_encoder_and_decoder_take_turns(epoch: int) -> None:
    method = recvae(epoch)
    method.loss({"x": clicks()})["loss"].backward()
    encoder = [p.grad is not None for p in method.encoder.parameters()]
    decoder = [p.grad is not None for p in method.decoder.parameters()]
    assert any(encoder) == all(encoder) == (epoch % 4 < 3) and any(decoder) == all(decoder) == (epoch % 4 == 3)
    assert all(p.grad is None for p in method.old.parameters())


@pytest.mark.parametrize("epoch", [0, 3])
def test_dropout_is_of_the_encoders_epochs_alone(epoch: int) -> None:
    method, seen, x = recvae(epoch, dropout=0.5).train(), [], clicks()
    method.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method.loss({"x": x})
    dropped = (seen[0] == 0) & (x > 0)
    assert dropped.any() if epoch == 0 else torch.equal(seen[0], F.normalize(x, dim=1))


def test_the_old_encoder_is_that_of_the_last_cycle() -> None:
    method, changed = recvae(), []
    for epoch in range(8):
        method.__dict__["_trainer"].current_epoch = epoch
        with torch.no_grad():
            method.encoder.last.bias.fill_(float(epoch))
        before = method.old.last.bias.clone()
        method.before_validation()
        changed.append(not torch.equal(method.old.last.bias, before))
    assert changed == [False, False, True, False, False, False, True, False] and method.old.last.bias[0] == 6


def test_the_parts_of_the_prior_sum_to_one() -> None:
    with pytest.raises(UserError, match="sum to 1"):
        recvae(mixture=[0.5, 0.5, 0.5])
    with pytest.raises(UserError, match="three weights"):
        recvae(mixture=[0.5, 0.5])


def test_codes_are_the_mean_without_dropout() -> None:
    method, x = recvae(dropout=0.5).eval(), clicks()
    torch.testing.assert_close(method.scores(x), method.decoder(method.encoder(F.normalize(3 * x, dim=1))[:, :4]))
