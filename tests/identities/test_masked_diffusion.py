"""Exact identities of masked diffusion of tokens, and of the autoregressive transformer (paper 079)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.text import TokenSpec
from elboard.bench.registry import discover
from elboard.methods.parts.masked_diffusion import Schedule, ancestral, reverse_step, stratified, surprise, times_of
from elboard.methods.parts.token_networks import TokenTransformer
from elboard.methods.text.ar_transformer import ARTransformer
from elboard.methods.text.d3pm import D3PM
from elboard.methods.text.genmd4 import T1, E, GenMD4
from elboard.methods.text.md4 import MD4
from elboard.tasks.text.enumerated import LENGTH, LETTERS, Chain

IDENTITIES = {
    "md4": (
        "test_with_the_true_conditionals_the_bound_is_the_entropy_on_every_schedule",
        "test_of_any_predictor_all_schedules_have_one_bound_and_other_deviations",
        "test_a_bound_is_below_the_likelihood_of_its_own_process",
        "test_estimates_have_the_moments_of_the_enumeration",
    ),
    "d3pm": (
        "test_a_bound_is_below_the_likelihood_of_its_own_process",
        "test_one_step_is_the_product_of_the_letters_own_laws_and_many_are_continuous_time",
        "test_a_term_is_the_divergence_of_the_steps",
    ),
    "genmd4": (
        "test_equal_exponents_are_md4",
        "test_of_one_token_the_exact_predictor_pays_the_information_and_no_more",
        "test_the_gradient_of_the_exponents_is_that_of_the_enumerated_bound",
    ),
    "ar-transformer": ("test_the_probabilities_of_all_sequences_sum_to_one", "test_a_prediction_sees_what_stands_before_alone"),
}
KINDS = ("linear", "cosine", "polynomial")
CHAIN = Chain(np.random.default_rng(7))
ENTROPY = -float(CHAIN.p @ CHAIN.p.log())


def made(cls: type, length: int = LENGTH, letters: int = LETTERS, **options: Any) -> Any:
    torch.manual_seed(0)
    name = {MD4: "md4", D3PM: "d3pm", GenMD4: "genmd4", ARTransformer: "ar-transformer"}[cls]
    config = discover("method")[name].config_class()(**({"width": 8, "depth": 1, "heads": 2} | options))
    return cls(config, TokenSpec((length,), 10, letters=letters))


def moments(method: Any, predict: Any) -> tuple[float, float]:
    mean, deviation = method.bound_moments(predict, CHAIN.x)
    return float(CHAIN.p @ mean), float(CHAIN.p @ deviation)


# --- bounds by enumeration --------------------------------------------------------------------------


@pytest.mark.parametrize("masking", KINDS)
def test_with_the_true_conditionals_the_bound_is_the_entropy_on_every_schedule(masking: str) -> None:
    mean, _ = made(MD4, masking=masking, offset=0.0).bound_moments(CHAIN.true, CHAIN.x)
    assert float(CHAIN.p @ mean) == pytest.approx(ENTROPY, abs=1e-9)
    orders = [_in_order(order) for order in itertools.permutations(range(LENGTH))]
    torch.testing.assert_close(mean, torch.stack(orders).mean(0), rtol=0, atol=1e-9)


def _in_order(order: tuple[int, ...]) -> Tensor:
    """-log p (B,) of all sequences where the letters of ``order`` are told one by one."""
    z, total = torch.full_like(CHAIN.x, LETTERS), torch.zeros(len(CHAIN.x), dtype=torch.float64)
    for position in order:
        total -= CHAIN.true(z)[:, position].gather(1, CHAIN.x[:, position, None])[:, 0]
        z[:, position] = CHAIN.x[:, position]
    return total


def test_of_any_predictor_all_schedules_have_one_bound_and_other_deviations() -> None:
    found = [moments(made(MD4, masking=masking), CHAIN.other) for masking in KINDS]
    steeper = moments(made(MD4, masking="polynomial", power=3.5), CHAIN.other)
    assert [mean for mean, _ in (*found, steeper)] == pytest.approx([found[0][0]] * 4, abs=1e-9)
    assert all(abs(a - b) > 0.1 for a, b in itertools.combinations([deviation for _, deviation in found], 2))


def test_the_offset_costs_little_and_never_less_than_nothing() -> None:
    """Ends of the bound included, without which an offset would seem to help."""
    costs = [moments(made(MD4, offset=offset), CHAIN.true)[0] - ENTROPY for offset in (0.0, 1e-4, 1e-3, 1e-2)]
    assert costs == sorted(costs) and costs[0] == pytest.approx(0, abs=1e-9) and costs[1] < 1e-3


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (MD4, {}),
        (MD4, {"masking": "cosine", "offset": 0.01}),
        (D3PM, {"steps": 1}),
        (D3PM, {"steps": 3}),
        (D3PM, {"steps": 16, "offset": 0.02}),
    ],
)
def test_a_bound_is_below_the_likelihood_of_its_own_process(cls: type, options: dict[str, Any]) -> None:
    method = made(cls, **options)
    log_mass = method.log_mass(CHAIN.other, CHAIN.x)
    assert log_mass.exp().sum().item() == pytest.approx(1, abs=1e-9)
    gap = log_mass + method.bound_moments(CHAIN.other, CHAIN.x)[0]
    assert gap.min() > 1e-6, "of all paths but the one that is looked at something is left"


def test_one_step_is_the_product_of_the_letters_own_laws_and_many_are_continuous_time() -> None:
    own = 0.0
    for position, letter in itertools.product(range(LENGTH), range(LETTERS)):
        p = CHAIN.p[CHAIN.x[:, position] == letter].sum()
        own -= float(p * p.log())
    bounds = [moments(made(D3PM, steps=steps, offset=0.0), CHAIN.true)[0] for steps in (1, 4, 16, 64, 1024)]
    assert bounds[0] == pytest.approx(own, abs=1e-9)
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] > ENTROPY, "from above"
    excess = np.array(bounds) - ENTROPY
    assert excess[-2] / excess[-1] == pytest.approx(16, rel=0.1), "in proportion to 1 / T"
    masses = [made(cls, **of).log_mass(CHAIN.other, CHAIN.x) for cls, of in ((D3PM, {"steps": 4096}), (MD4, {}))]
    torch.testing.assert_close(*masses, rtol=0, atol=2e-3)


def test_a_term_is_the_divergence_of_the_steps() -> None:
    """KL(q(z_s | z_t, x) || p(z_s | z_t)) of a masked position, over its letters and the mask."""
    process, steps = Schedule("cosine", offset=0.01), 7
    t = torch.tensor([0.5], dtype=torch.float64)
    end, weight = process.step(t, steps)
    above, below = process.masked(end), process.masked(end - 1 / steps)
    mu, x = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), 1
    stays = below / above
    p = torch.cat([(1 - stays) * mu, stays])
    q = torch.cat([(1 - stays) * torch.eye(3, dtype=torch.float64)[x], stays])
    divergence = torch.xlogy(q, q / p).sum()
    torch.testing.assert_close(weight[0] / steps * -mu[x].log(), divergence)


# --- estimates and samples --------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "options"), [(MD4, {"masking": "polynomial"}), (D3PM, {"steps": 4})])
def test_estimates_have_the_moments_of_the_enumeration(cls: type, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(cls, **options)
    monkeypatch.setattr(method, "log_p", lambda z, t: CHAIN.other(z))
    x = CHAIN.x[40:43]
    mean, deviation = method.bound_moments(CHAIN.other, x)
    drawn = method.nats(x.repeat(4000, 1), 8).view(4000, 3, 8)
    error = deviation / math.sqrt(32_000)
    assert ((drawn.mean((0, 2)) - mean).abs() < 4 * error).all()
    torch.testing.assert_close(drawn.transpose(0, 1).flatten(1).std(1), deviation, rtol=0.05, atol=0)
    terms = [method.loss({"x": x.repeat(2000, 1)})["loss"] * LENGTH + method.ends() for _ in range(4)]
    assert torch.stack(terms).mean() == pytest.approx(mean.mean().item(), rel=0.05), "training is by the same bound"


def test_samples_have_the_law_of_the_process() -> None:
    method = made(D3PM, steps=2, offset=0.0)
    torch.manual_seed(0)
    times = torch.tensor(times_of(2, "uniform"))
    drawn = ancestral(lambda z, t: CHAIN.other(z), (60_000, LENGTH), LETTERS, method.process.masked, times)
    number = (drawn * LETTERS ** torch.arange(LENGTH)).sum(1)
    of_all = (CHAIN.x * LETTERS ** torch.arange(LENGTH)).sum(1)
    counts = torch.bincount(number, minlength=81)[of_all].double()
    p = method.log_mass(CHAIN.other, CHAIN.x).exp()
    kept = p > 1e-5
    chi2 = ((counts - 60_000 * p).square() / (60_000 * p))[kept].sum().item()
    assert chi2 < int(kept.sum()) + 5 * math.sqrt(2 * int(kept.sum()))
    assert drawn.max() < LETTERS, "what is masked at the end is filled"


def test_what_is_seen_never_changes_nor_is_scored_and_the_mask_is_never_predicted() -> None:
    torch.manual_seed(0)
    log_p = torch.randn(50, 6, 3).log_softmax(2)
    z = torch.randint(0, 4, (50, 6))
    after = reverse_step(log_p, z, torch.tensor(0.5))
    assert torch.equal(after[z < 3], z[z < 3]) and (after[z == 3] < 3).any() and (after[z == 3] == 3).any()
    x = torch.where(z == 3, 1, z)
    assert (surprise(log_p, x, z)[z < 3] == 0).all() and (surprise(log_p, x, z)[z == 3] > 0).all()
    out = TokenTransformer(3, 6, 8, 1, 2)(z)
    assert out.shape == (50, 6, 3)
    torch.testing.assert_close(out.exp().sum(2), torch.ones(50, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_minus_the_slope_of_alpha_and_not_clipped(kind: str) -> None:
    process = Schedule(kind, offset=1e-4)
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((1 - process.masked(t)).sum(), t)
    torch.testing.assert_close(process.weight(t), -slope / process.masked(t))
    assert (process.weight(t) > 0).all()
    assert Schedule(kind, offset=0.0).weight(torch.tensor([1e-6]))[0] > 9e5
    ends = process.masked(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.tensor([1e-4, 1 - 1e-4]), rtol=1e-3, atol=0)


def test_times_of_a_batch_are_even_and_each_uniform() -> None:
    times = stratified(4000, 8, torch.zeros(1))
    assert (times.sort(1).values.diff(dim=1) - 1 / 8).abs().max() < 1e-6
    assert times[:, 3].mean() == pytest.approx(0.5, abs=0.02) and times.min() >= 0 and times.max() < 1
    for grid in ("cosine", "uniform"):
        ends = times_of(5, grid)
        assert ends[0] == 1 and ends[-1] == 0 and sorted(ends, reverse=True) == ends


# --- GenMD4 -----------------------------------------------------------------------------------------


def with_exponents(method: GenMD4, w: list[float]) -> GenMD4:
    with torch.no_grad():
        method.raw.copy_(torch.tensor(w).expm1().log())
    return method


def test_equal_exponents_are_md4() -> None:
    torch.manual_seed(0)
    for w in (1.0, 1.7):
        method = with_exponents(made(GenMD4), [w] * LETTERS).double()
        log_p, x = torch.randn(20, LENGTH, LETTERS).double().log_softmax(2), torch.randint(0, LETTERS, (20, LENGTH))
        z, t = torch.where(torch.rand(20, LENGTH) < 0.5, LETTERS, x), torch.rand(20).double()
        expected = Schedule("polynomial", w, offset=0.0).weight(t) * surprise(log_p, x, z).sum(1)
        torch.testing.assert_close(method.integrand(log_p, x, z, t), expected, rtol=1e-6, atol=1e-9)
    assert made(GenMD4).w.tolist() == pytest.approx([1.0] * LETTERS)


def test_mixed_precision_does_not_round_the_terms_of_the_exponents() -> None:
    """Whose sums are near 1 and are divided by t: in 8 bits they were off by up to 0.002 / t a letter."""
    torch.manual_seed(0)
    method = with_exponents(made(GenMD4), [0.7, 1.1, 1.6])
    log_p, x = torch.randn(20, LENGTH, LETTERS).log_softmax(2), torch.randint(0, LETTERS, (20, LENGTH))
    z, t = torch.full_like(x, LETTERS), torch.full((20,), T1)
    expected = method.integrand(log_p, x, z, t)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(method.integrand(log_p, x, z, t), expected)


def test_of_one_token_the_exact_predictor_pays_the_information_and_no_more() -> None:
    """The integral from t_1 to 1 is H(x | z_1) - H(x | z_(t_1)), with mu_v ~ p_v (1 - alpha_(t,v)), whatever the exponents."""
    method = with_exponents(made(GenMD4, length=1), [0.6, 1.0, 2.2]).double()
    p, w = torch.tensor([0.2, 0.5, 0.3]).double(), method.w.detach()
    nodes, weights = np.polynomial.legendre.leggauss(200)
    s = torch.from_numpy((nodes + 1) / 2) * -math.log(T1)  # t = e^-s
    t, x, z = (-s).exp(), torch.arange(3)[:, None], torch.full((3, 1), 3)
    total = 0.0
    for time, weight in zip(t, torch.from_numpy(weights / 2) * -math.log(T1) * t, strict=True):
        log_mu = (p * method.masked(time, w)).log().log_softmax(0).expand(3, 1, 3)
        each = method.integrand(log_mu, x, z, time.expand(3)).detach()
        total += float(weight * (p * method.masked(time, w)) @ each)

    def left(time: float) -> float:
        joint = p * method.masked(torch.tensor(time).double(), w)
        return -float(torch.xlogy(joint, joint / joint.sum()).sum())

    assert total == pytest.approx(left(1.0) - left(T1), abs=1e-8)


def test_the_gradient_of_the_exponents_is_that_of_the_enumerated_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one out: of two letters, over all that may be masked, against the mean of the estimator over many draws."""
    method = with_exponents(made(GenMD4, length=2), [0.7, 1.1, 1.6])
    table = torch.randn(4, 4, 2, LETTERS, generator=torch.Generator().manual_seed(3)).log_softmax(3)
    monkeypatch.setattr(method, "log_p", lambda z, t: table[z[:, 0], z[:, 1]])
    monkeypatch.setattr("elboard.methods.text.genmd4.stratified", lambda n, draws, like: torch.full((n, draws), 0.3))
    x, t = torch.tensor([[0, 2]]), torch.tensor([T1 + (1 - T1) * 0.3])
    expected = method.ends(x)[0]
    for masks in itertools.product((False, True), repeat=2):
        z = torch.where(torch.tensor([masks]), LETTERS, x)
        share = method.masked(t[:, None], method.w[x])
        q = torch.where(z == LETTERS, share, 1 - share).prod()
        expected = expected + q * (1 - T1) * method.integrand(table[z[:, 0], z[:, 1]], x, z, t)[0]
    (exact,) = torch.autograd.grad(expected, method.raw)
    torch.manual_seed(0)
    found = []
    for _ in range(60):
        found.append(torch.autograd.grad(2 * method.loss({"x": x.repeat(500, 1)})["loss"], method.raw)[0])
    mean, error = torch.stack(found).mean(0), torch.stack(found).std(0) / math.sqrt(60)
    assert ((mean - exact).abs() < 4 * error + 1e-6).all() and (error < 0.1 * exact.abs().max()).all()


