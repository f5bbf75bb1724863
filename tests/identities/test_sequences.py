"""Exact identities of state-space layers, of variational state space models (paper 060) and of autoregressive models of sequences."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.registry import discover
from elboard.bench.task import Data
from elboard.methods.parts.state_spaces import SCANS, DiagonalSSM, StateSpaceNetwork, convolved, doubling, recurrence
from elboard.methods.sequences.ar_sequence import ARSequence
from elboard.methods.sequences.ar_vssm import AutoregressiveVSSM
from elboard.methods.sequences.vssm import VSSM

IDENTITIES = {
    "vssm": (
        "test_all_ways_to_the_states_are_one",
        "test_divergences_are_those_of_probabilities_from_a_uniform_prior",
        "test_a_step_sees_its_own_and_earlier_codes_and_no_data",
        "test_estimates_are_of_the_enumerated_bound_which_is_below_the_likelihood",
    ),
    "ar-vssm": (
        "test_a_beginning_has_the_codes_that_it_has_in_the_whole",
        "test_the_future_takes_nothing_from_the_likelihood_of_a_beginning",
        "test_a_completion_goes_on_from_the_state_and_from_nothing_else",
    ),
    "ar-sequence": (
        "test_the_probabilities_of_all_sequences_sum_to_one",
        "test_a_prediction_sees_earlier_steps_alone",
        "test_one_step_after_the_other_is_the_whole",
    ),
}
CLASSES = {"vssm": VSSM, "ar-vssm": AutoregressiveVSSM, "ar-sequence": ARSequence}
BACKBONES = ("ssm", "transformer")


def made(name: str, length: int = 6, inputs: int = 3, kind: str = "bernoulli", **options: Any) -> Any:
    """A method in double precision whose decoder is rough."""
    torch.manual_seed(0)
    options = {"width": 8, "depth": 2, **({} if name == "ar-sequence" else {"groups": 2, "classes": 3}), **options}
    method = CLASSES[name](discover("method")[name].config_class()(**options), LikelihoodSpec((length, inputs), 10, likelihood=kind))
    for parameter in method.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter) * (parameter.ndim > 1)
    return method.double().eval()


def bits(n: int, length: int = 6, inputs: int = 3) -> Tensor:
    return torch.randint(2, (n, length, inputs), generator=torch.Generator().manual_seed(1)).double()


def all_bits(*shape: int) -> Tensor:
    """All binary tensors of the shape, ``(2^numel, *shape)``."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=math.prod(shape))), dtype=torch.float64).view(-1, *shape)


# --- the layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 13, 32])
def test_all_ways_to_the_states_are_one(length: int) -> None:
    torch.manual_seed(0)
    factor = torch.polar(0.5 + 0.499 * torch.rand(5), 3 * torch.rand(5)).to(torch.complex128).requires_grad_()
    b = torch.randn(4, length, 5, dtype=torch.complex128, requires_grad=True)
    weight = torch.randn(4, length, 5, dtype=torch.complex128)
    expected = recurrence(factor, b)
    of_expected = torch.autograd.grad((expected * weight).real.sum(), (factor, b), allow_unused=True)
    for way in (doubling, convolved):
        found = way(factor, b)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
        of_found = torch.autograd.grad((found * weight).real.sum(), (factor, b), allow_unused=True)
        torch.testing.assert_close(of_found[1], of_expected[1], rtol=0, atol=1e-10)
        if length > 1:
            torch.testing.assert_close(of_found[0], of_expected[0], rtol=0, atol=1e-9)
    powers = torch.tensor([1, -1, 1j, -1j, 0.5], dtype=torch.complex128)
    whole = torch.randint(-8, 8, (4, length, 5)).to(torch.complex128)
    assert torch.equal(doubling(powers, whole), recurrence(powers, whole)), "of numbers that are never rounded"


def test_states_that_hardly_fade_have_gradients() -> None:
    torch.manual_seed(0)
    layer, u = DiagonalSSM(3, "doubling"), torch.randn(2, 5, 3)
    layer.nu.data.fill_(-20.0)  # where |lambda| is 1 in single precision
    y, _ = layer(u)
    y.sum().backward()
    assert layer.nu.grad.isfinite().all() and (layer.nu.grad != 0).all()


def test_the_end_of_a_sequence_does_not_reach_its_start() -> None:
    """As it would by a Fourier transform of the sequence without zeros behind it."""
    b = torch.zeros(1, 9, 2, dtype=torch.complex128)
    b[:, -1] = 1
    for way in SCANS.values():
        assert way(torch.tensor([0.9, 0.8j], dtype=torch.complex128), b)[:, :-1].abs().max() < 1e-12


@pytest.mark.parametrize("scan", sorted(SCANS))
def test_a_sequence_may_be_gone_on_with_from_any_state(scan: str) -> None:
    torch.manual_seed(0)
    network, u = StateSpaceNetwork(3, 8, 3, scan=scan).double(), torch.randn(2, 11, 3, dtype=torch.float64)
    whole, last = network(u)
    for k in range(1, 11):
        first, states = network(u[:, :k])
        second, end = network(u[:, k:], states)
        torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-10)
        torch.testing.assert_close(end, last, rtol=0, atol=1e-10)
    assert (network(u[:, 5:])[0] - whole[:, 5:]).abs().max() > 1e-3, "without the state it is another sequence"


