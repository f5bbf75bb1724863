"""Identities of populations of networks and their sparse twins: each network alone, pruning as torch does it, noise as weights draw it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.dropout.cnn_zoo import CNNZoo
from elboard.methods.dropout.pruned_zoo import PrunedZoo, smallest
from elboard.methods.dropout.variational_zoo import VariationalZoo
from elboard.methods.dropout.zoo_networks import Zoo

IDENTITIES = {
    "cnn-zoo": ("test_a_network_of_the_zoo_is_that_network_alone", "test_networks_do_not_know_of_each_other"),
    "pruned-zoo": ("test_the_least_weights_of_each_layer_go_and_stay_away", "test_pruning_is_torchs"),
    "variational-zoo": (
        "test_before_training_the_twins_are_the_originals",
        "test_weights_of_much_noise_are_zero",
        "test_noise_of_outputs_is_that_of_weights",
        "test_the_divergence_is_that_of_molchanov",
    ),
}

SPEC = ClassSpec((1, 28, 28), 100, n_classes=10)
X = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(6) % 4}


def build(cls: type = CNNZoo, **options: object) -> CNNZoo:
    torch.manual_seed(0)
    base = CNNZoo(CNNZoo.Config(networks=4), SPEC)
    return base if cls is CNNZoo else cls(cls.Config(**options), SPEC, {"zoo": base.eval()})


def alone(zoo: Zoo, theta: Tensor, activation: type) -> nn.Module:
    """The network of one row ``(P,)``, by torch's layers."""
    parts = [nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), activation(), nn.Conv2d(8, 6, 5), nn.MaxPool2d(2), activation(), nn.Conv2d(6, 4, 2)]
    network = nn.Sequential(*parts, activation(), nn.Flatten(), nn.Linear(36, 20), activation(), nn.Linear(20, 10))
    learned = [part for part in network if hasattr(part, "weight")]
    with torch.no_grad():
        for part, (weight, bias) in zip(learned, zoo.parts(theta[None]), strict=True):
            part.weight.copy_(weight[0])
            part.bias.copy_(bias[0])
    return network


def test_a_network_of_the_zoo_is_that_network_alone() -> None:
    """Of 2,464 weights; tanh in the first half, rectifiers in the second."""
    method = build()
    assert method.theta.shape == (4, 2464)
    logits = method.zoo.plain(X, method.theta)
    for i, activation in enumerate((nn.Tanh, nn.Tanh, nn.ReLU, nn.ReLU)):
        torch.testing.assert_close(logits[i], alone(method.zoo, method.theta[i], activation)(X), rtol=1e-4, atol=1e-5)
    singly = sum(F.cross_entropy(of, BATCH["y"]) for of in logits)
    torch.testing.assert_close(method.loss(BATCH)["loss"], singly)


def test_networks_do_not_know_of_each_other() -> None:
    method = build()
    nll = F.cross_entropy(method.zoo.plain(X, method.theta)[2], BATCH["y"])
    (gradient,) = torch.autograd.grad(nll, method.theta)
    assert gradient[2].abs().sum() > 0 and not gradient[[0, 1, 3]].any()
    assert len({tuple(row[:5].tolist()) for row in method.theta.detach()}) == 4


def test_pruning_is_torchs() -> None:
    weights = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    for share in (0.0, 0.5, 0.9):
        mask = smallest(weights, share)
        for row, of in zip(weights, mask, strict=True):
            layer = nn.Linear(50, 1, bias=False)
            layer.weight.data.copy_(row[None])
            assert torch.equal(prune.l1_unstructured(layer, "weight", amount=share).weight_mask[0], of)