def test_tokens_with_large_exponents_are_masked_late_and_the_end_is_masked() -> None:
    method = with_exponents(made(GenMD4), [0.5, 1.0, 3.0])
    shares = method.masked(torch.tensor([[0.3]]), method.w)[0]
    assert shares[0] > shares[1] > shares[2]
    torch.testing.assert_close(method.masked(torch.tensor(1.0), method.w), torch.full((3,), 1 - E))
    assert method.sample(50).max() < LETTERS
    out = method.loss({"x": CHAIN.x})
    assert out["least_w"] == pytest.approx(0.5, rel=1e-5) and out["largest_w"] == pytest.approx(3.0, rel=1e-5)


# --- the autoregressive transformer ---------------------------------------------------------------


def test_the_probabilities_of_all_sequences_sum_to_one() -> None:
    method = made(ARTransformer)
    torch.nn.init.normal_(method.average.head.weight)
    assert method.exact and method.nats(CHAIN.x, 8).shape == (81, 1)
    assert (-method.nats(CHAIN.x, 1).double()).exp().sum().item() == pytest.approx(1, abs=1e-5)
    sizes = [sum(p.numel() for p in made(cls).network.parameters()) for cls in (ARTransformer, MD4)]
    assert sizes[0] == sizes[1], "the same transformer"


