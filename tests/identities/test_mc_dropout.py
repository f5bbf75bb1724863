"""Identities of Monte-Carlo dropout."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.dropout.mc_dropout import MCDropout
from elboard.methods.parts.classifier import ClassifierMethod

IDENTITIES = {
    "mc-dropout": ("test_without_dropout_it_is_the_plain_network", "test_the_mean_over_samples_is_the_mean_over_all_masks"),
}

SPEC = ClassSpec((1, 8, 8), 100, n_classes=4)
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def build(cls: type = MCDropout, **options: object) -> ClassifierMethod:
    torch.manual_seed(0)
    return cls(cls.Config(**options), SPEC).eval()


@pytest.mark.parametrize("backbone", ["mlp", "cnn", "resnet20"])
def test_without_dropout_it_is_the_plain_network(backbone: str) -> None:
    method, plain = build(dropout=0.0, backbone=backbone), build(ClassifierMethod, backbone=backbone)
    p = method.predict(X, 3)
    assert p.shape == (3, 6, 4) and all(torch.equal(p[i], plain.predict(X)[0]) for i in range(3))
    assert torch.equal(method.loss({"x": X, "y": torch.arange(6) % 4})["loss"], plain.loss({"x": X, "y": torch.arange(6) % 4})["loss"])


@pytest.mark.parametrize("backbone", ["mlp", "cnn", "resnet20"])
def test_samples_differ_and_all_modes_are_left_as_they_were(backbone: str) -> None:
    method = build(backbone=backbone)
    before = {name: buffer.clone() for name, buffer in method.named_buffers()}
    p = method.predict(X, 4)
    assert len({tuple(sample.flatten().tolist()) for sample in p}) == 4
    assert not any(module.training for module in method.modules())
    assert torch.equal(method(X), method(X)), "a plain pass in evaluation mode has no dropout"
    assert all(torch.equal(before[name], buffer) for name, buffer in method.named_buffers()), "batch normalisation learned from the test"
    method.train()
    method.predict(X, 1)
    assert all(module.training for module in method.modules())


def test_the_mean_over_samples_is_the_mean_over_all_masks() -> None:
    method = build(dropout=0.3)
    hidden = nn.Linear(64, 4)
    method.backbone = nn.Sequential(nn.Flatten(), hidden, nn.Tanh(), nn.Dropout(0.3))
    method.head = nn.Linear(4, 4)
    with torch.no_grad():
        method.head.weight.mul_(4)
        features, exact = torch.tanh(hidden(X.flatten(1))), torch.zeros(6, 4)
        for mask in itertools.product((0.0, 1.0), repeat=4):
            kept = torch.tensor(mask)
            exact += (0.7 ** kept.sum() * 0.3 ** (4 - kept.sum())) * method.head(features * kept / 0.7).softmax(1)
        p = method.predict(X, 20_000)
    assert (p.mean(0) - exact).abs().max() < 5 * (p.std(0) / 20_000**0.5).max()
    assert (method(X).softmax(1) - exact).abs().max() > 0.02, "scaling the weights is another predictive"


def test_a_probability_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="dropout=1"):
        build(dropout=1.0)
