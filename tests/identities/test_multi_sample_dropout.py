"""Identities of multi-sample dropout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.dropout.multi_sample_dropout import MultiSampleDropout
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.networks import backbone, halves

IDENTITIES = {
    "multi-sample-dropout": (
        "test_the_loss_is_the_mean_of_the_losses_under_each_mask",
        "test_it_is_a_batch_with_each_image_m_times",
        "test_without_dropout_it_is_the_plain_network",
    ),
}

SPEC = ClassSpec((1, 8, 8), 100, n_classes=4)
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(6) % 4}
NETWORKS = ("mlp", "cnn", "resnet20")


def build(cls: type = MultiSampleDropout, **options: object) -> ClassifierMethod:
    torch.manual_seed(0)
    return cls(cls.Config(**options), SPEC).train()


def seeded_loss(method: ClassifierMethod, batch: dict[str, Tensor], seed: int = 5) -> Tensor:
    torch.manual_seed(seed)
    return method.loss(batch)["loss"]


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_loss_is_the_mean_of_the_losses_under_each_mask(name: str) -> None:
    method = build(samples=3, backbone=name, dropout=0.4)
    with torch.no_grad():
        method.head.weight.mul_(8)
    trunk, rest = halves(method.backbone)
    h = trunk(X)
    torch.manual_seed(5)
    masks = F.dropout(torch.ones(18, h.shape[1]), 0.4).chunk(3)
    logits = [method.head(rest(h * mask)) for mask in masks]
    losses = torch.stack([F.cross_entropy(of, BATCH["y"]) for of in logits])
    found = seeded_loss(method, BATCH)
    torch.testing.assert_close(found, losses.mean())
    assert (F.cross_entropy(torch.stack(logits).mean(0), BATCH["y"]) - found).abs() > 1e-3, "not the loss of mean logits"
    assert losses.std() > 1e-4 and not torch.equal(masks[0][0], masks[0][1]), "masks differ, between samples and between examples"


def test_masked_predictions_have_the_same_masks_behind_one_pass_of_the_trunk() -> None:
    method = build(backbone="mlp").eval()
    trunk, rest = halves(method.backbone)
    torch.manual_seed(5)
    masks = F.dropout(torch.ones(18, method.backbone[-2].in_features), 0.5).chunk(3)
    torch.manual_seed(5)
    expected = torch.stack([method.head(rest(trunk(X) * mask)).softmax(1) for mask in masks])
    torch.testing.assert_close(method.masked(X, 3), expected)
    assert not any(module.training for module in method.modules())


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_it_is_a_batch_with_each_image_m_times(name: str) -> None:
    """Loss and gradient, given the same masks."""
    several, one = build(samples=4, backbone=name), build(samples=1, backbone=name)
    longer = {"x": X.repeat(4, 1, 1, 1), "y": BATCH["y"].repeat(4)}
    losses = seeded_loss(several, BATCH), seeded_loss(one, longer)
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, list(of.parameters())) for loss, of in zip(losses, (several, one), strict=True)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_dropout_it_is_the_plain_network(name: str) -> None:
    method, plain = build(dropout=0.0, backbone=name), build(Softmax, backbone=name)
    torch.testing.assert_close(method.loss(BATCH)["loss"], plain.loss(BATCH)["loss"])
    method.eval(), plain.eval()
    torch.testing.assert_close(method.predict(X), plain.predict(X))


def test_the_trunk_runs_once_and_without_masks() -> None:
    method = build(samples=8)
    sizes: list[int] = []
    method.backbone.conv2.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    method.loss(BATCH)
    assert sizes == [6]
    assert not any(isinstance(module, torch.nn.Dropout) for module in method.backbone.modules())


def test_more_masks_have_less_noise() -> None:
    """The variance of the loss over masks falls like 1 / M."""
    methods = {m: build(samples=m, backbone="mlp") for m in (1, 4)}
    with torch.no_grad():
        variance = {m: torch.stack([seeded_loss(of, BATCH, s) for s in range(600)]).var() for m, of in methods.items()}
    assert variance[1] / variance[4] == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("name", NETWORKS)
def test_halves_are_the_whole(name: str) -> None:
    net = backbone(name, SPEC.shape).eval()
    trunk, rest = halves(net)
    assert torch.equal(rest(trunk(X)), net(X))


def test_prediction_has_no_mask() -> None:
    method = build().eval()
    assert torch.equal(method.predict(X), method.predict(X, 3)) and method.predict(X, 3).shape == (1, 6, 4)
    assert method.config.dropout == 0.5 and not torch.equal(*method.masked(X, 2))
