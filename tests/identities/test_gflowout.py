"""Identities of GFlowOut: log probabilities of masks, what each loss reaches, and the posterior that is known by enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.calibration.trained_classifier import TrainedClassifier
from elboard.methods.dropout.gflowout import GFlowOut, log_bernoulli
from elboard.methods.dropout.mask_policies import mlp
from elboard.methods.dropout.mc_dropout import MCDropout
from elboard.methods.parts.noisy_layers import before

IDENTITIES = {
    "gflowout": (
        "test_the_probability_of_masks_sums_to_one",
        "test_a_sampler_that_can_be_the_posterior_is",
        "test_the_sampler_learns_the_posterior_of_all_masks",
        "test_each_loss_reaches_its_own_networks_alone",
    ),
    "trained-classifier": ("test_a_trained_classifier_predicts_what_its_base_does",),
}

SPEC = ClassSpec((1, 8, 8), 100, n_classes=4)
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(6) % 4}
ONEHOT = nn.functional.one_hot(BATCH["y"], 4).float()
SAMPLERS = ("labels", "masks", "independent")


def build(seed: int = 0, **options: object) -> GFlowOut:
    torch.manual_seed(seed)
    return GFlowOut(GFlowOut.Config(**options), SPEC)


def tiny(seed: int = 0, widths: tuple[int, ...] = (4, 4), **options: object) -> GFlowOut:
    """Layers of few units, of which all masks can be counted: two of four have 256."""
    method = build(seed, **options)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise((64, *widths))]
    method.backbone = nn.Sequential(nn.Flatten(), *(part for layer in layers for part in (layer, nn.Tanh())))
    method.head = nn.Linear(widths[-1], 4)
    with torch.no_grad():
        method.head.weight.mul_(2.5)
        layers[0].weight.mul_(4)
    sizes = [(sum(widths[:i]), width, 4, 0.0) for i, width in enumerate(widths)]
    method.sampler = nn.ModuleList(type(method.sampler[0])(*of) for of in sizes)
    if method.prior:
        method.prior = nn.ModuleList(type(method.prior[0])(*of) for of in sizes)
    return method


def roughen(method: GFlowOut) -> GFlowOut:
    """Samplers that are no longer constants."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in [*method.sampler.parameters(), *(method.prior.parameters() if method.prior else ())]:
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return method


def every_mask(method: GFlowOut, x: Tensor, y: Tensor | None, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    """Of each of the masks log q, log p and log p(y | x, z) for one example, by putting the mask in the place of what is drawn."""
    widths = [layer.weight.shape[0] for layer in method.layers()[:-1]]
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=sum(widths))))
    parts = iter(masks.split(widths, dim=1))
    with monkeypatch.context() as patched:
        patched.setattr(torch, "bernoulli", lambda p: next(parts))
        drawn = method.draw(x.expand(len(masks), -1, -1, -1), None if y is None else y.expand(len(masks), -1))
    label = 0 if y is None else int(y.argmax())
    return drawn.log_q, drawn.log_p, drawn.logits.log_softmax(1)[:, label]


