"""Identities of noise in weight layers, of ensembles that share weights, and of Gaussians around a network's weights."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from torch import nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.task import Data
from elboard.methods.bayesian.batch_ensemble import BatchEnsemble
from elboard.methods.bayesian.evidential import Evidential
from elboard.methods.bayesian.last_layer_laplace import LastLayerLaplace, evidence, hessian
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.bayesian.swag import SWAG
from elboard.methods.dropout.concrete_dropout import ConcreteDropout
from elboard.methods.dropout.variational_dropout import VariationalDropout, divergence
from elboard.methods.ood.energy import Energy
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.noisy_layers import inputs_of, squared, weight_layers

IDENTITIES = {
    "concrete-dropout": ("test_rates_near_zero_are_the_plain_network", "test_cold_masks_are_those_of_dropout", "test_the_kl_is_the_papers"),
    "variational-dropout": (
        "test_noise_of_outputs_is_that_of_weights",
        "test_the_divergence_is_the_integral",
        "test_little_noise_is_the_plain_network",
    ),
    "batch-ensemble": ("test_each_member_is_a_network_of_its_own", "test_one_member_without_signs_is_the_plain_network"),
    "swag": ("test_the_gaussian_has_the_moments_of_the_path", "test_without_spread_it_is_the_averaged_network"),
    "last-layer-laplace": (
        "test_the_curvature_is_the_hessian",
        "test_the_evidence_is_laplaces_and_the_best",
        "test_draws_have_the_inverse_hessian_as_covariance",
    ),
}

SPEC = ClassSpec((1, 8, 8), 100, n_classes=4)
X = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(12) % 4}


def build(cls: type, bases: dict | None = None, **options: object) -> ClassifierMethod:
    torch.manual_seed(0)
    return cls(cls.Config(**options), SPEC, bases)


def plain(method: ClassifierMethod, backbone: str) -> Softmax:
    """A softmax classifier with the weights of ``method``."""
    softmax = build(Softmax, backbone=backbone)
    own = softmax.state_dict()
    softmax.load_state_dict({name: method.state_dict()[name] for name in own})
    return softmax


# --- concrete dropout


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_rates_near_zero_are_the_plain_network(backbone: str) -> None:
    method = build(ConcreteDropout, backbone=backbone, start=1e-7, length_scale=1e-9)
    softmax = plain(method, backbone)
    torch.testing.assert_close(method.predict(X, 3), softmax.predict(X).expand(3, -1, -1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(method.loss(BATCH)["nll"], softmax.loss(BATCH)["loss"], atol=1e-5, rtol=1e-4)


def test_cold_masks_are_those_of_dropout() -> None:
    method = build(ConcreteDropout, backbone="cnn", start=0.3, temperature=1e-3)
    maps, flat = torch.ones(4000, 6, 2, 2), torch.ones(4000, 6)
    for x in (maps, flat):
        drawn = method.mask(0, x)
        ends = (drawn.abs() < 1e-3) | ((drawn - 1 / 0.7).abs() < 2e-2)
        assert ends.float().mean() > 0.99
        assert abs((drawn < 0.5).float().mean() - 0.3) < 0.01 and abs(drawn.mean() - 1) < 0.02
    drawn = method.mask(0, maps)
    assert torch.equal(drawn, drawn[..., :1, :1].expand_as(drawn)), "a channel is dropped as a whole"


def test_the_kl_is_the_papers() -> None:
    method = build(ConcreteDropout, backbone="cnn", length_scale=0.5)
    rates = [0.2, 0.4, 0.1]
    with torch.no_grad():
        method.logit.copy_(torch.logit(torch.tensor(rates)))
    layers = [method.backbone.conv1, method.backbone.conv2, method.backbone.hidden, method.head]
    assert weight_layers(method) == layers and [inputs_of(layer) for layer in layers] == [1, 16, 128, 128]
    expected = 0.5**2 / 2 * layers[0].weight.square().sum().item()
    for layer, p, units in zip(layers[1:], rates, (16, 128, 128), strict=True):
        m = layer.weight.detach().double() / (1 - p)  # the paper's weights, there with probability 1 - p
        entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
        expected += 0.5**2 * (1 - p) / 2 * float(m.square().sum()) - units * entropy
    assert method.kl().item() == pytest.approx(expected, rel=1e-5)
    out = method.loss(BATCH)
    torch.testing.assert_close(out["loss"], out["nll"] + method.kl() / 100)
    out["loss"].backward()
    assert (method.logit.grad != 0).all()


# --- variational dropout


@pytest.mark.parametrize("granularity", ["layer", "weight"])
def test_noise_of_outputs_is_that_of_weights(granularity: str) -> None:
    method = build(VariationalDropout, backbone="mlp", granularity=granularity, start=-1.0)
    method.backbone, method.head = nn.Sequential(nn.Flatten()), nn.Linear(64, 4)
    method.noise = nn.ParameterList([nn.Parameter(method.start(method.head.weight.detach()))])
    torch.manual_seed(1)
    with torch.no_grad():
        drawn = torch.stack([method.noisy(X[:2]) for _ in range(6000)])
        weight = method.head.weight
        alpha = math.exp(-1.0)
        weights = weight + alpha**0.5 * weight.abs() * torch.randn(6000, *weight.shape)
        direct = torch.einsum("sco,bo->sbc", weights, X[:2].flatten(1)) + method.head.bias
    error = direct.std(0) / 6000**0.5
    assert ((drawn.mean(0) - direct.mean(0)).abs() < 6 * error).all()
    torch.testing.assert_close(drawn.std(0), direct.std(0), rtol=0.06, atol=0)
    assert torch.corrcoef(drawn[:, 0].T - drawn[:, 0].mean(0)[:, None])[0, 1].abs() < 0.06, "outputs of a layer have noise of their own"


def test_convolutions_have_the_variance_of_their_weights() -> None:
    conv = nn.Conv2d(3, 2, 3, stride=2, padding=1)
    x, variance = torch.randn(1, 3, 8, 8), torch.rand(2, 3, 3, 3)
    torch.manual_seed(1)
    with torch.no_grad():
        weights = conv.weight + variance.sqrt() * torch.randn(4000, *variance.shape)
        direct = torch.cat([F.conv2d(x, w, conv.bias, stride=2, padding=1) for w in weights])
        torch.testing.assert_close(squared(conv, x, variance)[0], direct.var(0), rtol=0.15, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_variances_are_not_computed_in_halves(dtype: torch.dtype, scale: float) -> None:
    """The squares of inputs above 255 and of small weights are infinite and 0 in them, and the root of 0 has no gradient."""
    method = build(VariationalDropout, backbone="cnn", start=-8.0)
    with torch.autocast("cpu", dtype):
        out = method.loss({**BATCH, "x": scale * X})
    out["loss"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in method.parameters()) and bool(out["loss"].isfinite())
    layer = method.backbone.conv2
    x, variance = scale * torch.rand(2, layer.weight.shape[1], 4, 4), 1e-9 * torch.rand(layer.weight.shape)
    exact = squared(layer, x, variance)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(squared(layer, x, variance), exact, rtol=1e-6, atol=0)


def test_the_divergence_is_the_integral() -> None:
    """KL(N(1, a) || 1 / |w|) = -0.5 log a + E log |w| + constant, 0 for infinite a: E log |w| of w ~ N(1, a)."""

    def exact(log_alpha: float) -> float:
        sd = math.exp(log_alpha / 2)

        def density(w: float) -> float:
            return math.exp(-0.5 * ((w - 1) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))

        points = sorted({-1.0, 0.0, 1.0, 1 - 8 * sd, 1 + 8 * sd})
        parts = [quad(lambda w: density(w) * math.log(abs(w)), a, b, limit=200)[0] for a, b in zip(points, points[1:], strict=False)]
        return -0.5 * log_alpha + sum(parts)

    limit = -0.5 * (np.euler_gamma + math.log(2))  # E log |z| of a standard normal z
    for log_alpha in (-6.0, -3.0, -1.0, 0.0, 1.0, 3.0):
        assert float(divergence(torch.tensor(log_alpha))) == pytest.approx(exact(log_alpha) - limit, abs=0.02)
    assert float(divergence(torch.tensor(30.0))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_little_noise_is_the_plain_network(backbone: str) -> None:
    method = build(VariationalDropout, backbone=backbone, start=-8.0)
    with torch.no_grad():
        torch.testing.assert_close(method.predict(X, 200).mean(0), plain(method, backbone).predict(X)[0], atol=5e-3, rtol=0)
    outs = []
    for progress in (0.0, 0.25, 1.0):
        method.progress = progress
        torch.manual_seed(0)
        outs.append(method.loss(BATCH))
    weights = sum(layer.weight.numel() for layer in weight_layers(method))
    expected = float(divergence(torch.tensor(-8.0))) * weights
    for out, beta in zip(outs, (0.0, 0.5, 1.0), strict=True):
        assert out["kl"].item() == pytest.approx(expected, rel=1e-5) and torch.equal(out["nll"], outs[0]["nll"])
        torch.testing.assert_close(out["loss"], out["nll"] + beta * out["kl"] / 100)


# --- BatchEnsemble


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_each_member_is_a_network_of_its_own(backbone: str) -> None:
    method = build(BatchEnsemble, backbone=backbone, members=3)
    with torch.no_grad():
        for b in method.b:
            b.copy_(torch.randn(b.shape))
    p = method.predict(X)
    assert p.shape == (3, 12, 4)
    for m in range(3):
        member = plain(method, backbone)
        with torch.no_grad():
            for i, layer in enumerate(weight_layers(member)):
                outer = method.r[i][m][:, None] * method.s[i][m]
                layer.weight *= outer if layer.weight.ndim == 2 else outer[..., None, None]
                layer.bias += method.b[i][m]
        torch.testing.assert_close(p[m], member.predict(X)[0])
    assert not torch.allclose(p[0], p[1])


def test_members_share_a_batch() -> None:
    method = build(BatchEnsemble, backbone="mlp", members=3)
    by_member = torch.stack([method.logits(X, torch.full((12,), m)) for m in range(3)])
    expected = torch.cat([by_member[m, 4 * m : 4 * m + 4] for m in range(3)])
    torch.testing.assert_close(method.loss(BATCH)["loss"], F.cross_entropy(expected, BATCH["y"]))


def test_one_member_without_signs_is_the_plain_network() -> None:
    method = build(BatchEnsemble, backbone="cnn", members=1)
    with torch.no_grad():
        for vectors in (*method.s, *method.r):
            vectors.fill_(1.0)
    softmax = plain(method, "cnn")
    torch.testing.assert_close(method.predict(X), softmax.predict(X))
    torch.testing.assert_close(method.loss(BATCH)["loss"], softmax.loss(BATCH)["loss"])


def test_the_common_weights_alone_are_no_classifier() -> None:
    method = build(BatchEnsemble, backbone="mlp", members=3)
    members = torch.stack([method.logits(X, torch.full((12,), m)) for m in range(3)])
    torch.testing.assert_close(method(X), members.mean(0))
    with pytest.raises(UserError, match="BatchEnsemble cannot be the base of a detector"):
        Energy(Energy.Config(), SPEC, {"classifier": method.eval()})


# --- SWAG


def test_the_gaussian_has_the_moments_of_the_path() -> None:
    method = build(SWAG, backbone="mlp", rank=5)
    size, generator = len(method.mean), torch.Generator().manual_seed(0)
    path = torch.randn(9, size, generator=generator) * torch.linspace(0.5, 2, size) + 3
    means = [path[: i + 1].mean(0) for i in range(9)]
    for theta in path:
        method.take(theta)
    torch.testing.assert_close(method.mean, path.mean(0))
    torch.testing.assert_close(method.second - method.mean**2, path.var(0, correction=0), atol=1e-4, rtol=1e-3)
    kept = torch.stack([path[i] - means[i] for i in range(4, 9)])
    torch.testing.assert_close(method.deviations[torch.tensor([4, 0, 1, 2, 3])], kept)
    variance = 0.5 * (path.var(0, correction=0) + kept.square().sum(0) / 4)
    torch.manual_seed(2)
    drawn = torch.stack([torch.cat([w.flatten() for w in method.draw().values()])[:500] for _ in range(1500)])
    torch.testing.assert_close(drawn.mean(0), method.mean[:500], atol=0.25, rtol=0)
    assert (drawn.var(0) / variance[:500]).mean().item() == pytest.approx(1, abs=0.02)


def test_without_spread_it_is_the_averaged_network() -> None:
    method = build(SWAG, backbone="mlp", scale=0.0)
    before = method.predict(X, 4)
    assert torch.equal(before, build(Softmax, backbone="mlp").predict(X)), "until there are snapshots it is the network"
    thetas = [torch.cat([w.detach().flatten() for w in method.parameters()]) + k for k in (-0.1, 0.0, 0.1)]
    for theta in thetas:
        method.take(theta)
    torch.testing.assert_close(method.predict(X, 2), before.expand(2, -1, -1), atol=1e-5, rtol=1e-4)


def test_snapshots_are_spread_over_the_rest_of_training() -> None:
    method = build(SWAG, backbone="mlp", start=0.5, snapshots=4)
    taken = []
    for step in range(40):
        method.progress = step / 40
        method.after_step(BATCH, step)
        taken.append(int(method.taken))
    assert [taken.index(n) for n in (1, 2, 3, 4)] == [20, 25, 30, 35] and taken[-1] == 4
    with pytest.raises(UserError, match="batch normalisation"):
        SWAG(SWAG.Config(backbone="resnet20"), SPEC)


# --- Laplace


def laplace() -> tuple[Softmax, LastLayerLaplace]:
    base = build(Softmax, backbone="mlp").eval()
    method = build(LastLayerLaplace, {"classifier": base})
    method.fit(Data(SPEC, BATCH, BATCH), SimpleNamespace())
    return base, method


def test_the_curvature_is_the_hessian() -> None:
    z = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.arange(7) % 4
    of_torch = torch.autograd.functional.hessian(lambda w: F.cross_entropy(z @ w.T, y, reduction="sum"), w)
    torch.testing.assert_close(hessian(z, (z @ w.T).softmax(1)), of_torch.reshape(12, 12))


def test_the_evidence_is_laplaces_and_the_best() -> None:
    base, method = laplace()
    with torch.no_grad():
        z = method.inputs(X).double()
        h = hessian(z, (z @ method.mean.double().T).softmax(1))
    norm, size = float(method.mean.double().square().sum()), len(h)

    def by_hand(tau: float) -> float:
        identity = torch.eye(size, dtype=torch.float64)
        return -0.5 * tau * norm + 0.5 * size * math.log(tau) - 0.5 * float(torch.logdet(h + tau * identity))

    values = torch.linalg.eigvalsh(h).clamp(min=0)
    for tau in (0.1, 1.0, 30.0):
        assert evidence(math.log(tau), values, norm) == pytest.approx(by_hand(tau), rel=1e-9)
    best = float(method.tau)
    assert all(by_hand(best) > by_hand(best * factor) for factor in (0.5, 0.9, 1.1, 2.0))
    assert best * norm == pytest.approx(float((values / (values + best)).sum()), rel=1e-3), "MacKay's fixed point"
    assert base.head.weight.shape == (4, 128) and method.mean.shape == (4, 129)


def test_draws_have_the_inverse_hessian_as_covariance() -> None:
    base, method = laplace()
    with torch.no_grad():
        z = method.inputs(X).double()
        h = hessian(z, (z @ method.mean.double().T).softmax(1)) + float(method.tau) * torch.eye(516, dtype=torch.float64)
    torch.testing.assert_close((method.root @ method.root.T).double(), torch.linalg.inv(h), atol=1e-4 / float(method.tau), rtol=1e-3)
    method.root.zero_()
    torch.testing.assert_close(method.predict(X, 3), base.predict(X).expand(3, -1, -1))


def test_draws_are_of_one_matrix_for_all_inputs() -> None:
    _, method = laplace()
    torch.manual_seed(4)
    p = method.predict(X, 2)
    torch.manual_seed(4)
    noise = torch.randn(2, 516) @ method.root.T
    for s in range(2):
        torch.testing.assert_close(p[s], F.linear(method.inputs(X), method.mean + noise[s].view(4, 129)).softmax(1))
    for base in (nn.Linear(2, 2), build(BatchEnsemble, backbone="mlp"), build(Evidential, backbone="mlp")):
        with pytest.raises(UserError, match=f"{type(base).__name__} has no last layer"):
            build(LastLayerLaplace, {"classifier": base})
