"""What must hold exactly of codes by the gradient at the origin."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.vae.autoencoder import Autoencoder
from elboard.methods.vae.gon import GON
from elboard.methods.vae.variational_gon import VariationalGON

IDENTITIES = {
    "gon": (
        "test_a_linear_decoder_has_the_code_of_tied_weights",
        "test_the_decoder_learns_from_both_of_its_uses",
    ),
    "variational-gon": ("test_a_linear_decoder_has_the_variational_code_in_closed_form",),
}
D, Z = 7, 3


def build(cls: type, kind: str = "bernoulli", **options: Any) -> Any:
    torch.manual_seed(0)
    method = cls(cls.Config(**({"hidden": [], "latent_dim": Z} | options)), LikelihoodSpec((D,), 100, likelihood=kind)).double()
    if kind == "gaussian":
        with torch.no_grad():
            method.likelihood.log_std.fill_(math.log(0.6))
    with torch.no_grad():
        method.out.bias.normal_()
    return method


def examples(n: int = 5) -> Tensor:
    return torch.rand(n, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(autouse=True)
def double() -> Any:
    """Codes at the origin are made in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_linear_decoder_has_the_code_of_tied_weights() -> None:
    """W^T (x - E[x|0]), over the variance of a Gaussian decoder."""
    x = examples()
    for kind, at_zero, variance in (("bernoulli", torch.sigmoid, 1.0), ("gaussian", lambda b: b, 0.36)):
        method = build(GON, kind)
        w, b = method.out.weight, method.out.bias
        torch.testing.assert_close(method.code(x), (x - at_zero(b)) @ w / variance)
        torch.testing.assert_close(method.reconstruct(x), method.likelihood.mean(method.code(x) @ w.T + b))


def test_the_decoder_learns_from_both_of_its_uses() -> None:
    """The gradient is that of an autoencoder with tied weights, of which those of the encoder learn too."""
    x, method = examples(), build(GON)
    found = torch.autograd.grad(method.loss({"x": x})["loss"], [method.out.weight, method.out.bias])
    w, b = (p.detach().clone().requires_grad_() for p in (method.out.weight, method.out.bias))
    tied = -method.likelihood.log_prob(x, (x - b.sigmoid()) @ w @ w.T + b).mean()
    for one, wanted in zip(found, torch.autograd.grad(tied, [w, b]), strict=True):
        torch.testing.assert_close(one, wanted)
    once = -method.likelihood.log_prob(x, ((x - b.sigmoid()) @ w).detach() @ w.T + b).mean()
    assert (torch.autograd.grad(once, [w])[0] - found[0]).abs().max() > 1e-2, "a code that is cut off is another method"


def test_a_linear_decoder_has_the_variational_code_in_closed_form() -> None:
    """h = A^T (r - a) + B^T (r s eps - exp(b) + 1) / 2 with z = a + s eps, s = exp(b / 2) and r = W^T (x - W z - c) / v."""
    x, method, v = examples(), build(VariationalGON, "gaussian"), 0.36
    (heads_a, heads_b), (a, b) = method.posterior.weight.chunk(2), torch.randn(2, Z)
    with torch.no_grad():
        method.posterior.bias.copy_(torch.cat([a, b]))
    torch.manual_seed(3)
    noise = torch.randn(len(x), Z)
    z = a + (b / 2).exp() * noise
    r = (x - method.output(z)) @ method.out.weight / v
    wanted = (r - a) @ heads_a + 0.5 * (r * (b / 2).exp() * noise - b.exp() + 1) @ heads_b
    torch.manual_seed(3)
    torch.testing.assert_close(method.encoder(x), wanted)


@pytest.mark.parametrize("cls", [GON, VariationalGON])
def test_codes_do_not_depend_on_the_batch_nor_on_whether_gradients_are_wanted(cls: type) -> None:
    x, method = examples(), build(cls, hidden=[6, 6], activation="elu")

    def encoded(part: Tensor) -> Tensor:
        torch.manual_seed(2)
        return method.encoder(part)

    with torch.no_grad():
        without = encoded(x)
    assert not without.requires_grad and encoded(x).requires_grad
    torch.testing.assert_close(without, encoded(x))
    torch.testing.assert_close(encoded(x[:1]), without[:1])


def test_it_has_half_the_parameters_of_an_autoencoder() -> None:
    sizes = [sum(p.numel() for p in build(cls, hidden=[20, 20], activation="elu").parameters()) for cls in (GON, Autoencoder)]
    decoder = Z * 20 + 20 + 20 * 20 + 20 + 20 * D + D
    assert sizes[0] == decoder and sizes[1] == decoder + D * 20 + 20 + 20 * 20 + 20 + 20 * Z + Z


def test_a_rectifier_without_biases_has_no_code() -> None:
    """At 0 its units have no slope, so that biases must not start at 0."""
    x, method = examples(), build(GON, hidden=[6], activation="relu")
    assert method.code(x).abs().sum() > 0
    with torch.no_grad():
        method.decoder[1].bias.zero_()
    assert not method.code(x).any()


@pytest.mark.parametrize("cls", [GON, VariationalGON])
def test_samples_enter_the_decoder_directly(cls: type) -> None:
    method = build(cls, hidden=[6], activation="elu")
    method.prepare(Data(method.spec, {"x": examples(40)}))
    method.before_validation()
    torch.manual_seed(4)
    with torch.no_grad():
        drawn = method.sample(9)
        torch.manual_seed(4)
        z = method.prior.sample(9, like=method.out.weight)
        torch.testing.assert_close(drawn, method.decode(z))
