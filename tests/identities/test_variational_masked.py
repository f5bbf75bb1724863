"""Exact identities of variational masked diffusion, and of filling several tokens at a time (paper 023)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.text import TokenSpec
from elboard.bench.registry import discover
from elboard.methods.parts.masked_diffusion import filled, scores_of
from elboard.methods.text.base import ROWS
from elboard.tasks.text.enumerated import LENGTH, LETTERS, Chain
from elboard.tasks.tokens.dependent import law

IDENTITIES = {
    "vmd": (
        "test_without_a_code_it_is_md4",
        "test_of_two_dependent_tokens_the_best_code_costs_half_of_the_entropy_in_training_and_all_of_it_by_the_bound",
        "test_blocks_of_the_true_conditionals_pay_the_entropy",
    )
}
CHAIN = Chain(np.random.default_rng(7))
ENTROPY = -float(CHAIN.p @ CHAIN.p.log())


def made(name: str = "vmd", length: int = LENGTH, letters: int = LETTERS, **options: Any) -> Any:
    torch.manual_seed(0)
    entry = discover("method")[name]
    config = entry.config_class()(**({"width": 8, "depth": 1, "heads": 2} | options))
    return entry.load()(config, TokenSpec((length,), 10, letters=letters))


def test_without_a_code_it_is_md4() -> None:
    vmd, md4 = made(latent=0), made("md4")
    for network in (vmd.network, vmd.average, md4.network, md4.average):
        torch.manual_seed(1)
        torch.nn.init.normal_(network.head.weight)
    found = []
    for method in (vmd, md4):
        torch.manual_seed(2)
        loss = method.loss({"x": CHAIN.x})["loss"]
        z = torch.where(torch.rand(81, LENGTH) < 0.7, LETTERS, CHAIN.x)
        found.append((loss, method.nats(CHAIN.x, 3), method.fill(z, 2, "margin").double(), method.sample(5).double()))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert found[0][0] > 0


class BestCode:
    """Of pairs (k, k + 1): the code is k where all is masked, and elsewhere nothing; what the code or a seen token says is predicted."""

    @staticmethod
    def coded(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (z == 10).all(1)
        return torch.where(hidden, x[:, 0], -1), hidden * math.log(10)

    @staticmethod
    def log_p(z: Tensor, t: Tensor, known: Tensor) -> Tensor:
        k = torch.where(z[:, 0] < 10, z[:, 0], torch.where(z[:, 1] < 10, z[:, 1] - 1, known)) % 10
        return torch.nn.functional.one_hot(torch.stack([k, (k + 1) % 10], 1), 10).float().log()


def test_of_two_dependent_tokens_the_best_code_costs_half_of_the_entropy_in_training_and_all_of_it_by_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, x = made(length=2, letters=10, offset=0.0), law("pair")[0].repeat(2000, 1)
    monkeypatch.setattr(method, "coded", BestCode.coded)
    monkeypatch.setattr(method, "log_p", BestCode.log_p)
    torch.manual_seed(0)
    method.progress = 1.0
    losses = torch.stack([2 * method.loss({"x": x})["loss"] for _ in range(5)])
    assert losses.mean().item() == pytest.approx(math.log(10) / 2, abs=4 * 0.1 * math.log(10) / math.sqrt(1e4))
    torch.testing.assert_close(method.nats(x[:10], 6), torch.full((10, 6), math.log(10)))


def test_blocks_of_the_true_conditionals_pay_the_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands behind a block is not seen; each block's bound is its entropy given those before it."""
    method = made(latent=0, blocks=2, offset=0.0)
    monkeypatch.setattr(method, "log_p", lambda z, t, known=None: CHAIN.true(z))
    torch.manual_seed(0)
    x = CHAIN.x[torch.multinomial(CHAIN.p, 20_000, replacement=True)]
    nats = method.nats(x, 8).mean(1)
    exact = -CHAIN.p.log()[(x * LETTERS ** torch.arange(LENGTH - 1, -1, -1)).sum(1)]
    difference = nats - exact
    assert difference.mean().item() == pytest.approx(0, abs=4 * difference.std().item() / math.sqrt(20_000))


def test_a_block_sees_nothing_of_what_follows() -> None:
    method, x = made(blocks=2), torch.randint(0, LETTERS, (400, LENGTH))
    torch.manual_seed(0)
    known, z, before = method.seen(x, torch.full((400,), 0.5))
    first = known[:, 2] == LETTERS
    assert 120 < first.sum() < 280
    for of in (known, z, before):
        assert (of[first, 2:] == LETTERS).all() and torch.equal(of[~first, :2], x[~first, :2])
    assert torch.equal(known[~first], x[~first]) and torch.equal(known[first, :2], x[first, :2])
    assert (before[first, :2] == LETTERS).all() and (before[~first, 2:] == LETTERS).all()
    masked_here = (z == LETTERS) & (known != LETTERS)
    assert 0.4 < masked_here.float().mean() / 0.5 < 0.6
    assert (method.counted(torch.full((400, LENGTH, LETTERS), -1.0), known, z) == masked_here.sum(1)).all(), "others are not scored"