# --- variational models ---------------------------------------------------------------------------------


def test_divergences_are_those_of_probabilities_from_a_uniform_prior() -> None:
    method = made("vssm", groups=4, classes=5)
    uniform, sure = (torch.full((2, 6, 4, 5), value, dtype=torch.float64) for value in (-math.log(5), -1e4))
    sure[..., 2] = 0
    torch.testing.assert_close(method.kl(uniform), torch.zeros(2, 6).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(method.kl(sure), torch.full((2, 6), 4 * math.log(5)).double())
    torch.manual_seed(0)
    log_q = torch.randn(2, 6, 4, 5).double().log_softmax(3)
    prior, q = (torch.distributions.Categorical(logits=of) for of in (torch.zeros_like(log_q), log_q))
    torch.testing.assert_close(method.kl(log_q), torch.distributions.kl_divergence(q, prior).sum(2))
    x = bits(3)
    for seed in range(2):  # whatever is drawn, and how soft it is
        torch.manual_seed(seed)
        method.progress = float(seed)
        assert method.loss({"x": x})["kl"].item() == pytest.approx(method.divergences(x).sum(1).mean().item(), abs=1e-12)


def test_codes_are_drawn_by_their_probabilities_one_hot_and_have_the_gradient_of_the_relaxation() -> None:
    method = made("vssm", groups=1, classes=3)
    log_q = torch.tensor([0.6, 0.3, 0.1]).log().double().expand(200, 50, 1, 3).clone().requires_grad_()
    torch.manual_seed(0)
    z = method.straight_through(log_q)
    assert torch.equal(z.detach().round(), z.detach().round().clamp(0, 1)) and (z.detach() - z.detach().round()).abs().max() < 1e-12
    error = (torch.tensor([0.24, 0.21, 0.09]).double() / 10_000).sqrt()
    for drawn in (z.detach(), method.drawn_codes(log_q.detach())):
        assert ((drawn.mean((0, 1)) - torch.tensor([0.6, 0.3, 0.1])).abs() < 4 * error).all()
    (found,) = torch.autograd.grad((z * torch.arange(3)).sum(), log_q)
    torch.manual_seed(0)
    gumbel = -torch.log(-torch.log(torch.rand_like(log_q[..., 0, :]).clamp(1e-6, 1 - 1e-6)))
    method.progress = 1.0
    for temperature, same in ((1.0, True), (0.5, False)):
        soft = ((log_q[..., 0, :] + gumbel) / temperature).softmax(2)
        (expected,) = torch.autograd.grad((soft * torch.arange(3)).sum(), log_q)
        assert torch.allclose(found, expected, rtol=0, atol=1e-9) == same
    torch.manual_seed(0)
    (late,) = torch.autograd.grad((method.straight_through(log_q) * torch.arange(3)).sum(), log_q)
    torch.testing.assert_close(late, expected, rtol=0, atol=1e-9)  # of the last temperature


def test_a_step_sees_its_own_and_earlier_codes_and_no_data() -> None:
    method, x = made("vssm").float(), bits(2).float().requires_grad_()
    z = method.prior_codes(2, 6)
    out, _ = method.decode(z)
    for t in range(6):
        other = z.clone()
        other[:, t] = other[:, t].roll(1, 1)
        now, _ = method.decode(other)
        assert torch.equal(now[:, :t], out[:, :t]), "bit for bit"
        assert all((now[:, later] - out[:, later]).abs().max() > 1e-6 for later in range(t, 6))
        (of_x,) = torch.autograd.grad(method.likelihood.log_prob(x, out.detach())[:, t].sum(), x)
        assert (of_x[:, t] != 0).any() and (of_x[:, torch.arange(6) != t] == 0).all()


def _given(method: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of one group of codes at each of T steps all sequences of codes ``(Z, T, K)``, and log p(x | z) ``(B, Z)``."""
    k, length = method.config.classes, x.shape[1]
    z = torch.eye(k, dtype=torch.float64)[torch.tensor(list(itertools.product(range(k), repeat=length)))]
    out, _ = method.decode(z)
    return z, torch.stack([method.likelihood.log_prob(one, out).sum(1) for one in x])


@pytest.mark.parametrize("name", ["vssm", "ar-vssm"])
def test_estimates_are_of_the_enumerated_bound_which_is_below_the_likelihood(name: str) -> None:
    method, x = made(name, 3, 2, groups=1, classes=3), bits(4, 3, 2)
    z, given = _given(method, x)
    log_p = given.logsumexp(1) - 3 * math.log(3)
    log_q = torch.stack([(one * z).sum((1, 2)) for one in method.posterior(x)[:, :, 0].detach()])
    bound = (log_q.exp() * (given - 3 * math.log(3) - log_q)).sum(1)
    assert (bound < log_p - 1e-6).all()
    torch.manual_seed(0)
    drawn = method.log_p(x.repeat(4000, 1, 1)).view(4000, 4)
    assert ((drawn.mean(0) - bound).abs() < 4 * drawn.std(0) / math.sqrt(4000)).all()
    posterior = given - given.logsumexp(1, keepdim=True)
    torch.testing.assert_close((posterior.exp() * (given - 3 * math.log(3) - posterior)).sum(1), log_p)  # with the best q nothing is lost


def test_a_beginning_has_the_codes_that_it_has_in_the_whole() -> None:
    x = bits(3)
    other = torch.cat([x[:, :4], 1 - x[:, 4:]], 1)
    for name, same in (("ar-vssm", True), ("vssm", False)):
        method = made(name).float()
        whole, changed, begun = (method.posterior(of.float()) for of in (x, other, x[:, :4]))
        assert torch.equal(whole[:, :4], changed[:, :4]) == same
        assert torch.allclose(whole[:, :4], begun, rtol=0, atol=1e-5) == same, "of which a mismatch would come"


def test_the_future_takes_nothing_from_the_likelihood_of_a_beginning() -> None:
    """log p(x_1, x_2) of the model of three steps, all third steps summed, is that of two steps; and so is what bounds it."""
    method, begun = made("ar-vssm", 3, 2, groups=1, classes=3), bits(4, 2, 2)
    of_two = _given(method, begun)[1].logsumexp(1) - 2 * math.log(3)
    ends = all_bits(1, 2)
    whole = torch.cat([begun.repeat_interleave(len(ends), 0), ends.repeat(len(begun), 1, 1)], 1)
    of_three = _given(method, whole)[1].logsumexp(1) - 3 * math.log(3)
    torch.testing.assert_close(of_three.view(len(begun), -1).logsumexp(1), of_two)


def test_a_completion_goes_on_from_the_state_and_from_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    method, x = made("ar-vssm", 8), bits(50, 8)
    torch.manual_seed(0)
    completed = method.complete(x[:, :3])
    assert completed.shape == x.shape and torch.equal(completed[:, :3], x[:, :3])
    torch.manual_seed(0)
    z = torch.cat([method.drawn_codes(method.posterior(x[:, :3])), method.prior_codes(50, 5)], 1)
    out = method.decode(z)[0][:, 3:]
    torch.testing.assert_close(completed[:, 3:], method.likelihood.draw(out))  # in two scans as in one
    decode = method.decode
    monkeypatch.setattr(method, "decode", lambda z, before=None: decode(z))
    ends = []
    for begun in (x[:, :3], 1 - x[:, :3]):
        torch.manual_seed(0)
        ends.append(method.complete(begun)[:, 3:])
    assert torch.equal(*ends), "without the state what is seen changes nothing"


def test_sequences_of_real_numbers() -> None:
    method = made("vssm", kind="gaussian")
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    method.prepare(Data(method.spec, {"x": x}))
    torch.testing.assert_close(method.head.bias.data, x.mean((0, 1)))
    assert method.log_p(x).shape == (5,) and method.sample(4).unique().numel() == 4 * 6 * 3
    assert method.resized(9).sample(2).shape == (2, 9, 3)


# --- autoregressive models --------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_probabilities_of_all_sequences_sum_to_one(backbone: str) -> None:
    method = made("ar-sequence", 3, 2, backbone=backbone)
    assert method.log_p(all_bits(3, 2)).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_prediction_sees_earlier_steps_alone(backbone: str) -> None:
    method, x = made("ar-sequence", backbone=backbone), bits(2)

    def predicted(x: Tensor) -> Tensor:
        return method.head(method.network(method.shown(x))[0])

    for t in range(6):
        other = x.clone()
        other[:, t] = 1 - other[:, t]
        moved = (predicted(other) - predicted(x)).abs().amax((0, 2))
        assert (moved[: t + 1] < 1e-12).all() and (moved[t + 1 :] > 1e-6).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_one_step_after_the_other_is_the_whole(backbone: str) -> None:
    method, x = made("ar-sequence", backbone=backbone), bits(3)
    shown = method.shown(x)
    whole, _ = method.network(shown)
    for k in (0, 1, 4):
        parts, before = [], None
        for part in (shown[:, :k], *shown[:, k:].split(1, 1)):
            if part.shape[1]:
                h, before = method.network(part, before)
                parts.append(h)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_draws_have_the_law_of_the_model_and_completions_that_of_what_follows(backbone: str) -> None:
    method, every = made("ar-sequence", 2, 2, backbone=backbone), all_bits(2, 2)
    p, number = method.log_p(every).exp().detach(), 2.0 ** torch.arange(3, -1, -1)
    torch.manual_seed(0)
    counts = torch.bincount((method.sample(20_000).flatten(1) @ number.double()).long(), minlength=16) / 20_000
    assert ((counts - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt()).all()
    begun = every[:1, :1]
    counts = torch.bincount((method.complete(begun.repeat(20_000, 1, 1)).flatten(1) @ number.double()).long(), minlength=16) / 20_000
    given = torch.where((every[:, :1] == begun).all((1, 2)), p, 0.0)
    given = given / given.sum()
    assert ((counts - given).abs() <= 4 * (given * (1 - given) / 20_000).sqrt()).all()
