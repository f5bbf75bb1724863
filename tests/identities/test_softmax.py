"""Identities of maximum likelihood with a softmax layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.bayesian.softmax import Softmax

IDENTITIES = {"softmax": ("test_loss_and_gradient_are_those_of_multinomial_regression", "test_the_score_is_one_minus_the_largest")}

X, Y = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 4


def build() -> Softmax:
    torch.manual_seed(0)
    return Softmax(Softmax.Config(backbone="mlp"), ClassSpec((1, 8, 8), 100, n_classes=4))


def test_loss_and_gradient_are_those_of_multinomial_regression() -> None:
    method = build()
    loss = method.loss({"x": X, "y": Y})["loss"]
    loss.backward()
    with torch.no_grad():
        z = method.features(X).double().numpy()
    logits = z @ method.head.weight.detach().double().numpy().T + method.head.bias.detach().double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(loss.item(), -np.log(p[np.arange(12), Y]).mean(), rtol=1e-5)
    error = p - np.eye(4)[Y]
    np.testing.assert_allclose(method.head.weight.grad, error.T @ z / 12, atol=1e-6)
    np.testing.assert_allclose(method.head.bias.grad, error.mean(0), atol=1e-6)


def test_the_score_is_one_minus_the_largest() -> None:
    method = build().eval()
    with torch.no_grad():
        p = method.predict(X)
        assert p.shape == (1, 12, 4) and torch.allclose(p.sum(2), torch.ones(1, 12))
        assert torch.equal(method.ood_score(X), 1 - p[0].max(1).values)


@pytest.mark.parametrize(("name", "n"), [("resnet20", 269_722), ("resnet8", 75_290)])
def test_residual_networks_are_as_large_as_those_of_he_et_al(name: str, n: int) -> None:
    """Of 10 classes: 3x3 convolutions of 16, 32 and 64 maps without biases, two values of each normalised map, and the last layer."""
    method = Softmax(Softmax.Config(backbone=name), ClassSpec((3, 32, 32), 100, n_classes=10))
    blocks = 3 if name == "resnet20" else 1
    shapes = [(3, 16), *[(16, 16)] * (2 * blocks), (16, 32), *[(32, 32)] * (2 * blocks - 1), (32, 64), *[(64, 64)] * (2 * blocks - 1)]
    assert n == sum(9 * a * b + 2 * b for a, b in shapes) + 64 * 10 + 10 == sum(of.numel() for of in method.parameters())
    assert method.features(torch.rand(2, 3, 32, 32)).shape == (2, 64)
