"""Identities of low-rank ordered dropout and of its baselines: networks that they are at the start, truncations, norms, optima."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.errors import UserError
from elboard.bench.kinds import DataSpec
from elboard.bench.kinds.compression import SizedSpec
from elboard.bench.metrics.compression import best_maps
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.dropout.fixed_low_rank import FixedLowRank
from elboard.methods.dropout.maestro_linear import MaestroLinear
from elboard.methods.dropout.maestro_lod import MaestroLoD
from elboard.methods.dropout.svd_post_training import SVDPostTraining
from elboard.methods.parts.low_rank import LowRank, RankWalk, by_importance, factorise, in_proportion, parameters_of, replaced

IDENTITIES = {
    "maestro-lod": (
        "test_it_begins_as_the_plain_network",
        "test_a_step_truncates_one_layer",
        "test_the_lasso_is_of_the_norms_of_all_suffixes",
        "test_smaller_networks_are_the_truncated_one",
    ),
    "svd-post-training": ("test_truncations_are_numpys", "test_the_whole_network_is_the_one_that_was_trained"),
    "fixed-low-rank": (
        "test_networks_of_fixed_rank_begin_as_truncations",
        "test_the_loss_is_that_of_each_network",
    ),
    "maestro-linear": (
        "test_a_round_of_ranks_is_their_mean_error",
        "test_the_mean_gradient_vanishes_at_the_best_maps_of_all_ranks",
        "test_without_order_any_basis_has_the_same_loss",
    ),
}
DENSE = 64 * 256 + 256 + 256 * 128 + 128 + 128 * 4 + 4
SIZES = tuple(int(share * DENSE) for share in (0.1, 0.3, 0.5, 1.0))
SPEC = SizedSpec((1, 8, 8), 100, n_classes=4, sizes=SIZES)
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(6) % 4}
NETWORKS = ("mlp", "cnn")


def build(cls: type = MaestroLoD, bases: dict | None = None, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return cls(cls.Config(**options), SPEC, bases).train()


def truncated(layer: LowRank, rank: int) -> Tensor:
    return (layer.left[:, :rank] @ layer.right[:, :rank].t()).detach()


# --- the network and its steps ---------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_it_begins_as_the_plain_network(name: str) -> None:
    method, plain = build(backbone=name), build(Softmax, backbone=name)
    torch.testing.assert_close(method.predict(X), plain.predict(X), atol=1e-5, rtol=1e-4)
    assert all(layer.rank == min(len(layer.left), len(layer.right)) for layer in method.layers)
    assert len(method.layers) == (2 if name == "mlp" else 3) and isinstance(method.head, nn.Linear)


def test_a_step_truncates_one_layer() -> None:
    method = build(lasso=0.0)
    drawn = method.walk.drawn(method.live)
    assert (drawn != method.live).sum() == 1
    first, second = (truncated(layer, int(rank)) for layer, rank in zip(method.layers, drawn, strict=True))
    h = F.linear(X.flatten(1), first, method.layers[0].bias).relu()
    logits = method.head(F.linear(h, second, method.layers[1].bias).relu())
    torch.testing.assert_close(method.loss(BATCH)["loss"], F.cross_entropy(logits, BATCH["y"]), atol=1e-5, rtol=1e-4)
    whole = build(lasso=0.0, full=True).loss(BATCH)["loss"]
    torch.testing.assert_close(whole, F.cross_entropy(logits, BATCH["y"]) + F.cross_entropy(method(X), BATCH["y"]), atol=1e-5, rtol=1e-4)


def test_each_pair_comes_once_in_a_round_and_with_fewer_ranks_only_those_there_are() -> None:
    torch.manual_seed(0)
    walk, live = RankWalk([3, 5]), torch.tensor([3, 5])
    for ranks in ([3, 5], [3, 5], [2, 4]):
        live = torch.tensor(ranks)
        if ranks == [2, 4]:  # the round is the next one's: begin it with these
            walk.at.fill_(7)
            walk.advance(live)
        seen = []
        for _ in range(sum(ranks)):
            pair = int(walk.order[walk.at])
            seen.append((int(walk.layers[pair]), int(walk.ranks[pair])))
            walk.advance(live)
        assert sorted(seen) == [(i, b) for i, r in enumerate(ranks) for b in range(1, r + 1)]
    walk.order[walk.at] = 7  # the last component of the second layer, which is gone
    assert walk.drawn(live).tolist() == [2, 4]


# --- the lasso -----------------------------------------------------------------------------------------


def test_the_lasso_is_of_the_norms_of_all_suffixes() -> None:
    method = build(lasso=0.3)
    expected = sum(matrix[:, b:].norm() for layer in method.layers for matrix in (layer.left, layer.right) for b in range(layer.rank))
    torch.testing.assert_close(method.penalty(), expected, rtol=1e-5, atol=0)
    without = build(lasso=0.0)
    torch.testing.assert_close(method.loss(BATCH)["loss"] - without.loss(BATCH)["loss"], 0.3 * expected, rtol=1e-4, atol=0)
    with torch.no_grad():
        for layer in method.layers:
            layer.left.mul_(2), layer.right.mul_(2)
    torch.testing.assert_close(method.penalty(), 2 * expected, rtol=1e-5, atol=0)  # norms, not squares


def test_later_components_are_penalised_more() -> None:
    layer = build().layers[0]
    with torch.no_grad():
        layer.left.copy_(F.normalize(layer.left, dim=0))
    (gradient,) = torch.autograd.grad(layer.suffixes(layer.left).sum(), layer.left)
    assert (gradient.norm(dim=0).diff() > 0).all()


def test_components_that_are_zero_have_a_gradient_without_nan() -> None:
    method = build(lasso=1.0)
    with torch.no_grad():
        for layer in method.layers:
            layer.left[:, 5:] = 0
            layer.right[:, 5:] = 0
    method.loss(BATCH)["loss"].backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())


# --- dropping ------------------------------------------------------------------------------------------


def test_components_of_no_importance_are_dropped_for_good() -> None:
    method = build(threshold=1e-3)
    kept = [layer.left for layer in method.layers]
    with torch.no_grad():
        method.layers[0].left[:, 7:] = 0
        method.layers[1].right.mul_(0)
    method.before_validation()
    assert method.live.tolist() == [7, 0]
    assert all(a is layer.left for a, layer in zip(kept, method.layers, strict=True))  # the optimiser's state belongs to them
    with torch.no_grad():
        method.layers[0].left.fill_(1), method.layers[1].right.fill_(1)
    method.before_validation()
    assert method.live.tolist() == [7, 0] and by_importance(method.layers, DENSE) == [7, 0]
    only_bias = method.layers[1].bias.relu().expand(6, -1)
    torch.testing.assert_close(method(X), method.head(only_bias))
    small = method.compressed(DENSE)
    torch.testing.assert_close(small(X), method(X))
    assert parameters_of(small) == 7 * (64 + 256) + 256 + 128 + parameters_of(method.head), "what was dropped is not in it"


# --- smaller networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_smaller_networks_are_the_truncated_one(name: str) -> None:
    method = build(backbone=name)
    whole = parameters_of(build(Softmax, backbone=name))
    for share in (0.2, 0.4, 0.7, 1.0):
        network = method.compressed(int(share * whole))
        assert parameters_of(network) <= share * whole
        fixed = parameters_of(method.head) + sum(len(layer.bias) for layer in method.layers)
        method.open(method.live)
        ranks = torch.tensor(by_importance(method.layers, int(share * whole) - fixed))
        torch.testing.assert_close(network(X), method(X, ranks), atol=1e-5, rtol=1e-4)
        assert (ranks < method.live).any() == (share < 1)
    assert parameters_of(method.compressed(whole)) == whole
    assert not method.compressed(whole).training and method.training


def test_a_product_that_is_larger_than_the_matrix_is_one_matrix() -> None:
    layer = LowRank(nn.Linear(10, 6))
    most = 60 // 16  # 16 weights a component, 60 of the matrix
    assert [layer.cost(rank) for rank in range(7)] == [0, 16, 32, 48, 60, 60, 60]
    assert isinstance(layer.smaller(most), LowRank) and isinstance(layer.smaller(most + 1), nn.Linear)
    torch.testing.assert_close(layer.smaller(most + 1)(torch.eye(10)), layer(torch.eye(10)))  # with all components: it costs no more
    assert parameters_of(layer.smaller(0)) == 6 and torch.equal(layer.smaller(0)(torch.eye(10)), layer.bias.expand(10, -1))


def test_the_least_important_components_go_first() -> None:
    torch.manual_seed(0)
    flat, steep = LowRank(nn.Linear(20, 20)), LowRank(nn.Linear(20, 20))
    s = torch.linalg.svdvals(truncated(flat, 20))
    torch.testing.assert_close(flat.importance(), s.flip(0).cumsum(0).flip(0), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        steep.left.copy_(steep.left * 0.5 ** torch.arange(20.0))
    first, second = by_importance([flat, steep], 300)
    assert second < first < 8 and (first + second) * 40 <= 300 < (first + second + 1) * 40
    share = [layer.importance() / layer.importance()[0] for layer in (flat, steep)]
    assert min(share[0][first - 1], share[1][second - 1]) >= max(share[0][first], share[1][second])
    with torch.no_grad():
        steep.left.mul_(1000)
    assert by_importance([flat, steep], 300) == [first, second], "the size of weights is of no account"
    assert by_importance([flat, steep], 800) == [20, 20]


def test_batch_normalisation_is_refused() -> None:
    with pytest.raises(UserError, match="batch normalisation"):
        factorise(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))


# --- truncation after training, fixed ranks ----------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_truncations_are_numpys(name: str) -> None:
    base = build(Softmax, backbone=name).eval()
    method = build(SVDPostTraining, {"dense": base})
    layers = [layer for layer in method.backbone.modules() if isinstance(layer, LowRank)]
    ranks = [3 + i for i in range(len(layers))]
    reference = copy.deepcopy(base.backbone)
    plain = [layer for layer in reference.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer, rank in zip(plain, ranks, strict=True):
        u, s, vt = np.linalg.svd(layer.weight.detach().flatten(1).numpy(), full_matrices=False)
        layer.weight.data = torch.from_numpy((u[:, :rank] * s[:rank]) @ vt[:rank]).view_as(layer.weight)
    torch.testing.assert_close(replaced(method.backbone, ranks)(X), reference(X), atol=1e-5, rtol=1e-4)


def test_the_whole_network_is_the_one_that_was_trained() -> None:
    base = build(Softmax, backbone="mlp").eval()
    method = build(SVDPostTraining, {"dense": base})
    assert not list(method.parameters())
    torch.testing.assert_close(method.compressed(DENSE)(X), base(X), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(method.compressed(SIZES[0])(X), base(X), atol=1e-3) and parameters_of(method.compressed(SIZES[0])) <= SIZES[0]
    network = base.compressed(SIZES[0])
    assert parameters_of(network) == DENSE and torch.equal(network(X), base(X)), "plain networks have no other size"


def test_what_is_truncated_follows_the_network_that_was_trained() -> None:
    """A run moves it to its device once methods are built, and the decomposed copy stayed behind; precisions show it on any machine."""
    base = build(Softmax, backbone="mlp").eval()
    method = build(SVDPostTraining, {"dense": base})
    base.double()
    for size in (SIZES[0], DENSE):
        assert method.compressed(size)(X.double()).dtype == torch.float64


def test_networks_of_fixed_rank_begin_as_truncations() -> None:
    method = build(FixedLowRank)
    sizes = [parameters_of(network) for network in method.networks]
    assert all(given <= asked for given, asked in zip(sizes, SIZES, strict=True)) and sizes[-1] == DENSE
    assert sizes[:-1] > [0.85 * asked for asked in SIZES[:-1]]
    torch.manual_seed(0)
    plain = Softmax(Softmax.Config(backbone="mlp"), SPEC)
    layers = [layer for layer in method.networks[0].modules() if isinstance(layer, LowRank)]
    for layer, dense in zip(layers, (plain.backbone[1], plain.backbone[3]), strict=True):
        u, s, vt = torch.linalg.svd(dense.weight.detach(), full_matrices=False)
        best = (u[:, : layer.rank] * s[: layer.rank]) @ vt[: layer.rank]
        torch.testing.assert_close(truncated(layer, layer.rank), best, atol=1e-5, rtol=1e-4)
    assert method.compressed(SIZES[1]) is method.networks[1] and method.compressed(SIZES[1] - 10_000) is method.networks[0]
    assert method.compressed(1) is method.networks[0]


def test_ranks_in_proportion_are_the_largest_that_fit() -> None:
    layers = [LowRank(nn.Linear(30, 20)), LowRank(nn.Linear(20, 10))]
    ranks = in_proportion(layers, 300)
    assert ranks == [4, 2] and sum(layer.cost(rank) for layer, rank in zip(layers, ranks, strict=True)) == 260
    assert in_proportion(layers, 1) == [1, 1]


def test_the_loss_is_that_of_each_network() -> None:
    method = build(FixedLowRank)
    losses = [F.cross_entropy(network(X), BATCH["y"]) for network in method.networks]
    torch.testing.assert_close(method.loss(BATCH)["loss"], sum(losses))
    gradient = torch.autograd.grad(method.loss(BATCH)["loss"], list(method.networks[1].parameters()))
    alone = torch.autograd.grad(losses[1], list(method.networks[1].parameters()))
    for a, b in zip(gradient, alone, strict=True):
        torch.testing.assert_close(a, b)


# --- linear maps -----------------------------------------------------------------------------------------


def linear(**options: object) -> MaestroLinear:
    torch.manual_seed(0)
    return MaestroLinear(MaestroLinear.Config(**options), DataSpec((2, 4), 100)).double()


def exact_examples() -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
    """Examples whose second moments are exactly those of the worlds, with maps and covariances."""
    generator = np.random.default_rng(0)
    maps = np.stack([generator.normal(size=(4, 4)), np.eye(4)])
    root = generator.normal(size=(4, 4)) + 3 * np.eye(4)
    z = generator.normal(size=(50, 4))
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / 50)).T
    x = np.stack([z, z @ root.T], axis=1)
    batch = {"x": torch.from_numpy(x), "y": torch.from_numpy(np.einsum("wij,nwj->nwi", maps, x))}
    return batch, maps, np.stack([np.eye(4), root @ root.T])


def round_of_losses(method: MaestroLinear, batch: dict[str, Tensor]) -> Tensor:
    losses = []
    for i in range(4):
        losses.append(method.loss(batch)["loss"])
        method.after_step(batch, i)
    return torch.stack(losses).mean()


def test_a_round_of_ranks_is_their_mean_error() -> None:
    method, (batch, _, _) = linear(), exact_examples()
    errors = torch.einsum("wbij,nwj->nwbi", method.products(), batch["x"]) - batch["y"][:, :, None]
    torch.testing.assert_close(round_of_losses(method, batch), errors.square().mean())


def test_the_mean_gradient_vanishes_at_the_best_maps_of_all_ranks() -> None:
    method, (batch, maps, covariances) = linear(), exact_examples()
    best = np.stack([best_maps(a, c) for a, c in zip(maps, covariances, strict=True)])
    with torch.no_grad():
        for w in range(2):
            for b in range(4):  # components are differences of maps, of rank 1
                u, s, vt = np.linalg.svd(best[w, b] - (best[w, b - 1] if b else 0))
                method.left[w, :, b], method.right[w, :, b] = (torch.from_numpy(of * s[0] ** 0.5) for of in (u[:, 0], vt[0]))
    torch.testing.assert_close(method.products().detach(), torch.from_numpy(best))
    gradients = torch.autograd.grad(round_of_losses(method, batch), list(method.parameters()))
    assert max(g.abs().max() for g in gradients) < 1e-10
    whole = method.loss(batch)["loss"]
    assert whole.item() > 1e-3 or method.walk.order[method.walk.at] == 3


def test_without_order_any_basis_has_the_same_loss() -> None:
    batch, _, _ = exact_examples()
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[0]
    for ordered in (False, True):
        method = linear(ordered=ordered)
        before = round_of_losses(method, batch)
        with torch.no_grad():
            method.left.copy_(method.left @ turn), method.right.copy_(method.right @ turn)
        assert torch.allclose(round_of_losses(method, batch), before) != ordered