def test_a_unit_that_is_off_has_the_other_probability() -> None:
    """log (1 - pi), not the log pi of the public code."""
    logits, z = torch.tensor([[0.3, -1.2, 2.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    pi = torch.sigmoid(logits)[0]
    expected = pi[0].log() + (1 - pi[1]).log() + (1 - pi[2]).log()
    torch.testing.assert_close(log_bernoulli(z, logits)[0], expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_probability_of_masks_sums_to_one(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer by layer, with masks of layers before and the activations that they leave: a distribution over all 256 masks."""
    method = roughen(tiny(sampler=sampler))
    log_q, log_p, _ = every_mask(method, X[:1], ONEHOT[:1], monkeypatch)
    assert log_q.exp().sum().item() == pytest.approx(1, abs=1e-5) and log_p.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_q.std() > 0.3


def total_variation(method: GFlowOut, monkeypatch: pytest.MonkeyPatch) -> float:
    """Mean over examples of that of q(z | x, y) and of the normalised reward."""
    found = []
    for x, y in zip(X[:2], ONEHOT[:2], strict=True):
        log_q, log_p, log_likelihood = every_mask(method, x[None], y[None], monkeypatch)
        target = (log_p + method.config.beta * log_likelihood).softmax(0)
        found.append(0.5 * (log_q.exp() - target).abs().sum().item())
    return sum(found) / len(found)


def balance(method: GFlowOut, examples: int, copies: int, steps: int) -> None:
    """Training of sampler and log Z alone, with masks that the method draws itself."""
    groups = method.parameter_groups()
    sampler, normaliser = groups[1], groups[-1]
    optimizer = torch.optim.Adam([sampler, normaliser])
    many = {name: of[:examples].repeat(copies, *[1] * (of.ndim - 1)) for name, of in BATCH.items()}
    torch.manual_seed(3)
    for step in range(steps):
        sampler["lr"], normaliser["lr"] = (rate * (1 - step / steps) for rate in (2e-2, 5e-2))
        optimizer.zero_grad()
        method.loss(many)["balance"].backward()
        optimizer.step()


def test_the_sampler_learns_the_posterior_of_all_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With classifier and prior held, trajectory balance leads q(z | x, y) to the normalised reward of the 256 masks: as near as what is
    independent within a layer can come."""
    method = tiny(temperature=1.0)
    first = total_variation(method, monkeypatch)
    balance(method, examples=2, copies=48, steps=300)
    last = total_variation(method, monkeypatch)
    assert first > 0.2 and last < 0.1, (first, last)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_that_can_be_the_posterior_is(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three layers of one unit, where a q that sees what came before can be any distribution over the eight masks: it is the normalised
    reward, and log Z the logarithm of the sum, although masks were drawn at T = 2. One that does not see it cannot be."""
    method = tiny(widths=(1, 1, 1), sampler=sampler, temperature=2.0)
    method.scale = 1
    with torch.no_grad():
        for layer in method.layers()[1:]:
            layer.weight.fill_(3.0)
        method.head.weight.copy_(torch.tensor([[6.0], [0.0], [0.0], [0.0]]))
    x, y = X[:1], ONEHOT[:1]
    log_q, log_p, log_likelihood = (of.detach() for of in every_mask(method, x, y, monkeypatch))
    reward = log_p + log_likelihood
    first = 0.5 * (log_q.exp() - reward.softmax(0)).abs().sum()
    balance(method, examples=1, copies=32, steps=300)
    last = 0.5 * (every_mask(method, x, y, monkeypatch)[0].detach().exp() - reward.softmax(0)).abs().sum()
    if sampler == "independent":
        assert last > 0.2
    else:
        assert first > 0.2 and last < 0.005
        assert method.log_z(x, y).item() == pytest.approx(reward.logsumexp(0).item(), abs=0.01)


def test_what_balances_is_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """A q that is the normalised reward, and log Z its logarithm: nothing is left of the loss, whatever the temperature."""
    method = roughen(tiny(temperature=2.0))
    x, y = X[:1], ONEHOT[:1]
    _, log_p, log_likelihood = every_mask(method, x, y, monkeypatch)
    log_z = (log_p + log_likelihood).logsumexp(0).detach()
    drawn = method.draw(x.expand(50, -1, -1, -1), y.expand(50, -1), 2.0)
    nll = -drawn.logits.log_softmax(1)[:, 0]
    exact = drawn._replace(log_q=drawn.log_p - nll - log_z)
    monkeypatch.setattr(method, "draw", lambda *given: exact)
    monkeypatch.setattr(method, "log_z", lambda *given: log_z)
    many = {"x": x.expand(50, -1, -1, -1), "y": torch.zeros(50, dtype=torch.long)}
    assert method.loss(many)["balance"].item() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_loss_reaches_its_own_networks_alone(sampler: str) -> None:
    method = roughen(build(sampler=sampler))
    parts = {"classifier": [*method.backbone.parameters(), *method.head.parameters()], "sampler": [*method.sampler.parameters()]}
    parts |= {"normaliser": [*method.normaliser.parameters()]}
    parts |= {"prior": [*method.prior.parameters()]} if method.prior else {}

    def reached(loss: Tensor) -> set[str]:
        found = torch.autograd.grad(loss, [p for of in parts.values() for p in of], allow_unused=True, retain_graph=True)
        names = [name for name, of in parts.items() for _ in of]
        return {name for name, gradient in zip(names, found, strict=True) if gradient is not None and gradient.abs().sum() > 0}

    torch.manual_seed(5)
    out = method.loss(BATCH)
    assert reached(out["nll"]) == {"classifier"} and reached(out["balance"]) == {"sampler", "normaliser"}
    assert reached(out["loss"]) == set(parts)
    if method.prior:
        assert reached(out["loss"] - out["nll"] - out["balance"]) == {"prior"}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_prediction_does_not_see_labels(sampler: str) -> None:
    """Whatever the sampler that does makes of them."""
    method = roughen(build(sampler=sampler)).eval()
    torch.manual_seed(2)
    p = method.predict(X, 3)
    if method.prior:
        with torch.no_grad():
            for parameter in method.sampler.parameters():
                parameter.add_(100.0)
    torch.manual_seed(2)
    assert p.shape == (3, 6, 4) and torch.equal(p, method.predict(X, 3))
    assert len({tuple(sample.flatten().tolist()) for sample in p}) == 3


@pytest.mark.parametrize("backbone", ["mlp", "cnn", "pooled"])
def test_masks_scale_what_they_leave(backbone: str) -> None:
    """Whole maps are on or off, and those that are on make up for the others."""
    method = build(backbone=backbone, rate=0.3)
    plain, masked = [], []
    layers = method.layers()
    with before(layers[1:], lambda i, x: plain.append(x.flatten(1)) or x):
        method(X)
    first = layers[1].register_forward_hook(lambda module, given, out: masked.append(given[0].flatten(1)))
    torch.manual_seed(1)
    drawn = method.draw(X)
    first.remove()
    z = drawn.masks[0]
    factor = z * z.shape[1] / (z.sum(1, keepdim=True) + 1e-6)
    torch.testing.assert_close(masked[0], (plain[0].unflatten(1, (z.shape[1], -1)) * factor[..., None]).flatten(1))
    kept = torch.cat([of.flatten() for of in drawn.masks]).mean().item()
    assert kept == pytest.approx(0.7, abs=0.1)
    assert [of.shape[1] for of in drawn.masks] == [layer.weight.shape[0] for layer in layers[:-1]]


def test_units_that_are_all_on_are_the_plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build()
    monkeypatch.setattr(torch, "bernoulli", torch.ones_like)
    torch.testing.assert_close(method.draw(X).logits, method(X), rtol=1e-4, atol=1e-5)


def test_rates_are_those_of_the_losses() -> None:
    method = build(lr=1e-4, lr_masks=2e-3, lr_z=3e-2)
    groups = method.make_optimizer(method.parameter_groups()).param_groups
    assert [group["lr"] for group in groups] == [1e-4, 2e-3, 2e-3, 3e-2]
    assert sum(len(group["params"]) for group in groups) == len(list(method.parameters()))


def test_gradients_of_samplers_are_clipped_and_those_of_the_classifier_are_not() -> None:
    method = roughen(build(sampler="masks", clip=0.5))
    optimizer = method.make_optimizer(method.parameter_groups())
    method.loss(BATCH)["loss"].backward()
    before_it = [p.grad.clone() for p in method.backbone.parameters()]
    method.configure_gradient_clipping(optimizer)
    assert all(torch.equal(a, p.grad) for a, p in zip(before_it, method.backbone.parameters(), strict=True))
    for group in optimizer.param_groups[1:]:
        assert torch.stack([p.grad.norm() for p in group["params"]]).norm() <= 0.5 + 1e-5


def test_rewards_of_one_sampler_for_all_are_of_one_mask_for_all() -> None:
    method = roughen(build(sampler="masks"))
    torch.manual_seed(4)
    log_q, log_p, log_likelihood = method.rewards(BATCH, 3)
    assert log_q.shape == log_p.shape == log_likelihood.shape == (3, 1)
    torch.manual_seed(4)
    drawn = method.draw(X, ONEHOT, alike=True)
    assert all((z == z[0]).all() for z in drawn.masks)
    nll = nn.functional.cross_entropy(drawn.logits, BATCH["y"])
    torch.testing.assert_close(log_likelihood[0, 0], -100 * nll)
    torch.testing.assert_close(log_p[0, 0], torch.tensor(0.5).log() * (256 + 128))
    assert roughen(build()).rewards(BATCH, 3)[0].shape == (3, 6)


def test_a_trained_classifier_predicts_what_its_base_does() -> None:
    for base in (Softmax(Softmax.Config(backbone="mlp"), SPEC), MCDropout(MCDropout.Config(backbone="mlp"), SPEC), build()):
        method = TrainedClassifier(TrainedClassifier.Config(), SPEC, {"classifier": base.eval()})
        torch.manual_seed(1)
        p = method.predict(X, 2)
        torch.manual_seed(1)
        assert torch.equal(p, base.predict(X, 2)) and method.finished is base


def test_networks_start_from_one_rate() -> None:
    assert torch.equal(mlp([3, 32, 2], 0.7)(torch.rand(5, 3)), torch.full((5, 2), 0.7))
    method = build(rate=0.2)
    drawn = method.draw(X, ONEHOT)
    torch.testing.assert_close(drawn.log_q, drawn.log_p)


def test_a_network_without_masks_of_maps_is_refused() -> None:
    with pytest.raises(UserError, match="backbone='resnet20'"):
        build(backbone="resnet20")
