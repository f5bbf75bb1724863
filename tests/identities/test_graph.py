"""What must hold exactly for graph autoencoders and for scores computed from the graph alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.links import GraphSpec
from elboard.bench.registry import find
from elboard.bench.task import Data
from elboard.methods.graph import base
from elboard.methods.graph.adamic_adar import AdamicAdar
from elboard.methods.graph.base import SoftplusOfAllPairs
from elboard.methods.graph.gae import GAE
from elboard.methods.graph.spectral import SpectralEmbedding
from elboard.methods.graph.vgae import VGAE
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.sparse import SparseMatrix, from_dense, normalised_adjacency

IDENTITIES = {
    "gae": ("test_the_encoder_is_two_dense_graph_convolutions", "test_the_reconstruction_is_a_loop_over_all_pairs"),
    "vgae": (
        "test_without_the_weights_the_loss_is_minus_the_elbo_over_all_pairs",
        "test_kl_has_log_standard_deviations",
        "test_vgae_without_noise_and_kl_is_gae",
    ),
    "adamic-adar": ("test_adamic_adar_is_the_sum_over_common_neighbours",),
    "spectral-embedding": ("test_spectral_embedding_is_of_the_leading_eigenvectors_between_zero_and_one",),
}

N, WORDS = 12, 7
EVERY = [GAE, VGAE, AdamicAdar, SpectralEmbedding]


def edges(seed=0, n=N, share=0.3):
    """Edges u < v of a random graph in which the last node has no neighbour."""
    chosen = np.triu(np.random.default_rng(seed).random((n, n)) < share, k=1)
    chosen[:, -1] = False
    return torch.from_numpy(np.argwhere(chosen))


def features(seed=0):
    x = (torch.rand(N, WORDS, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    x[3] = 0  # a node without a word
    return x


def graph(given=None, x=None):
    given, x = edges() if given is None else given, features() if x is None else x
    return Data(GraphSpec((x.shape[1],), N, n_nodes=N), {"node": torch.arange(N)}, shared={"features": x, "edges": given})


def build(cls, data=None, **options):
    data = data or graph()
    torch.manual_seed(0)
    method = cls(cls.Config(**options), data.spec)
    method.prepare(data)
    if cls in (AdamicAdar, SpectralEmbedding):
        method.fit(data, None)
    return method


def dense_adjacency(given=None):
    a = np.zeros((N, N))
    for u, v in (edges() if given is None else given).tolist():
        a[u, v] = a[v, u] = 1
    return a


def dense_normalised(given=None):
    with_loops = dense_adjacency(given) + np.eye(N)
    root = np.diag(1 / np.sqrt(with_loops.sum(1)))
    return root @ with_loops @ root


def all_pairs():
    return torch.cartesian_prod(torch.arange(N), torch.arange(N))


def all_scores(method):
    with torch.no_grad():
        return method.link_scores(all_pairs()).reshape(N, N)


def test_normalised_adjacency_is_that_of_dense_matrices() -> None:
    found = normalised_adjacency(edges(), N) @ torch.eye(N)
    np.testing.assert_allclose(found.numpy(), dense_normalised(), atol=1e-6)
    assert found[-1, -1] == 1 and found[-1, :-1].abs().max() == 0  # a node without a neighbour keeps itself


def test_sparse_products_and_their_gradients_are_dense_ones() -> None:
    x, w = features(), torch.randn(WORDS, 3, requires_grad=True)
    weights = torch.randn(N, 3)
    (from_dense(x) @ w * weights).sum().backward()
    torch.testing.assert_close(w.grad, x.T @ weights)
    torch.testing.assert_close(from_dense(x) @ w.detach(), x @ w.detach())
    shuffled = torch.randperm(int(x.count_nonzero()), generator=torch.Generator().manual_seed(0))
    rows, columns = (places[shuffled] for places in x.nonzero(as_tuple=True))
    torch.testing.assert_close(SparseMatrix(rows, columns, x[rows, columns], N) @ torch.eye(WORDS), x)


def test_the_encoder_is_two_dense_graph_convolutions() -> None:
    method, a = build(VGAE), torch.from_numpy(dense_normalised()).float()
    h = torch.relu(a @ features() @ method.w_0)
    mean, log_sigma = method.posterior()
    torch.testing.assert_close(mean, a @ h @ method.w_mu)
    torch.testing.assert_close(log_sigma, a @ h @ method.w_sigma)
    plain = build(GAE)
    torch.testing.assert_close(plain.embedding(), a @ torch.relu(a @ features() @ plain.w_0) @ plain.w_1)


@pytest.mark.parametrize("rows", [1, 5, 128])
def test_softplus_of_all_pairs_and_its_gradient(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "ROWS", rows)
    z = torch.randn(N, 4, dtype=torch.float64, requires_grad=True)
    expected = F.softplus(z @ z.T).sum()
    found = SoftplusOfAllPairs.apply(z)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * found, z), torch.autograd.grad(3 * expected, z))
    assert torch.autograd.gradcheck(SoftplusOfAllPairs.apply, (z,))


def test_the_reconstruction_is_a_loop_over_all_pairs() -> None:
    """Labels are the training adjacency with self loops; the weights count its entries without them."""
    method, a = build(GAE), dense_adjacency()
    z = torch.randn(N, 16)
    pos_weight, norm = (N**2 - a.sum()) / a.sum(), N**2 / (2 * (N**2 - a.sum()))
    total = 0.0
    for i in range(N):
        for j in range(N):
            y = torch.tensor(1.0 if i == j else a[i, j], dtype=torch.float32)
            logit = sum(z[i, k] * z[j, k] for k in range(16))
            total += F.binary_cross_entropy_with_logits(logit, y, pos_weight=torch.tensor(pos_weight)).item()
    assert method.reconstruction(z).item() == pytest.approx(norm * total / N**2, rel=1e-5)


def test_without_the_weights_the_loss_is_minus_the_elbo_over_all_pairs() -> None:
    """Where half of the pairs are edges, pos_weight = norm = 1, and N^2 times the loss is -log p(A + I | Z) + KL."""
    n = 4
    ring = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3]])
    data = Data(GraphSpec((n,), n, n_nodes=n), {}, shared={"features": torch.eye(n), "edges": ring})
    method = build(VGAE, data)
    torch.manual_seed(3)
    out = method.loss({})
    mean, log_sigma = method.posterior()
    torch.manual_seed(3)
    z = mean + torch.randn_like(mean) * log_sigma.exp()
    y = torch.eye(n)
    for u, v in ring.tolist():
        y[u, v] = y[v, u] = 1
    log_p = torch.distributions.Bernoulli(logits=z @ z.T).log_prob(y).sum()
    kl = kl_divergence(Normal(mean, log_sigma.exp()), Normal(0.0, 1.0)).sum()
    assert n**2 * out["loss"].item() == pytest.approx((kl - log_p).item(), rel=1e-5)


def test_kl_has_log_standard_deviations() -> None:
    mean, log_sigma = torch.randn(5, 4), torch.randn(5, 4)
    expected = kl_divergence(Normal(mean, log_sigma.exp()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_to_standard_normal(mean, 2 * log_sigma), expected)
    out = build(VGAE).loss({})
    assert out["loss"].item() == pytest.approx((out["reconstruction"] + out["kl"] / N).item(), abs=1e-6)


def test_vgae_without_noise_and_kl_is_gae(monkeypatch: pytest.MonkeyPatch) -> None:
    gae, vgae = build(GAE), build(VGAE)
    assert torch.equal(gae.w_0, vgae.w_0) and torch.equal(gae.w_1, vgae.w_mu)
    assert torch.equal(all_scores(gae), all_scores(vgae))  # no sampling in prediction
    mean = vgae.posterior()[0]
    monkeypatch.setattr(vgae, "posterior", lambda: (mean, torch.full_like(mean, -100.0)))
    assert vgae.loss({})["reconstruction"].item() == gae.loss({})["loss"].item()


def test_defaults_are_those_of_the_paper() -> None:
    config = VGAE.Config()
    assert (config.lr, config.optimizer, config.weight_decay, config.schedule) == (0.01, "adam", 0.0, "constant")
    method = build(VGAE)
    assert [tuple(p.shape) for p in method.parameters()] == [(WORDS, 32), (32, 16), (32, 16)]
    assert method.w_0.abs().max() <= math.sqrt(6 / (WORDS + 32)) and method.w_0.abs().max() > 0.9 * math.sqrt(6 / (WORDS + 32))


@pytest.mark.parametrize("cls", EVERY)
def test_scores_are_symmetric(cls: type) -> None:
    scores = all_scores(build(cls))
    torch.testing.assert_close(scores, scores.T, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("cls", EVERY)
def test_held_out_edges_do_not_matter(cls: type) -> None:
    """Two whole graphs that differ in their validation edges alone give one method, which knows no test edge."""
    task = find("task", "links/cora").load()
    task = task(task.Config(), "smoke", 0)
    data, other = task.load_train(), task.load_train()
    other.valid["pairs"] = other.valid["pairs"].flip(0)
    other.valid["y"] = 1 - other.valid["y"]
    one, two = build(cls, data), build(cls, other)
    pairs = torch.cartesian_prod(torch.arange(150), torch.arange(150))
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    with torch.no_grad():
        assert torch.equal(one.link_scores(pairs), two.link_scores(pairs))
    if cls in (GAE, VGAE):
        a = one.adjacency @ torch.eye(150)
        test = task.load_test(data)
        held_out = test["pairs"][test["y"] == 1]
        assert a[held_out[:, 0], held_out[:, 1]].abs().max() == 0
        assert int(a.count_nonzero()) == 150 + 2 * len(data.shared["edges"])


@pytest.mark.parametrize("cls", EVERY)
def test_relabelled_nodes_have_relabelled_scores(cls: type) -> None:
    new = torch.randperm(N, generator=torch.Generator().manual_seed(4))  # node i is called new[i]
    x = torch.empty_like(features())
    x[new] = features()
    there = build(cls, graph(new[edges()].sort(1).values, x))
    here, off = all_scores(build(cls)), ~torch.eye(N, dtype=torch.bool)
    torch.testing.assert_close(all_scores(there)[new][:, new][off], here[off], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cls", [GAE, VGAE])
def test_featureless_is_the_identity_as_features(cls: type) -> None:
    identity, without = build(cls, graph(x=torch.eye(N))), build(cls, featureless=True)
    assert torch.equal(identity.w_0, without.w_0)
    assert torch.equal(all_scores(identity), all_scores(without))
    torch.manual_seed(1)
    loss = identity.loss({})["loss"]
    torch.manual_seed(1)
    assert torch.equal(loss, without.loss({})["loss"])


@pytest.mark.parametrize("cls", [GAE, VGAE])
def test_a_checkpoint_holds_weights_alone(cls: type) -> None:
    method = build(cls)
    assert set(method.state_dict()) == {name for name, _ in method.named_parameters()}


def test_batches_that_are_not_the_whole_graph_are_refused() -> None:
    class Trainer:
        num_training_batches = 2

    method = build(GAE)
    method.card = find("method", "gae").card
    method.__dict__["_trainer"] = Trainer()
    with pytest.raises(UserError, match="train.batch_size must be 0"):
        method.on_train_start()


def test_adamic_adar_is_the_sum_over_common_neighbours() -> None:
    scores, neighbours = all_scores(build(AdamicAdar)), [set(np.flatnonzero(row)) for row in dense_adjacency()]
    for u in range(N):
        for v in range(u):
            expected = sum(1 / math.log(len(neighbours[w])) for w in neighbours[u] & neighbours[v])
            assert scores[u, v].item() == pytest.approx(expected, abs=1e-12)
    assert scores.triu(1).max() > 0 and scores[-1, :-1].max() == 0


@pytest.mark.parametrize("latent", [1, 2, 6])
def test_spectral_embedding_is_of_the_leading_eigenvectors_between_zero_and_one(latent: int) -> None:
    complete, tail = torch.combinations(torch.arange(4)), torch.tensor([[4, 5], [5, 6], [6, 7], [7, 8], [8, 9]])
    edges = torch.cat((complete, tail))  # two components and two nodes without a neighbour
    a, z = dense_adjacency(edges), build(SpectralEmbedding, graph(edges), latent_dim=latent).embedding.numpy()
    d = np.diag(1 / np.sqrt(np.maximum(a.sum(1), 1)))
    values = np.sort(np.linalg.eigvalsh(d @ a @ d))[::-1]
    assert (values[:2] > 1 - 1e-12).all() and (values[2:4] > 0.1).all() and (values[4:6] < 1e-12).all() and values[-1] < -0.9
    kept = min(latent, 2)  # what is left of twelve eigenvalues
    np.testing.assert_allclose(z.T @ z, np.diag(np.arange(latent) < kept), atol=1e-10)
    np.testing.assert_allclose(d @ a @ d @ z[:, :kept], z[:, :kept] * values[2 : 2 + kept], atol=1e-10)
    assert (z[10:] == 0).all() and (z[:4] @ z[4:10].T == 0).all()