def test_a_divergence_counts_where_something_is_masked_and_once_it_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(beta=2.0)
    monkeypatch.setattr(method, "coded", lambda x, z: (torch.zeros(len(x), 8), torch.full((len(x),), 3.0)))
    found = []
    for progress in (0.0, 0.1, 1.0):
        method.progress = progress
        torch.manual_seed(0)
        found.append(method.loss({"x": CHAIN.x.repeat(20, 1)})["loss"].item())
    assert (found[2] - found[0]) == pytest.approx(2 * (found[1] - found[0]), rel=1e-4) and found[1] > found[0]
    torch.manual_seed(0)
    monkeypatch.setattr(method, "seen", lambda x, share: (x, x, x))
    assert method.loss({"x": CHAIN.x})["loss"].item() == 0, "of what is seen nothing is to be said, though w is large"


@pytest.mark.parametrize(("blocks", "redraw", "times"), [(1, False, 1), (2, False, 2), (1, True, 4)])
def test_a_code_is_drawn_once_for_a_sequence_or_block(blocks: int, redraw: bool, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    method, drawn = made(redraw=redraw), []
    codes = method.codes
    monkeypatch.setattr(method, "codes", lambda n: drawn.append(n) or codes(n))
    method.fill(torch.full((7, LENGTH), LETTERS), 4, "random", blocks)
    assert drawn == [7] * times


def test_a_code_changes_what_is_predicted_and_the_encoder_sees_both() -> None:
    method = made()
    for block in method.average.body.blocks:
        torch.nn.init.normal_(block.condition.weight)
    z = torch.full((2, LENGTH), LETTERS)
    with torch.no_grad():
        p = method.log_p(z, torch.ones(2), torch.tensor([[0.0], [2.0]]).expand(2, 8))
        assert (p[0] - p[1]).abs().max() > 1e-4
        x = CHAIN.x[[5, 5, 6]]
        mean, _ = method.encoder(x, torch.stack([x[0], z[0], z[0]]))
    assert (mean[0] - mean[1]).abs().max() > 1e-6 and (mean[1] - mean[2]).abs().max() > 1e-6
    loss = method.loss({"x": CHAIN.x})
    loss["loss"].backward()
    assert all(p.grad is not None for p in method.encoder.parameters())


# --- several tokens at a time ---------------------------------------------------------------------


def test_each_evaluation_fills_as_many_as_the_others_and_what_is_seen_stays() -> None:
    seen: list[Tensor] = []

    def predict(z: Tensor, t: Tensor) -> Tensor:
        seen.append(z)
        assert torch.allclose(t, (z == 3).float().mean(1))
        return torch.zeros(*z.shape, 3).log_softmax(2)

    z = torch.full((2, 8), 3)
    z[0, :3] = torch.tensor([0, 1, 2])
    out = filled([predict], z, 3, 4, "random")
    assert out.max() < 3 and out[0, :3].tolist() == [0, 1, 2]
    assert [(of == 3).sum(1).tolist() for of in seen] == [[5, 8], [3, 6], [2, 4], [1, 2]]
    seen.clear()
    filled([predict, predict], torch.full((1, 8), 3), 3, 4, "top")
    assert [(of == 3).long()[0, :4].sum().item() for of in seen] == [4, 2, 0, 0], "the first block is filled first"
    with pytest.raises(UserError, match="3 steps cannot be shared evenly by 2 blocks"):
        filled([predict, predict], z, 3, 3, "top")
    with pytest.raises(UserError, match="8 tokens cannot be shared evenly by 3 blocks"):
        filled([predict] * 3, z, 3, 3, "top")


@pytest.mark.parametrize("name", ["md4", "vmd"])
def test_many_sequences_are_filled_a_few_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, sizes = made(name), []
    monkeypatch.setattr(method, "log_p", lambda z, t, known=None: sizes.append(len(z)) or torch.zeros(*z.shape, LETTERS).log_softmax(2))
    x = method.fill(torch.full((3 * ROWS + 5, LENGTH), LETTERS), 2, "random")
    assert sizes == [ROWS, ROWS] * 3 + [5, 5] and x.max() < LETTERS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"blocks": 3}, "does not divide both 4 tokens and sample_steps=64"),
        ({"blocks": 2, "timed": True}, "blocks above 1 need timed=false"),
    ],
)
def test_blocks_are_even_parts_without_times(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(**options)


def test_orders_are_by_the_most_probable_and_by_its_margin() -> None:
    p = torch.tensor([[[0.5, 0.5, 0.0], [0.45, 0.3, 0.25], [0.4, 0.3, 0.3]]])
    assert scores_of(p, "top").argmax(1).item() == 0 and scores_of(p, "margin").argmax(1).item() == 1
    assert scores_of(p.expand(4000, 3, 3), "random").argmax(1).float().mean() == pytest.approx(1, abs=0.06)


def test_one_evaluation_is_the_product_of_marginals_and_one_by_one_is_the_law() -> None:
    """Of the true conditionals of pairs: a tenth is possible at once, and all one by one."""

    def predict(z: Tensor, t: Tensor) -> Tensor:
        return torch.where(
            (z == 10).all(1)[:, None, None], torch.full((1, 2, 10), 0.1).log(), BestCode.log_p(z, t, torch.zeros(len(z)).long())
        )

    torch.manual_seed(0)
    for steps, share in ((1, 0.1), (2, 1.0)):
        x = filled([predict], torch.full((4000, 2), 10), 10, steps, "random")
        assert ((x[:, 1] - x[:, 0]) % 10 == 1).float().mean().item() == pytest.approx(share, abs=4 * 0.3 / math.sqrt(4000) * (share < 1))