def test_a_prediction_sees_what_stands_before_alone() -> None:
    method, x = made(ARTransformer, length=6), torch.randint(0, LETTERS, (4, 6))
    other = x.clone()
    other[:, 3] = (x[:, 3] + 1) % LETTERS
    a, b = method.next_log_p(x), method.next_log_p(other)
    torch.testing.assert_close(a[:, :4], b[:, :4])
    assert (a[:, 4:] - b[:, 4:]).abs().amax() > 1e-4
    both = made(MD4, length=6)
    seen = [both.log_p(of, torch.zeros(4))[:, 0] for of in (x, other)]
    assert (seen[0] - seen[1]).abs().amax() > 1e-6, "a masked diffusion sees both sides"


def test_time_is_told_where_it_is_asked_for() -> None:
    for timed in (False, True):
        method = made(MD4, timed=timed)
        for block in method.network.body.blocks:
            if timed:
                torch.nn.init.normal_(block.condition.weight)
        z = torch.full((2, LENGTH), LETTERS)
        a, b = (method.log_p(z, torch.full((2,), t)) for t in (0.1, 0.9))
        assert torch.allclose(a, b) != timed
    known = TokenTransformer(3, 4, 8, 1, 2, known=5)
    torch.nn.init.normal_(known.body.blocks[0].condition.weight)
    a, b = (known(z, None, torch.full((2, 5), value)) for value in (0.0, 1.0))
    assert not torch.allclose(a, b)
