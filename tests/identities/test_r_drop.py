"""Identities of regularised dropout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.dropout.r_drop import RDrop
from elboard.methods.parts.classifier import ClassifierMethod

IDENTITIES = {
    "r-drop": (
        "test_the_loss_is_the_papers_for_two_drawn_masks",
        "test_without_dropout_it_is_twice_the_plain_loss_whatever_alpha",
    ),
}

SPEC = ClassSpec((1, 8, 8), 100, n_classes=4)
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(6) % 4}


def build(cls: type = RDrop, **options: object) -> ClassifierMethod:
    torch.manual_seed(0)
    return cls(cls.Config(**options), SPEC).train()


def by_hand(method: RDrop) -> tuple[torch.Tensor, ...]:
    """The network as one masked layer, and the masks of the two copies, which the same seed draws."""
    method.backbone = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    method.head = nn.Linear(64, 4)
    torch.manual_seed(5)
    masks = F.dropout(torch.ones(12, 64), 0.5).chunk(2)
    torch.manual_seed(5)
    return masks


@pytest.mark.parametrize("alpha", [0.0, 0.6, 5.0])
def test_the_loss_is_the_papers_for_two_drawn_masks(alpha: float) -> None:
    method = build(alpha=alpha)
    masks = by_hand(method)
    out = method.loss(BATCH)
    a, b = (torch.distributions.Categorical(logits=method.head(X.flatten(1) * mask)) for mask in masks)
    kl = torch.distributions.kl_divergence
    each = -a.log_prob(BATCH["y"]) - b.log_prob(BATCH["y"]) + alpha * 0.5 * (kl(a, b) + kl(b, a))
    torch.testing.assert_close(out["loss"], each.mean())
    assert out["divergence"] > 0.01, "the two masks differ"
    expected = torch.autograd.grad(each.mean(), method.head.weight)[0]
    torch.testing.assert_close(torch.autograd.grad(out["loss"], method.head.weight)[0], expected)


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_without_dropout_it_is_twice_the_plain_loss_whatever_alpha(backbone: str) -> None:
    plain = build(Softmax, backbone=backbone).loss(BATCH)["loss"]
    for alpha in (0.0, 5.0):
        out = build(dropout=0.0, alpha=alpha, backbone=backbone).loss(BATCH)
        torch.testing.assert_close(out["loss"], 2 * plain)
        assert out["divergence"].abs() < 1e-9


def test_both_sides_of_the_divergence_have_a_gradient() -> None:
    method = build(alpha=1.0)
    by_hand(method)
    logits: list[torch.Tensor] = []
    method.head.register_forward_hook(lambda module, given, out: out.retain_grad() or logits.append(out))
    method.loss(BATCH)["divergence"].backward()
    a, b = logits[0].grad.chunk(2)
    assert (a.abs().sum(1) > 1e-6).all() and (b.abs().sum(1) > 1e-6).all()


def test_batch_normalisation_sees_both_copies_once() -> None:
    """Its statistics are of the doubled batch, which without masks before it are those of the batch: one update a step, not two."""
    method, plain = build(backbone="resnet20"), build(Softmax, backbone="resnet20")
    for one in (method, plain):
        one.loss(BATCH)
    ours, theirs = method.backbone.norm, plain.backbone.norm
    assert ours.num_batches_tracked == 1
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)


def test_predictions_have_no_masks_and_masked_passes_do() -> None:
    method = build(dropout=0.5).eval()
    assert torch.equal(method.predict(X), method.predict(X)) and method.predict(X, 7).shape == (1, 6, 4)
    p = method.masked(X, 3)
    assert p.shape == (3, 6, 4) and not torch.equal(p[0], p[1]) and not any(module.training for module in method.modules())


def test_gradients_with_and_without_masks() -> None:
    method = build(Softmax, dropout=0.5).eval()
    with torch.no_grad():
        still = [method.gradient(BATCH, masks=False) for _ in range(2)]
        moving = [method.gradient(BATCH) for _ in range(2)]
    assert torch.equal(*still) and not torch.equal(*moving)
    expected = torch.autograd.grad(F.cross_entropy(method(X), BATCH["y"]), list(method.parameters()))
    torch.testing.assert_close(still[0], torch.cat([part.flatten() for part in expected]))
    assert all(parameter.grad is None for parameter in method.parameters())
