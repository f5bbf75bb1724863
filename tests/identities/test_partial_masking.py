"""Exact identities of masked diffusion of sub-tokens (paper 082)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from elboard.bench.errors import UserError
from elboard.bench.kinds.text import TokenSpec
from elboard.bench.registry import discover
from elboard.methods.parts.sub_tokens import SubTokens
from elboard.tasks.text.enumerated import LENGTH, LETTERS, Chain

IDENTITIES = {
    "mdm-prime": (
        "test_one_digit_is_md4",
        "test_two_equal_bits_cost_half_of_their_entropy_as_published_and_all_of_it_by_the_bound",
        "test_with_the_true_conditionals_the_bound_is_the_entropy_and_the_published_loss_is_below",
        "test_a_bound_is_below_the_likelihood_of_its_own_process",
        "test_estimates_have_the_means_of_the_enumeration",
    )
}
CHAIN = Chain(np.random.default_rng(7))
ENTROPY = -float(CHAIN.p @ CHAIN.p.log())


def made(name: str = "mdm-prime", length: int = LENGTH, letters: int = LETTERS, image: Any = None, **options: Any) -> Any:
    torch.manual_seed(0)
    entry = discover("method")[name]
    config = entry.config_class()(**({"width": 8, "depth": 1, "heads": 2} | options))
    return entry.load()(config, TokenSpec((length,), 10, letters=letters, image=image))


def test_one_digit_is_md4() -> None:
    one, md4 = made(sub_tokens=1), made("md4")
    for network in (one.network, one.average, md4.network, md4.average):
        torch.manual_seed(1)
        torch.nn.init.normal_(network.head.weight)
    x = CHAIN.x[:64]
    torch.manual_seed(3)
    losses = [one.loss({"x": x})["loss"]]
    nats = one.nats(x, 4)
    torch.manual_seed(3)
    losses.append(md4.loss({"x": x})["loss"])
    torch.testing.assert_close(nats, md4.nats(x, 4))
    torch.testing.assert_close(*losses)
    assert losses[0] != 0
    for a, b in zip(one.bound_moments(CHAIN.other, CHAIN.x), md4.bound_moments(CHAIN.other, CHAIN.x), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    torch.testing.assert_close(one.log_mass(CHAIN.other, CHAIN.x), md4.log_mass(CHAIN.other, CHAIN.x), rtol=0, atol=1e-9)
    published = one.published_loss(CHAIN.other, CHAIN.x) + one.ends()
    torch.testing.assert_close(published, one.bound_moments(CHAIN.other, CHAIN.x)[0], rtol=0, atol=1e-9)


def test_two_equal_bits_cost_half_of_their_entropy_as_published_and_all_of_it_by_the_bound() -> None:
    """One token, of which 00 and 11 alone occur: int (1 / t) t^2 dt of a bit, and 2 int (1 / t) t (1 - t) 0 + t^2 dt of it."""
    method, x = made(length=1, letters=4, offset=0.0), torch.tensor([[0], [3]])
    law = torch.tensor([0.5, 0.0, 0.0, 0.5], dtype=torch.float64)

    def true(may: Tensor) -> Tensor:
        found = may * law
        return (found / found.sum(2, keepdim=True).clamp_min(1e-300)).log()

    torch.testing.assert_close(method.published_loss(true, x), torch.full((2,), 0.5 * math.log(2)).double())
    torch.testing.assert_close(method.bound_moments(true, x)[0], torch.full((2,), math.log(2)).double())


@pytest.mark.parametrize("masking", ["linear", "cosine"])
def test_with_the_true_conditionals_the_bound_is_the_entropy_and_the_published_loss_is_below(masking: str) -> None:
    method = made(offset=0.0, masking=masking)
    assert float(CHAIN.p @ method.bound_moments(CHAIN.true, CHAIN.x)[0]) == pytest.approx(ENTROPY, abs=1e-9)
    assert float(CHAIN.p @ method.published_loss(CHAIN.true, CHAIN.x)) < ENTROPY - 0.1


def test_a_bound_is_below_the_likelihood_of_its_own_process() -> None:
    method, some = made(offset=0.01), CHAIN.x[::9]
    gap = method.log_mass(CHAIN.other, some) + method.bound_moments(CHAIN.other, some)[0]
    assert gap.min() > 1e-6
    all_four = made(letters=4, length=2, offset=0.01)
    x = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    table = torch.randn(16, 16, 2, 4, generator=torch.Generator().manual_seed(0)).double()

    def some_law(may: Tensor) -> Tensor:
        number = (may.long() * 2 ** torch.arange(4)).sum(2)
        return table[number[:, 0], number[:, 1]].masked_fill(~may, -torch.inf).log_softmax(2)

    assert all_four.log_mass(some_law, x).exp().sum().item() == pytest.approx(1, abs=1e-9), "of 2^2 letters each code is one"


@pytest.mark.parametrize("objective", ["marginal", "joint"])
def test_estimates_have_the_means_of_the_enumeration(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(objective=objective)
    monkeypatch.setattr(method, "log_p", lambda z, t: CHAIN.other(method.code.possible(z)))
    x = CHAIN.x[40:42]
    torch.manual_seed(0)
    mean, deviation = method.bound_moments(CHAIN.other, x)
    drawn = method.nats(x.repeat(2000, 1), 8).view(2000, 2, 8)
    assert ((drawn.mean((0, 2)) - mean).abs() < 4 * deviation / math.sqrt(16_000)).all()
    expected = mean - method.ends() if objective == "marginal" else method.published_loss(CHAIN.other, x)
    terms = torch.stack([method.loss({"x": x.repeat(2000, 1)})["loss"] * LENGTH for _ in range(4)])
    assert terms.mean() == pytest.approx(expected.mean().item(), rel=0.05)
    assert (expected < mean - 0.1).all() == (objective == "joint")


# --- codes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letters", "count", "base"), [(50_257, 2, 225), (50_257, 3, 37), (50_257, 4, 15), (50_257, 6, 7), (16, 4, 2), (3, 2, 2)]
)
def test_digits_are_those_of_the_least_base_most_significant_first(letters: int, count: int, base: int) -> None:
    code, x = SubTokens(letters, count), torch.arange(letters)
    assert code.base == base, "of the paper's text"
    assert torch.equal(code.decode(code.encode(x)), x) and code.encode(x).max() < base
    assert (code.encode(x)[:, 0].diff() >= 0).all()


def test_digits_of_the_papers_configurations_vary() -> None:
    """Of 65 letters to the base 3 the first of five digits would not; its steps would count, and change nothing."""
    for letters, count in [(65, 1), (65, 2), (65, 3), (65, 4), (3, 2), (9, 2), (10, 2), (16, 2), (16, 4), (50_257, 6)]:
        assert (SubTokens(letters, count).digits.amax(0) > 0).all()
    for letters, count, idle in [(65, 5, 1), (65, 6, 2)]:
        assert (SubTokens(letters, count).digits.amax(0) == 0).sum() == idle


def test_a_code_is_asked_on_another_device_than_its_own() -> None:
    """A run on a GPU has the enumeration on the CPU; what is at hand here are tensors that know their device alone."""
    code = SubTokens(3, 2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        y, z = code.encode(torch.zeros(5, dtype=torch.long, device="meta")), torch.full((5, 2), 2, device="meta")
        surprises = code.surprises(torch.zeros(5, 3, device="meta"), y, z)
        assert {of.device.type for of in (y, code.decode(y), code.possible(z), surprises)} == {"meta"}


def test_tokens_that_are_ruled_out_or_do_not_exist_are_never_predicted() -> None:
    """Of 3 letters the code 11 is none; digits that are seen stay."""
    method = made(length=6)
    torch.manual_seed(0)
    torch.nn.init.normal_(method.average.head.weight)
    y = method.code.encode(torch.randint(0, 3, (200, 6)))
    z = method.noised(y, torch.rand(200))
    may = method.code.possible(z)
    with torch.no_grad():
        p = method.log_p(z, torch.zeros(200)).exp()
    torch.testing.assert_close(p.sum(2), torch.ones(200, 6))
    assert (p[~may] == 0).all() and (p[may] > 0).all()
    assert torch.equal(may.sum(2) == 1, ((z != 2).all(2)) | (z[..., 0] == 1) & (z[..., 1] == 2) | (z[..., 0] == 2) & (z[..., 1] == 1))
    x, idle = method.sample_in(300, 9)
    assert x.min() >= 0 and x.max() == 2 and ((idle >= 0) & (idle < 1)).all()


def test_the_law_of_a_token_is_joint_and_not_a_product_of_its_digits() -> None:
    """Pitfall: two equal bits are learned, which independent digits cannot say."""
    code = SubTokens(4, 2)
    log_p = torch.tensor([[0.5, 0.0, 0.0, 0.5]]).log()
    z, y = torch.tensor([[2, 2]]), torch.tensor([[1, 1]])
    torch.testing.assert_close(code.surprises(log_p, y, z), torch.full((1, 2), math.log(2)))
    assert -log_p[0, 3] == pytest.approx(math.log(2)), "not twice it"


def test_idle_steps_are_as_many_as_the_process_has() -> None:
    """(1 - 1/N)^(N l) of N tokens and N even steps."""
    for count, steps in ((1, 16), (3, 16)):
        method = made(length=16, letters=8, sub_tokens=count, offset=0.0)
        torch.manual_seed(0)
        idle = method.sample_in(600, steps)[1]
        expected = (1 - 1 / 16) ** (16 * count)
        assert idle.mean().item() == pytest.approx(expected, abs=4 * idle.std().item() / math.sqrt(600))


def test_one_step_draws_all_of_the_tokens_laws() -> None:
    method = made(letters=4, length=1, sub_tokens=2)
    torch.manual_seed(0)
    torch.nn.init.normal_(method.average.head.weight)
    x, idle = method.sample_in(20_000, 1)
    with torch.no_grad():
        p = method.log_p(torch.full((1, 1, 2), 2), torch.ones(1))[0, 0].exp()
    share = torch.bincount(x[:, 0], minlength=4) / 20_000
    assert (share - p).abs().max() < 4 * 0.5 / math.sqrt(20_000) and (idle == 0).all()


def test_embeddings_of_digits_lie_side_by_side_and_images_are_seen_as_such() -> None:
    method = made(letters=8, length=4, sub_tokens=3)
    assert [table.weight.shape for table in method.network.embedding.tables] == [(3, 2), (3, 3), (3, 3)]
    image = made(letters=16, length=36, image=(6, 6), sub_tokens=2, objective="plain", grid="cubic")
    x = torch.randint(0, 16, (3, 36))
    out = image.loss({"x": x})
    out["loss"].backward()
    assert torch.isfinite(out["loss"]) and image.sample_in(2, 4)[0].shape == (2, 36)
    sizes = {sum(p.numel() for p in made(letters=16, length=36, image=(6, 6), sub_tokens=of).network.body.parameters()) for of in (1, 2, 4)}
    assert len(sizes) == 1, "the same network behind the embedding"


def test_the_plain_objective_is_an_unweighted_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(objective="plain", length=2, letters=4)
    for network in (method.network, method.average):
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.zeros_(network.head.bias)
    torch.manual_seed(0)
    found = torch.stack([method.loss({"x": torch.randint(0, 4, (4000, 2))})["loss"] for _ in range(4)]).mean()
    shares = 1 - (1 - torch.linspace(0, 1, 2001)) ** 3
    left = shares**2 * math.log(4) + 2 * shares * (1 - shares) * math.log(2)
    assert found.item() == pytest.approx(left.mean().item(), rel=0.02)


def test_times_of_the_plain_objective_are_told_as_they_are_in_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the tokens are masked at time 1/2, however often that time is looked at."""
    method, told = made(objective="plain", length=200, letters=4, sub_tokens=1), []
    monkeypatch.setattr(method, "log_p", lambda z, t: told.append((z, t)) or torch.zeros(*z.shape[:2], 4).log_softmax(2))
    torch.manual_seed(0)
    method.loss({"x": torch.randint(0, 4, (500, 200))})
    z, t = told[0]
    masked = (z[..., 0] == 4).float().mean(1)
    assert (masked - t).abs().max() < 4.5 * 0.5 / math.sqrt(200) and t.mean().item() == pytest.approx(0.75, abs=0.01)


def test_of_many_digits_not_all_sets_are_looked_at() -> None:
    method = made(letters=8, length=4, sub_tokens=3)
    with pytest.raises(UserError, match="sub_tokens=3: 12 digits of a sequence are too many"):
        method.bound_moments(lambda may: may.double().log(), torch.zeros(1, 4, dtype=torch.long))


def test_all_sets_of_digits_are_looked_at() -> None:
    method = made(letters=4, length=2)
    seen: list[Tensor] = []

    def predict(may: Tensor) -> Tensor:
        seen.append(may)
        return may.double().log().log_softmax(2)

    method.surprises(predict, torch.zeros(1, 2, dtype=torch.long))
    assert len({tuple(row.flatten().tolist()) for row in seen[0]}) == len(list(itertools.product((0, 1), repeat=4)))