def test_the_least_weights_of_each_layer_go_and_stay_away() -> None:
    method = build(PrunedZoo, ratios=[0.5, 0.9])
    optimizer = torch.optim.Adam([method.theta], 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        method.loss(BATCH)["loss"].backward()
        optimizer.step()
    versions, base = method.versions(), method.base.theta
    assert versions.shape == (3, 4, 2464) and torch.equal(versions[0], base)
    zeros, sizes = method.zeros()
    assert sizes.tolist() == [200, 1200, 96, 720, 200] and not zeros[0].any()
    for version, ratio in ((1, 0.5), (2, 0.9)):
        assert (zeros[version] == torch.tensor([round(ratio * n) for n in sizes.tolist()])).all()
        for g in range(4):
            for before, after in zip(method.zoo.weights(base), method.zoo.weights(versions[version]), strict=True):
                gone = after[g] == 0
                assert before[g][gone].abs().max() <= before[g][~gone].abs().min()
    moved = versions[1] != base
    assert moved[versions[1] != 0].float().mean() > 0.9, "those that survive are trained"


def test_nothing_pruned_is_the_zoo_of_each_network() -> None:
    method = build(PrunedZoo, ratios=[0.0, 0.5])
    versions = method.versions()
    assert torch.equal(versions[1], method.base.theta) and torch.equal(method.classes(X)[1], method.base.classes(X)[0])
    logits = method.zoo.plain(X, method.theta * method.mask)
    theirs = method.base.zoo.plain(X, method.base.theta)
    torch.testing.assert_close(logits[[0, 1, 4, 5]], theirs, msg="those of an activation stand beside each other")


def test_before_training_the_twins_are_the_originals() -> None:
    """Weights are copied, and with little noise nothing is pruned."""
    method = build(VariationalZoo, stages=3)
    assert (method.log_alpha() < 0).all() or method.theta.abs().min() < 0.01
    versions = method.versions()
    assert versions.shape == (4, 4, 2464) and (versions == method.base.theta).all()
    assert torch.equal(method.classes(X)[-1], method.base.classes(X)[0])
    torch.testing.assert_close(method.zoo.plain(X, method.theta), method.base.zoo.plain(X, method.base.theta))


def test_weights_of_much_noise_are_zero() -> None:
    """From log alpha = 3 on; biases of linear layers, which have no noise, stay."""
    method = build(VariationalZoo, stages=2)
    with torch.no_grad():
        method.theta.fill_(0.1)
        method.log_variance.copy_(torch.linspace(-4, 4, 2464).expand(4, -1))
    sparse, alpha = method.sparse(), method.log_variance - 2 * torch.tensor(0.1).log()
    has_noise = method.bound > 0
    assert torch.equal((sparse == 0)[:, has_noise], (alpha >= 3)[:, has_noise]) and 0.2 < (sparse == 0).float().mean() < 0.9
    assert (sparse[:, ~has_noise] == torch.tensor(0.1)).all() and (~has_noise).sum() == 30
    method.progress = 0.7
    method.after_step(BATCH, 0)
    assert torch.equal(method.stages[1], sparse) and not torch.equal(method.stages[0], sparse)


def test_without_draws_it_is_the_plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(VariationalZoo)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    torch.testing.assert_close(method.noisy(X, method.log_alpha()), method.zoo.plain(X, method.theta))


@pytest.mark.parametrize("i", [0, 3])
def test_noise_of_outputs_is_that_of_weights(i: int) -> None:
    """At one place of a map and of one unit: the variance under weights that are drawn."""
    method = build(VariationalZoo)
    alpha = torch.full((4, 2464), 0.4) * (method.bound > 0)
    weight, bias = method.zoo.parts(method.theta.detach())[i]
    variances = method.zoo.parts(alpha * method.theta.detach().square())[i]
    n, generator = 20_000, torch.Generator().manual_seed(3)
    h = X[:1] if i == 0 else torch.rand(4, 1, 36, generator=generator)
    found = method.zoo.layer(i, h.square(), *variances)
    found, patch = (found[0, 0, 3, 5], X[0, 0, 3:8, 5:10].flatten()) if i == 0 else (found[0, 0, 0], h[0, 0])
    w, b = weight[0, 0].flatten(), bias[0, 0]
    draws = (w * (1 + 0.4**0.5 * torch.randn(n, len(w), generator=generator))) @ patch
    draws = draws + b * (1 + (0.4**0.5 if i == 0 else 0.0) * torch.randn(n, generator=generator))
    assert found.item() == pytest.approx(draws.var().item(), rel=5 * (2 / n) ** 0.5)


def test_the_divergence_is_that_of_molchanov() -> None:
    """Minus their approximation, of all that has noise, with a weight that grows from nothing."""
    method = build(VariationalZoo, kl=0.01)
    with torch.no_grad():
        method.log_variance.copy_(torch.linspace(-12, 2, 2464).expand(4, -1))
    log_alpha = method.log_alpha()[:, method.bound > 0].double()
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    kl = -(k1 * torch.sigmoid(k2 + k3 * log_alpha) - 0.5 * torch.log1p((-log_alpha).exp()) - k1)
    torch.manual_seed(1)
    first = method.loss(BATCH)
    assert first["kl"].item() == pytest.approx(kl.sum(1).mean().item(), rel=1e-4)
    torch.testing.assert_close(first["loss"], 4 * first["nll"])
    method.progress = 0.5
    torch.manual_seed(1)
    later = method.loss(BATCH)
    torch.testing.assert_close(later["loss"], 4 * later["nll"] + 0.5 * 0.01 * 4 * later["kl"])
    assert 9.99 < method.log_alpha().abs().max() <= 10 and method.log_alpha()[:, :1500].abs().max() <= 8


def test_populations_need_two_activations_and_growing_ratios() -> None:
    with pytest.raises(UserError, match="networks=3"):
        CNNZoo(CNNZoo.Config(networks=3), SPEC)
    with pytest.raises(UserError, match="growing order"):
        build(PrunedZoo, ratios=[0.9, 0.5])
