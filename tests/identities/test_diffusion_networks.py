"""Exact identities of diffusions whose networks are trained (paper 024)."""

from __future__ import annotations

import pytest
import torch
from diffusing import DOUBLE, TARGETS, some

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.registry import discover
from elboard.bench.task import Data
from elboard.methods.diffusion.ddpm import DDPM
from elboard.methods.diffusion.flow_matching import FlowMatching
from elboard.methods.parts.diffusion_networks import TimeMLP, UNet

IDENTITIES = {
    "ddpm": (
        "test_a_perfect_network_has_no_loss",
        "test_weighting_by_the_bound_is_its_terms_in_the_limit",
        "test_averaged_weights",
    ),
    "flow-matching": ("test_the_error_of_a_network_of_nothing_is_its_target", "test_points_are_scaled_and_come_back"),
}


def made(cls: type = DDPM, shape: tuple[int, ...] = (2,), **options: object):
    torch.manual_seed(0)
    name = {DDPM: "ddpm", FlowMatching: "flow-matching"}[cls]
    kind = "gaussian" if len(shape) == 1 else "discretised-logistic"
    return cls(discover("method")[name].config_class()(**options), LikelihoodSpec(shape, 10, likelihood=kind))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weighting", ["own", "noise", "bound"])
def test_a_perfect_network_has_no_loss(target: str, weighting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, (x, noise, t) = made(target=target, weighting=weighting), some()
    monkeypatch.setattr(method, "out", lambda *_: method.path.target(target, x, noise, t))
    torch.testing.assert_close(method.errors(x, t[:, 0], noise), torch.zeros(6, dtype=DOUBLE), rtol=0, atol=1e-10)


def test_of_the_noise_both_weightings_are_one() -> None:
    (x, noise, t), found = some(), []
    for weighting in ("own", "noise"):
        method = made(weighting=weighting).double()
        torch.nn.init.normal_(method.network.out.weight)
        found.append(method.errors(x, t[:, 0], noise))
    torch.testing.assert_close(*found)


def test_weighting_by_the_bound_is_its_terms_in_the_limit() -> None:
    """(SNR(s) - SNR(t)) |data^ - x_0|^2 / 2 of a short step is the weighted error times its length (Kingma et al. 2021)."""
    method, (x, noise, t) = made(weighting="bound").double(), some()
    torch.nn.init.normal_(method.network.out.weight)
    path, step = method.path, 1e-6
    x_t = path.noised(x, noise, t)
    data = path.view("noise", method.out(x_t, t[:, 0]), x_t, t).data
    term = 0.5 * (path.snr(t - step) - path.snr(t))[:, 0] * (data - x).square().mean(1)
    torch.testing.assert_close(term / step, method.errors(x, t[:, 0], noise), rtol=1e-3, atol=0)


def test_averaged_weights() -> None:
    method = made(ema=0.0)
    for parameter in method.network.parameters():
        torch.nn.init.normal_(parameter)
    method.after_step({}, 0)
    for mean, now in zip(method.average.parameters(), method.network.parameters(), strict=True):
        assert torch.equal(mean, now) and not mean.requires_grad
    slow = made(ema=0.999)
    before = [mean.clone() for mean in slow.average.parameters()]
    for parameter in slow.network.parameters():
        torch.nn.init.normal_(parameter)
    slow.after_step({}, 0)
    for mean, now, was in zip(slow.average.parameters(), slow.network.parameters(), before, strict=True):
        torch.testing.assert_close(mean, was + (1 - 2 / 11) * (now - was))  # of the first step


def test_samples_are_of_the_averaged_weights_and_in_the_range_of_images() -> None:
    method = made(shape=(1, 6, 6), evaluations=3, ema=0.0)
    with torch.no_grad():
        method.network.out.bias.fill_(5.0)
    unchanged = made(shape=(1, 6, 6), evaluations=3, ema=0.0)
    torch.manual_seed(1)
    x = method.sample(4)
    torch.manual_seed(1)
    assert torch.equal(x, unchanged.sample(4)) and x.shape == (4, 1, 6, 6)
    t = torch.tensor(0.9)
    assert method.model(100 * torch.ones(1, 1, 6, 6), t).data.abs().max() <= 1
    seen = method.model(torch.ones(1, 1, 6, 6), t)
    torch.testing.assert_close(method.path.noised(*seen, t), torch.ones(1, 1, 6, 6))


def test_the_error_of_a_network_of_nothing_is_its_target() -> None:
    """The last layer begins at 0, and the velocity of the straight path is noise minus data, whatever the time."""
    method, (x, noise, t) = made(cls=FlowMatching).double(), some()
    torch.testing.assert_close(method.errors(x, t[:, 0], noise), (noise - x).square().mean(1))


def test_points_are_scaled_and_come_back() -> None:
    method = made(cls=FlowMatching)
    x = torch.tensor([3.0, -1.0]) + 4 * torch.randn(2000, 2)
    method.prepare(Data(method.spec, {"x": x}))
    seen = (x - method.centre) / method.scale
    assert seen.mean().abs() < 1e-5 and seen.square().mean() == pytest.approx(1)
    torch.testing.assert_close(method.centre + method.scale * seen, x)


@pytest.mark.parametrize("network", [TimeMLP((2,), [16, 16], 3), UNet((1, 14, 14), 16, 2, 3), UNet((3, 28, 28), 16, 3, 3)])
def test_networks_know_time_and_class(network: torch.nn.Module) -> None:
    shape = (2,) if isinstance(network, TimeMLP) else (1, 14, 14) if network.stem.in_channels == 1 else (3, 28, 28)
    x, t = torch.randn(2, *shape), torch.tensor([0.1, 0.1])
    assert not network(x, t).any(), "the last layer begins at 0"
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    out = network(x, t, torch.tensor([0, 1]))
    assert out.shape == x.shape
    assert not torch.equal(out, network(x, t + 0.5, torch.tensor([0, 1])))
    assert not torch.equal(out, network(x, t))
    torch.testing.assert_close(network(x, t), network(x, t, torch.tensor([3, 3])))  # the class that stands for none
